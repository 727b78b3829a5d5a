//! What changed in llama.cpp's memory over its releases.

/// What a release does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LlamaRelease {
    /// Whether masks of flash attention are made in 16 bits, rather than in 32 and converted on the GPU.
    pub half_masks: bool,
    /// Whether embeddings that a caller passes have a place in the graph.
    pub mixed_inputs: bool,
    /// Whether Metal converts a layer of a quantized cache to 16 bits for flash attention (pull request 27390).
    pub half_caches: bool,
    /// Whether llama-server makes logits only of the tokens that it samples (pull request 23861).
    pub few_logits: bool,
    /// Whether quantized keys and values are rotated first, by matrices that are inputs.
    pub rotations: bool,
    /// Whether llama-server makes room for four sequences that share one cache, unless told otherwise (pull request 16736).
    pub shared_slots: bool,
    /// Whether llama-server keeps earlier prompts in the memory of the CPU (pull request 16391).
    pub host_prompts: bool,
    /// Cells of a cache come in multiples of this.
    pub cells: u64,
    /// Whether flash attention is used unless it is switched off (pull request 15434).
    pub auto_flash: bool,
}

/// First builds with a change. Those of the masks and of the places of embeddings lie between logs of builds b9222 and
/// b9888, and of late 2025 and May 2026; the middle is taken.
const HALF_MASKS: u32 = 9_500;
const MIXED_INPUTS: u32 = 8_500;
const HALF_CACHES: u32 = 10_500;
const ROTATIONS: u32 = 9_000;
const CELLS_OF_256: u32 = 6_800;
const FEW_LOGITS: u32 = 9_450;
const SHARED_SLOTS: u32 = 7_000;
const AUTO_FLASH: u32 = 6_300;
/// Of early October 2025.
const HOST_PROMPTS: u32 = 6_700;

/// Build of the newest release that was read.
pub const NEWEST_BUILD: u32 = 11_549;

impl LlamaRelease {
    /// The newest release that was read.
    pub const NEWEST: Self = Self::of(NEWEST_BUILD);

    /// The release of a build number.
    #[must_use]
    pub const fn of(build: u32) -> Self {
        Self {
            half_masks: build >= HALF_MASKS,
            mixed_inputs: build >= MIXED_INPUTS,
            half_caches: build >= HALF_CACHES,
            few_logits: build >= FEW_LOGITS,
            rotations: build >= ROTATIONS,
            shared_slots: build >= SHARED_SLOTS,
            host_prompts: build >= HOST_PROMPTS,
            cells: if build >= CELLS_OF_256 { 256 } else { 32 },
            auto_flash: build >= AUTO_FLASH,
        }
    }
}
