//! A dense decoder of Llama's layers with other constants: a specification, from which the decoder follows.

use super::attention::{Attention, Biases, Heads, NormPlace};
use super::block::{Residual, Sandwich};
use super::dims::Dims;
use super::mlp::GatedMlp;
use super::outline::{HeadKind, Outline};
use crate::graph::prelude::*;

/// What a family of Llama's layers chooses.
pub struct Dense {
    /// What stands around the layers.
    pub outline: Outline,
    /// Heads of the attention layers.
    pub heads: Heads,
    /// Hidden features of the MLP.
    pub hidden: u64,
    /// Biases of the attention layers.
    pub biases: Biases,
    /// Biases of the MLP.
    pub mlp_bias: bool,
    /// Rotary embedding.
    pub rope: RopeModule,
    /// Attention scale, if it is not `dim^-0.5`.
    pub scale: Option<f64>,
    /// Norms over queries and keys, in the scope of the layer.
    pub norms: Option<([&'static str; 2], NormPlace)>,
    /// How the results of both halves are added.
    pub residual: Residual,
}

impl Dense {
    /// Llama's layers without biases.
    #[must_use]
    pub fn new(d: &Dims, heads: Heads, rope: RopeModule, head: HeadKind, eps: f64) -> Self {
        Self {
            outline: d.outline(head, eps),
            heads,
            hidden: d.hidden,
            biases: Biases::default(),
            mlp_bias: false,
            rope,
            scale: None,
            norms: None,
            residual: Residual::Plain,
        }
    }

    /// The decoder, with full attention in every layer.
    pub fn decoder(&self, p: &mut ParamBuilder) -> Decoder {
        self.outline.layered(p, &self.outline.full(), |p, _| self.layer(p, true))
    }

    /// The decoder with a mask per layer; only layers that `rotate` turn their queries and keys.
    pub fn masked(
        &self,
        p: &mut ParamBuilder,
        rules: &[MaskRule],
        rotate: impl Fn(usize) -> bool,
    ) -> Decoder {
        self.outline.layered(p, rules, |p, i| self.layer(p, rotate(i)))
    }

    fn layer(&self, p: &mut ParamBuilder, rotates: bool) -> Sandwich {
        let Outline { width, eps, .. } = self.outline;
        let rope = rotates.then(|| self.rope.clone());
        let mut attention = Attention::new(p, "self_attn", width, self.heads, self.biases, rope);
        if let Some(scale) = self.scale {
            attention = attention.with_scale(scale);
        }
        if let Some((names, place)) = self.norms {
            attention = attention.with_rms_norms(p, names, place, eps);
        }
        let mlp = GatedMlp::new(p, "mlp", width, self.hidden, self.mlp_bias);
        let layer = Sandwich::pre_norm(p, width, eps, attention, mlp);
        layer.with_residuals(self.residual, self.residual)
    }
}
