//! The output head.

use super::{Embedding, Linear};
use crate::graph::params::ModuleId;
use crate::graph::tape::{Stage, Var};

/// The output head: its own matrix, or the embedding again.
#[derive(Debug)]
pub enum Head {
    /// `lm_head`.
    Own(Linear),
    /// A bare matrix `[vocabulary, width]`, which is never packed.
    Raw(ModuleId),
    /// Tied to the embedding.
    Tied(Embedding),
    /// Tied to the embedding, by a product that fails when the embedding is packed.
    TiedUnpacked(Embedding),
}

impl Head {
    /// The logits of `x`.
    pub fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        t.set_stage(Stage::Head);
        match self {
            Self::Own(linear) => linear.forward(x),
            Self::Raw(weight) => {
                x.matmul(t.weight(*weight).transpose(&[1, 0]))
            }
            Self::Tied(embedding) => embedding.as_linear(x),
            Self::TiedUnpacked(embedding) if embedding.is_packed(t) => t.fail("mlx-lm multiplies with the tied embedding of this model as if it were not quantized"),
            Self::TiedUnpacked(embedding) => embedding.as_linear(x),
        }
    }
}
