//! The parts around the layers that most decoders share: embedding, final norm, head, caches.

use super::common::{Head, layer_count};
use super::frame::{Block, Decoder, MaskRule, Norm};
use crate::graph::prelude::*;

/// Sizes of a decoder apart from what is in its layers.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Hidden size.
    pub width: u64,
    /// Number of layers.
    pub layers: u64,
    /// Rows of the embedding.
    pub vocabulary: u64,
    /// Whether the head is the embedding again.
    pub tied: bool,
    /// Epsilon of the norms.
    pub eps: f64,
    /// Longest context the model was made for.
    pub max_context: Option<u64>,
}

/// The modules around the layers: their names and the kind of the final norm.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// The scope of everything but the head.
    pub model: &'static str,
    /// The token embedding.
    pub embedding: &'static str,
    /// The list of layers.
    pub layers: &'static str,
    /// The final norm.
    pub norm: &'static str,
    /// Kind of the final norm.
    pub kind: NormKind,
}

impl Around {
    /// Other names of the scope, the embedding and the final norm than the usual ones.
    #[must_use]
    pub const fn named([model, embedding, norm]: [&'static str; 3]) -> Self {
        Self { model, embedding, layers: "layers", norm, kind: NormKind::Rms }
    }
}

impl Default for Around {
    fn default() -> Self {
        Self::named(["model", "embed_tokens", "norm"])
    }
}

/// Kinds of norms that a configuration or a family chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `nn.RMSNorm`.
    Rms,
    /// An RMS norm that scales by `1 + weight`.
    Gemma,
    /// `nn.LayerNorm` with or without a bias.
    Layer {
        /// Whether there is a bias.
        bias: bool,
    },
}

impl NormKind {
    /// Declares a norm of this kind.
    pub fn declare(self, p: &mut ParamBuilder, name: &str, width: u64, eps: f64) -> Box<dyn Norm> {
        match self {
            Self::Rms => Box::new(RmsNorm::new(p, name, width, eps)),
            Self::Gemma => Box::new(GemmaNorm::new(p, name, width, eps)),
            Self::Layer { bias } => Box::new(LayerNorm::new(p, name, width, eps, bias)),
        }
    }
}

impl Outline {
    /// Reads the usual keys, all of them required but the epsilon and the context length.
    ///
    /// # Errors
    /// When a key is missing or out of range.
    pub fn read(c: &Config, tied: bool) -> Result<Self, ConfigError> {
        Ok(Self {
            width: c.positive("hidden_size")?,
            layers: layer_count(c)?,
            vocabulary: c.positive("vocab_size")?,
            tied,
            eps: c.number_or("rms_norm_eps", 1e-5)?,
            max_context: c.opt_dim("max_position_embeddings")?,
        })
    }

    /// A decoder with the layers that `layer` declares and the mask rule of each.
    ///
    /// # Errors
    /// When `layer` does.
    pub fn decoder<B: Block + 'static>(
        &self,
        p: &mut ParamBuilder,
        layer: impl FnMut(&mut ParamBuilder, u64) -> Result<(MaskRule, B), ConfigError>,
    ) -> Result<Decoder, ConfigError> {
        self.decoder_around(p, Around::default(), layer)
    }

    /// [`Outline::decoder`] with other modules around the layers.
    ///
    /// # Errors
    /// When `layer` does.
    pub fn decoder_around<B: Block + 'static>(
        &self,
        p: &mut ParamBuilder,
        around: Around,
        mut layer: impl FnMut(&mut ParamBuilder, u64) -> Result<(MaskRule, B), ConfigError>,
    ) -> Result<Decoder, ConfigError> {
        let (embed, layers, norm) = p.scope(around.model, |p| {
            let embed = Embedding::new(p, around.embedding, self.vocabulary, self.width);
            let layers = (0..self.layers).map(|i| {
                let (rule, block) = p.scope(&format!("{}.{i}", around.layers), |p| layer(p, i))?;
                Ok((rule, Box::new(block) as Box<dyn Block>))
            });
            let layers = layers.collect::<Result<Vec<_>, ConfigError>>()?;
            Ok((embed, layers, around.kind.declare(p, around.norm, self.width, self.eps)))
        })?;
        let head = Head::new(p, embed, self.tied, self.width, self.vocabulary);
        Ok(Decoder::new(embed, layers, norm, head))
    }

    /// The finished model. Layers with a window keep that many tokens, all others everything.
    #[must_use]
    pub fn built(&self, decoder: Decoder, experts: Option<Experts>) -> Built {
        let caches = decoder.layers.iter().map(|(rule, _)| cache(*rule)).collect();
        Built {
            layers: self.layers,
            caches,
            network: Box::new(decoder),
            experts,
            max_context: self.max_context,
        }
    }
}

/// The cache of an attention layer with the given mask.
fn cache(rule: MaskRule) -> CacheKind {
    match rule {
        MaskRule::Window(max_size) => CacheKind::Rotating { max_size, keep: 0 },
        MaskRule::Chunk(chunk_size) => CacheKind::Chunked { chunk_size },
        _ => CacheKind::Kv,
    }
}
