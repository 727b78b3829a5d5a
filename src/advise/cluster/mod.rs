//! What several Macs together make of a model: which numbers of them hold it, how fast, and whether that is faster than one.

mod possible;
mod spec;
mod words;

pub use possible::{NowPossible, now_possible};
pub use spec::{ClusterSpec, MOST};

use crate::estimate::memory::{Fit, Limit, Memory};
use crate::estimate::{Cluster, ClusterFigures, EstimateError, Estimator, Figures, Parallelism};
use crate::hardware::machine::Machine;
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Borrow;

/// How close to one Mac's speed is no difference.
const ALIKE: f64 = 1.05;

/// What comes of running a model on so many Macs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterVerdict {
    /// One Mac, which holds it: what the others are compared with.
    Alone,
    /// It fits, and it does not fit one of the Macs.
    Possible,
    /// It decodes faster than on one of the Macs.
    Faster,
    /// It decodes more slowly.
    Slower,
    /// About as fast, within 5 %.
    Uncertain,
    /// It cannot be, or it does not fit.
    Impossible,
}

/// A model on some Macs.
#[derive(Clone, Debug)]
pub struct ClusterRow {
    /// Ids of the Macs, rank 0 first.
    pub machines: Vec<String>,
    /// How it is divided; `None` on one Mac.
    pub parallelism: Option<Parallelism>,
    /// The verdict.
    pub verdict: ClusterVerdict,
    /// Whether the fullest Mac holds its share; `None` where it cannot be divided so.
    pub fits: Option<Fit>,
    /// The verdict in words.
    pub reason: String,
    /// The figures, where it can be divided so.
    pub figures: Option<RowFigures>,
}

/// Figures of one Mac, or of several.
#[derive(Clone, Debug)]
pub enum RowFigures {
    /// One.
    One(Box<Figures>),
    /// Several.
    Several(Box<ClusterFigures>),
}

impl RowFigures {
    /// Memory of every Mac.
    #[must_use]
    pub fn memories(&self) -> Vec<&Memory> {
        match self {
            Self::One(figures) => vec![&figures.memory],
            Self::Several(figures) => figures.nodes.iter().map(|n| &n.memory).collect(),
        }
    }

    /// Peak memory of the fullest Mac.
    #[must_use]
    pub fn bytes_per_node(&self) -> u64 {
        self.memories().iter().map(|m| m.peak.peak_bytes).max().unwrap_or(0)
    }
}

/// The Macs of a cluster in words: `2 x m3ultra-80/512`.
#[must_use]
pub fn cluster_name(cluster: &Cluster) -> String {
    let ids: Vec<&str> = cluster.machines().iter().map(|m| &*m.id).collect();
    macs_name(&ids)
}

/// The same of ids.
#[must_use]
pub fn macs_name<S: Borrow<str> + PartialEq>(ids: &[S]) -> String {
    match ids.split_first() {
        Some((first, rest)) if rest.iter().all(|id| id == first) => {
            format!("{} x {}", ids.len(), first.borrow())
        }
        _ => ids.join(" + "),
    }
}

/// How many of the Macs are compared: 1, 2, 4 and so on, and all.
#[must_use]
pub fn counts(all: usize) -> Vec<usize> {
    let mut counts: Vec<usize> =
        std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < all).collect();
    counts.push(all);
    counts
}

/// The worst of some verdicts, with the limit behind it.
fn worst<'m>(memories: &[&'m Memory]) -> Option<(Fit, Option<&'m Limit>)> {
    let worst = memories.iter().max_by_key(|m| m.judgment.verdict)?;
    let verdict = worst.judgment.verdict;
    let limit = worst.judgment.limits.iter().find(|l| l.kind.is_hard() && l.verdict == verdict);
    Some((verdict, limit))
}

/// A model on 1, 2, 4 … of the Macs of a cluster, split by tensors and in a pipeline. The first is the fastest Mac alone.
///
/// # Errors
/// When mlx-lm could not run the model at all.
pub fn cluster_rows(
    estimator: &Estimator<'_>,
    cluster: &Cluster,
) -> Result<Vec<ClusterRow>, EstimateError> {
    let mut rows = Vec::new();
    for machine in different(cluster.machines()) {
        rows.push(alone(machine, estimator.on(machine)?));
    }
    let fits_alone = rows.iter().any(|row| row.verdict == ClusterVerdict::Alone);
    let unlike = rows.len() > 1;
    let all = cluster.machines().len();
    // Of unlike Macs, only all together were asked about.
    let sizes = if unlike { vec![all] } else { counts(all) };
    for nodes in sizes.into_iter().filter(|n| *n > 1) {
        let some = cluster.first(nodes);
        for parallelism in Parallelism::ALL {
            rows.push(together(estimator, &some, parallelism, fits_alone)?);
        }
    }
    Ok(rows)
}

/// The machines, each kind once.
fn different(machines: &[Machine]) -> Vec<&Machine> {
    let mut out: Vec<&Machine> = Vec::new();
    for machine in machines {
        if !out.contains(&machine) {
            out.push(machine);
        }
    }
    out
}

fn alone(machine: &Machine, figures: Figures) -> ClusterRow {
    let fit = figures.memory.judgment.verdict;
    let (verdict, reason) = if fit == Fit::No {
        (ClusterVerdict::Impossible, words::too_large(&[&figures.memory]))
    } else {
        (ClusterVerdict::Alone, "what the others are compared with".to_owned())
    };
    ClusterRow {
        machines: vec![machine.id.clone()],
        parallelism: None,
        verdict,
        fits: Some(fit),
        reason,
        figures: Some(RowFigures::One(Box::new(figures))),
    }
}

fn together(
    estimator: &Estimator<'_>,
    cluster: &Cluster,
    parallelism: Parallelism,
    fits_alone: bool,
) -> Result<ClusterRow, EstimateError> {
    let machines = cluster.machines().iter().map(|m| m.id.clone()).collect();
    let row = |verdict, fits, reason, figures| ClusterRow {
        machines,
        parallelism: Some(parallelism),
        verdict,
        fits,
        reason,
        figures,
    };
    let figures = match estimator.on_cluster(cluster, parallelism) {
        Ok(figures) => figures,
        Err(EstimateError::Cluster(refusal)) => {
            return Ok(row(ClusterVerdict::Impossible, None, refusal.to_string(), None));
        }
        Err(e) => return Err(e),
    };
    let memories: Vec<&Memory> = figures.nodes.iter().map(|n| &n.memory).collect();
    let fit = worst(&memories).map_or(Fit::Yes, |(fit, _)| fit);
    let speedup = figures.decode_speedup.value;
    let (verdict, reason) = if fit == Fit::No {
        (ClusterVerdict::Impossible, words::too_large(&memories))
    } else if !fits_alone {
        (ClusterVerdict::Possible, words::possible(&figures, parallelism))
    } else if speedup > ALIKE {
        (ClusterVerdict::Faster, words::faster(&figures))
    } else if speedup * ALIKE < 1.0 {
        (ClusterVerdict::Slower, words::slower(&figures, parallelism))
    } else {
        (ClusterVerdict::Uncertain, words::alike(&figures, parallelism))
    };
    Ok(row(verdict, Some(fit), reason, Some(RowFigures::Several(Box::new(figures)))))
}

/// Independent copies of a model, one on each Mac: the alternative for several users.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Copies {
    /// How many copies.
    pub copies: u32,
    /// Tokens per second of each.
    pub tokens_per_s_each: f64,
    /// Tokens per second of all together.
    pub total_tokens_per_s: f64,
    /// Peak memory of each.
    pub bytes_each: Bytes,
}

/// The copies that the Macs of a cluster hold, where each holds one.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn copies(
    estimator: &Estimator<'_>,
    cluster: &Cluster,
) -> Result<Option<Copies>, EstimateError> {
    let mut total = 0.0;
    let mut bytes = 0;
    for machine in cluster.machines() {
        let figures = estimator.on(machine)?;
        if figures.memory.judgment.verdict == Fit::No {
            return Ok(None);
        }
        total += figures.decode.tokens_per_s;
        bytes = bytes.max(figures.memory.peak.peak_bytes);
    }
    let copies = cluster.nodes();
    let tokens_per_s_each = total / f64::from(copies.max(1));
    let bytes_each = Bytes(bytes);
    Ok(Some(Copies { copies, tokens_per_s_each, total_tokens_per_s: total, bytes_each }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_and_all_macs_are_compared() {
        assert_eq!(counts(2), [1, 2]);
        assert_eq!(counts(3), [1, 2, 3]);
        assert_eq!(counts(4), [1, 2, 4]);
        assert_eq!(counts(6), [1, 2, 4, 6]);
    }
}
