//! Nemotron-H and Nemotron 3: every layer is one of Mamba-2, attention without rotation, MLP or routed experts, the
//! last optionally in a smaller latent space.

use crate::graph::parts::mamba2_mixer::time_limit;
use crate::graph::parts::prelude::*;

/// What a layer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mamba,
    Attention,
    Mlp,
    Experts,
}

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let kinds = kinds(c)?;
    let width = c.positive("hidden_size")?;
    let query = c.positive("num_attention_heads")?;
    let heads = Heads {
        query,
        kv: c.positive("num_key_value_heads")?,
        dim: c.opt_dim("head_dim")?.unwrap_or(width / query),
    };
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let hidden = c.positive("intermediate_size")?;
    let outline = Outline {
        eps: c.number_or("layer_norm_epsilon", 1e-5)?,
        max_context: c.opt_dim("max_position_embeddings")?,
        names: Names::BACKBONE,
        ..Outline::new(width, kinds.len() as u64, c.positive("vocab_size")?)
    };
    let (dims, mamba) = mamba(c, width)?;
    let moe = match kinds.contains(&Kind::Experts) {
        true => Some(Routing::read(c, width, hidden, mlp_bias)?),
        false => None,
    };
    let decoder = outline.decoder(p, |p, i| {
        let kind = kinds.get(i as usize).copied().unwrap_or(Kind::Mlp);
        let (rule, mixer): (_, Box<dyn Mixer>) = match (kind, &moe) {
            (Kind::Mamba, _) => {
                let norm = |p: &mut ParamBuilder| {
                    let group = dims.inner / dims.groups;
                    GatedNorm::Grouped(p.raw("norm.weight", &[dims.inner]), outline.eps, group)
                };
                (MaskRule::Recurrent(2), Box::new(Mamba2::new(p, "mixer", dims, mamba, norm)))
            }
            (Kind::Attention, _) => {
                let mixer = Attention::new(p, "mixer", width, heads, biases, None);
                (MaskRule::Full, Box::new(mixer))
            }
            (Kind::Experts, Some(m)) => {
                (MaskRule::Stateless, Box::new(Pointwise(routed(p, "mixer", m))))
            }
            _ => {
                let mlp = mlp(p, "mixer", width, hidden, mlp_bias);
                (MaskRule::Stateless, Box::new(Pointwise(mlp)))
            }
        };
        Ok((rule, Half::mixer(Norms::before(RmsNorm::new(p, "norm", width, outline.eps)), mixer)))
    })?;
    Ok(decoder.with_experts(moe.map(|m| m.experts)).built())
}

/// The kinds of the layers, from a pattern of letters or a list of names.
fn kinds(c: &Config) -> Result<Vec<Kind>, ConfigError> {
    const PATTERN: &str = "hybrid_override_pattern";
    let (key, names) = match c.get(PATTERN) {
        Some(serde_json::Value::String(s)) => (PATTERN, s.chars().map(String::from).collect()),
        Some(_) => (PATTERN, c.opt_strings(PATTERN)?.unwrap_or_default()),
        None => {
            let key = ["layers_block_type", "layer_types"].into_iter().find(|k| c.has(k));
            let key = key.unwrap_or(PATTERN);
            (key, c.opt_strings(key)?.unwrap_or_default())
        }
    };
    let kinds = names.iter().map(|name| match (key == PATTERN, name.as_str()) {
        (true, "M") | (false, "linear_attention" | "mamba" | "conv") => Ok(Kind::Mamba),
        (true, "*") | (false, "full_attention" | "attention") => Ok(Kind::Attention),
        (true, "-") | (false, "mlp") => Ok(Kind::Mlp),
        (true, "E") | (false, "moe") => Ok(Kind::Experts),
        _ => Err(c.invalid(key, "kinds of layers that mlx-lm knows")),
    });
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    if kinds.len() > 4096 || !kinds.contains(&Kind::Mamba) || !kinds.contains(&Kind::Attention) {
        return Err(c.invalid(
            key,
            "at most 4096 layers with at least one of Mamba and one of attention, without which \
             mlx-lm cannot run the model",
        ));
    }
    Ok(kinds)
}

fn mamba(c: &Config, width: u64) -> Result<(Mamba2Dims, Mamba2Settings), ConfigError> {
    let sizes = ["mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size", "conv_kernel"];
    let dims = Mamba2Dims::read(c, width, sizes)?;
    let bias = c.bool("mamba_proj_bias")?;
    let settings = Mamba2Settings {
        in_bias: bias,
        out_bias: bias,
        conv_bias: c.bool("use_conv_bias")?,
        a_log_f32: true,
        limit: time_limit(c, "time_step_limit", [0.0, f64::INFINITY])?,
    };
    Ok((dims, settings))
}

/// `down(relu(up(x))^2)`.
fn mlp(p: &mut ParamBuilder, name: &str, width: u64, hidden: u64, bias: bool) -> PlainMlp {
    let names = ["up_proj", "down_proj"];
    p.scope(name, |p| PlainMlp::new(p, names, width, hidden, bias, activations::relu2))
}

/// Settings of the routed layers.
#[derive(Debug)]
struct Routing {
    experts: Experts,
    width: u64,
    hidden: u64,
    shared: Option<u64>,
    latent: Option<u64>,
    bias: bool,
    routing: GroupRouting,
}

impl Routing {
    fn read(c: &Config, width: u64, mlp: u64, bias: bool) -> Result<Self, ConfigError> {
        let experts = experts(c, "n_routed_experts", "num_experts_per_tok")?;
        let groups = c.positive("n_group")?;
        let shared = match (
            c.opt_dim("n_shared_experts")?,
            c.opt_dim("moe_shared_expert_intermediate_size")?,
        ) {
            (None, _) => None,
            (Some(_), Some(n)) if n > 0 => Some(n),
            (Some(_), _) => Some(mlp),
        };
        Ok(Self {
            experts,
            width,
            hidden: c.positive("moe_intermediate_size")?,
            shared,
            latent: c.opt_dim("moe_latent_size")?,
            bias,
            routing: GroupRouting {
                chosen: experts.chosen,
                groups,
                chosen_groups: if groups > 1 { c.dim("topk_group")? } else { 1 },
                scale: c.number_or("routed_scaling_factor", 1.0)?,
                normalize: c.bool_or("norm_topk_prob", false)?,
                floor: Some(1e-20),
            },
        })
    }
}

/// Routed experts with two matrices each, in a latent space if the model has one, and a shared MLP.
fn routed(p: &mut ParamBuilder, name: &str, r: &Routing) -> RoutedMlp {
    let (width, total) = (r.width, r.experts.total);
    let inner = r.latent.unwrap_or(width);
    p.scope(name, |p| {
        let experts = SwitchMlp::new(p, "switch_mlp", inner, r.hidden, total, false);
        let gate = p.raw("gate.weight", &[total, width]);
        let bias = p.raw_f32("gate.e_score_correction_bias", &[total]);
        let shared = r.shared.map(|n| mlp(p, "shared_experts", width, n, r.bias));
        let latent = r.latent.map(|n| Latent {
            down: Linear::new(p, "fc1_latent_proj", width, n, r.bias),
            norm: None,
            up: Linear::new(p, "fc2_latent_proj", n, width, r.bias),
        });
        RoutedMlp::plain(r.routing.router(gate, bias), experts, activations::relu2)
            .within(latent)
            .with_shared(shared)
    })
}
