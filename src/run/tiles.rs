//! Attention that a program computes in tiles of its own.

/// Whether a program cuts attention with heads of 256, for which MLX has no kernel without matrix units, into tiles of its
/// own: no scores are built then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tiles {
    /// It does not.
    #[default]
    Never,
    /// It does where memory is short, as far as that is known.
    Perhaps,
    /// It does.
    Always,
}
