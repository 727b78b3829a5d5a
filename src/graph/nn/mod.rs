//! Building blocks of the families: the modules of `mlx.nn` and the shared layers of mlx-lm.

pub mod activations;
pub mod fake_quant;
mod linear;
mod norm;
mod rope;
mod sdpa;
mod switch;

pub use linear::{Conv1d, Embedding, Linear, MultiLinear};
pub use norm::{GemmaNorm, LayerNorm, OffsetNorm, RmsNorm, UnitNorm};
pub use rope::{RopeModule, RopeScaling, yarn_attention_scale};
pub use sdpa::attend;
pub use switch::{SwitchGlu, SwitchLinear, SwitchMlp};
