//! The fused kernels of attention by version of MLX, read off the rules of the file.

use super::{AttentionRule, Engines, Release, RuleMask, VectorRule};
use crate::graph::tape::{KernelChoice, Masks, PromptKernel, Routing, VectorKernel};
use crate::run::Version;
use std::sync::LazyLock;

/// The flag of MLX from which on fused attention takes sinks.
const SINKS_FUSED: &str = "attention_sinks_fused";

/// The kernels from a version on, without and with matrix units, and the same where the program cuts heads of 256 into
/// tiles.
struct Since {
    from: Version,
    kernels: [KernelChoice; 2],
    tiled: [KernelChoice; 2],
}

/// The heads that programs cut into tiles.
const TILED: u32 = 256;

static TABLES: LazyLock<Vec<Since>> =
    LazyLock::new(|| Engines::embedded().map_or_else(|_| Vec::new(), Engines::tables));

/// How a version of MLX runs attention, with or without matrix units. A version that is not listed is like the nearest
/// older one, and one before all that are listed like the oldest.
#[must_use]
pub fn routing(mlx: Version, matrix_units: bool) -> Routing {
    let since = table(mlx);
    since.map_or_else(Routing::default, |t| Routing::new(&t.kernels[usize::from(matrix_units)]))
}

/// The same in a program that cuts heads of 256 into tiles.
#[must_use]
pub fn tiled_routing(mlx: Version, matrix_units: bool) -> Routing {
    let since = table(mlx);
    since.map_or_else(Routing::default, |t| Routing::new(&t.tiled[usize::from(matrix_units)]))
}

fn table(mlx: Version) -> Option<&'static Since> {
    let tables = &*TABLES;
    tables.iter().rev().find(|t| t.from <= mlx).or_else(|| tables.first())
}

/// Flag of the version from which attention is one kernel in both passes of training, where there is a kernel.
pub const TRAINING_ATTENTION_FUSED: &str = "training_attention_fused";
/// Flag of the version from which the loss of training is one kernel.
pub const TRAINING_LOSS_FUSED: &str = "training_loss_fused";
/// The flag of MLX from which on vector products are taken for more rows on matrix units.
pub const VECTOR_LIMITS_RAISED: &str = "qmv_limit_m5_raised";

/// Whether a version of MLX has what a flag of the file names.
#[must_use]
pub fn has(flag: &str, mlx: Version) -> bool {
    Engines::embedded().is_ok_and(|all| all.flag(flag).is_some_and(|from| from.0 <= mlx))
}

/// Whether a version of MLX uses the matrix units of GPUs that have them, on a version of macOS where that is known.
#[must_use]
pub fn may_use_matrix_units(mlx: Version, macos: Option<Version>) -> bool {
    let Ok(all) = Engines::embedded() else { return true };
    let nax = &all.mlx_nax;
    mlx >= nax.from.0 && macos.is_none_or(|macos| macos >= nax.macos_min.0)
}

/// The oldest version of MLX that encodes work as `mlx` does, as far as it is replayed.
#[must_use]
pub fn since(mlx: Version) -> Version {
    let found = TABLES.iter().rev().map(|t| t.from).find(|&from| from <= mlx);
    found.or_else(|| TABLES.first().map(|t| t.from)).unwrap_or(mlx)
}

/// The versions of MLX within a range at which something about attention with heads of these sizes changes, and the ends
/// of the range themselves.
#[must_use]
pub fn changes(
    [oldest, newest]: [Version; 2],
    matrix_units: bool,
    heads: &[[u32; 2]],
) -> Vec<Version> {
    let of = |version| {
        let kernels = routing(version, matrix_units).kernels();
        let prompt = kernels.prompt.iter().filter(|k| heads.contains(&k.heads));
        let vector = kernels.vector.iter().filter(|k| heads.contains(&k.heads));
        (prompt.collect::<Vec<_>>(), vector.collect::<Vec<_>>())
    };
    let mut all = vec![newest];
    let between = TABLES.iter().rev().map(|t| t.from).filter(|&v| v > oldest && v < newest);
    for version in between.chain([oldest]) {
        if all.last().is_none_or(|&known| of(known) != of(version)) {
            all.push(version);
        }
    }
    all
}

/// Sizes of heads whose attention of prompts is fused in a version and was not, or not in as many cases, in an older one,
/// on some GPU.
#[must_use]
pub fn fused_since(older: Version, newer: Version) -> Vec<u32> {
    let mut gained = Vec::new();
    for units in [false, true] {
        let known = &routing(older, units).kernels().prompt;
        let now = routing(newer, units).kernels().prompt.iter();
        gained.extend(now.filter(|k| !known.contains(k)).map(|k| k.heads[0]));
    }
    gained.sort_unstable();
    gained.dedup();
    gained
}

impl Engines {
    fn tables(&self) -> Vec<Since> {
        let prompt = self.mlx_rule.iter().map(|r| r.from);
        let vector = self.mlx_vector.iter().map(|r| r.from);
        let flags = [SINKS_FUSED, VECTOR_LIMITS_RAISED].into_iter().filter_map(|f| self.flag(f));
        let mut versions: Vec<Release> = prompt.chain(vector).chain(flags).collect();
        versions.sort_unstable();
        versions.dedup();
        let since = |from: Release| {
            let kernels = [false, true].map(|units| self.kernels(from, units));
            let tiled = kernels.clone().map(|mut choice| {
                choice.prompt.push(PromptKernel::any(TILED));
                choice
            });
            Since { from: from.0, kernels, tiled }
        };
        versions.into_iter().map(since).collect()
    }

    /// The version of MLX from which it has something.
    pub(super) fn flag(&self, name: &str) -> Option<Release> {
        self.mlx_flag.iter().find(|f| f.name == name).and_then(|f| f.from)
    }

    fn kernels(&self, version: Release, matrix_units: bool) -> KernelChoice {
        let sinks = self.flag(SINKS_FUSED).is_some_and(|from| from <= version);
        let prompt = self
            .mlx_rule
            .iter()
            .filter(|r| r.from <= version && r.nax.is_none_or(|only| only == matrix_units));
        let vector = self.mlx_vector.iter().filter(|r| r.from <= version);
        let prompt: Vec<PromptKernel> = prompt.flat_map(|r| r.kernels(sinks)).collect();
        let vector: Vec<VectorKernel> = vector.flat_map(VectorRule::kernels).collect();
        KernelChoice {
            prompt: needed(&prompt, |k| PromptKernel {
                sinks,
                heads: k.heads,
                ..PromptKernel::any(k.heads[0])
            }),
            vector: needed(&vector, |k| VectorKernel::any(k.heads)),
        }
    }
}

impl AttentionRule {
    fn kernels(&self, sinks: bool) -> impl Iterator<Item = PromptKernel> {
        sizes(&self.dims, self.pair).map(move |heads| PromptKernel {
            heads,
            masks: match self.mask {
                RuleMask::None => Masks::None,
                RuleMask::Causal => Masks::Causal,
                RuleMask::CausalOrArray => Masks::Any,
            },
            min_rows: self.min_l.unwrap_or(0),
            min_work: self.min_work.unwrap_or(0).into(),
            first_chunk_only: self.first_chunk_only,
            sinks: sinks && self.sinks.unwrap_or(true),
            block_rows: self.block_rows,
            half_only: !self.dtypes.is_empty(),
        })
    }
}

impl VectorRule {
    fn kernels(&self) -> impl Iterator<Item = VectorKernel> {
        sizes(&self.dims, self.pair).map(|heads| VectorKernel {
            heads,
            max_rows: self.max_l,
            repeats: self.gqa.clone(),
            min_keys: self.min_n.unwrap_or(0),
            array_mask: self.mask != Some(RuleMask::None),
        })
    }
}

/// Those of some kernels that are not superseded by a later one that takes everything.
fn needed<K: Clone + PartialEq>(all: &[K], everything: impl Fn(&K) -> K) -> Vec<K> {
    let superseded = |(i, k): (usize, &K)| all[i + 1..].contains(&everything(k));
    let kept = all.iter().enumerate().filter(|&one| !superseded(one));
    kept.map(|(_, k)| k.clone()).collect()
}

fn sizes(dims: &[u32], pair: Option<[u32; 2]>) -> impl Iterator<Item = [u32; 2]> {
    dims.iter().map(|&d| [d, d]).chain(pair)
}
