//! The values that keys step through.

/// Which way a setting moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the next value, or a larger one.
    On,
    /// To the one before, or a smaller one.
    Back,
}

/// Least and most tokens of a prompt, as `--context` takes them.
pub(super) const CONTEXTS: [u32; 2] = [1, 16_777_216];
/// Least and most tokens generated, as `--generate` takes them.
pub(super) const GENERATED: [u32; 2] = [1, 1_048_576];
/// Least and most sequences at once, as `--batch` takes them.
pub(super) const USERS: [u32; 2] = [1, 512];
/// Bits of the cache; `None` for 16.
pub(super) const KV_BITS: [Option<u32>; 3] = [None, Some(8), Some(4)];

/// What may draft, as `--draft` takes it: nothing, the models that can, the model's own heads.
pub(super) const DRAFTS: [Option<&str>; 3] = [None, Some("auto"), Some("mtp")];

/// Formats of MLX, the largest first.
const MLX: [&str; 9] = ["bf16", "8bit", "mxfp8", "6bit", "5bit", "4bit", "nvfp4", "mxfp4", "3bit"];
/// Formats of GGUF files, the largest first.
const GGUF: [&str; 9] =
    ["BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_XS", "Q3_K_M", "Q2_K"];

/// The formats that a kind of program runs.
pub(super) const fn formats(gguf: bool) -> &'static [&'static str] {
    if gguf { &GGUF } else { &MLX }
}

/// The value beside one of a list, around its ends; the first where the list does not have it.
pub(super) fn stepped<T: Copy>(all: &[T], at: Option<usize>, way: Direction) -> T {
    let count = all.len();
    let to = match (at, way) {
        (None, _) => 0,
        (Some(at), Direction::On) => (at + 1) % count,
        (Some(at), Direction::Back) => (at + count - 1) % count,
    };
    all[to]
}

/// The next power of two above or below a number, within limits.
pub(super) fn beside(n: u32, way: Direction, [low, high]: [u32; 2]) -> u32 {
    let power = match way {
        Direction::On => n.saturating_add(1).checked_next_power_of_two().unwrap_or(high),
        Direction::Back => n.div_ceil(2).checked_next_power_of_two().unwrap_or(low),
    };
    power.clamp(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NamedFormat;

    #[test]
    fn numbers_step_through_powers_of_two() {
        for (n, on, back) in
            [(4096, 8192, 2048), (5000, 8192, 4096), (1, 2, 1), (3, 4, 2), (512, 512, 256)]
        {
            let limits = if n == 512 { USERS } else { CONTEXTS };
            assert_eq!(
                (beside(n, Direction::On, limits), beside(n, Direction::Back, limits)),
                (on, back),
                "{n}"
            );
        }
        assert_eq!(beside(16_777_216, Direction::On, CONTEXTS), 16_777_216);
    }

    #[test]
    fn every_format_of_the_lists_is_one() {
        for format in MLX.into_iter().chain(GGUF) {
            assert!(format.parse::<NamedFormat>().is_ok(), "{format}");
        }
        assert_eq!(stepped(&MLX, Some(8), Direction::On), "bf16");
        assert_eq!(stepped(&MLX, Some(0), Direction::Back), "3bit");
        assert_eq!(stepped(&MLX, None, Direction::Back), "bf16");
    }
}
