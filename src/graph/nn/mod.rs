//! Building blocks of the families: the modules of `mlx.nn` and the shared layers of mlx-lm.

pub mod activations;
mod adapted;
pub mod fake_quant;
mod head;
mod linear;
mod norm;
mod rope;
mod sdpa;
mod switch;

pub use adapted::adapter_shapes;
pub use head::Head;
pub use linear::{Conv1d, Embedding, Linear, MultiLinear};
pub use norm::{GemmaNorm, LayerNorm, Norm, OffsetNorm, RmsNorm, UnitNorm};
pub use rope::{RopeModule, RopeScaling, yarn_attention_scale};
pub use sdpa::{attend, causal_scores};
pub use switch::{SwitchGlu, SwitchLinear, SwitchMlp};
