//! Hy4: latent attention over the tokens that indexers choose, gated by head and with sinks; residual streams that are
//! read and written by weights, without a mix between them; routed experts with a shared one.
//!
//! Only mlx-vlm 0.7.10 runs this type.

use super::mlx_vlm_text::LANGUAGE;
use crate::graph::parts::prelude::*;
use crate::graph::parts::sparse_latent::SparseLatent;

/// Sizes that a configuration leaves out.
const SIZES: [(&str, u64); 21] = [
    ("vocab_size", 120_832),
    ("hidden_size", 6144),
    ("intermediate_size", 18_432),
    ("moe_intermediate_size", 2048),
    ("num_hidden_layers", 78),
    ("num_attention_heads", 64),
    ("n_shared_experts", 1),
    ("n_routed_experts", 256),
    ("num_experts_per_tok", 8),
    ("kv_lora_rank", 512),
    ("q_lora_rank", 2048),
    ("qk_rope_head_dim", 64),
    ("v_head_dim", 256),
    ("qk_nope_head_dim", 192),
    ("index_head_dim", 128),
    ("index_n_heads", 32),
    ("index_topk", 2048),
    ("n_group", 1),
    ("topk_group", 1),
    ("first_k_dense_replace", 1),
    ("max_position_embeddings", 262_144),
];

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c
        .clone()
        .with_sizes(&SIZES)
        .with_defaults(&[("rope_theta", 10_000_000.0.into()), ("norm_topk_prob", true.into())]);
    let count = layer_count(c)?;
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let o = Outline {
        eps,
        max_context: c.opt_dim("max_position_embeddings")?,
        ..Outline::new(c.positive("hidden_size")?, count, c.positive("vocab_size")?)
    };
    let dims = MlaDims::read(c)?;
    let streams = Streams::read(c, o.width, eps)?;
    let experts = experts(c, "n_routed_experts", "num_experts_per_tok")?;
    let routing = GroupRouting {
        scale: c.number_or("routed_scaling_factor", 2.827)?,
        ..GroupRouting::read(c, experts.chosen)?
    };
    let expert_hidden = c.positive("moe_intermediate_size")?;
    let shared = expert_hidden * c.dim("n_shared_experts")?;
    let (hidden, dense) = (c.positive("intermediate_size")?, c.dim("first_k_dense_replace")?);
    let indexed = indexed(c, count)?;
    p.scope(LANGUAGE, |p| {
        let mut decoder = o.sharing(
            p,
            |p, i| {
                let own = indexed.get(i as usize).copied().unwrap_or(false);
                let attention = GatedLatent::new(c, p, dims, own)?;
                let mlp: Box<dyn FeedForward> = if i < dense {
                    Box::new(GatedMlp::new(p, "mlp", o.width, hidden, false))
                } else {
                    let sizes = [o.width, expert_hidden, shared];
                    Box::new(JoinedExperts::new(p, sizes, experts, routing))
                };
                let layer = StreamedLayer {
                    attention,
                    mlp,
                    input_norm: RmsNorm::new(p, "input_layernorm", o.width, eps),
                    post_norm: RmsNorm::new(p, "post_attention_layernorm", o.width, eps),
                    attention_mix: streams.weights(p, "hc_attn_layer.hc_pre"),
                    mlp_mix: streams.weights(p, "hc_mlp_layer.hc_pre"),
                };
                let caches = if own { vec![CacheKind::Kv; 2] } else { vec![CacheKind::Kv] };
                Ok(Place::new(MaskRule::FullArray, layer).caching(CacheKind::List(caches)))
            },
            move |call| {
                let h = call.embedded.expand_dims(&[2]);
                (h.broadcast_to(h.shape().with(2, streams.count as u32)).contiguous(), None)
            },
        )?;
        let last = p.scope("model", |p| streams.head(p));
        decoder.end = Some(Box::new(move |h, _| last.read(h).0));
        Ok(decoder.with_experts(experts).built())
    })
}

/// Which layers have an indexer of their own.
fn indexed(c: &Config, count: u64) -> Result<Vec<bool>, ConfigError> {
    match c.opt_strings("indexer_types")? {
        Some(list) if list.len() as u64 == count => Ok(list.iter().map(|w| w == "full").collect()),
        Some(list) if !list.is_empty() => {
            Err(c.invalid("indexer_types", "one entry for each layer"))
        }
        _ => Ok((0..count).map(|i| i < 2 || i % 4 == 1).collect()),
    }
}

/// Sizes of the residual streams.
#[derive(Clone, Copy)]
struct Streams {
    count: u64,
    width: u64,
    eps: f64,
    norm_eps: f64,
    magnitude: f64,
}

impl Streams {
    fn read(c: &Config, width: u64, norm_eps: f64) -> Result<Self, ConfigError> {
        let count = c.dim_or("hc_mult", 4)?;
        if !(1..=64).contains(&count) {
            return Err(c.invalid("hc_mult", "a whole number from 1 to 64"));
        }
        let (eps, magnitude) = (c.number_or("hc_eps", 1e-6)?, c.number_or("hc_magnitude", 2.0)?);
        Ok(Self { count, width, eps, norm_eps, magnitude })
    }

    fn weights(self, p: &mut ParamBuilder, name: &str) -> StreamWeights {
        p.scope(name, |p| StreamWeights {
            streams: self,
            matrix: p.raw_f32("hc_fn", &[2 * self.count, self.count * self.width]),
            base: p.raw_f32("hc_base", &[2 * self.count]),
            scale: p.raw_f32("hc_scale", &[2]),
            writes: true,
        })
    }

    fn head(self, p: &mut ParamBuilder) -> StreamWeights {
        p.scope("hc_head", |p| StreamWeights {
            streams: self,
            matrix: p.raw_f32("hc_head_fn", &[self.count, self.count * self.width]),
            base: p.raw_f32("hc_head_base", &[self.count]),
            scale: p.raw_f32("hc_head_scale", &[1]),
            writes: false,
        })
    }
}

/// The weights with which a sub-layer reads the streams and writes back, made from the streams themselves.
struct StreamWeights {
    streams: Streams,
    matrix: ModuleId,
    base: ModuleId,
    scale: ModuleId,
    writes: bool,
}

impl StreamWeights {
    /// The weighted sum of the streams `[batch, tokens, width]`, and the weights of the way back.
    fn read<'t>(&self, h: Var<'t>) -> (Var<'t>, Option<Var<'t>>) {
        let (t, s) = (h.tape(), self.streams);
        let wide = h.astype(DType::F32);
        let flat = wide.flatten(-2, -1).rms_norm(None, s.norm_eps);
        let mixes = flat.matmul(t.weight(self.matrix).transpose(&[1, 0]));
        let (base, scale) = (t.weight(self.base), t.weight(self.scale));
        let n = s.count as u32;
        let read = mixes.slice(-1, 0, n) * scale.slice(0, 0, 1) + base.slice(0, 0, n);
        let read = read.sigmoid() + s.eps;
        let back = self.writes.then(|| {
            let back = mixes.slice(-1, n, 2 * n) * scale.slice(0, 1, 2) + base.slice(0, n, 2 * n);
            back.sigmoid() * s.magnitude
        });
        ((read.expand_dims(&[-1]) * wide).sum(2, false).astype(h.dtype()), back)
    }

    /// The streams with the output `x` of the sub-layer added to each.
    fn write<'t>(&self, x: Var<'t>, h: Var<'t>, back: Option<Var<'t>>) -> Var<'t> {
        let Some(back) = back else { return h };
        let new = back.expand_dims(&[-1]) * x.expand_dims(&[2]).astype(DType::F32);
        (h.astype(DType::F32) + new).astype(h.dtype())
    }
}

/// A layer between the streams; indexers share what they choose with the layers behind that have none.
struct StreamedLayer {
    attention: GatedLatent,
    mlp: Box<dyn FeedForward>,
    input_norm: RmsNorm,
    post_norm: RmsNorm,
    attention_mix: StreamWeights,
    mlp_mix: StreamWeights,
}

impl Layer<Option<Var<'static>>> for StreamedLayer {
    fn run<'t>(&self, h: Var<'t>, at: At<'_, 't, Option<Var<'static>>>) -> Var<'t> {
        let (x, back) = self.attention_mix.read(h);
        let x = self.input_norm.forward(x);
        let x = self.attention.forward(x, at.mask, at.cache, at.shared);
        let h = self.attention_mix.write(x, h, back);
        let (x, back) = self.mlp_mix.read(h);
        let x = self.mlp.apply(self.post_norm.forward(x));
        self.mlp_mix.write(x, h, back)
    }
}

/// Routed experts whose gate and input are one matrix, and a shared one.
struct JoinedExperts {
    weight: ModuleId,
    bias: ModuleId,
    experts: SwitchMlp,
    shared: GatedMlp,
    routing: GroupRouting,
}

impl JoinedExperts {
    fn new(
        p: &mut ParamBuilder,
        [width, hidden, shared]: [u64; 3],
        experts: Experts,
        routing: GroupRouting,
    ) -> Self {
        p.scope("mlp", |p| Self {
            experts: SwitchMlp::joined(p, "switch_mlp", width, hidden, experts.total),
            weight: p.raw("gate.weight", &[experts.total, width]),
            bias: p.raw_f32("gate.e_score_correction_bias", &[experts.total]),
            shared: GatedMlp::new(p, "shared_experts", width, shared, false),
            routing,
        })
    }
}

impl FeedForward for JoinedExperts {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        let gates = x.matmul(t.weight(self.weight).transpose(&[1, 0]));
        let bias = t.weight(self.bias);
        let k = self.routing.chosen;
        let [chosen, weights] = gates.compiled(|gates| {
            let scores = gates.astype(DType::F32).sigmoid();
            let chosen = best(scores + bias, k, Order::Descending);
            let divisor = Divisor::sum_plus(self.routing.normalize && k > 1, 1e-20);
            let weights = divisor.apply(scores.take_along_axis(chosen, -1));
            [chosen, weights * self.routing.scale]
        });
        let y = self.experts.forward(x, chosen, |both| {
            let [gate, up] = both.split_equal(-1);
            activations::swiglu(gate, up)
        });
        let y = y.compiled(|y| (y * weights.expand_dims(&[-1])).sum(-2, false).astype(y.dtype()));
        y + self.shared.apply(x)
    }
}

/// Latent attention over chosen tokens, with sinks and a gate for every feature of the output.
struct GatedLatent {
    latent: SparseLatent,
    gate: Linear,
    heads: u64,
}

impl GatedLatent {
    fn new(
        c: &Config,
        p: &mut ParamBuilder,
        d: MlaDims,
        indexed: bool,
    ) -> Result<Self, ConfigError> {
        let latent = SparseLatent::new(c, p, d, indexed)?.with_bare_keys();
        Ok(p.scope("self_attn", |p| Self {
            gate: Linear::new(p, "linear_gate", d.width, d.heads * d.value, false),
            latent: latent.with_sinks(p.raw_f32("learnable_sink_param", &[d.heads])),
            heads: d.heads,
        }))
    }

    fn forward<'t>(
        &self,
        x: Var<'t>,
        mask: Mask<'t>,
        cache: &mut Cache,
        shared: &mut Option<Var<'t>>,
    ) -> Var<'t> {
        let gate = Heads::split(self.gate.forward(x), self.heads).sigmoid();
        let y = self.latent.attend(x, mask, cache, shared);
        self.latent.project(Heads::join(y * gate))
    }
}
