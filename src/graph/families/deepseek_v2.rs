//! DeepSeek-V2 and DeepSeek-Coder-V2: latent attention with expanded keys and values, softmax routing with or
//! without groups, shared experts, dense first layers.

use super::deepseek_v3::{RoutedLayers, outline};
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let dims = MlaDims::read(c)?;
    let attention = attention(c, &dims)?;
    let outline = outline(c)?;
    let hidden = c.dim_or("intermediate_size", 11_008)?;
    let moe = Routing::read(c)?;
    let decoder = outline.decoder(p, |p, i| {
        let mixer = ExpandedAttention::new(p, dims, attention.clone());
        let mlp: Box<dyn FeedForward> = match &moe {
            Some(m) if m.layers.at(i) => Box::new(m.layer(p, dims.width)),
            _ => Box::new(GatedMlp::new(p, "mlp", dims.width, hidden, false)),
        };
        let block = Sandwich::pre_norm(p, dims.width, outline.eps, mixer, mlp);
        Ok((MaskRule::Full, Box::new(block)))
    })?;
    Ok(decoder.with_experts(moe.map(|m| m.experts)).built())
}

/// The rotary embedding is always YaRN here, whatever type the block names.
fn attention(c: &Config, d: &MlaDims) -> Result<ExpandedSettings, ConfigError> {
    let Some(scaling) = RopeScaling::read(c, "rope_scaling")? else {
        return Err(c.invalid("rope_scaling", "a YaRN block, without which mlx-lm cannot run it"));
    };
    let base = c.number_or("rope_theta", 10_000.0)?;
    Ok(ExpandedSettings {
        bias: c.bool_or("attention_bias", false)?,
        eps: 1e-6,
        rope: RopeModule::yarn(d.rope, base, true, &scaling)?,
        scale: d.scale(Some(&scaling))?,
        spread: RotaryCopies::Repeat,
    })
}

/// Settings of the routed layers.
#[derive(Debug)]
struct Routing {
    experts: Experts,
    layers: RoutedLayers,
    hidden: u64,
    shared: Option<u64>,
    scale: f64,
    /// Groups of experts and how many of them a token may use (`group_limited_greedy`).
    groups: Option<(u64, u64)>,
}

impl Routing {
    fn read(c: &Config) -> Result<Option<Self>, ConfigError> {
        if c.opt_dim("n_routed_experts")?.is_none() {
            return Ok(None);
        }
        let experts = experts(c, "n_routed_experts", "num_experts_per_tok")?;
        let hidden = c.dim_or("moe_intermediate_size", 1407)?;
        let grouped = c.opt_str("topk_method")? == Some("group_limited_greedy");
        let groups = match grouped {
            true => Some((c.positive("n_group")?, c.positive("topk_group")?)),
            false => None,
        };
        if groups.is_some_and(|(all, chosen)| chosen > all || experts.total % all != 0) {
            return Err(c.invalid("n_group", "a divisor of n_routed_experts, at least topk_group"));
        }
        Ok(Some(Self {
            experts,
            layers: RoutedLayers::read(c, 0)?,
            hidden,
            shared: c.opt_dim("n_shared_experts")?.map(|n| n * hidden),
            scale: c.number_or("routed_scaling_factor", 1.0)?,
            groups,
        }))
    }

    fn layer(&self, p: &mut ParamBuilder, width: u64) -> RoutedMlp {
        let n = self.experts.total;
        p.scope("mlp", |p| {
            let mlp = SwitchGlu::new(p, "switch_mlp", width, self.hidden, n, false);
            let router = GroupSoftmax {
                gate: p.raw("gate.weight", &[n, width]),
                chosen: self.experts.chosen,
                scale: self.scale,
                groups: self.groups,
            };
            let shared = self.shared.map(|n| GatedMlp::new(p, "shared_experts", width, n, false));
            RoutedMlp::new(router, mlp).combined(Combine::Wide).with_shared(shared)
        })
    }
}

/// Softmax routing with a raw gate matrix.
#[derive(Debug)]
struct GroupSoftmax {
    gate: ModuleId,
    chosen: u64,
    scale: f64,
    groups: Option<(u64, u64)>,
}

impl Router for GroupSoftmax {
    fn route<'t>(&self, x: Var<'t>) -> (Var<'t>, Var<'t>) {
        let gates = x.matmul(x.tape().weight(self.gate).transpose(&[1, 0]));
        let mut scores = gates.softmax(true);
        if let Some((groups, chosen)) = self.groups {
            scores = drop_groups(scores, groups, groups - chosen);
        }
        let indices = best(scores, self.chosen, Order::Descending);
        let scores = scores.take_along_axis(indices, -1);
        (indices, scores * self.scale)
    }
}

/// Zeroes the scores of the `dropped` worst groups; a group counts by its best expert.
fn drop_groups(scores: Var<'_>, groups: u64, dropped: u64) -> Var<'_> {
    let (b, n) = (i64::from(scores.dim(0)), i64::from(scores.dim(1)));
    let scores = scores.reshape(&[b, n, groups as i64, -1]);
    let order = scores.reduce(Reduction::Max, -1, true).argpartition(dropped as i64 - 1, -2);
    let worst = order.slice(-2, 0, dropped as u32);
    let scores = scores.put_along_axis(worst, scores.tape().scalar(0.0, scores.dtype()), -2, false);
    scores.reshape(&[b, n, -1])
}
