//! GLM-5-Next (GLM-5.3-Flash): three delta-attention layers to one of latent attention over chosen groups of tokens,
//! hyper-connections instead of residuals, routed experts with a shared one.
//!
//! Only mlx-vlm 0.7.10 runs this type; the graph is its language model.

use super::mlx_vlm_text::LANGUAGE;
use crate::graph::cache::{LayerCache, ProjectedCache};
use crate::graph::parts::group_index::{GroupIndexSettings, GroupIndexer};
use crate::graph::parts::hyper::{HyperConnection, HyperSettings, expand_fused};
use crate::graph::parts::kimi_delta::{KimiDelta, KimiDeltaDims};
use crate::graph::parts::prelude::*;

/// Sizes that a configuration leaves out.
const SIZES: [(&str, u64); 23] = [
    ("vocab_size", 154_880),
    ("hidden_size", 4096),
    ("intermediate_size", 12_288),
    ("moe_intermediate_size", 2048),
    ("num_hidden_layers", 45),
    ("num_attention_heads", 64),
    ("n_shared_experts", 1),
    ("n_routed_experts", 288),
    ("num_experts_per_tok", 8),
    ("kv_lora_rank", 512),
    ("q_lora_rank", 1536),
    ("v_head_dim", 256),
    ("qk_nope_head_dim", 256),
    ("n_group", 1),
    ("topk_group", 1),
    ("max_position_embeddings", 1_048_576),
    ("index_topk", 2048),
    ("index_head_dim", 128),
    ("index_n_heads", 32),
    ("index_kpool", 16),
    ("linear_head_dim", 128),
    ("linear_num_heads", 64),
    ("linear_conv_kernel_dim", 4),
];
/// Tokens up to which a layer keeps its keys and values by head beside the latent ones
/// (`_MAX_PROJECTED_PREFILL_TOKENS` of mlx-vlm).
const PROJECTED: u32 = 32_768;
/// Tokens of a call that are read one by one, over latent keys (`DECODE_BLOCK_SIZE` of mlx-vlm).
const ONE_BY_ONE: u32 = 8;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = c.opt_object("text_config")?.unwrap_or_else(|| c.clone());
    let c = &text.with_sizes(&SIZES);
    if c.dim_or("qk_rope_head_dim", 0)? != 0 || !c.bool_or("mla_use_nope", true)? {
        return Err(c.invalid("qk_rope_head_dim", "0: mlx-vlm has this type without rotation only"));
    }
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let count = layer_count(c)?;
    let o = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
        eps,
        max_context: c.opt_dim("max_position_embeddings")?,
        ..Outline::new(c.positive("hidden_size")?, count, c.positive("vocab_size")?)
    };
    let s = Settings::read(c, &o)?;
    let kinds = Kinds::read(c, count)?;
    let streams = s.hyper.streams as u32;
    p.scope(LANGUAGE, |p| {
        let mut decoder = o.sharing(
            p,
            |p, i| Ok(s.place(p, &kinds, i as usize, &o)),
            move |call| {
                let h = call.embedded.expand_dims(&[2]);
                (h.broadcast_to(h.shape().with(2, streams)).contiguous(), None)
            },
        )?;
        decoder.end = Some(Box::new(|streams, _| streams.mean(2, false)));
        Ok(decoder.with_experts(s.experts).built())
    })
}

/// What kind each layer is of.
struct Kinds {
    linear: Vec<bool>,
    routed: Vec<bool>,
    indexed: Vec<bool>,
}

impl Kinds {
    fn read(c: &Config, count: u64) -> Result<Self, ConfigError> {
        let listed = |key: &str, word: fn(&str) -> bool, default: &dyn Fn(u64) -> bool| {
            let Some(list) = c.opt_strings(key)? else {
                return Ok((0..count).map(default).collect::<Vec<bool>>());
            };
            if list.len() as u64 != count {
                return Err(c.invalid(key, "one entry for each layer"));
            }
            Ok(list.iter().map(|w| word(w)).collect())
        };
        let dense = c.dim_or("first_k_dense_replace", 3)?;
        let frequency = c.dim_or("index_topk_freq", 1)?.max(1);
        let offset = c.dim_or("index_skip_topk_offset", 2)?;
        Ok(Self {
            linear: listed("layer_types", |w| w == "linear_attention", &|i| i % 4 != 3)?,
            routed: listed("mlp_layer_types", |w| w == "sparse", &|i| i >= dense)?,
            indexed: listed("indexer_types", |w| w == "full", &|i| {
                (i + 1).saturating_sub(offset) % frequency == 0
            })?,
        })
    }
}

/// Sizes of the layers.
struct Settings {
    delta: KimiDeltaDims,
    bound: Option<f64>,
    latent: LatentDims,
    index: GroupIndexSettings,
    hyper: HyperSettings,
    routing: GroupRouting,
    experts: Experts,
    hidden: u64,
    expert_hidden: u64,
    shared: u64,
    limit: f64,
}

/// Sizes of the latent attention.
#[derive(Clone, Copy)]
struct LatentDims {
    heads: u64,
    nope: u64,
    value: u64,
    q_rank: u64,
    kv_rank: u64,
    bias: bool,
}

impl Settings {
    fn read(c: &Config, o: &Outline) -> Result<Self, ConfigError> {
        let linear = c.opt_object("linear_attn_config")?.unwrap_or_else(|| c.clone().emptied());
        let or = |key: &str, outer: &str| linear.dim_or(key, c.dim(outer)?);
        let delta = KimiDeltaDims {
            width: o.width,
            heads: or("num_heads", "linear_num_heads")?,
            dim: or("head_dim", "linear_head_dim")?,
            kernel: or("short_conv_kernel_size", "linear_conv_kernel_dim")?.max(2),
        };
        let experts = experts(c, "n_routed_experts", "num_experts_per_tok")?;
        let expert_hidden = c.positive("moe_intermediate_size")?;
        Ok(Self {
            delta,
            bound: Some(linear.number_or("gate_lower_bound", -5.0)?),
            latent: LatentDims {
                heads: c.positive("num_attention_heads")?,
                nope: c.positive("qk_nope_head_dim")?,
                value: c.positive("v_head_dim")?,
                q_rank: c.positive("q_lora_rank")?,
                kv_rank: c.positive("kv_lora_rank")?,
                bias: c.bool_or("attention_bias", false)?,
            },
            index: GroupIndexSettings::read(c, o.width)?,
            hyper: HyperSettings::read(c, o.width, o.eps)?,
            routing: GroupRouting::read(c, experts.chosen)?,
            experts,
            hidden: c.positive("intermediate_size")?,
            expert_hidden,
            shared: expert_hidden * c.dim("n_shared_experts")?,
            limit: c.number_or("swiglu_limit", 10.0)?,
        })
    }

    fn place(
        &self,
        p: &mut ParamBuilder,
        kinds: &Kinds,
        i: usize,
        o: &Outline,
    ) -> Place<Option<Var<'static>>> {
        let at = |list: &[bool]| list.get(i).copied().unwrap_or(false);
        let (width, eps) = (o.width, o.eps);
        let indexed = at(&kinds.indexed);
        let mixer = if at(&kinds.linear) {
            Either::Linear(KimiDelta::fused(p, self.delta, eps, self.bound))
        } else {
            Either::Sparse(SparseLatent::new(p, self, indexed, o))
        };
        let mlp: Box<dyn FeedForward> = if at(&kinds.routed) {
            Box::new(self.routed(p, width))
        } else {
            Box::new(JoinedMlp::new(p, "mlp", width, self.hidden, self.limit))
        };
        let by_head = CacheKind::Projected { most: PROJECTED, step: ONE_BY_ONE };
        let (rule, cache) = match (&mixer, indexed) {
            (Either::Linear(_), _) => (MaskRule::Recurrent(2), CacheKind::Arrays(2)),
            (Either::Sparse(_), false) => {
                (MaskRule::Stateless, CacheKind::List(vec![CacheKind::Kv, by_head]))
            }
            (Either::Sparse(_), true) => {
                let pool = self.index.cache();
                let kv = CacheKind::Kv;
                (MaskRule::Stateless, CacheKind::List(vec![kv.clone(), kv, pool, by_head]))
            }
        };
        let layer = MixedHyperLayer {
            mixer,
            mlp,
            input_norm: RmsNorm::new(p, "input_layernorm", width, eps),
            post_norm: RmsNorm::new(p, "post_attention_layernorm", width, eps),
            attention_mix: HyperConnection::new(p, "attn_hc", self.hyper),
            mlp_mix: HyperConnection::new(p, "ffn_hc", self.hyper),
        };
        Place::new(rule, layer).caching(cache)
    }

    fn routed(&self, p: &mut ParamBuilder, width: u64) -> LimitedExperts {
        let total = self.experts.total;
        p.scope("mlp", |p| LimitedExperts {
            weight: p.raw("gate.weight", &[total, width]),
            bias: p.raw_f32("gate.e_score_correction_bias", &[total]),
            experts: SwitchGlu::new(p, "switch_mlp", width, self.expert_hidden, total, false),
            shared: JoinedMlp::new(p, "shared_experts", width, self.shared, self.limit),
            routing: self.routing,
            limit: self.limit,
        })
    }
}

enum Either {
    Linear(KimiDelta),
    Sparse(SparseLatent),
}

/// A layer between hyper-connections; indexers share what they choose with the layers behind that have none.
struct MixedHyperLayer {
    mixer: Either,
    mlp: Box<dyn FeedForward>,
    input_norm: RmsNorm,
    post_norm: RmsNorm,
    attention_mix: HyperConnection,
    mlp_mix: HyperConnection,
}

impl Layer<Option<Var<'static>>> for MixedHyperLayer {
    fn run<'t>(&self, streams: Var<'t>, at: At<'_, 't, Option<Var<'static>>>) -> Var<'t> {
        let (x, post, between) = self.attention_mix.collapse_fused(streams);
        let x = self.input_norm.forward(x);
        let x = match &self.mixer {
            Either::Linear(delta) => delta.mix(x, at.mask, at.cache),
            Either::Sparse(attention) => attention.forward(x, at.cache, at.shared),
        };
        let streams = expand_fused(x, streams, (post, between));
        let (x, post, between) = self.mlp_mix.collapse_fused(streams);
        let x = self.mlp.apply(self.post_norm.forward(x));
        expand_fused(x, streams, (post, between))
    }
}

/// Gate and input in one matrix, `gate_up_proj`.
struct JoinedMlp {
    gate_up: Linear,
    down: Linear,
    limit: f64,
}

impl JoinedMlp {
    fn new(p: &mut ParamBuilder, name: &str, width: u64, hidden: u64, limit: f64) -> Self {
        p.scope(name, |p| Self {
            gate_up: Linear::new(p, "gate_up_proj", width, 2 * hidden, false),
            down: Linear::new(p, "down_proj", hidden, width, false),
            limit,
        })
    }
}

impl FeedForward for JoinedMlp {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let [gate, up] = self.gate_up.forward(x).split_equal(-1);
        self.down.forward(activations::limited_swiglu(gate, up, self.limit))
    }
}

/// Routed experts whose router computes in float32, and a shared one.
struct LimitedExperts {
    weight: ModuleId,
    bias: ModuleId,
    experts: SwitchGlu,
    shared: JoinedMlp,
    routing: GroupRouting,
    limit: f64,
}

impl FeedForward for LimitedExperts {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        let w = t.weight(self.weight).transpose(&[1, 0]);
        let logits = x.astype(DType::F32).matmul(w);
        let bias = t.weight(self.bias);
        let k = self.routing.chosen;
        let [chosen, weights] = logits.compiled(|logits| {
            let scores = logits.sigmoid();
            let chosen = best(scores + bias, k, Order::Descending).astype(DType::I32);
            let divisor = Divisor::sum_plus(self.routing.normalize && k > 1, 1e-20);
            let weights = divisor.apply(scores.take_along_axis(chosen, -1));
            [chosen, weights * self.routing.scale]
        });
        let limit = self.limit;
        let y = self
            .experts
            .forward(x, chosen, |gate, up| activations::limited_swiglu(gate, up, limit));
        let y = (y * weights.expand_dims(&[-1])).sum(-2, false).astype(x.dtype());
        y + self.shared.apply(x)
    }
}

/// Latent attention without positions over the tokens that an indexer chooses.
struct SparseLatent {
    dims: LatentDims,
    down: Linear,
    q_norm: RmsNorm,
    q_b: Linear,
    kv_norm: RmsNorm,
    embed_q: MultiLinear,
    unembed: MultiLinear,
    o: Linear,
    indexer: Option<GroupIndexer>,
}

impl SparseLatent {
    fn new(p: &mut ParamBuilder, s: &Settings, indexed: bool, o: &Outline) -> Self {
        let d = s.latent;
        p.scope("self_attn", |p| Self {
            dims: d,
            down: Linear::new(p, "qkv_a_proj", o.width, d.q_rank + d.kv_rank, d.bias),
            q_norm: RmsNorm::new(p, "q_a_layernorm", d.q_rank, o.eps),
            q_b: Linear::new(p, "q_b_proj", d.q_rank, d.heads * d.nope, false),
            kv_norm: RmsNorm::new(p, "kv_a_layernorm", d.kv_rank, o.eps),
            embed_q: MultiLinear::new(p, "embed_q", d.nope, d.kv_rank, d.heads),
            unembed: MultiLinear::new(p, "unembed_out", d.kv_rank, d.value, d.heads),
            o: Linear::new(p, "o_proj", d.heads * d.value, o.width, d.bias),
            indexer: indexed.then(|| GroupIndexer::new(p, s.index, d.q_rank)),
        })
    }

    fn forward<'t>(&self, x: Var<'t>, cache: &mut Cache, shared: &mut Option<Var<'t>>) -> Var<'t> {
        let t = x.tape();
        let d = &self.dims;
        let (b, n) = (i64::from(x.dim(0)), x.dim(1));
        let [q_a, kv_a] = self.down.forward(x).split(&[d.q_rank as u32], -1);
        let low = self.q_norm.forward(q_a);
        let q = self.q_b.forward(low).reshape(&[b, i64::from(n), d.heads as i64, d.nope as i64]);
        let q = q.transpose(&[0, 2, 1, 3]);
        let new = self.kv_norm.forward(kv_a).expand_dims(&[1]);
        let offset = cache.part(0).offset();
        let nothing = t.full(new.shape().with(-1, 0), 0.0, new.dtype());
        let (latent, _) = cache.part(0).update(new, nothing);
        let latent = latent.dense(t);
        if let Some(indexer) = &self.indexer {
            *shared = Some(indexer.choose((x, low), offset, cache));
        }
        let Some(chosen) = *shared else {
            return t.fail("a layer without an indexer before the first one");
        };
        let scale = (d.nope as f64).powf(-0.5);
        let own = cache.part(if self.indexer.is_some() { 3 } else { 1 });
        let mut own = own.of_class::<ProjectedCache>();
        if !own.as_mut().is_some_and(|own| own.stores(n)) {
            own = None;
        }
        let y = if n <= ONE_BY_ONE {
            let one = |i| {
                let (q, chosen) = (q.slice(2, i, i + 1), chosen.slice(1, i, i + 1));
                self.read_latent(q, latent, chosen, scale)
            };
            let each: Vec<Var<'t>> = (0..n).map(one).collect();
            t.concat(&each, 2)
        } else {
            let (k, v) = self.by_head(new, latent, own);
            let shape = q.shape().with(-1, d.value as u32);
            t.kernel_one(Kernel::SparseAttention, &[q * scale, k, v, chosen], shape, q.dtype())
        };
        self.o.forward(Heads::join(y))
    }

    /// What one token reads of the latent rows that were chosen for it.
    fn read_latent<'t>(&self, q: Var<'t>, latent: Var<'t>, chosen: Var<'t>, scale: f64) -> Var<'t> {
        let rows = chosen.maximum(0i64).expand_dims(&[1]).at(2, 0).expand_dims(&[-1]);
        let rows = rows.broadcast_to(rows.shape().with(-1, latent.dim(-1)));
        let picked = latent.take_along_axis(rows, 2);
        let valid = chosen.greater_equal(0i64).expand_dims(&[1]);
        let q = self.embed_q.forward(q, true);
        let y = q.attention(picked, picked, scale, Mask::Array(valid), None);
        self.unembed.forward(y, true)
    }

    /// Keys and values by head: those of the new tokens beside the stored ones where these are kept, else of all.
    fn by_head<'t>(
        &self,
        new: Var<'t>,
        latent: Var<'t>,
        own: Option<&mut ProjectedCache>,
    ) -> (Var<'t>, Var<'t>) {
        let project = |x| (self.embed_q.forward(x, false), self.unembed.forward(x, true));
        let Some(own) = own else { return project(latent) };
        let (k, v) = project(new);
        let (k, v) = own.update(k, v);
        (k.dense(new.tape()), v.dense(new.tape()))
    }
}
