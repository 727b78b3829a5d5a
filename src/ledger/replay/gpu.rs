//! What about a GPU decides how MLX encodes work for it.

use crate::engine::programs;
use crate::graph::tape::Routing;
pub use crate::hardware::ArchClass;
use crate::run::{MLX_REPLAYED, Version};

/// A GPU as a version of MLX sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gpu {
    /// Class of the architecture.
    pub class: ArchClass,
    /// Metal architecture generation: 13 for M1 … 17 for M5, 18 for M6.
    pub generation: u32,
    /// Whether MLX uses matrix units (M5 and later on macOS 26.2 and later).
    pub nax: bool,
    /// The version of MLX.
    pub mlx: Version,
    /// Whether the program cuts attention with heads of 256 into tiles of its own.
    pub tiled: bool,
}

impl Gpu {
    /// A GPU of an M4 Max, and the version of MLX on which speeds were fitted: what the features of a step are read on.
    pub const REFERENCE: Self = Self::new(ArchClass::Max, 16, false);

    /// A GPU with the version of MLX that replays were checked against.
    #[must_use]
    pub const fn new(class: ArchClass, generation: u32, nax: bool) -> Self {
        Self { class, generation, nax, mlx: MLX_REPLAYED, tiled: false }
    }

    /// The same GPU with another version of MLX.
    #[must_use]
    pub const fn with_mlx(self, mlx: Version) -> Self {
        Self { mlx, ..self }
    }

    /// Most kernels, and most 2^20 elements bound, in a command buffer (`mlx/backend/metal/device.cpp`).
    pub(crate) const fn limits(self) -> (u32, u64) {
        match self.class {
            ArchClass::Phone => (20, 40),
            ArchClass::Base => (40, 40),
            ArchClass::Max | ArchClass::Ultra => (50, 50),
        }
    }

    /// Rows from which a product with a `[n, k]` matrix is no longer run as vector products:
    /// `get_qmv_batch_limit` (`mlx/backend/metal/quantized.cpp`).
    pub(crate) fn vector_limit(self, k: u64, n: u64) -> u64 {
        let small = k <= 2048 && n <= 2048;
        let middle = k <= 4096 && n <= 4096;
        let (a, b, c) = match self.class {
            ArchClass::Ultra => (32, 18, 12),
            _ if self.raised_limits() => (33, 25, 13),
            _ if self.generation >= 15 => (13, 15, 13),
            _ => (14, 10, 6),
        };
        if small {
            a
        } else if middle {
            b
        } else {
            c
        }
    }

    /// Whether vector products are taken for more rows, as on matrix units since some version.
    fn raised_limits(self) -> bool {
        self.generation >= 17 && self.nax && programs::has(programs::VECTOR_LIMITS_RAISED, self.mlx)
    }

    /// The oldest GPU and the oldest MLX for which work is encoded as for this one.
    #[must_use]
    pub fn alike(self) -> Self {
        let generation = match self.class {
            ArchClass::Ultra => 13,
            _ if self.generation >= 17 && self.nax => 17,
            _ if self.generation >= 15 => 15,
            _ => 13,
        };
        Self { generation, mlx: programs::since(self.mlx), ..self }
    }

    /// How attention is routed on this GPU.
    #[must_use]
    pub fn routing(self) -> Routing {
        if self.tiled {
            return programs::tiled_routing(self.mlx, self.nax);
        }
        programs::routing(self.mlx, self.nax)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_gpus_have_the_same_limits() {
        let classes = [ArchClass::Phone, ArchClass::Base, ArchClass::Max, ArchClass::Ultra];
        for class in classes {
            for generation in 13..=18 {
                for nax in [false, true] {
                    for mlx in ["0.22.0", "0.25.1", "0.31.2", "0.32.1", "0.32.2", "0.32.4", "1.0"] {
                        let mlx = mlx.parse().expect("a version");
                        let gpu = Gpu::new(class, generation, nax).with_mlx(mlx);
                        let alike = gpu.alike();
                        assert_eq!(alike.limits(), gpu.limits());
                        assert_eq!(alike.routing(), gpu.routing());
                        for n in [1024, 3000, 8192] {
                            let limit = |gpu: Gpu| gpu.vector_limit(n, n);
                            assert_eq!(limit(alike), limit(gpu), "{gpu:?}");
                        }
                    }
                }
            }
        }
    }
}
