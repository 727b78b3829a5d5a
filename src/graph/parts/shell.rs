//! What stands around the layers of a dense decoder: embedding, final norm and head under a family's names.

use super::attention::Heads;
use super::common::{Head, kv_heads, layer_count};
use super::frame::{Block, Decoder, MaskRule, Norm};
use crate::graph::prelude::*;

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

/// The frame of a dense decoder.
#[derive(Clone, Copy, Debug)]
pub struct Shell {
    /// Names in the checkpoint.
    pub names: Names,
    /// Hidden size.
    pub width: u64,
    /// Vocabulary.
    pub vocabulary: u64,
    /// Output head.
    pub head: HeadKind,
}

impl Shell {
    /// Full causal attention in each of `num_hidden_layers` layers.
    ///
    /// # Errors
    /// When the key is missing or out of range.
    pub fn full(c: &Config) -> Result<Vec<MaskRule>, ConfigError> {
        Ok(vec![MaskRule::Full; layer_count(c)? as usize])
    }

    /// Declares a decoder with one layer per entry of `rules`, the masks of the layers.
    pub fn decoder<N: Norm + 'static, B: Block + 'static>(
        &self,
        p: &mut ParamBuilder,
        rules: &[MaskRule],
        norm: impl FnOnce(&mut ParamBuilder, &str) -> N,
        mut layer: impl FnMut(&mut ParamBuilder, usize) -> B,
    ) -> Decoder {
        let Names { model, embed, layers, norm: norm_name } = self.names;
        let (embed, layers, norm) = p.scope(model, |p| {
            let embed = Embedding::new(p, embed, self.vocabulary, self.width);
            let layers: Vec<_> = rules
                .iter()
                .enumerate()
                .map(|(i, rule)| {
                    let block = p.scope(&format!("{layers}.{i}"), |p| layer(p, i));
                    (*rule, Box::new(block) as Box<dyn Block>)
                })
                .collect();
            (embed, layers, norm(p, norm_name))
        });
        let own = |p: &mut ParamBuilder, bias: bool| {
            Linear::new(p, "lm_head", self.width, self.vocabulary, bias)
        };
        let head = match self.head {
            HeadKind::Tied => Head::Tied(embed),
            HeadKind::TiedUnpacked => Head::TiedUnpacked(embed),
            HeadKind::TiedBesideOwn => {
                own(p, false);
                Head::Tied(embed)
            }
            HeadKind::Own => Head::Own(own(p, false)),
            HeadKind::OwnWithBias => Head::Own(own(p, true)),
        };
        Decoder::new(embed, layers, norm, head)
    }
}

/// The sizes that most dense configurations give under the same keys.
#[derive(Clone, Copy, Debug)]
pub struct Dims {
    /// `hidden_size`.
    pub width: u64,
    /// `num_hidden_layers`.
    pub layers: usize,
    /// `intermediate_size`.
    pub hidden: u64,
    /// `vocab_size`.
    pub vocabulary: u64,
    /// `max_position_embeddings`.
    pub max_context: Option<u64>,
}

impl Dims {
    /// Reads the keys; all but `max_position_embeddings` are required.
    ///
    /// # Errors
    /// When a key is missing or out of range.
    pub fn read(c: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            width: c.positive("hidden_size")?,
            layers: layer_count(c)? as usize,
            hidden: c.positive("intermediate_size")?,
            vocabulary: c.positive("vocab_size")?,
            max_context: c.opt_dim("max_position_embeddings")?,
        })
    }

    /// Full causal attention in every layer.
    #[must_use]
    pub fn full(&self) -> Vec<MaskRule> {
        vec![MaskRule::Full; self.layers]
    }

    /// The frame under Llama's names.
    #[must_use]
    pub fn shell(&self, head: HeadKind) -> Shell {
        let Self { width, vocabulary, .. } = *self;
        Shell { names: Names::LLAMA, width, vocabulary, head }
    }

    /// Heads that divide the hidden size among them; `num_key_value_heads` is required.
    ///
    /// # Errors
    /// When a key is missing or out of range.
    pub fn heads(&self, c: &Config) -> Result<Heads, ConfigError> {
        let query = c.positive("num_attention_heads")?;
        Ok(Heads { query, kv: c.positive("num_key_value_heads")?, dim: self.width / query })
    }

    /// Heads with `head_dim` features or, without it, an equal part of the hidden size; `num_key_value_heads` is
    /// required.
    ///
    /// # Errors
    /// When a key is missing or out of range.
    pub fn sized_heads(&self, c: &Config) -> Result<Heads, ConfigError> {
        let heads = self.heads(c)?;
        Ok(match c.opt_dim("head_dim")? {
            Some(dim) if dim > 0 => Heads { dim, ..heads },
            _ => heads,
        })
    }

    /// As [`Dims::sized_heads`], with as many key and value heads as query heads when the key is absent.
    ///
    /// # Errors
    /// When a key is missing or out of range.
    pub fn optional_heads(&self, c: &Config) -> Result<Heads, ConfigError> {
        let kv = kv_heads(c, c.positive("num_attention_heads")?)?;
        self.sized_heads(&c.clone().with("num_key_value_heads", kv))
    }
}

/// The text model's part of a multimodal configuration. A missing `tie_word_embeddings` is taken from the outer one.
///
/// # Errors
/// When `text_config` is missing or no object.
pub fn text_config(c: &Config) -> Result<Config, ConfigError> {
    let text = c.opt_object("text_config")?.ok_or_else(|| c.invalid("text_config", "an object"))?;
    Ok(match c.get("tie_word_embeddings") {
        Some(tied) if !text.has("tie_word_embeddings") => {
            text.with("tie_word_embeddings", tied.clone())
        }
        _ => text,
    })
}

/// The masks of layers that `layer_types` calls `full_attention` or not, with the window of the others.
///
/// # Errors
/// When the list does not fit the number of layers, knows no full layer, or the window is missing.
pub fn layer_type_rules(
    c: &Config,
    types: &[String],
    layers: usize,
) -> Result<Vec<MaskRule>, ConfigError> {
    if types.len() != layers {
        return Err(c.invalid("layer_types", format!("{layers} entries, one per layer")));
    }
    let window = c.opt_dim("sliding_window")?;
    types
        .iter()
        .map(|t| match (t.as_str(), window) {
            ("full_attention", _) => Ok(MaskRule::Full),
            (_, Some(w)) if w > 0 => Ok(MaskRule::Window(w as u32)),
            _ => Err(c.invalid("sliding_window", "a size, because layer_types has sliding layers")),
        })
        .collect()
}
