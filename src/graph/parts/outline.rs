//! What stands around the layers of a decoder: embedding, final norm and head under the names of a checkpoint.

use super::keys::{layer_count, layer_count_or};
use crate::graph::prelude::*;
use std::convert::Infallible;

/// Names of the parts in the checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Scope of embedding, layers and final norm.
    pub model: &'static str,
    /// Token embedding.
    pub embed: &'static str,
    /// Scope of the layers, before their number.
    pub layers: &'static str,
    /// Final norm.
    pub norm: &'static str,
}

impl Names {
    /// `model.embed_tokens`, `model.layers.N`, `model.norm`.
    pub const LLAMA: Self =
        Self { model: "model", embed: "embed_tokens", layers: "layers", norm: "norm" };
    /// `transformer.wte`, `transformer.h.N`, `transformer.ln_f`.
    pub const GPT: Self = Self { model: "transformer", embed: "wte", layers: "h", norm: "ln_f" };
    /// `backbone.embeddings`, `backbone.layers.N`, `backbone.norm_f`.
    pub const BACKBONE: Self =
        Self { model: "backbone", embed: "embeddings", layers: "layers", norm: "norm_f" };
}

/// The output head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// The embedding again.
    Tied,
    /// The embedding again, by a product that fails when it is packed.
    TiedUnpacked,
    /// The embedding again, with an `lm_head` that nothing reads.
    TiedBesideOwn,
    /// A matrix `lm_head`.
    Own,
    /// A matrix `lm_head` with a bias.
    OwnWithBias,
}

impl HeadKind {
    /// `lm_head` unless the configuration ties it to the embedding.
    #[must_use]
    pub const fn tied(tied: bool) -> Self {
        if tied { Self::Tied } else { Self::Own }
    }
}

/// Kinds of norms that a configuration or a family chooses from.
#[derive(Clone, Copy, Debug)]
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
    /// `nn.RMSNorm` without a weight.
    Unit,
    /// `nn.LayerNorm` without weight and bias.
    PlainLayer,
    /// An RMS norm that scales by `1 + weight`; the sum is computed once if `kept`.
    Offset {
        /// Whether the scale is kept after the first call.
        kept: bool,
    },
    /// The family's own, by what declares it.
    Own(fn(&mut ParamBuilder, &str, u64, f64) -> Box<dyn Norm>),
}

impl NormKind {
    /// `nn.LayerNorm` with a bias.
    pub const LAYER: Self = Self::Layer { bias: true };

    /// Declares a norm of this kind.
    pub fn declare(self, p: &mut ParamBuilder, name: &str, width: u64, eps: f64) -> Box<dyn Norm> {
        match self {
            Self::Rms => Box::new(RmsNorm::new(p, name, width, eps)),
            Self::Gemma => Box::new(GemmaNorm::new(p, name, width, eps)),
            Self::Layer { bias } => Box::new(LayerNorm::new(p, name, width, eps, bias)),
            Self::Unit => Box::new(UnitNorm::new(eps)),
            Self::Own(declare) => declare(p, name, width, eps),
            Self::PlainLayer => Box::new(LayerNorm::plain(eps)),
            Self::Offset { kept } => {
                let norm = OffsetNorm::new(p, name, width, eps, 1.0);
                Box::new(if kept { norm.kept() } else { norm })
            }
        }
    }
}

/// A decoder apart from what is in its layers.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Hidden size.
    pub width: u64,
    /// Number of layers.
    pub layers: u64,
    /// Rows of the embedding.
    pub vocabulary: u64,
    /// Rows of the embedding that the output head does not have.
    pub spare_rows: u64,
    /// Output head.
    pub head: HeadKind,
    /// Epsilon of the norms.
    pub eps: f64,
    /// Longest context the model was made for.
    pub max_context: Option<u64>,
    /// Names in the checkpoint.
    pub names: Names,
    /// Kind of the final norm.
    pub norm: NormKind,
}

impl Outline {
    /// An outline under Llama's names, with a head of its own, an RMS norm, an epsilon of 1e-5 and no stated context.
    #[must_use]
    pub const fn new(width: u64, layers: u64, vocabulary: u64) -> Self {
        Self {
            width,
            layers,
            vocabulary,
            spare_rows: 0,
            head: HeadKind::Own,
            eps: 1e-5,
            max_context: None,
            names: Names::LLAMA,
            norm: NormKind::Rms,
        }
    }

    /// Reads the usual keys, all of them required but the epsilon and the context length.
    ///
    /// # Errors
    /// When a key is missing or out of range.
    pub fn read(c: &Config, tied: bool) -> Result<Self, ConfigError> {
        let (width, layers) = (c.positive("hidden_size")?, layer_count(c)?);
        Ok(Self {
            head: HeadKind::tied(tied),
            eps: c.number_or("rms_norm_eps", 1e-5)?,
            max_context: c.opt_dim("max_position_embeddings")?,
            ..Self::new(width, layers, c.positive("vocab_size")?)
        })
    }

    /// The same keys with the family's sizes (width, layers, rows of the embedding) where they are absent, and a head of
    /// its own.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn read_or(c: &Config, [width, layers, vocabulary]: [u64; 3]) -> Result<Self, ConfigError> {
        Ok(Self {
            eps: c.number_or("rms_norm_eps", 1e-5)?,
            max_context: c.opt_dim("max_position_embeddings")?,
            ..Self::new(
                c.dim_or("hidden_size", width)?,
                layer_count_or(c, layers)?,
                c.dim_or("vocab_size", vocabulary)?,
            )
        })
    }

    /// With another kind of final norm.
    #[must_use]
    pub fn with_norm(self, norm: NormKind) -> Self {
        Self { norm, ..self }
    }

    /// Full causal attention in every layer.
    #[must_use]
    pub fn full(&self) -> Vec<MaskRule> {
        vec![MaskRule::Full; self.layers as usize]
    }

    /// A decoder with one layer per entry of `rules`, the masks of the layers.
    pub fn layered<B: Block + 'static>(
        &self,
        p: &mut ParamBuilder,
        rules: &[MaskRule],
        mut layer: impl FnMut(&mut ParamBuilder, usize) -> B,
    ) -> Decoder {
        let places = |p: &mut ParamBuilder, i| {
            Ok::<_, Infallible>(Place::new(rules[i as usize], layer(p, i as usize)))
        };
        let layers = rules.len() as u64;
        match (Self { layers, ..self.clone() })
            .declare::<(), _>(p, places, |call| (call.embedded, ()))
        {
            Ok(decoder) => decoder,
            Err(never) => match never {},
        }
    }

    /// A decoder with the layers that `layer` declares, and the mask of each.
    ///
    /// # Errors
    /// When `layer` does.
    pub fn decoder<L: Into<Place<()>>>(
        &self,
        p: &mut ParamBuilder,
        mut layer: impl FnMut(&mut ParamBuilder, u64) -> Result<L, ConfigError>,
    ) -> Result<Decoder, ConfigError> {
        self.declare(p, |p, i| layer(p, i).map(L::into), |call| (call.embedded, ()))
    }

    /// A decoder whose layers share what `start` makes beside the first hidden state.
    ///
    /// # Errors
    /// When `layer` does.
    pub fn sharing<S: Carry>(
        &self,
        p: &mut ParamBuilder,
        layer: impl FnMut(&mut ParamBuilder, u64) -> Result<Place<S>, ConfigError>,
        start: impl for<'t> Fn(Opening<'_, 't>) -> (Var<'t>, S::On<'t>) + Send + Sync + 'static,
    ) -> Result<Decoder<S>, ConfigError> {
        self.declare(p, layer, start)
    }

    fn declare<S: Carry, E>(
        &self,
        p: &mut ParamBuilder,
        mut layer: impl FnMut(&mut ParamBuilder, u64) -> Result<Place<S>, E>,
        start: impl for<'t> Fn(Opening<'_, 't>) -> (Var<'t>, S::On<'t>) + Send + Sync + 'static,
    ) -> Result<Decoder<S>, E> {
        let names = self.names;
        let (embed, places, norm) = p.scope(names.model, |p| {
            let rows = self.vocabulary.saturating_add(self.spare_rows);
            let embed = Embedding::new(p, names.embed, rows, self.width);
            let places = (0..self.layers)
                .map(|i| p.scope(&format!("{}.{i}", names.layers), |p| layer(p, i)))
                .collect::<Result<Vec<_>, E>>()?;
            Ok((embed, places, self.norm.declare(p, names.norm, self.width, self.eps)))
        })?;
        Ok(Decoder {
            embed: Box::new(embed),
            start: Box::new(start),
            places,
            end: None,
            norm,
            head: self.declare_head(p, embed),
            on_logits: None,
            mask_cache: 0,
            quant_override: Box::new(|_| QuantOverride::Default),
            experts: None,
            max_context: self.max_context,
            rounds: 1,
        })
    }

    fn declare_head(&self, p: &mut ParamBuilder, embed: Embedding) -> Head {
        let mut own = |bias| Linear::new(p, "lm_head", self.width, self.vocabulary, bias);
        match self.head {
            HeadKind::Tied => Head::Tied(embed),
            HeadKind::TiedUnpacked => Head::TiedUnpacked(embed),
            HeadKind::TiedBesideOwn => {
                own(false);
                Head::Tied(embed)
            }
            HeadKind::Own => Head::Own(own(false)),
            HeadKind::OwnWithBias => Head::Own(own(true)),
        }
    }
}
