//! Conformers for sound: the blocks of Gemma 3n and Gemma 4, and those of Phi-4 multimodal.

use super::keys::{convolution, norm};
use crate::graph::prelude::*;

/// Sizes of a block of Gemma's.
#[derive(Clone, Copy)]
pub(super) struct ConformerSizes {
    /// Features.
    pub width: u64,
    /// Attention heads.
    pub heads: u64,
    /// Kernel of the depthwise convolution.
    pub kernel: u64,
}

/// Names and kinds of the parts of a block of Gemma's.
pub(super) struct ConformerNames {
    mlps: [&'static str; 2],
    attention: &'static str,
    positions: &'static str,
    /// Path of the output projection.
    output: &'static str,
    /// Norms around the attention, and of the output.
    norms: [&'static str; 3],
    /// Whether matrices have limits of input and output.
    clipped: bool,
}

impl ConformerNames {
    /// Gemma 3n.
    pub(super) const GEMMA3N: Self = Self {
        mlps: ["ffw_layer_start", "ffw_layer_end"],
        attention: "attention.attn",
        positions: "relative_position_embedding.pos_proj",
        output: "attention.post",
        norms: ["attention.pre_attn_norm", "attention.post_norm", "norm"],
        clipped: false,
    };
    /// Gemma 4.
    pub(super) const GEMMA4: Self = Self {
        mlps: ["feed_forward1", "feed_forward2"],
        attention: "self_attn",
        positions: "relative_k_proj",
        output: "self_attn.post",
        norms: ["norm_pre_attn", "norm_post_attn", "norm_out"],
        clipped: true,
    };
}

/// A matrix under `name.linear` with four limits if it is `clipped`, else under `name.linear` alone.
pub(super) fn clipped(p: &mut ParamBuilder, name: &str, inputs: u64, outputs: u64, clip: bool) {
    Linear::new(p, &format!("{name}.linear"), inputs, outputs, false);
    if clip {
        for limit in ["input_min", "input_max", "output_min", "output_max"] {
            p.raw(&format!("{name}.{limit}"), &[]);
        }
    }
}

/// Two convolutions over time and frequency, each with a norm.
pub(super) fn subsampling(
    p: &mut ParamBuilder,
    names: [&str; 2],
    channels: [u64; 2],
    kernels: [[u64; 2]; 2],
) {
    let mut inputs = 1;
    for ((name, out), kernel) in names.iter().zip(channels).zip(kernels) {
        convolution(p, &format!("{name}.conv"), [inputs, out], &kernel, false);
        norm(p, &format!("{name}.norm"), out, false);
        inputs = out;
    }
}

/// A block: half an MLP, attention, a convolution, half an MLP.
pub(super) fn gemma_block(p: &mut ParamBuilder, names: &ConformerNames, s: ConformerSizes) {
    let width = s.width;
    let matrix = |p: &mut ParamBuilder, name: &str, inputs: u64, outputs: u64| {
        if names.clipped {
            clipped(p, name, inputs, outputs, true);
        } else {
            Linear::new(p, name, inputs, outputs, false);
        }
    };
    for mlp in names.mlps {
        p.scope(mlp, |p| {
            norm(p, "pre_layer_norm", width, false);
            matrix(p, "ffw_layer_1", width, width.saturating_mul(4));
            matrix(p, "ffw_layer_2", width.saturating_mul(4), width);
            norm(p, "post_layer_norm", width, false);
        });
    }
    let dim = width / s.heads.max(1);
    let inner = dim.saturating_mul(s.heads);
    p.scope(names.attention, |p| {
        Linear::new(p, names.positions, width, inner, false);
        p.raw("per_dim_scale", &[dim]);
        for name in ["q_proj", "k_proj", "v_proj"] {
            matrix(p, name, width, inner);
        }
    });
    matrix(p, names.output, width, width);
    p.scope("lconv1d", |p| {
        norm(p, "pre_layer_norm", width, false);
        matrix(p, "linear_start", width, width.saturating_mul(2));
        convolution(p, "depthwise_conv1d", [1, width], &[s.kernel], false);
        norm(p, "conv_norm", width, false);
        matrix(p, "linear_end", width, width);
    });
    for name in names.norms {
        norm(p, name, width, false);
    }
}

/// Sizes of a block of Phi-4 multimodal.
#[derive(Clone, Copy)]
pub(super) struct PhiSizes {
    width: u64,
    hidden: u64,
    /// Outputs of the gated and of the depthwise convolution; 0 leaves them out.
    pointwise: u64,
    depthwise: u64,
    kernel: u64,
    multiplier: u64,
    bias_in_gate: bool,
}

impl PhiSizes {
    /// Reads the sizes that mlx-vlm takes where the configuration names none.
    ///
    /// # Errors
    /// When a value is out of range.
    pub(super) fn read(a: &Config, width: u64) -> Result<Self, ConfigError> {
        Ok(Self {
            width,
            hidden: a.dim_or("linear_units", 1536)?,
            pointwise: a.dim_or("ext_pw_out_channel", 1024)?,
            depthwise: a.dim_or("depthwise_seperable_out_channel", 1024)?,
            kernel: a.dim_or("kernel_size", 3)?,
            multiplier: a.dim_or("depthwise_multiplier", 1)?,
            bias_in_gate: a.bool_or("bias_in_glu", true)?,
        })
    }
}

/// A block of Phi-4 multimodal.
pub(super) fn phi_block(p: &mut ParamBuilder, s: PhiSizes) {
    let width = s.width;
    for name in ["feed_forward_in", "feed_forward_out"] {
        p.scope(name, |p| {
            norm(p, "layer_norm", width, true);
            Linear::new(p, "net_0.linear", width, s.hidden.saturating_mul(2), s.bias_in_gate);
            Linear::new(p, "net_2", s.hidden, width, true);
        });
    }
    for name in ["linear_q", "linear_k", "linear_v", "linear_out"] {
        Linear::new(p, &format!("self_attn.{name}"), width, width, true);
    }
    p.scope("conv", |p| {
        norm(p, "layer_norm", width, true);
        if s.pointwise > 0 {
            Linear::new(p, "glu.ext_pw_conv_1d", width, s.pointwise.saturating_mul(2), true);
            for name in ["glu.b1", "glu.b2"].iter().filter(|_| s.bias_in_gate) {
                p.raw(name, &[s.pointwise]);
            }
            Linear::new(p, "ext_pw_conv_1d", width, s.pointwise, true);
        }
        let inner = width.saturating_mul(s.multiplier);
        convolution(p, "dw_sep_conv_1d.dw_conv", [1, inner], &[s.kernel], true);
        if s.depthwise > 0 {
            convolution(p, "dw_sep_conv_1d.pw_conv", [inner, s.depthwise], &[1], true);
        }
    });
    norm(p, "layer_norm_att", width, true);
    norm(p, "layer_norm", width, true);
}

/// What Phi-4 multimodal keeps unpacked beside the names that mlx-vlm knows.
pub(super) fn phi4_rule(path: &str) -> QuantOverride {
    let kept = ["audio_encoder", "audio_projection", "mm_projector", "vision_tower"];
    if kept.iter().any(|name| path.contains(name)) {
        QuantOverride::Keep
    } else {
        QuantOverride::Default
    }
}
