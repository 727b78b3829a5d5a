//! Routed experts of Kimi Linear and Kimi K3: sigmoid or softmax routing with a correction bias, shared experts,
//! and in K3 experts in a smaller latent space.

use super::mlp::GatedMlp;
use super::routed::{Combine, Latent, RoutedMlp, Router};
use super::scores::{Divisor, Order, best, mask_groups};
use crate::graph::nn::activations::Situ;
use crate::graph::prelude::*;

/// How gates become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// Sigmoid in the type of the gates.
    Sigmoid,
    /// Softmax in the type of the gates.
    Softmax,
    /// Sigmoid in float32; the scores return to the type of the gates.
    PreciseSigmoid,
}

/// Settings of the routed layers.
#[derive(Clone, Copy, Debug)]
pub struct KimiRouting {
    /// Routed experts.
    pub experts: Experts,
    /// Hidden size of an expert.
    pub hidden: u64,
    /// Hidden size of the shared experts together.
    pub shared: Option<u64>,
    /// How gates become scores.
    pub scores: Scores,
    /// Groups of experts and how many a token may use.
    pub groups: (u64, u64),
    /// Whether the scores are divided by their sum.
    pub normalize: bool,
    /// Factor on the scores.
    pub scale: f64,
    /// Size of the latent space of the experts, and the epsilon of the norm behind them if there is one.
    pub latent: Option<(u64, Option<f64>)>,
    /// SiTU instead of SwiGLU.
    pub situ: Option<Situ>,
}

impl KimiRouting {
    /// Reads the keys that both families share.
    ///
    /// # Errors
    /// When a value is missing or out of range.
    pub fn read(c: &Config, experts: Experts, scores: Scores) -> Result<Self, ConfigError> {
        let hidden = c.positive("moe_intermediate_size")?;
        Ok(Self {
            experts,
            hidden,
            shared: c.opt_dim("num_shared_experts")?.filter(|&n| n > 0).map(|n| n * hidden),
            scores,
            groups: (c.dim_or("num_expert_group", 1)?, c.dim_or("topk_group", 1)?),
            normalize: c.bool_or("moe_renormalize", true)?,
            scale: c.number_or("routed_scaling_factor", 1.0)?,
            latent: None,
            situ: None,
        })
    }

    /// `_group_expert_select`: one compiled function. Returns chosen experts and their scores.
    fn select<'t>(&self, gates: Var<'t>, bias: Var<'t>) -> (Var<'t>, Var<'t>) {
        let dtype = gates.dtype();
        let k = self.experts.chosen;
        let [indices, scores] = gates.compiled(|gates| {
            let original = match self.scores {
                Scores::Sigmoid => gates.sigmoid(),
                Scores::Softmax => gates.softmax(true),
                Scores::PreciseSigmoid => gates.astype(DType::F32).sigmoid(),
            };
            let mut scores = original + bias.astype(original.dtype());
            if self.groups.0 > 1 {
                scores = mask_groups(scores, self.groups.0, self.groups.1);
            }
            let indices = best(scores, k, Order::Descending);
            let divisor = Divisor::sum_plus(k > 1 && self.normalize, 1e-20);
            let scores = divisor.apply(original.take_along_axis(indices, -1)) * self.scale;
            [indices, scores.astype(dtype)]
        });
        (indices, scores)
    }
}

/// `gate` with a correction bias.
#[derive(Debug)]
struct KimiRouter {
    gate: Linear,
    bias: ModuleId,
    routing: KimiRouting,
}

impl Router for KimiRouter {
    fn route<'t>(&self, x: Var<'t>) -> (Var<'t>, Var<'t>) {
        self.routing.select(self.gate.forward(x), x.tape().weight(self.bias))
    }
}

/// Declares routed experts under `mlp`.
pub fn kimi_experts(p: &mut ParamBuilder, width: u64, r: KimiRouting) -> RoutedMlp {
    let total = r.experts.total;
    let inner = r.latent.map_or(width, |(n, _)| n);
    p.scope("mlp", |p| {
        let gate = Linear::new(p, "gate", width, total, false);
        let mlp = SwitchGlu::new(p, "switch_mlp", inner, r.hidden, total, false);
        let bias = p.raw_f32("e_score_correction_bias", &[total]);
        let latent = r.latent.map(|(n, eps)| Latent {
            down: Linear::new(p, "routed_expert_down_proj", width, n, false),
            up: Linear::new(p, "routed_expert_up_proj", n, width, false),
            norm: eps.map(|eps| RmsNorm::new(p, "routed_expert_norm", n, eps)),
        });
        let shared = r.shared.map(|n| GatedMlp::up_first(p, "shared_experts", width, n, false));
        let routed = RoutedMlp::new(KimiRouter { gate, bias, routing: r }, mlp)
            .combined(Combine::Wide)
            .within(latent);
        match r.situ {
            None => routed.with_shared(shared),
            Some(situ) => {
                let shared =
                    shared.map(|mlp| mlp.with_activation(move |gate, x| situ.apply(gate, x)));
                routed.with_activation(move |gate, x| situ.apply(gate, x)).with_shared(shared)
            }
        }
    })
}

/// Which layers are Kimi Delta Attention: `kda_layers` of `linear_attn_config`, counted from 1.
///
/// # Errors
/// When the list is missing.
pub fn delta_layers(linear: &Config, count: u64) -> Result<Vec<bool>, ConfigError> {
    let Some(list) = linear.opt_dims("kda_layers")? else {
        return Err(linear.invalid("kda_layers", "a list of layer numbers, counted from 1"));
    };
    Ok((1..=count).map(|i| list.contains(&i)).collect())
}
