//! What every module of a model is written with: values and the tape, tensors, layers of `mlx.nn`, caches, and the
//! configuration.

pub use crate::graph::cache::{Cache, CacheKind, KvArray};
pub use crate::graph::decoder::{At, Block, Carry, Decoder, Embed, Layer, Opening, Place};
pub use crate::graph::masks::MaskRule;
pub use crate::graph::nn::{
    Conv1d, Embedding, GemmaNorm, Head, LayerNorm, Linear, MultiLinear, Norm, OffsetNorm, RmsNorm,
    RopeModule, RopeScaling, SwitchGlu, SwitchLinear, SwitchMlp, UnitNorm, activations, attend,
    causal_scores, yarn_attention_scale,
};
pub use crate::graph::op::{Kernel, Reduction, Unary};
pub use crate::graph::params::{ModuleId, ModuleKind, ParamBuilder, Part};
pub use crate::graph::shape::Shape;
pub use crate::graph::tape::{Derived, FrequencyTable, Mask, Tape, Var, concat};
pub use crate::graph::{Built, Experts, QuantOverride};
pub use crate::model::{Config, ConfigError, DType};
