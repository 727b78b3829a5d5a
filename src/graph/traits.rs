//! What a family says of itself beside its graph: what others' tools make of it, and which originals it reads.

/// What llama.cpp's converter, its quantizer and those who publish GGUF files make of a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GgufTraits {
    /// Nobody has made mixes of his own for it: published files follow the rules of `llama-quantize`.
    pub plain_mixes: bool,
    /// The converter states heads by layer, and says 0 for layers without attention.
    pub heads_by_layer: bool,
    /// llama.cpp keeps a window of so many tokens in every second layer, the first included, where mlx-lm keeps all tokens.
    pub every_second_window: Option<u32>,
    /// The quantizer knows its models of 80 layers as those of 70 billion parameters.
    pub seventy_billion: bool,
}

impl GgufTraits {
    /// Nothing out of the ordinary.
    pub const NONE: Self = Self {
        plain_mixes: false,
        heads_by_layer: false,
        seventy_billion: false,
        every_second_window: None,
    };

    /// No mixes of anybody's own, and windows of so many tokens in every second layer.
    #[must_use]
    pub const fn plain_with_windows(tokens: u32) -> Self {
        Self { plain_mixes: true, every_second_window: Some(tokens), ..Self::NONE }
    }
}

/// A format of originals that mlx-lm's `sanitize` of some families reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// 8-bit floats with scales per block or matrix, which become bfloat16.
    Fp8,
    /// Integers of compressed-tensors, which stay packed.
    Int4,
    /// Microscaling 4-bit floats, which stay packed.
    Mxfp4,
    /// Microscaling 8-bit floats, which stay packed.
    Mxfp8,
    /// NVIDIA's 4-bit floats, which stay packed.
    Nvfp4,
}
