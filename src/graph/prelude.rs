//! What every module of a model is written with: values and the tape, tensors, layers of `mlx.nn`, caches, and the
//! configuration.

pub use crate::graph::cache::{Cache, CacheKind, KvArray};
pub use crate::graph::nn::{
    Conv1d, Embedding, GemmaNorm, LayerNorm, Linear, MultiLinear, OffsetNorm, RmsNorm, RopeModule,
    RopeScaling, SwitchGlu, SwitchLinear, SwitchMlp, UnitNorm, activations, attend,
    yarn_attention_scale,
};
pub use crate::graph::op::{Binary, Kernel, Reduction, Unary};
pub use crate::graph::params::{ModuleId, ModuleKind, ParamBuilder, Part};
pub use crate::graph::pattern::LayerUse;
pub use crate::graph::shape::Shape;
pub use crate::graph::tape::{Derived, FrequencyTable, Mask, Stage, Tape, Var};
pub use crate::graph::{Built, Experts, Network, QuantOverride};
pub use crate::model::{Config, ConfigError, DType};
