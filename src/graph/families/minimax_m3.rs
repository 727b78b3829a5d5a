//! MiniMax M3: attention over the best blocks of keys, which a small indexer chooses, in most layers; sigmoid routing
//! with a shared expert. Only the text model is used.

use super::mixtral::gate_at_8_bits;
use crate::graph::nn::activations::swiglu_oai;
use crate::graph::parts::minimax_index::{BlockIndex, IndexDims};
use crate::graph::parts::prelude::*;
use serde_json::Value;

/// `minimax_m3_vl`: the text model under `language_model`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.object("text_config")?;
    let s = Settings::read(c)?;
    let o = Outline { norm: s.norm, ..s.outline.clone() };
    let sparse = (0..o.layers).map(|i| s.is_sparse(c, i)).collect::<Result<Vec<_>, _>>()?;
    p.scope("language_model", |p| {
        let decoder = o.decoder(p, |p, i| {
            let index = s.index.filter(|_| sparse.get(i as usize) == Some(&true));
            let attention = SparseAttention::new(p, &s, index);
            let (alpha, limit) = s.swiglu;
            let mlp: Box<dyn FeedForward> = if is_moe(c, i)? {
                Box::new(routed(p, &s))
            } else {
                let mlp = GatedMlp::new(p, "mlp", o.width, s.dense_hidden, false);
                Box::new(mlp.with_activation(move |gate, x| swiglu_oai(gate, x, alpha, limit)))
            };
            let input_norm = s.norm.declare(p, "input_layernorm", o.width, o.eps);
            let post_norm = s.norm.declare(p, "post_attention_layernorm", o.width, o.eps);
            let block = Sandwich::with_norms(input_norm, attention, post_norm, mlp);
            let caches = 1 + usize::from(sparse[i as usize]);
            Ok((MaskRule::Full, CacheKind::List(vec![CacheKind::Kv; caches]), block))
        })?;
        let decoder = decoder.with_quant_override(gate_at_8_bits);
        Ok(decoder.with_experts(s.experts).built())
    })
}

struct Settings {
    outline: Outline,
    heads: Heads,
    norm: NormKind,
    head_norms: bool,
    rope: RopeModule,
    index: Option<IndexDims>,
    index_rope: RopeModule,
    experts: Experts,
    routing: ScoreRouting,
    hidden: u64,
    dense_hidden: u64,
    shared_hidden: u64,
    swiglu: (f64, f64),
}

impl Settings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let outline = Outline {
            head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
            eps: c.number_or("rms_norm_eps", 1e-6)?,
            max_context: Some(c.dim_or("max_position_embeddings", 1_048_576)?),
            ..Outline::new(
                c.dim_or("hidden_size", 6144)?,
                layer_count_or(c, 60)?,
                c.dim_or("vocab_size", 200_064)?,
            )
        };
        let heads = Heads::read_or(c, [64, 4, 128])?;
        let scaling = RopeScaling::read(c, "rope_parameters")?;
        let part = |key, default| match scaling.as_ref().map(|s| s.values().opt_number(key)) {
            Some(value) => Ok(value?.unwrap_or(default)),
            None => Ok::<f64, ConfigError>(default),
        };
        let theta = part("rope_theta", c.number_or("rope_theta", 5e6)?)?;
        let factor = part("partial_rotary_factor", c.number_or("partial_rotary_factor", 0.5)?)?;
        let rotated = match c.opt_dim("rotary_dim")? {
            Some(n) => n,
            None => (heads.dim as f64 * factor) as u64,
        };
        let rope =
            |dims| RopeModule::new(dims, theta, false, scaling.as_ref(), outline.max_context);
        let index = IndexDims::read(c, &heads)?;
        let experts = experts_or(c, ("num_local_experts", 128), ("num_experts_per_tok", 4))?;
        let gemma = c.bool_or("use_gemma_norm", true)?;
        Ok(Self {
            heads,
            norm: if gemma { NormKind::Gemma } else { NormKind::Rms },
            head_norms: c.bool_or("use_qk_norm", true)?,
            rope: rope(rotated)?,
            index_rope: rope(rotated.min(index.map_or(rotated, |d| d.dim)))?,
            index,
            routing: ScoreRouting::new(experts.chosen)
                .divided(Divisor::SumPlus(1e-20))
                .scaled(c.number_or("routed_scaling_factor", 2.0)?),
            experts,
            hidden: c.dim_or("intermediate_size", 3072)?,
            dense_hidden: c.dim_or("dense_intermediate_size", 12_288)?,
            shared_hidden: c.dim_or("shared_intermediate_size", 3072)?,
            swiglu: (c.number_or("swiglu_alpha", 1.702)?, c.number_or("swiglu_limit", 7.0)?),
            outline,
        })
    }

    /// Whether layer `i` attends to chosen blocks only.
    fn is_sparse(&self, c: &Config, i: u64) -> Result<bool, ConfigError> {
        if self.index.is_none() {
            return Ok(false);
        }
        if let Some(types) = c.opt_strings("layer_types")? {
            return match types.get(i as usize) {
                Some(kind) => Ok(kind != "full_attention"),
                None => Err(c.invalid("layer_types", "a kind for each layer")),
            };
        }
        let nested = c.opt_object("sparse_attention_config")?;
        let holder = nested.as_ref().filter(|n| n.has("sparse_attention_freq")).unwrap_or(c);
        flag(holder, "sparse_attention_freq", i)
    }
}

/// Whether layer `i` is routed; both keys may be absent.
fn is_moe(c: &Config, i: u64) -> Result<bool, ConfigError> {
    match c.opt_strings("mlp_layer_types")? {
        None => flag(c, "moe_layer_freq", i),
        Some(types) => match types.get(i as usize) {
            Some(kind) => Ok(kind == "sparse"),
            None => Err(c.invalid("mlp_layer_types", "a kind for each layer")),
        },
    }
}

/// Entry `i` of a list of flags or numbers; true when the list is absent.
fn flag(c: &Config, key: &str, i: u64) -> Result<bool, ConfigError> {
    let Some(value) = c.get(key) else { return Ok(true) };
    let entry = value.as_array().and_then(|list| list.get(i as usize));
    let truth = |v: &Value| v.as_bool().or_else(|| v.as_f64().map(|n| n != 0.0));
    entry.and_then(truth).ok_or_else(|| c.invalid(key, "a number or a flag for each layer"))
}

struct SparseAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    heads: Heads,
    norms: Option<(Box<dyn Norm>, Box<dyn Norm>)>,
    rope: RopeModule,
    index: Option<BlockIndex>,
}

impl SparseAttention {
    fn new(p: &mut ParamBuilder, s: &Settings, index: Option<IndexDims>) -> Self {
        let (h, width, eps) = (s.heads, s.outline.width, s.outline.eps);
        let (q, kv) = (h.query * h.dim, h.kv * h.dim);
        p.scope("self_attn", |p| Self {
            q: Linear::new(p, "q_proj", width, q, false),
            k: Linear::new(p, "k_proj", width, kv, false),
            v: Linear::new(p, "v_proj", width, kv, false),
            o: Linear::new(p, "o_proj", q, width, false),
            heads: h,
            norms: s.head_norms.then(|| {
                let query = s.norm.declare(p, "q_norm", h.dim, eps);
                (query, s.norm.declare(p, "k_norm", h.dim, eps))
            }),
            rope: s.rope.clone(),
            index: index.map(|d| BlockIndex::new(p, d, width, s.norm, eps, s.index_rope.clone())),
        })
    }
}

impl Mixer for SparseAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let (q, k, v) = (self.q.forward(x), self.k.forward(x), self.v.forward(x));
        let mut q = Heads::split(q, self.heads.query);
        let mut k = Heads::split(k, self.heads.kv);
        let v = Heads::split(v, self.heads.kv);
        if let Some((query, key)) = &self.norms {
            (q, k) = (query.forward(q), key.forward(k));
        }
        let offset = cache.part(0).offset();
        let (q, k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        let mask = match &self.index {
            None => mask,
            Some(index) => index.mask(x, mask, offset, self.heads.query, cache.part(1)),
        };
        let kv = cache.part(0).update(k, v);
        if self.index.is_some()
            && let (Some((keys, values)), Some(index)) =
                (cache.part(0).stored(x.tape()), cache.part(1).stored(x.tape()))
        {
            let keys = keys.depends(&[index.0, index.1]);
            cache.part(0).store(keys, values);
        }
        let y = attend(q, kv, (self.heads.dim as f64).powf(-0.5), mask, None);
        self.o.forward(Heads::join(y))
    }
}

/// Routed experts and a shared one over the tokens of all sequences in one row.
fn routed(p: &mut ParamBuilder, s: &Settings) -> RoutedMlp {
    let (width, n) = (s.outline.width, s.experts.total);
    let (alpha, limit) = s.swiglu;
    p.scope("block_sparse_moe", |p| {
        let gate = Gate::Linear(Linear::new(p, "gate", width, n, false));
        let bias = p.raw_f32("e_score_correction_bias", &[n]);
        let shared = GatedMlp::new(p, "shared_experts", width, s.shared_hidden, false)
            .with_activation(move |gate, x| swiglu_oai(gate, x, alpha, limit));
        let router = ScoreRouter::new(gate, Some(bias), s.routing).with_narrow_scores();
        RoutedMlp::new(router, SwitchGlu::new(p, "switch_mlp", width, s.hidden, n, false))
            .with_activation(move |gate, x| swiglu_oai(gate, x, alpha, limit))
            .with_shared(Some(shared))
            .flat()
    })
}
