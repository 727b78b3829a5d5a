//! The frame of a decoder: embedding, layers, final norm, head; and the pre-norm residual block.

use super::common::Head;
use crate::graph::cache::Cache;
use crate::graph::nn::{Embedding, LayerNorm, RmsNorm};
use crate::graph::params::ParamBuilder;
use crate::graph::tape::{Mask, Stage, Tape, Var};
use crate::graph::{Network, QuantOverride};
use crate::model::ConfigError;

/// One layer of a decoder.
pub trait Block: Send + Sync {
    /// The hidden state after the layer.
    fn forward(&self, t: &mut Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var;
}

/// Mixes information between positions: attention or a recurrence.
pub trait Mixer: Send + Sync {
    /// The mixed `x`, before the residual addition.
    fn mix(&self, t: &mut Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var;
}

/// Works on every position by itself: an MLP or a mixture of experts.
pub trait FeedForward: Send + Sync {
    /// The result, before the residual addition.
    fn apply(&self, t: &mut Tape<'_>, x: Var) -> Var;
}

/// A normalisation with a weight.
pub trait Norm: Send + Sync {
    /// The normalised `x`.
    fn norm(&self, t: &mut Tape<'_>, x: Var) -> Var;
}

impl Norm for RmsNorm {
    fn norm(&self, t: &mut Tape<'_>, x: Var) -> Var {
        self.forward(t, x)
    }
}

impl Norm for crate::graph::nn::GemmaNorm {
    fn norm(&self, t: &mut Tape<'_>, x: Var) -> Var {
        self.forward(t, x)
    }
}

impl Norm for crate::graph::nn::OffsetNorm {
    fn norm(&self, t: &mut Tape<'_>, x: Var) -> Var {
        self.forward(t, x)
    }
}

impl Norm for LayerNorm {
    fn norm(&self, t: &mut Tape<'_>, x: Var) -> Var {
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

    fn residual(&self, t: &mut Tape<'_>, x: Var, r: Var) -> Var {
        let r = match self.residual_scale {
            Some(factor) => t.mul(r, factor),
            None => r,
        };
        t.add(x, r)
    }
}

impl Block for PreNorm {
    fn forward(&self, t: &mut Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
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
    fn forward(&self, t: &mut Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let r = self.norm.forward(t, x);
        let r = self.mixer.mix(t, r, mask, cache);
        if self.swapped { t.add(r, x) } else { t.add(x, r) }
    }
}

/// A [`FeedForward`] in the place of a mixer.
pub struct Pointwise<T>(pub T);

impl<T: FeedForward> Mixer for Pointwise<T> {
    fn mix(&self, t: &mut Tape<'_>, x: Var, _: Mask, _: &mut Cache) -> Var {
        self.0.apply(t, x)
    }
}

impl<T: FeedForward + ?Sized> FeedForward for Box<T> {
    fn apply(&self, t: &mut Tape<'_>, x: Var) -> Var {
        (**self).apply(t, x)
    }
}

impl<T: Mixer + ?Sized> Mixer for Box<T> {
    fn mix(&self, t: &mut Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        (**self).mix(t, x, mask, cache)
    }
}

/// Which mask the layers of a group get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskRule {
    /// Full causal attention.
    Full,
    /// Attention to the last tokens only; the size of the window.
    Window(u32),
    /// Full causal attention with the mask as an array.
    FullArray,
    /// No mask: recurrent layers.
    None,
    /// A layer that has no cache, and no mask either.
    Stateless,
}

impl MaskRule {
    fn build(self, t: &mut Tape<'_>, n: u32, cache: &Cache) -> Mask {
        match self {
            Self::Full => cache.mask(t, n, None, false),
            Self::Window(w) => cache.mask(t, n, Some(w), false),
            Self::FullArray => cache.mask(t, n, None, true),
            Self::None | Self::Stateless => Mask::None,
        }
    }
}

/// Changes a value: a scaling of the embedding or of the logits.
pub type Hook = Box<dyn Fn(&mut Tape<'_>, Var) -> Var + Send + Sync>;

/// A decoder whose layers follow one another, each with its own cache.
pub struct Decoder {
    /// Token embedding.
    pub embed: Embedding,
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
    /// The family's `quant_predicate`.
    pub quant_override: fn(&str) -> QuantOverride,
}

/// The sizes around the layers of a decoder.
#[derive(Clone, Copy, Debug)]
pub struct Outline {
    /// Number of layers.
    pub layers: u64,
    /// Hidden size.
    pub width: u64,
    /// Rows of the embedding.
    pub vocabulary: u64,
    /// Epsilon of the final norm.
    pub eps: f64,
    /// Whether the head is the embedding.
    pub tied: bool,
}

impl Outline {
    /// Declares `model.embed_tokens`, `model.layers.N` as `layer` builds them, `model.norm` and the head.
    ///
    /// # Errors
    /// What `layer` refuses.
    pub fn decoder(
        &self,
        p: &mut ParamBuilder,
        layer: impl FnMut(&mut ParamBuilder, u64) -> Result<Layer, ConfigError>,
    ) -> Result<Decoder, ConfigError> {
        self.decoder_named(p, ["model", "embed_tokens", "norm"], layer)
    }

    /// The same with other names of the body, its embedding and its norm.
    ///
    /// # Errors
    /// What `layer` refuses.
    pub fn decoder_named(
        &self,
        p: &mut ParamBuilder,
        [body, embedding, norm]: [&str; 3],
        mut layer: impl FnMut(&mut ParamBuilder, u64) -> Result<Layer, ConfigError>,
    ) -> Result<Decoder, ConfigError> {
        let (embed, layers, norm) = p.scope(body, |p| {
            let embed = Embedding::new(p, embedding, self.vocabulary, self.width);
            let layers = (0..self.layers)
                .map(|i| p.scope(&format!("layers.{i}"), |p| layer(p, i)))
                .collect::<Result<Vec<_>, ConfigError>>()?;
            Ok((embed, layers, RmsNorm::new(p, norm, self.width, self.eps)))
        })?;
        let head = Head::new(p, embed, self.tied, self.width, self.vocabulary);
        Ok(Decoder::new(embed, layers, norm, head))
    }
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
            on_embedding: None,
            layers,
            norm: Box::new(norm),
            head,
            on_logits: None,
            quant_override: |_| QuantOverride::Default,
        }
    }

    /// Sets the family's `quant_predicate`.
    #[must_use]
    pub fn with_quant_override(mut self, rule: fn(&str) -> QuantOverride) -> Self {
        self.quant_override = rule;
        self
    }
}

impl Network for Decoder {
    fn forward(&self, t: &mut Tape<'_>, tokens: Var, caches: &mut [Cache]) -> Var {
        let mut h = self.embed.forward(t, tokens);
        if let Some(hook) = &self.on_embedding {
            h = hook(t, h);
        }
        let n = t.dim(tokens, 1);
        let mut masks: Vec<(MaskRule, Mask)> = Vec::new();
        let stateful = self.layers.iter().filter(|(rule, _)| *rule != MaskRule::Stateless);
        for ((rule, _), cache) in stateful.zip(caches.iter()) {
            if !masks.iter().any(|(r, _)| r == rule) {
                masks.push((*rule, rule.build(t, n, cache)));
            }
        }
        let mut caches = caches.iter_mut();
        for (i, (rule, block)) in self.layers.iter().enumerate() {
            t.layer(i);
            let mask = masks.iter().find(|(r, _)| r == rule).map_or(Mask::None, |m| m.1);
            let mut none = Cache::List(Vec::new());
            let own = if *rule == MaskRule::Stateless { None } else { caches.next() };
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
}
