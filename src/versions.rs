//! The versions that mlxplan follows, links and is tested against, in one place.
//!
//! Messages and provenance name them, and `cargo xtask` installs them: it includes this very file. The version of an
//! engine that a user runs is another matter and is not listed here.

/// The text of [`MLX_LM`], for sentences that are put together when they are compiled.
macro_rules! mlx_lm {
    () => {
        "0.32.2"
    };
}
pub(crate) use mlx_lm;

/// mlx-lm whose rules the graphs, the caches and all test vectors follow; it is also the engine of comparisons.
pub const MLX_LM: &str = mlx_lm!();

/// MLX whose rules of evaluation, allocation and encoding the simulation of memory follows.
pub const MLX_RULES: &str = "0.32.2";

/// MLX that the feature `mlx` links: the version that the crate `mlx-sys` wraps.
pub const MLX_LINKED: &str = "0.32.2";

/// MLX on which the oracle of the tests (`tests/oracle`) builds mlx-lm's models; the vectors were made with it.
pub const MLX_ORACLE: &str = "0.32.4";

/// mlx-vlm by which the oracle sizes vision and audio towers.
pub const MLX_VLM: &str = "0.7.10";
