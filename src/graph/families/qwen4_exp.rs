//! Qwen4-Exp (Qwen3.8-Flash-Next): four residual streams that low-rank mixes read and write, three gated-delta layers
//! to one of attention over chosen blocks, routed experts with a shared one, and in some layers a table of hashed
//! n-grams (PLE), which is most of what the smaller formats hold.
//!
//! Only mlx-vlm 0.7.10 runs this type; the graph is its language model. The shards of a table are read through the
//! first one, because which shard holds a row depends on the tokens.

use super::mlx_vlm_text::LANGUAGE;
use crate::graph::parts::block_index::{BlockIndexSettings, BlockIndexer};
use crate::graph::parts::gated_attention::{GatedAttention, GatedRead};
use crate::graph::parts::gated_delta::{DeltaDims, GatedDeltaNet};
use crate::graph::parts::hashed_table::{HashedTable, HashedTableSettings};
use crate::graph::parts::prelude::*;
use crate::graph::parts::stream_mix::{StreamMix, StreamMixDims};

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = c.opt_object("text_config")?.unwrap_or_else(|| c.clone());
    let c = &text.with_defaults(&[("norm_topk_prob", true.into())]).with_sizes(&[
        ("hc_count", 4),
        ("hc_lowrank", 320),
        ("full_attention_interval", 4),
        ("indexer_n_heads", 4),
        ("indexer_head_dim", 128),
        ("indexer_budget", 2048),
        ("indexer_compress_ratio", 4),
    ]);
    let count = layer_count(c)?;
    let eps = c.number("rms_norm_eps")?;
    let o = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
        eps,
        max_context: c.opt_dim("max_position_embeddings")?,
        norm: NormKind::Own(|_, _, _, _| Box::new(Unnormed)),
        ..Outline::new(c.positive("hidden_size")?, count, c.positive("vocab_size")?)
    };
    let s = Settings::read(c, &o)?;
    let streams = s.mix.streams as u32;
    p.scope(LANGUAGE, |p| {
        let mut decoder = o.sharing(
            p,
            |p, i| s.place(p, i),
            move |call| (call.embedded.tile(streams, -1), call.tokens),
        )?;
        let last = p.scope("model", |p| StreamMix::reading(p, "hyper_connection_mixer", s.mix));
        decoder.end = Some(Box::new(move |h, _| last.read(h).0));
        let decoder = decoder.with_experts(s.experts).with_quant_override(|path| {
            if path.contains(".ngram_embedding.shards.") {
                QuantOverride::GroupOf32
            } else if path.ends_with("mlp.gate") || path.ends_with("shared_expert_gate") {
                QuantOverride::EightBit
            } else {
                QuantOverride::Default
            }
        });
        Ok(decoder.built())
    })
}

/// The streams are mixed in place of a final norm.
struct Unnormed;

impl Norm for Unnormed {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        x
    }
}

/// Sizes of the layers.
struct Settings {
    mix: StreamMixDims,
    linear: Vec<bool>,
    delta: DeltaDims,
    heads: Heads,
    bias: bool,
    rope: RopeModule,
    index: BlockIndexSettings,
    experts: Experts,
    hidden: u64,
    shared: u64,
    normalize: bool,
    /// Numbers of the layers with a table, counted from 1, and the table's sizes.
    tables: Vec<u64>,
    table: Option<HashedTableSettings>,
}

impl Settings {
    fn read(c: &Config, o: &Outline) -> Result<Self, ConfigError> {
        let delta = DeltaDims::read(c, o.width)?;
        let heads = Heads::read(c)?;
        let scaling = RopeScaling::read(c, "rope_parameters")?;
        let number = |key: &str, default| {
            scaling.as_ref().map_or(Ok(default), |s| s.values().number_or(key, default))
        };
        let (part, theta) =
            (number("partial_rotary_factor", 0.25)?, number("rope_theta", 10_000_000.0)?);
        let rope = RopeModule::plain((heads.dim as f64 * part) as u64, false, theta);
        let interval = c.positive("full_attention_interval")?;
        let linear: Vec<bool> = match c.opt_strings("layer_types")? {
            Some(list) => list.iter().map(|w| w == "linear_attention").collect(),
            None => (1..=o.layers).map(|i| i % interval != 0).collect(),
        };
        if linear.len() as u64 != o.layers {
            return Err(c.invalid("layer_types", "one entry for each layer"));
        }
        let mix = StreamMixDims {
            width: o.width,
            streams: c.positive("hc_count")?,
            rank: c.positive("hc_lowrank")?,
            eps: o.eps,
        };
        let tables = c.opt_dims("ple_layer_ids")?.unwrap_or_default();
        let table = (!tables.is_empty()).then(|| HashedTableSettings::read(c, mix)).transpose()?;
        Ok(Self {
            mix,
            linear,
            delta,
            heads,
            bias: c.bool_or("attention_bias", false)?,
            index: BlockIndexSettings::read(c, o.width, o.eps, rope.clone())?,
            rope,
            experts: experts(c, "num_experts", "num_experts_per_tok")?,
            hidden: c.positive("moe_intermediate_size")?,
            shared: c.positive("shared_expert_intermediate_size")?,
            normalize: c.bool("norm_topk_prob")?,
            tables,
            table,
        })
    }

    fn place(&self, p: &mut ParamBuilder, i: u64) -> Result<Place<Var<'static>>, ConfigError> {
        let (width, eps) = (self.mix.width, self.mix.eps);
        let linear = self.linear.get(i as usize).copied().unwrap_or(false);
        let mixer: Box<dyn Mixer> = match linear {
            true => Box::new(GatedDeltaNet::separate(p, self.delta, eps)),
            false => Box::new(BlockAttention::new(p, self)),
        };
        let routed = softmax_experts(p, "mlp", width, self.hidden, self.experts, self.normalize);
        let mlp = p.scope("mlp", |p| with_gated_shared(p, routed, width, self.shared));
        let at = self.tables.iter().position(|&layer| layer == i + 1);
        let table = match (at, &self.table) {
            (Some(at), Some(table)) => Some(HashedTable::new(p, table, at as u64)),
            _ => None,
        };
        let (rule, cache) = match (linear, &table) {
            (true, None) => (MaskRule::Recurrent(2), CacheKind::Arrays(2)),
            (true, Some(_)) => (MaskRule::Recurrent(2), CacheKind::Arrays(4)),
            (false, _) => {
                let parts = vec![CacheKind::Kv, CacheKind::Kv, self.index.cache()];
                (MaskRule::Full, CacheKind::List(parts))
            }
        };
        let layer = StreamLayer {
            table,
            mixer,
            mlp,
            attention_mix: StreamMix::new(p, "attn_hyper_connection", self.mix),
            mlp_mix: StreamMix::new(p, "mlp_hyper_connection", self.mix),
        };
        Ok(Place::new(rule, layer).caching(cache))
    }
}

/// A layer between stream mixes; layers share the tokens, which the tables hash.
struct StreamLayer {
    table: Option<HashedTable>,
    mixer: Box<dyn Mixer>,
    mlp: RoutedMlp,
    attention_mix: StreamMix,
    mlp_mix: StreamMix,
}

impl Layer<Var<'static>> for StreamLayer {
    fn run<'t>(&self, h: Var<'t>, at: At<'_, 't, Var<'static>>) -> Var<'t> {
        let h = match &self.table {
            Some(table) => h + table.forward(h, *at.shared, at.cache),
            None => h,
        };
        let (x, weights) = self.attention_mix.read(h);
        let h = self.attention_mix.write(self.mixer.mix(x, at.mask, at.cache), h, weights);
        let (x, weights) = self.mlp_mix.read(h);
        self.mlp_mix.write(self.mlp.apply(x), h, weights)
    }
}

/// Gated attention over the blocks that an indexer chooses.
struct BlockAttention {
    attention: GatedAttention,
    indexer: BlockIndexer,
}

impl BlockAttention {
    fn new(p: &mut ParamBuilder, s: &Settings) -> Self {
        let sizes = (s.mix.width, s.mix.eps, s.bias);
        p.scope("self_attn", |p| Self {
            attention: GatedAttention::new(p, sizes, s.heads, s.rope.clone()),
            indexer: BlockIndexer::new(p, &s.index),
        })
    }
}

impl Mixer for BlockAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let chosen = self.indexer.choose(x, cache);
        let GatedRead { q, gate, kv } = self.attention.read(x, cache.part(0));
        let scale = self.attention.scale();
        let y = match chosen {
            None => attend(q, kv, scale, mask, None),
            Some(blocks) => {
                let inputs = [q * scale, kv.0.dense(t), kv.1.dense(t), blocks];
                t.kernel_one(Kernel::SparseAttention, &inputs, q.shape(), q.dtype())
            }
        };
        self.attention.write(y, gate)
    }
}
