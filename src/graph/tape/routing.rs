//! Which attention shapes MLX runs as one fused kernel.
//!
//! The kernels differ by version of MLX and by GPU; they are data that whoever asks for a trace brings along.

use crate::graph::shape::Shape;
use crate::model::DType;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

/// The masks that a kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Masks {
    /// No mask at all.
    None,
    /// The causal mask alone, which the kernel builds itself.
    Causal,
    /// Any mask, or none.
    Any,
}

/// A fused kernel for prompts: more than 8 rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PromptKernel {
    /// Size of the heads of queries and keys, and of values.
    pub heads: [u32; 2],
    /// The masks that it takes.
    pub masks: Masks,
    /// Fewest rows.
    pub min_rows: u32,
    /// Least product of batch, heads and blocks of 32 rows.
    pub min_work: u64,
    /// Only where the rows are all there is to see.
    pub first_chunk_only: bool,
    /// Whether it takes attention sinks.
    pub sinks: bool,
    /// Rows of a block, where scores are built block by block after all.
    pub block_rows: Option<u32>,
    /// Whether it takes 16-bit activations alone.
    pub half_only: bool,
}

/// A fused kernel for up to 8 rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VectorKernel {
    /// Size of the heads of queries and keys, and of values.
    pub heads: [u32; 2],
    /// Most rows.
    pub max_rows: u32,
    /// Query heads of a key head; empty for any.
    pub repeats: Vec<u32>,
    /// Fewest keys.
    pub min_keys: u32,
    /// Whether it takes an array as mask.
    pub array_mask: bool,
}

/// The fused kernels of a version of MLX on a kind of GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KernelChoice {
    /// For prompts.
    pub prompt: Vec<PromptKernel>,
    /// For steps of few rows.
    pub vector: Vec<VectorKernel>,
}

/// What decides how MLX runs attention on a Mac.
#[derive(Clone, Copy, Debug)]
pub struct Routing(&'static KernelChoice);

/// How attention of some shapes is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// One kernel.
    Fused,
    /// Scores, for blocks of so many rows one after the other.
    Blocked(u32),
    /// Scores, for all rows at once.
    Scores,
}

/// An attention call, as far as the choice of the kernel depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedKernels<'a> {
    pub queries: &'a Shape,
    pub keys: &'a Shape,
    pub values: &'a Shape,
    pub dtype: DType,
    pub causal: bool,
    pub array_mask: bool,
    pub sinks: bool,
}

impl Default for Routing {
    /// The kernels of MLX 0.32.2, which is linked in process, without matrix units.
    fn default() -> Self {
        static LINKED: LazyLock<KernelChoice> = LazyLock::new(|| KernelChoice {
            prompt: [64, 80, 128, 72, 96].map(PromptKernel::any).to_vec(),
            vector: [[64, 64], [96, 96], [128, 128], [256, 256], [192, 128]]
                .map(VectorKernel::any)
                .to_vec(),
        });
        Self(&LINKED)
    }
}

impl PartialEq for Routing {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Routing {}

impl Hash for Routing {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Routing {
    /// By the kernels of a version of MLX on a kind of GPU.
    #[must_use]
    pub const fn new(kernels: &'static KernelChoice) -> Self {
        Self(kernels)
    }

    /// The kernels.
    #[must_use]
    pub const fn kernels(self) -> &'static KernelChoice {
        self.0
    }

    /// `has_fused_kernel` and `use_fallback` of `mlx/backend/metal/scaled_dot_product_attention.cpp`.
    pub(super) fn way(self, a: AskedKernels<'_>) -> Way {
        if a.queries.dim(2) <= 8 {
            let fused = self.0.vector.iter().any(|k| k.takes(a));
            return if fused { Way::Fused } else { Way::Scores };
        }
        // A later kernel is the better one.
        match self.0.prompt.iter().rev().find(|k| k.takes(a)) {
            None => Way::Scores,
            Some(PromptKernel { block_rows: Some(rows), .. }) => Way::Blocked(*rows),
            Some(_) => Way::Fused,
        }
    }
}

impl AskedKernels<'_> {
    fn heads(&self) -> [u32; 2] {
        [self.queries.dim(3), self.values.dim(3)]
    }

    fn repeats(&self) -> u32 {
        self.queries.dim(1) / self.keys.dim(1).max(1)
    }
}

impl PromptKernel {
    /// One for heads of a size that takes everything.
    #[must_use]
    pub const fn any(head: u32) -> Self {
        Self {
            heads: [head, head],
            masks: Masks::Any,
            min_rows: 0,
            min_work: 0,
            first_chunk_only: false,
            sinks: true,
            block_rows: None,
            half_only: false,
        }
    }

    fn takes(&self, a: AskedKernels<'_>) -> bool {
        let (rows, keys) = (a.queries.dim(2), a.keys.dim(2));
        let masks = match self.masks {
            Masks::None => !a.causal && !a.array_mask,
            Masks::Causal => a.causal && !a.array_mask,
            Masks::Any => true,
        };
        let work = u64::from(a.queries.dim(0)) * u64::from(a.queries.dim(1));
        self.heads == a.heads()
            && masks
            && (!a.causal || a.array_mask || rows <= keys)
            && rows >= self.min_rows
            && work * u64::from(rows.div_ceil(32)) >= self.min_work
            && (!self.first_chunk_only || rows == keys)
            && (self.sinks || !a.sinks)
            && (!self.half_only || a.dtype.bytes() == 2)
    }
}

impl VectorKernel {
    /// One for heads of these sizes that takes everything.
    #[must_use]
    pub const fn any(heads: [u32; 2]) -> Self {
        Self { heads, max_rows: 8, repeats: Vec::new(), min_keys: 0, array_mask: true }
    }

    fn takes(&self, a: AskedKernels<'_>) -> bool {
        let (rows, keys, repeats) = (a.queries.dim(2), a.keys.dim(2), a.repeats());
        self.heads == a.heads()
            && rows <= self.max_rows
            && rows <= keys
            && u64::from(rows) * u64::from(repeats) <= 32
            && (self.repeats.is_empty() || self.repeats.contains(&repeats))
            && keys >= self.min_keys
            && (self.array_mask || !a.array_mask)
    }
}
