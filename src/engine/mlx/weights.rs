//! The tensors of a model in memory: from safetensors files, or random.

mod files;
mod random;

use super::error::EngineError;
use super::ops::{Array, Ops};
use super::rs::Dtype;
use crate::graph::params::{ModuleId, Parameters, Part};
use crate::model::DType;

type Result<T> = std::result::Result<T, EngineError>;

/// All tensors of a model, by module and part.
pub struct LoadedWeights {
    tensors: Vec<[Option<Array>; 4]>,
}

impl LoadedWeights {
    fn build(
        params: &Parameters,
        mut tensor: impl FnMut(&TensorSpec<'_>) -> Result<Array>,
    ) -> Result<Self> {
        let mut tensors = Vec::with_capacity(params.modules().len());
        for module in params.modules() {
            let mut parts = [const { None }; 4];
            for (part, shape, dtype) in module.tensors() {
                let spec = TensorSpec { module, part, shape, dtype };
                parts[part as usize] = Some(tensor(&spec)?);
            }
            tensors.push(parts);
        }
        Ok(Self { tensors })
    }

    pub(super) fn get(&self, module: ModuleId, part: Part) -> Result<&Array> {
        self.tensors
            .get(module.index())
            .and_then(|parts| parts[part as usize].as_ref())
            .ok_or_else(|| EngineError::Tensor(format!("module {module:?} has no {part:?}")))
    }

    pub(super) fn dtype_of(&self, array: &Array) -> Result<DType> {
        dtype_of(array)
    }

    /// Bytes of all tensors.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.all().map(|a| a.nbytes() as u64).sum()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Array> {
        self.tensors.iter().flatten().flatten()
    }
}

/// A tensor that a model needs.
struct TensorSpec<'p> {
    module: &'p crate::graph::params::Module,
    part: Part,
    shape: crate::graph::shape::Shape,
    dtype: DType,
}

/// The element type of an array.
pub(super) fn dtype_of(array: &Array) -> Result<DType> {
    Ok(match array.dtype() {
        Dtype::Bool => DType::Bool,
        Dtype::Uint8 => DType::U8,
        Dtype::Uint32 => DType::U32,
        Dtype::Int32 => DType::I32,
        Dtype::Int64 => DType::I64,
        Dtype::Float16 => DType::F16,
        Dtype::Bfloat16 => DType::BF16,
        Dtype::Float32 => DType::F32,
        other => return Err(EngineError::Unsupported(format!("arrays of type {other:?}"))),
    })
}

impl LoadedWeights {
    /// Random tensors of the shapes and types of a model; the same seed gives the same tensors.
    ///
    /// # Errors
    /// When MLX cannot hold them.
    pub fn random(params: &Parameters, seed: u64) -> Result<Self> {
        let ops = Ops::new();
        let mut random = random::Random::new(seed);
        Self::build(params, |spec| random.tensor(&ops, spec))
    }

    /// Random tensors of the given modules only.
    pub(super) fn random_of(params: &Parameters, modules: &[ModuleId], seed: u64) -> Result<Self> {
        let ops = Ops::new();
        let mut random = random::Random::new(seed);
        let mut out = Self::empty(params);
        for &id in modules {
            let module = params.module(id);
            for (part, shape, dtype) in module.tensors() {
                let place = &mut out.tensors[id.index()][part as usize];
                if place.is_none() {
                    let spec = TensorSpec { module, part, shape, dtype };
                    *place = Some(random.tensor(&ops, &spec)?);
                }
            }
        }
        Ok(out)
    }

    /// No tensor at all.
    pub(super) fn empty(params: &Parameters) -> Self {
        let none = || [const { None }; 4];
        Self { tensors: params.modules().iter().map(|_| none()).collect() }
    }
}

/// An array of small random numbers.
pub(super) fn random_array(
    ops: &Ops,
    shape: &crate::graph::shape::Shape,
    dtype: DType,
    seed: u64,
) -> Result<Array> {
    random::Random::new(seed).array(ops, shape, dtype)
}
