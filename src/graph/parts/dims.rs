//! The sizes that most dense configurations give under the same keys.

use super::attention::Heads;
use super::keys::{head_dim, kv_heads, layer_count};
use super::outline::{HeadKind, Outline};
use crate::graph::prelude::*;

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

    /// What stands around the layers, under Llama's names and with RMS norms.
    #[must_use]
    pub fn outline(&self, head: HeadKind, eps: f64) -> Outline {
        let outline = Outline::new(self.width, self.layers as u64, self.vocabulary);
        Outline { head, eps, max_context: self.max_context, ..outline }
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
        Heads::sized(c, self.width)
    }

    /// As [`Dims::sized_heads`], with as many key and value heads as query heads when the key is absent.
    ///
    /// # Errors
    /// When a key is missing or out of range.
    pub fn optional_heads(&self, c: &Config) -> Result<Heads, ConfigError> {
        let query = c.positive("num_attention_heads")?;
        Ok(Heads { query, kv: kv_heads(c, query)?, dim: head_dim(c, self.width, query)? })
    }
}
