//! Which arrays a run trains, and what the optimizer keeps for each: `linear_to_lora_layers` of `mlx_lm/tuner/utils.py`
//! and `train_model` of `mlx_lm/lora.py`.

use super::options::{FineTuneType, FineTuning, Optimizer};
use crate::graph::nn::adapter_shapes;
use crate::graph::params::{Module, ModuleId, ModuleKind, Parameters, Part};
use crate::graph::shape::Shape;
use crate::model::DType;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Why mlx-lm does not train this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// More blocks than there are.
    #[error(
        "mlx_lm.lora would train {wanted} layers and this model has {layers}: set --num-layers to at most {layers}, or \
         to -1 for all"
    )]
    Layers {
        /// Blocks asked for.
        wanted: u32,
        /// Blocks of the model.
        layers: u32,
    },
    /// Nothing is left to train.
    #[error(
        "nothing is left to train, and mlx_lm.lora stops with \"[grad] Must specify at least one argument\": {0}"
    )]
    Nothing(String),
    /// A key that names something else than a matrix.
    #[error(
        "mlx_lm.lora stops with \"Can't convert layer of type … to LoRA\": the key {0} names no matrix; keys can name {1}"
    )]
    NoMatrix(String, String),
    /// DoRA of routed experts.
    #[error(
        "mlx_lm.lora refuses DoRA for routed experts ({0}): use --fine-tune-type lora, or keys without the experts"
    )]
    DoraOfExperts(String),
    /// DoRA of a packed table.
    #[error(
        "mlx_lm.lora gives a DoRA adapter of a quantized embedding ({0}) wrong shapes: leave it out of the keys"
    )]
    DoraOfPackedTable(String),
    /// DoRA of a base in bits that do not divide a word.
    #[error(
        "mlx_lm.lora gives a DoRA adapter of {0} in {1} bits a wrong width (it takes 32 // bits weights a word): use a base \
         in 2, 4 or 8 bits, or --fine-tune-type lora"
    )]
    DoraOfOddBits(String, u32),
    /// Packed matrices unfrozen.
    #[error(
        "mlx_lm.lora stops with \"no gradient wrt the quantized weights\": full fine-tuning unfreezes the packed {0}; use \
         --fine-tune-type lora, or a base in 16 bit"
    )]
    FullOfPacked(String),
}

/// What a trained array is to its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// One of its tensors.
    Tensor(Part),
    /// The first matrix of its adapter.
    A,
    /// The second.
    B,
    /// The magnitudes of DoRA.
    Magnitude,
}

/// An array that is trained.
#[derive(Clone, Copy, Debug)]
pub struct TrainedArray {
    /// The module it belongs to.
    pub module: ModuleId,
    /// What it is to it.
    pub role: Role,
    /// Dimensions.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

impl TrainedArray {
    /// Whether it belongs to an adapter.
    #[must_use]
    pub const fn is_adapter(&self) -> bool {
        !matches!(self.role, Role::Tensor(_))
    }
}

/// The arrays of a training run.
#[derive(Clone, Debug)]
pub struct TrainingPlan {
    /// What is trained, in the order of the model's parameters.
    pub arrays: Vec<TrainedArray>,
    /// Factor on the adapters.
    pub scale: f64,
}

/// `lora_parameters.scale` of `mlx_lm.lora`.
const SCALE: f64 = 20.0;

/// The paths of the modules in blocks: (block, path within it), by module.
fn in_blocks(params: &Parameters) -> Vec<Option<(u32, String)>> {
    let split = |path: &str| -> Option<(String, u32, String)> {
        let parts: Vec<&str> = path.split('.').collect();
        let at = parts.iter().position(|p| p.parse::<u32>().is_ok())?;
        let number = parts[at].parse().ok()?;
        Some((parts[..at].join("."), number, parts[at + 1..].join(".")))
    };
    let paths: Vec<_> = params.modules().iter().map(|m| split(&m.path)).collect();
    let mut blocks: BTreeMap<&str, HashSet<u32>> = BTreeMap::new();
    for (prefix, number, _) in paths.iter().flatten() {
        blocks.entry(prefix).or_default().insert(*number);
    }
    // The layers are the longest list; lists inside a block come after its number.
    let longest = blocks.iter().max_by_key(|(_, numbers)| numbers.len());
    let Some(prefix) = longest.map(|(p, _)| (*p).to_owned()) else {
        return vec![None; params.modules().len()];
    };
    paths
        .into_iter()
        .map(|p| p.filter(|(start, ..)| *start == prefix).map(|(_, n, rest)| (n, rest)))
        .collect()
}

/// Whether `linear_to_lora_layers` wraps this kind of module.
const fn adaptable(module: &Module) -> bool {
    match module.kind {
        ModuleKind::Linear
        | ModuleKind::SwitchLinear
        | ModuleKind::GroupedLinear
        | ModuleKind::Embedding => true,
        ModuleKind::MultiLinear | ModuleKind::Raw => false,
    }
}

/// The paths that `lora_parameters.keys` can name: of matrices in blocks relative to them, of others whole.
#[must_use]
pub fn adaptable_paths(params: &Parameters) -> BTreeSet<String> {
    let matrices = params.modules().iter().zip(in_blocks(params)).filter(|(m, _)| adaptable(m));
    matrices.map(|(m, block)| block.map_or_else(|| m.path.clone(), |(_, path)| path)).collect()
}

impl TrainingPlan {
    /// What `mlx_lm.lora` trains of a model.
    ///
    /// # Errors
    /// When mlx-lm refuses, with what to change.
    pub fn new(params: &Parameters, options: &FineTuning) -> Result<Self, PlanError> {
        let blocks = in_blocks(params);
        let layers = blocks.iter().flatten().map(|(n, _)| n + 1).max().unwrap_or(0);
        let wanted = options.layers.unwrap_or(layers);
        if wanted > layers {
            return Err(PlanError::Layers { wanted, layers });
        }
        let first = layers - wanted;
        if options.kind != FineTuneType::Full {
            refuse_others(params, &blocks, options)?;
        }
        let mut arrays = Vec::new();
        for (i, (module, block)) in params.modules().iter().zip(&blocks).enumerate() {
            let id = ModuleId::at(i);
            let last = block.as_ref().filter(|(n, _)| *n >= first);
            match options.kind {
                FineTuneType::Full if last.is_some() => unfreeze(id, module, &mut arrays)?,
                FineTuneType::Full => {}
                FineTuneType::Lora | FineTuneType::Dora => {
                    let named = match &options.keys {
                        None => last.is_some(),
                        Some(keys) => {
                            keys.contains(&module.path)
                                || last.is_some_and(|(_, path)| keys.contains(path))
                        }
                    };
                    if named && adaptable(module) {
                        adapt(id, module, options, &mut arrays)?;
                    }
                }
            }
        }
        if arrays.is_empty() {
            return Err(PlanError::Nothing(nothing(options)));
        }
        Ok(Self { arrays, scale: SCALE })
    }

    /// Parameters that are trained.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.arrays.iter().map(|a| a.shape.elements()).sum()
    }

    /// Bytes of what is trained.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.arrays.iter().map(|a| a.shape.elements() * a.dtype.bytes()).sum()
    }

    /// Bytes that the optimizer keeps: its arrays, the number of the step and the learning rate.
    #[must_use]
    pub fn optimizer_bytes(&self, optimizer: Optimizer) -> u64 {
        let states = self.arrays.iter().flat_map(|a| state_shapes(optimizer, a));
        let arrays: u64 = states.map(|(shape, dtype)| shape.elements() * dtype.bytes()).sum();
        arrays + DType::I64.bytes() + DType::F32.bytes()
    }
}

/// Keys of which the model has no module: mlx-lm skips them in silence.
#[must_use]
pub fn skipped_keys(params: &Parameters, options: &FineTuning) -> Vec<String> {
    let known = adaptable_paths(params);
    let keys = options.keys.iter().flatten();
    keys.filter(|key| options.kind != FineTuneType::Full && !known.contains(*key))
        .cloned()
        .collect()
}

/// Refuses keys that name a module which is no matrix: a norm, or one that holds others.
fn refuse_others(
    params: &Parameters,
    blocks: &[Option<(u32, String)>],
    options: &FineTuning,
) -> Result<(), PlanError> {
    let known = adaptable_paths(params);
    // What a module holds has its path before a dot; a matrix of heads, which has no adapter, has it alone.
    let is_in = |path: &str, module: &Module, key: &str| match path.strip_prefix(key) {
        Some("") => module.kind != ModuleKind::Raw,
        Some(rest) => rest.starts_with('.'),
        None => false,
    };
    for key in options.keys.iter().flatten().filter(|key| !known.contains(*key)) {
        let mut modules = params.modules().iter().zip(blocks);
        let named = modules.any(|(m, block)| {
            let relative = block.as_ref().is_some_and(|(_, path)| is_in(path, m, key));
            relative || is_in(&m.path, m, key)
        });
        if named {
            let paths: Vec<String> = known.into_iter().collect();
            return Err(PlanError::NoMatrix(key.clone(), paths.join(", ")));
        }
    }
    Ok(())
}

fn nothing(options: &FineTuning) -> String {
    match (options.kind, &options.keys) {
        (FineTuneType::Full, _) => "the blocks hold no tensor".to_owned(),
        (_, Some(keys)) => {
            format!(
                "no module of the model has one of the keys {}; `inspect --tensors` lists them",
                keys.join(", ")
            )
        }
        (_, None) => "the blocks hold no matrix".to_owned(),
    }
}

/// Full fine-tuning: every tensor of a module. mlx-lm unfreezes packed ones too and then fails.
fn unfreeze(
    id: ModuleId,
    module: &Module,
    arrays: &mut Vec<TrainedArray>,
) -> Result<(), PlanError> {
    if module.packing.is_some() {
        return Err(PlanError::FullOfPacked(module.path.clone()));
    }
    for (part, shape, dtype) in module.tensors().filter(|(.., dtype)| dtype.is_float()) {
        arrays.push(TrainedArray { module: id, role: Role::Tensor(part), shape, dtype });
    }
    Ok(())
}

/// An adapter of a module.
fn adapt(
    id: ModuleId,
    module: &Module,
    options: &FineTuning,
    arrays: &mut Vec<TrainedArray>,
) -> Result<(), PlanError> {
    let table = module.kind == ModuleKind::Embedding;
    let [a, b] = adapter_shapes(&module.shape, table, options.rank);
    let mut push = |role, shape, dtype| {
        arrays.push(TrainedArray { module: id, role, shape, dtype });
    };
    if options.kind == FineTuneType::Dora {
        if module.shape.rank() == 3 {
            return Err(PlanError::DoraOfExperts(module.path.clone()));
        }
        if table && module.packing.is_some() {
            return Err(PlanError::DoraOfPackedTable(module.path.clone()));
        }
        if let Some(packing) = module.packing.filter(|p| 32 % p.bits != 0) {
            return Err(PlanError::DoraOfOddBits(module.path.clone(), packing.bits));
        }
        let dtype = if table { module.dtype } else { DType::F32 };
        push(Role::Magnitude, Shape::new(&[module.shape.dim(0)]), dtype);
    }
    push(Role::A, a, DType::F32);
    push(Role::B, b, DType::F32);
    Ok(())
}

/// Shapes and types of what the optimizer keeps for an array, in its order (`mlx/optimizers/optimizers.py`).
pub(super) fn state_shapes(optimizer: Optimizer, array: &TrainedArray) -> Vec<(Shape, DType)> {
    let whole = (array.shape, array.dtype);
    match optimizer {
        Optimizer::Adam | Optimizer::AdamW => vec![whole; 2],
        Optimizer::Sgd | Optimizer::Muon => vec![whole],
        Optimizer::Adafactor if array.shape.rank() >= 2 => {
            let (mut rows, mut columns) = (array.shape, array.shape);
            rows.remove(rows.rank() - 1);
            columns.remove(columns.rank() - 2);
            vec![(rows, array.dtype), (columns, array.dtype)]
        }
        Optimizer::Adafactor => vec![whole],
    }
}
