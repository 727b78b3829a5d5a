//! MiniMax M3: attention over the best blocks of keys, which a small indexer chooses, in most layers; sigmoid routing
//! with a shared expert. Only the text model is used.

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
        let decoder = decoder.with_packing(QuantOverride::EightBit, &["block_sparse_moe.gate"]);
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
            ..Outline::read_or(c, [6144, 60, 200_064])?
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

/// Attention that reads the blocks of tokens that an index chooses, where the layer has one.
struct SparseAttention {
    inner: Attention,
    heads: u64,
    index: Option<BlockIndex>,
}

impl SparseAttention {
    fn new(p: &mut ParamBuilder, s: &Settings, index: Option<IndexDims>) -> Self {
        let (h, width, eps) = (s.heads, s.outline.width, s.outline.eps);
        let rope = Some(s.rope.clone());
        let mut inner = Attention::new(p, "self_attn", width, h, Biases::default(), rope);
        p.scope("self_attn", |p| {
            if s.head_norms {
                let query = s.norm.declare(p, "q_norm", h.dim, eps);
                let key = s.norm.declare(p, "k_norm", h.dim, eps);
                inner = inner.with_norms(query, key, NormPlace::Heads);
            }
            let rope = s.index_rope.clone();
            let index = index.map(|d| BlockIndex::new(p, d, width, s.norm, eps, rope));
            Self { inner, heads: h.query, index }
        })
    }
}

impl Mixer for SparseAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let offset = cache.part(0).offset();
        let [q, k, v] = self.inner.prepared(x, offset);
        let mask = match &self.index {
            None => mask,
            Some(index) => index.mask(x, mask, offset, self.heads, cache.part(1)),
        };
        let kv = cache.part(0).update(k, v);
        if self.index.is_some() {
            tie(x.tape(), cache);
        }
        self.inner.output(q, kv, mask)
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
