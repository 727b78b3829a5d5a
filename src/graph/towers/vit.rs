//! The blocks of a vision transformer: attention and an MLP, each behind a norm, under the names of each origin.

use super::keys::norm;
use crate::graph::prelude::*;

/// Names of the projections to queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub(super) enum QkvNames {
    /// One matrix.
    Joined(&'static str),
    /// A matrix each.
    Apart([&'static str; 3]),
}

/// Names of the matrices of an MLP.
#[derive(Clone, Copy, Debug)]
pub(super) enum MlpNames {
    /// Two, with an activation between.
    Plain([&'static str; 2]),
    /// Gate, up and down.
    Gated([&'static str; 3]),
}

/// How the blocks of a tower are made and named.
#[derive(Clone, Copy, Debug)]
pub(super) struct VitStyle {
    /// The norms before attention and MLP.
    pub norms: [&'static str; 2],
    /// Whether they shift (`nn.LayerNorm`) or only scale (`nn.RMSNorm`).
    pub shifted: bool,
    /// Scope of the attention; empty where its matrices stand in the block itself.
    pub attention: &'static str,
    /// Projections of the input.
    pub qkv: QkvNames,
    /// Projection of the output.
    pub out: &'static str,
    /// Whether the projections to queries, keys and values, and that of the output, have biases.
    pub biases: [bool; 2],
    /// Scope of the MLP.
    pub mlp: &'static str,
    /// Its matrices.
    pub matrices: MlpNames,
    /// Whether they have biases.
    pub mlp_biases: bool,
    /// Vectors that scale what attention and MLP add.
    pub scales: Option<[&'static str; 2]>,
}

impl VitStyle {
    /// SigLIP and CLIP.
    pub(super) const SIGLIP: Self = Self {
        norms: ["layer_norm1", "layer_norm2"],
        shifted: true,
        attention: "self_attn",
        qkv: QkvNames::Apart(["q_proj", "k_proj", "v_proj"]),
        out: "out_proj",
        biases: [true, true],
        mlp: "mlp",
        matrices: MlpNames::Plain(["fc1", "fc2"]),
        mlp_biases: true,
        scales: None,
    };

    /// The tower of Qwen2-VL, from which others descend.
    pub(super) const QWEN: Self = Self {
        norms: ["norm1", "norm2"],
        attention: "attn",
        qkv: QkvNames::Joined("qkv"),
        out: "proj",
        ..Self::SIGLIP
    };

    /// The style of the Llama generation.
    pub(super) const LLAMA: Self = Self {
        norms: ["input_layernorm", "post_attention_layernorm"],
        out: "o_proj",
        ..Self::SIGLIP
    };
}

/// Sizes of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct VitSizes {
    /// Features of a patch.
    pub width: u64,
    /// Features of all heads together.
    pub inner: u64,
    /// Features inside the MLP.
    pub hidden: u64,
}

impl VitSizes {
    /// Heads that share out the width.
    pub(super) const fn new(width: u64, hidden: u64) -> Self {
        Self { width, inner: width, hidden }
    }
}

impl VitStyle {
    /// Declares `count` blocks under `scope.N`.
    pub(super) fn declare(self, p: &mut ParamBuilder, scope: &str, count: u64, s: VitSizes) {
        for i in 0..count {
            p.scope(&format!("{scope}.{i}"), |p| self.block(p, s));
        }
    }

    /// Declares one block.
    pub(super) fn block(self, p: &mut ParamBuilder, s: VitSizes) {
        let VitSizes { width, inner, hidden } = s;
        norm(p, self.norms[0], width, self.shifted);
        let attention = |p: &mut ParamBuilder| {
            match self.qkv {
                QkvNames::Joined(name) => {
                    Linear::new(p, name, width, inner.saturating_mul(3), self.biases[0]);
                }
                QkvNames::Apart(names) => names.iter().for_each(|name| {
                    Linear::new(p, name, width, inner, self.biases[0]);
                }),
            }
            Linear::new(p, self.out, inner, width, self.biases[1]);
        };
        if self.attention.is_empty() {
            attention(p)
        } else {
            p.scope(self.attention, attention)
        }
        norm(p, self.norms[1], width, self.shifted);
        p.scope(self.mlp, |p| match self.matrices {
            MlpNames::Plain([up, down]) => {
                Linear::new(p, up, width, hidden, self.mlp_biases);
                Linear::new(p, down, hidden, width, self.mlp_biases);
            }
            MlpNames::Gated([gate, up, down]) => {
                Linear::new(p, gate, width, hidden, self.mlp_biases);
                Linear::new(p, up, width, hidden, self.mlp_biases);
                Linear::new(p, down, hidden, width, self.mlp_biases);
            }
        });
        for name in self.scales.iter().flatten() {
            p.raw(name, &[width]);
        }
    }
}
