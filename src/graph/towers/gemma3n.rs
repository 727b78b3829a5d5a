//! Gemma 3n: MobileNet V5 for images, a conformer for sound, and embedders that also hold a vocabulary of their own.

use super::conformer::{ConformerNames, ConformerSizes, subsampling};
use super::keys::{check_kind, convolution, depth, nested, norm, text_width};
use super::{VisionModel, conformer, images};
use crate::graph::prelude::*;

pub(in crate::graph) static GEMMA3N: VisionModel =
    VisionModel::new(gemma3n).with_images(images::gemma3n);

/// Blocks of MobileNet V5, which no configuration changes.
enum MobileBlock {
    /// A convolution of 3 × 3 that widens four times, and one of 1 × 1.
    Edge { out: u64 },
    /// Convolutions of 1 × 1 that widen `expand` times and narrow again, with depthwise ones before and between where
    /// their kernel is not 0.
    Inverted { start: u64, middle: u64, out: u64, expand: u64 },
    /// Attention whose heads share keys and values of `dim` features.
    Attention { heads: u64, dim: u64, strided: bool },
}

/// Width of the stem, and of the joined features and the output behind the last stage.
const STEM: u64 = 64;
const JOINED: u64 = 1920;
const OUT: u64 = 2048;

fn stages() -> [Vec<MobileBlock>; 4] {
    use MobileBlock::{Attention, Edge, Inverted};
    let inverted = |start, middle, out, expand| Inverted { start, middle, out, expand };
    let edges = (0..3).map(|_| Edge { out: 128 }).collect();
    let mut second = vec![inverted(3, 5, 256, 6)];
    second.extend([5, 3, 5, 3].map(|kernel| inverted(kernel, 0, 256, 4)));
    let mut third = vec![inverted(5, 5, 640, 6)];
    third.extend((0..7).map(|_| inverted(5, 0, 640, 4)));
    third.push(inverted(0, 0, 640, 1));
    let pairs = |count, attention: fn() -> MobileBlock, out| {
        (0..count).flat_map(move |_| [attention(), inverted(0, 0, out, 2)])
    };
    third.extend(pairs(14, || Attention { heads: 12, dim: 64, strided: true }, 640));
    let mut fourth = vec![inverted(5, 5, 1280, 6)];
    fourth.extend(pairs(19, || Attention { heads: 16, dim: 96, strided: false }, 1280));
    [edges, second, third, fourth]
}

fn gemma3n(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?;
    check_kind(&v, &["gemma3", "gemma3_vision", "gemma3n_vision"])?;
    p.scope("vision_tower.timm_model", mobilenet);
    let text = text_width(c, 0)?;
    embedder(p, "embed_vision", v.dim_or("vocab_size", 128)?, v.dim_or("hidden_size", 2048)?, text);
    let a = nested(c, "audio_config")?;
    let sizes = ConformerSizes {
        width: a.dim_or("hidden_size", 1536)?,
        heads: a.dim_or("conf_num_attention_heads", 8)?,
        kernel: a.dim_or("conf_conv_kernel_size", 5)?,
    };
    let layers =
        depth(&a.clone().with_sizes(&[("conf_num_hidden_layers", 12)]), "conf_num_hidden_layers")?;
    let front = Front::read(&a)?;
    p.scope("audio_tower", |p| {
        p.scope("subsample_conv_projection", |p| {
            subsampling(p, ["conv_0", "conv_1"], front.channels, front.kernels);
            Linear::new(p, "input_proj_linear", front.features(), sizes.width, false);
        });
        for i in 0..layers {
            p.scope(&format!("conformer.{i}"), |p| {
                conformer::gemma_block(p, &ConformerNames::GEMMA3N, sizes);
            });
        }
    });
    embedder(p, "embed_audio", a.dim_or("vocab_size", 128)?, sizes.width, text);
    Ok(())
}

fn embedder(p: &mut ParamBuilder, name: &str, vocabulary: u64, width: u64, text: u64) {
    p.scope(name, |p| {
        Embedding::new(p, "embedding", vocabulary, width);
        norm(p, "hard_embedding_norm", width, false);
        norm(p, "soft_embedding_norm", width, false);
        Linear::new(p, "embedding_projection", width, text, false);
    });
}

fn mobilenet(p: &mut ParamBuilder) {
    convolution(p, "conv_stem.conv", [3, STEM], &[3, 3], true);
    norm(p, "conv_stem.bn", STEM, false);
    let mut width = STEM;
    for (i, stage) in stages().iter().enumerate() {
        for (j, block) in stage.iter().enumerate() {
            p.scope(&format!("blocks.{i}.{j}"), |p| width = mobile_block(p, block, width));
        }
    }
    p.scope("msfa", |p| {
        p.scope("ffn", |p| narrowed(p, [JOINED, JOINED * 2, OUT]));
        norm(p, "norm", OUT, false);
    });
}

/// Declares a block over `width` features; returns those that it makes.
fn mobile_block(p: &mut ParamBuilder, block: &MobileBlock, width: u64) -> u64 {
    match *block {
        MobileBlock::Edge { out } => {
            convolution(p, "conv_exp", [width, width * 4], &[3, 3], false);
            norm(p, "bn1", width * 4, false);
            convolution(p, "conv_pwl", [width * 4, out], &[1, 1], false);
            norm(p, "bn2", out, false);
            out
        }
        MobileBlock::Inverted { start, middle, out, expand } => {
            let inner = width * expand;
            for (name, kernel, features) in [("dw_start", start, width), ("dw_mid", middle, inner)]
            {
                if kernel > 0 {
                    normed(p, name, [1, features], kernel);
                }
            }
            narrowed(p, [width, inner, out]);
            p.raw("layer_scale.gamma", &[out]);
            out
        }
        MobileBlock::Attention { heads, dim, strided } => {
            norm(p, "norm", width, false);
            p.scope("attn", |p| {
                convolution(p, "query.proj", [width, heads * dim], &[1, 1], false);
                for name in ["key", "value"] {
                    if strided {
                        convolution(p, &format!("{name}.down_conv"), [1, width], &[3, 3], false);
                        norm(p, &format!("{name}.norm"), width, false);
                    }
                    convolution(p, &format!("{name}.proj"), [width, dim], &[1, 1], false);
                }
                convolution(p, "output.proj", [heads * dim, width], &[1, 1], false);
            });
            p.raw("layer_scale.gamma", &[width]);
            width
        }
    }
}

/// Convolutions of 1 × 1 that widen and narrow.
fn narrowed(p: &mut ParamBuilder, [inputs, inner, out]: [u64; 3]) {
    normed(p, "pw_exp", [inputs, inner], 1);
    normed(p, "pw_proj", [inner, out], 1);
}

fn normed(p: &mut ParamBuilder, name: &str, features: [u64; 2], kernel: u64) {
    convolution(p, &format!("{name}.conv"), features, &[kernel, kernel], false);
    norm(p, &format!("{name}.bn"), features[1], false);
}

/// The convolutions before the conformer.
struct Front {
    mel: u64,
    channels: [u64; 2],
    kernels: [[u64; 2]; 2],
    strides: [u64; 2],
}

impl Front {
    fn read(a: &Config) -> Result<Self, ConfigError> {
        let channels = match a.opt_dims("sscp_conv_channel_size")?.as_deref() {
            None => [128, 32],
            Some(&[first, second]) => [first, second],
            Some(_) => return Err(a.invalid("sscp_conv_channel_size", "two sizes")),
        };
        let kernels = pairs(a, "sscp_conv_kernel_size", 3)?;
        let strides = pairs(a, "sscp_conv_stride_size", 2)?.map(|[_, across]| across.max(1));
        Ok(Self { mel: a.dim_or("input_feat_size", 80)?, channels, kernels, strides })
    }

    /// Features behind both convolutions: rows of the spectrum that are left, times channels.
    fn features(&self) -> u64 {
        let rows =
            self.kernels.iter().zip(self.strides).fold(self.mel, |rows, (kernel, stride)| {
                (rows + 2).saturating_sub(kernel[1]) / stride + 1
            });
        rows.saturating_mul(self.channels[1])
    }
}

/// Two pairs of sizes.
fn pairs(a: &Config, key: &str, default: u64) -> Result<[[u64; 2]; 2], ConfigError> {
    let wrong = || a.invalid(key, "two pairs of sizes");
    let Some(value) = a.get(key) else { return Ok([[default; 2]; 2]) };
    let rows = value.as_array().filter(|rows| rows.len() == 2).ok_or_else(wrong)?;
    let mut out = [[default; 2]; 2];
    for (row, pair) in out.iter_mut().zip(rows) {
        let pair = pair.as_array().filter(|pair| pair.len() == 2).ok_or_else(wrong)?;
        for (size, value) in row.iter_mut().zip(pair) {
            *size = value.as_u64().filter(|n| *n < 1 << 20).ok_or_else(wrong)?;
        }
    }
    Ok(out)
}
