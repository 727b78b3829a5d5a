//! What engines do with a checkpoint: which matrices stay packed, what becomes 16 bit, and what they refuse.
//!
//! Rules: `load_model` of mlx-lm 0.32.2 (`mlx_lm/utils.py`) and of mlx-vlm 0.7.10 (`mlx_vlm/utils.py`), with the
//! `sanitize` of the families. A block that an engine understands is necessary, not sufficient: the tensors must have
//! MLX's names after the family has renamed them, which is why most originals that other tools packed do not load.

mod block;
mod hints;
mod lm;
mod stored;
mod strict;
mod vlm;

use crate::graph::families::{self, Reads};
use crate::graph::params::{Module, ModuleKind};
use crate::graph::towers::Loader;
use crate::graph::{Graph, GraphError, QuantOverride};
use crate::model::source::{ModulePackings, TensorIndex};
use crate::model::{Config, ConfigError, DType, Packing};
use crate::run::Program;
use block::StoredBlock;
use hints::Hints;
use std::fmt;
use stored::StoredTensors;

/// The loader of a program.
#[must_use]
pub fn loader_of(program: Program) -> Loader {
    if program.name() == "mlx-vlm" { Loader::MlxVlm } else { Loader::MlxLm }
}

/// The program that a loader belongs to, and its version.
const fn program(loader: Loader) -> (&'static str, &'static str) {
    match loader {
        Loader::MlxLm => ("mlx-lm", crate::versions::MLX_LM),
        Loader::MlxVlm => ("mlx-vlm", crate::versions::MLX_VLM),
    }
}

/// A checkpoint as far as loading depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint<'a> {
    /// `config.json`.
    pub config: &'a Config,
    /// `hf_quant_config.json`, which NVIDIA ModelOpt writes beside it.
    pub beside: Option<&'a Config>,
    /// The tensors, where the headers were read.
    pub tensors: Option<&'a TensorIndex>,
    /// How they are packed by MLX, where the headers were read.
    pub packings: Option<&'a ModulePackings>,
    /// Type of the floating-point tensors.
    pub dtype: DType,
}

/// A loaded model.
#[derive(Debug)]
pub struct Loaded {
    /// Its graph, packed as the engine packs it.
    pub graph: Graph,
    /// Name of a format that is not MLX's own.
    pub format: Option<String>,
    /// Remarks.
    pub notes: Vec<String>,
    /// Modules of the model of which the files have no tensor.
    pub missing: Vec<String>,
}

/// What an engine answers instead of loading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRefusal {
    /// The engine.
    pub loader: Loader,
    /// The first line of its exception.
    pub words: String,
    /// What stands behind it.
    pub why: Option<String>,
}

impl fmt::Display for LoadRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, version) = program(self.loader);
        write!(f, "{name} {version} does not load it: {}", self.words.trim_end())?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, " ({why})"))
    }
}

/// Why a checkpoint cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The engine refuses it.
    #[error("{0}")]
    Refused(LoadRefusal),
    /// The configuration is wrong.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl From<ConfigError> for LoadError {
    fn from(error: ConfigError) -> Self {
        Self::Graph(error.into())
    }
}

/// What becomes of a checkpoint.
enum Rule {
    /// By MLX's own block.
    Mlx,
    /// Packed so, in the matrices that the files or the hints say.
    Packed {
        packing: Packing,
        which: Which,
        /// A float32 scale per matrix beside the packed tensors.
        global_scales: bool,
        format: String,
    },
    /// Nothing stays packed.
    Float { note: Option<String> },
}

/// The matrices that a format packs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// All linear layers but the head and what the hints leave out.
    Linear,
    /// Routed experts.
    Experts,
}

impl Rule {
    /// Experts in mxfp4 and the rest in mxfp8, as DeepSeek-V4 is published.
    fn fp4_experts() -> Self {
        Self::Packed {
            packing: Packing::MXFP8,
            which: Which::Linear,
            global_scales: false,
            format: "mxfp4-mxfp8".to_owned(),
        }
    }
}

/// A refusal, before its tensors are counted.
struct Refused {
    words: Words,
    why: Option<String>,
}

/// What an exception says.
enum Words {
    /// These words.
    Text(String),
    /// That so many tensors for each packed matrix are left over.
    LeftOver { per_matrix: u64, experts_only: bool },
}

impl Refused {
    fn text(words: impl Into<String>) -> Self {
        Self { words: Words::Text(words.into()), why: None }
    }

    fn left_over(per_matrix: u64, why: impl Into<String>) -> Self {
        Self { words: Words::LeftOver { per_matrix, experts_only: false }, why: Some(why.into()) }
    }
}

/// What rules may ask of a model.
struct Facts<'a> {
    reads: &'static [Reads],
    has_experts: bool,
    /// Whether the family is latent attention with DeepSeek's stacking of experts.
    pops_experts: bool,
    /// Whether the routed experts of a checkpoint in fp8 are stored in fp4 (DeepSeek-V4's `expert_dtype`).
    fp4_experts: bool,
    stored: Option<StoredTensors<'a>>,
}

impl Facts<'_> {
    fn reads(&self, format: Reads) -> bool {
        self.reads.contains(&format)
    }
}

/// Loads a checkpoint as an engine does.
///
/// # Errors
/// When the engine refuses it, or the configuration is wrong.
pub fn load(c: &Checkpoint<'_>, loader: Loader) -> Result<Loaded, LoadError> {
    let block = StoredBlock::find(c.config, c.beside, loader)?;
    let mut graph = Graph::new(&with_stored_head(c), c.dtype)?;
    let has = |kind| graph.params().modules().iter().any(|m| m.kind == kind);
    let facts = Facts {
        reads: families::reads(c.config),
        has_experts: has(ModuleKind::SwitchLinear),
        pops_experts: has(ModuleKind::MultiLinear),
        fp4_experts: c.config.opt_str("expert_dtype").ok().flatten() == Some("fp4"),
        stored: c.tensors.map(StoredTensors::new),
    };
    let hints = Hints::of(block.other());
    let rule = match loader {
        Loader::MlxLm => lm::rule(&block, &facts),
        Loader::MlxVlm => vlm::rule(&block, &facts),
    };
    let refuse =
        |words: String, why: Option<String>| LoadError::Refused(LoadRefusal { loader, words, why });
    let rule = match rule {
        Ok(rule) => rule,
        Err(Refused { words: Words::Text(words), why }) => return Err(refuse(words, why)),
        Err(Refused { words: Words::LeftOver { per_matrix, experts_only }, why }) => {
            let matrices = packed_matrices(&graph, &facts, &hints, experts_only);
            let words = strict::received(matrices * per_matrix);
            return Err(refuse(words, why));
        }
    };
    let mut loaded = match rule {
        Rule::Mlx => by_mlx_block(c, &block, graph, loader).map_err(|w| refuse(w, None))?,
        Rule::Float { note } => {
            // What becomes 16 bit has scales that its family takes in.
            let left = strict::left_over(c, &graph).filter(|_| note.is_none());
            if let Some(words) = left {
                return Err(refuse(words, None));
            }
            Loaded { graph, format: None, notes: note.into_iter().collect(), missing: Vec::new() }
        }
        Rule::Packed { packing, which, global_scales, format } => {
            let mlx = c.packings.map(stored::Modules::new);
            graph.pack(|m| {
                let packed = match (&facts.stored, &mlx) {
                    (Some(s), _) if s.has_markers() => s.packing(&m.path, packing),
                    // Tensors of MLX under the block of another tool.
                    (Some(s), Some(mlx)) if s.any(".scales").is_some() => {
                        mlx.get(&m.path).and_then(|p| p.packing)
                    }
                    _ if facts.fp4_experts && m.kind == ModuleKind::SwitchLinear => {
                        Some(Packing::MXFP4)
                    }
                    _ => hinted(m, &hints, which, packing),
                };
                Some(packed.filter(|p| m.shape.dim(-1) % p.group.max(1) == 0))
            });
            if global_scales {
                graph.with_global_scales();
            }
            Loaded { graph, format: Some(format), notes: Vec::new(), missing: Vec::new() }
        }
    };
    loaded.notes.extend(strict::unused(c, &loaded.graph));
    if let Some(stored) = &facts.stored {
        loaded.graph.take_global_scales(|path| stored.global_scales(path));
    }
    Ok(loaded)
}

/// The other engine's answer where one refuses: its name and what it would hold.
#[must_use]
pub fn instead(c: &Checkpoint<'_>, refused: Loader) -> Option<(&'static str, u64)> {
    let other = match refused {
        Loader::MlxLm => Loader::MlxVlm,
        Loader::MlxVlm => Loader::MlxLm,
    };
    let loaded = load(c, other).ok()?;
    Some((program(other).0, crate::ledger::weights::Weights::of(&loaded.graph).bytes))
}

/// How a matrix is packed by the hints of the block alone.
fn hinted(module: &Module, hints: &Hints, which: Which, packing: Packing) -> Option<Packing> {
    // Converters of other tools leave out routers too.
    let router = [".gate", ".router", ".shared_expert_gate"];
    let wanted = match (which, module.kind) {
        (Which::Experts, kind) => kind == ModuleKind::SwitchLinear,
        (Which::Linear, ModuleKind::Embedding | ModuleKind::Raw) => false,
        (Which::Linear, _) => {
            !module.path.ends_with("lm_head") && !router.iter().any(|r| module.path.ends_with(r))
        }
    };
    (wanted && !hints.leave_out(&module.path)).then_some(packing)
}

/// Number of matrices that a checkpoint stores packed, experts one by one.
fn packed_matrices(graph: &Graph, facts: &Facts<'_>, hints: &Hints, experts_only: bool) -> u64 {
    if let Some(stored) = &facts.stored
        && stored.has_markers()
    {
        return stored.matrices(experts_only);
    }
    let modules = graph.params().modules().iter().filter(|m| {
        // Latent attention stores two of its matrices as one.
        let one = !m.path.ends_with("unembed_out");
        let expert = m.kind == ModuleKind::SwitchLinear;
        let packed = hinted(m, hints, Which::Linear, Packing::MXFP8).is_some();
        one && packed && (expert || !experts_only)
    });
    modules
        .map(|m| if m.kind == ModuleKind::SwitchLinear { u64::from(m.shape.dim(0)) } else { 1 })
        .sum()
}

/// The configuration, with a head of its own where the family has one when the files do (Gemma 3).
fn with_stored_head(c: &Checkpoint<'_>) -> Config {
    let has_head = c.tensors.is_some_and(|t| {
        t.get("lm_head.weight").or_else(|| t.get("language_model.lm_head.weight")).is_some()
    });
    if !has_head || !families::takes_stored_head(c.config) {
        return c.config.clone();
    }
    let config = c.config.clone().with("tie_word_embeddings", false);
    match config.opt_object("text_config") {
        Ok(Some(text)) => {
            let text = text.with("tie_word_embeddings", false).values().clone();
            config.with("text_config", text)
        }
        _ => config,
    }
}

/// A checkpoint in MLX's own layout.
fn by_mlx_block(
    c: &Checkpoint<'_>,
    block: &StoredBlock,
    mut graph: Graph,
    loader: Loader,
) -> Result<Loaded, String> {
    let Some(mlx) = block.mlx() else {
        return Ok(Loaded { graph, format: None, notes: Vec::new(), missing: Vec::new() });
    };
    let modules = c.packings.map(stored::Modules::new);
    if let Some(modules) = &modules {
        strict::contradiction(c, mlx, modules, loader, &graph).map_or(Ok(()), Err)?;
    }
    let keeps: Vec<String> = graph
        .params()
        .modules()
        .iter()
        .filter(|m| graph.quant_override(&m.path) == QuantOverride::Keep)
        .map(|m| m.path.clone())
        .collect();
    let missing = graph.pack(|m| match &modules {
        Some(modules) => modules.get(&m.path).map(|p| p.packing),
        // The converter writes no entry for a module that the family refuses.
        None if !mlx.overrides.contains_key(&m.path) && keeps.contains(&m.path) => Some(None),
        None => {
            let packing = mlx.packing_of(&m.path);
            Some(packing.filter(|p| m.shape.dim(-1) % p.group.max(1) == 0))
        }
    });
    if let Some(words) = strict::left_over(c, &graph).filter(|_| missing.is_empty()) {
        return Err(words);
    }
    Ok(Loaded { graph, format: None, notes: Vec::new(), missing })
}

#[cfg(test)]
mod tests;
