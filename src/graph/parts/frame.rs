//! The frame of a decoder: embedding, layers, final norm, head; and the pre-norm residual block.

use super::common::Head;
use crate::graph::prelude::*;
use std::hash::{Hash, Hasher};

/// One layer of a decoder.
pub trait Block: Send + Sync {
    /// The hidden state after the layer.
    fn forward(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var;
}

/// Mixes information between positions: attention or a recurrence.
pub trait Mixer: Send + Sync {
    /// The mixed `x`, before the residual addition.
    fn mix(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var;
}

/// Works on every position by itself: an MLP or a mixture of experts.
pub trait FeedForward: Send + Sync {
    /// The result, before the residual addition.
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var;
}

/// A normalisation with a weight.
pub trait Norm: Send + Sync {
    /// The normalised `x`.
    fn norm(&self, t: &Tape<'_>, x: Var) -> Var;
}

impl Norm for RmsNorm {
    fn norm(&self, t: &Tape<'_>, x: Var) -> Var {
        self.forward(t, x)
    }
}

impl Norm for crate::graph::nn::GemmaNorm {
    fn norm(&self, t: &Tape<'_>, x: Var) -> Var {
        self.forward(t, x)
    }
}

impl Norm for UnitNorm {
    fn norm(&self, t: &Tape<'_>, x: Var) -> Var {
        self.forward(t, x)
    }
}

impl Norm for crate::graph::nn::OffsetNorm {
    fn norm(&self, t: &Tape<'_>, x: Var) -> Var {
        self.forward(t, x)
    }
}

impl Norm for LayerNorm {
    fn norm(&self, t: &Tape<'_>, x: Var) -> Var {
        self.forward(t, x)
    }
}

/// The usual block: `h = x + mixer(norm(x))`, `h + mlp(norm(h))`.
pub struct PreNorm {
    /// Factor on what the mixer and the MLP add.
    residual_scale: Option<f64>,
    input_norm: Box<dyn Norm>,
    mixer: Box<dyn Mixer>,
    post_norm: Box<dyn Norm>,
    mlp: Box<dyn FeedForward>,
}

impl PreNorm {
    /// A block with RMS norms `input_layernorm` and `post_attention_layernorm`; `mixer` and `mlp` declare their own
    /// tensors in the scope of the layer.
    pub fn new(
        p: &mut ParamBuilder,
        width: u64,
        eps: f64,
        mixer: impl Mixer + 'static,
        mlp: impl FeedForward + 'static,
    ) -> Self {
        Self::with_norms(
            RmsNorm::new(p, "input_layernorm", width, eps),
            mixer,
            RmsNorm::new(p, "post_attention_layernorm", width, eps),
            mlp,
        )
    }

    /// A block of given parts.
    pub fn with_norms(
        input_norm: impl Norm + 'static,
        mixer: impl Mixer + 'static,
        post_norm: impl Norm + 'static,
        mlp: impl FeedForward + 'static,
    ) -> Self {
        Self {
            residual_scale: None,
            input_norm: Box::new(input_norm),
            mixer: Box::new(mixer),
            post_norm: Box::new(post_norm),
            mlp: Box::new(mlp),
        }
    }

    /// Multiplies what the mixer and the MLP add by a factor.
    #[must_use]
    pub fn with_residual_scale(mut self, factor: f64) -> Self {
        self.residual_scale = Some(factor);
        self
    }

    fn residual(&self, t: &Tape<'_>, x: Var, r: Var) -> Var {
        let r = match self.residual_scale {
            Some(factor) => t.mul(r, factor),
            None => r,
        };
        t.add(x, r)
    }
}

impl Block for PreNorm {
    fn forward(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let r = self.input_norm.norm(t, x);
        let r = self.mixer.mix(t, r, mask, cache);
        let h = self.residual(t, x, r);
        let r = self.post_norm.norm(t, h);
        let r = self.mlp.apply(t, r);
        self.residual(t, h, r)
    }
}

/// A layer of one part: `x + mixer(norm(x))`.
pub struct Residual {
    norm: RmsNorm,
    mixer: Box<dyn Mixer>,
    /// Whether Python writes `mixer(norm(x)) + x`.
    swapped: bool,
}

impl Residual {
    /// A layer with the RMS norm `name`; the mixer declares its own tensors in the scope of the layer.
    pub fn new(
        p: &mut ParamBuilder,
        name: &str,
        width: u64,
        eps: f64,
        mixer: impl Mixer + 'static,
    ) -> Self {
        let norm = RmsNorm::new(p, name, width, eps);
        Self { norm, mixer: Box::new(mixer), swapped: false }
    }

    /// With the input as the second operand of the sum.
    #[must_use]
    pub fn swapped(mut self) -> Self {
        self.swapped = true;
        self
    }
}

impl Block for Residual {
    fn forward(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let r = self.norm.forward(t, x);
        let r = self.mixer.mix(t, r, mask, cache);
        if self.swapped { t.add(r, x) } else { t.add(x, r) }
    }
}

/// A [`FeedForward`] in the place of a mixer.
pub struct Pointwise<T>(pub T);

impl<T: FeedForward> Mixer for Pointwise<T> {
    fn mix(&self, t: &Tape<'_>, x: Var, _: Mask, _: &mut Cache) -> Var {
        self.0.apply(t, x)
    }
}

impl<T: Block + ?Sized> Block for Box<T> {
    fn forward(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        (**self).forward(t, x, mask, cache)
    }
}

impl<T: Norm + ?Sized> Norm for Box<T> {
    fn norm(&self, t: &Tape<'_>, x: Var) -> Var {
        (**self).norm(t, x)
    }
}

impl<T: FeedForward + ?Sized> FeedForward for Box<T> {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        (**self).apply(t, x)
    }
}

impl<T: Mixer + ?Sized> Mixer for Box<T> {
    fn mix(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        (**self).mix(t, x, mask, cache)
    }
}

/// A norm whose result is divided by a number.
pub struct DividedNorm {
    /// The norm.
    pub norm: Box<dyn Norm>,
    /// The number.
    pub divisor: f64,
}

impl Norm for DividedNorm {
    fn norm(&self, t: &Tape<'_>, x: Var) -> Var {
        let x = self.norm.norm(t, x);
        t.div(x, self.divisor)
    }
}

/// Which mask the layers of a group get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaskRule {
    /// Full causal attention.
    Full,
    /// Attention to the last tokens only; the size of the window.
    Window(u32),
    /// Full causal attention with the mask as an array.
    FullArray,
    /// Causal attention within chunks of that many positions; the mask is an array.
    Chunk(u32),
    /// No mask: recurrent layers.
    None,
    /// A layer that has no cache, and no mask either.
    Stateless,
}

impl MaskRule {
    /// The cache class of an attention layer with this mask; `None` for other layers.
    #[must_use]
    pub const fn cache(self) -> Option<CacheKind> {
        match self {
            Self::Window(max_size) => Some(CacheKind::Rotating { max_size, keep: 0 }),
            Self::Chunk(chunk_size) => Some(CacheKind::Chunked { chunk_size }),
            Self::Full | Self::FullArray => Some(CacheKind::Kv),
            Self::None | Self::Stateless => None,
        }
    }

    /// A number that differs between rules.
    pub(crate) fn number(self) -> u64 {
        let mut h = rustc_hash::FxHasher::default();
        self.hash(&mut h);
        h.finish()
    }

    /// The masks of layers with the given rules for `n` new tokens, from the caches of those that have one. Layers
    /// with the same rule share the mask that the cache of the first of them makes.
    pub fn build_all<'c>(
        t: &Tape<'_>,
        n: u32,
        rules: &[Self],
        caches: impl IntoIterator<Item = &'c Cache>,
    ) -> Vec<Mask> {
        let mut made: Vec<(Self, Mask)> = Vec::new();
        let mut caches = caches.into_iter();
        rules
            .iter()
            .map(|rule| {
                let cache = if *rule == Self::Stateless { None } else { caches.next() };
                match (made.iter().find(|(r, _)| r == rule), cache) {
                    (Some(&(_, mask)), _) => mask,
                    (None, None) => Mask::None,
                    (None, Some(cache)) => {
                        let mask = rule.build(t, n, cache);
                        made.push((*rule, mask));
                        mask
                    }
                }
            })
            .collect()
    }

    fn build(self, t: &Tape<'_>, n: u32, cache: &Cache) -> Mask {
        match self {
            Self::Full => cache.mask(t, n, None, false),
            Self::Window(w) => cache.mask(t, n, Some(w), false),
            Self::FullArray => cache.mask(t, n, None, true),
            Self::Chunk(size) => Mask::Array(chunk_mask(t, n, size, cache)),
            Self::None | Self::Stateless => Mask::None,
        }
    }
}

/// The mask of chunked attention: `[n, stored + n]`, true where a key lies in the chunk of the query and not behind
/// it.
fn chunk_mask(t: &Tape<'_>, n: u32, size: u32, cache: &Cache) -> Var {
    let (first, offset) = (cache.start_position(), cache.offset());
    let end = offset.saturating_add(n);
    let keys = t.arange(first, end);
    let queries = t.arange(offset, end);
    let queries = t.expand_dims(queries, &[1]);
    let key_chunk = t.binary(Binary::FloorDivide, keys, i64::from(size));
    let query_chunk = t.binary(Binary::FloorDivide, queries, i64::from(size));
    let distance = t.sub(key_chunk, query_chunk);
    let distance = t.unary(Unary::Abs, distance);
    let same = t.binary(Binary::Equal, distance, 0i64);
    let causal = t.binary(Binary::LessEqual, keys, queries);
    t.binary(Binary::BitwiseAnd, same, causal)
}

/// Changes a value: a scaling of the embedding or of the logits.
pub type Hook = Box<dyn Fn(&Tape<'_>, Var) -> Var + Send + Sync>;

/// Adds what depends on the position of the tokens; gets the position of the first one.
pub type PositionHook = Box<dyn Fn(&Tape<'_>, Var, u32) -> Var + Send + Sync>;

/// How a module is packed, by its path.
pub type QuantRule = Box<dyn Fn(&str) -> QuantOverride + Send + Sync>;

/// A decoder whose layers follow one another, each with its own cache.
pub struct Decoder {
    /// Token embedding.
    pub embed: Embedding,
    /// Position embedding.
    pub positions: Option<PositionHook>,
    /// What happens to the embedding before the first layer.
    pub on_embedding: Option<Hook>,
    /// The layers and the mask each gets. Layers with the same rule share one mask.
    pub layers: Vec<Layer>,
    /// Final norm.
    pub norm: Box<dyn Norm>,
    /// Output head.
    pub head: Head,
    /// What happens to the logits.
    pub on_logits: Option<Hook>,
    /// Which part of a layer's cache makes the masks, where the caches are lists.
    pub mask_cache: usize,
    /// The family's `quant_predicate`.
    pub quant_override: QuantRule,
}

/// A layer and the mask it gets.
pub type Layer = (MaskRule, Box<dyn Block>);

impl Decoder {
    /// A decoder without hooks and without quantisation rules of its own.
    pub fn new(
        embed: Embedding,
        layers: Vec<Layer>,
        norm: impl Norm + 'static,
        head: Head,
    ) -> Self {
        Self {
            embed,
            positions: None,
            on_embedding: None,
            layers,
            norm: Box::new(norm),
            head,
            on_logits: None,
            mask_cache: 0,
            quant_override: Box::new(|_| QuantOverride::Default),
        }
    }

    /// Sets the family's `quant_predicate`.
    #[must_use]
    pub fn with_quant_override(
        mut self,
        rule: impl Fn(&str) -> QuantOverride + Send + Sync + 'static,
    ) -> Self {
        self.quant_override = Box::new(rule);
        self
    }

    /// Multiplies the embedding by a number.
    #[must_use]
    pub fn with_embedding_scale(mut self, factor: f64) -> Self {
        self.on_embedding = Some(Box::new(move |t, h| t.mul(h, factor)));
        self
    }

    /// The finished model of a dense decoder: layers with a window get a rotating cache, all others a plain one.
    #[must_use]
    pub fn built(self, max_context: Option<u64>) -> Built {
        let caches = self.layers.iter().filter_map(|(rule, _)| rule.cache()).collect();
        Built {
            layers: self.layers.len() as u64,
            network: Box::new(self),
            caches,
            experts: None,
            max_context,
        }
    }
}

impl Network for Decoder {
    fn forward(&self, t: &Tape<'_>, tokens: Var, caches: &mut [Cache]) -> Var {
        let mut h = self.embed.forward(t, tokens);
        if let Some(add) = &self.positions {
            h = add(t, h, caches.first().map_or(0, |c| c.offset()));
        }
        if let Some(hook) = &self.on_embedding {
            h = hook(t, h);
        }
        let n = t.dim(tokens, 1);
        for (i, cache) in caches.iter_mut().enumerate() {
            if !t.skips_cache(i) {
                cache.trim_front(t);
            }
        }
        let rules: Vec<MaskRule> = self.layers.iter().map(|l| l.0).collect();
        let parts = caches.iter_mut().map(|cache| &*cache.part(self.mask_cache));
        let masks = MaskRule::build_all(t, n, &rules, parts);
        let mut caches = caches.iter_mut();
        for (i, ((rule, block), mask)) in self.layers.iter().zip(masks).enumerate() {
            let mut none = Cache::none();
            let own = if *rule == MaskRule::Stateless { None } else { caches.next() };
            if t.skips(i) {
                continue;
            }
            t.layer(i);
            h = block.forward(t, h, mask, own.unwrap_or(&mut none));
        }
        t.set_stage(Stage::Head);
        let h = self.norm.norm(t, h);
        let logits = self.head.forward(t, h);
        match &self.on_logits {
            Some(hook) => hook(t, logits),
            None => logits,
        }
    }

    fn quant_override(&self, path: &str) -> QuantOverride {
        (self.quant_override)(path)
    }

    fn layers(&self) -> Option<Vec<LayerUse>> {
        let mut caches = 0;
        let layers = self.layers.iter().map(|(rule, _)| {
            let cache = (*rule != MaskRule::Stateless).then_some(caches);
            caches += usize::from(cache.is_some());
            LayerUse { cache, mask: rule.number() }
        });
        Some(layers.collect())
    }
}
