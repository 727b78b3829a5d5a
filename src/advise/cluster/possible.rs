//! Popular models that several Macs hold together and none of them alone.

use crate::advise::popular::{between, opened};
use crate::advise::upgrade::UpgradeError;
use crate::estimate::memory::Fit;
use crate::estimate::{Basis, Cluster, EstimateError, Estimator, Parallelism, Run, Sources};
use crate::model::catalog::Models;
use crate::roofline::Coefficients;
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// A model that only several of the Macs hold.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct NowPossible {
    /// Its repository.
    pub id: String,
    /// Its format.
    pub quant: String,
    /// The fewest of the Macs that hold it.
    pub nodes: u32,
    /// How it is divided among them.
    pub parallelism: Parallelism,
    /// Peak memory of the run on the fullest of them.
    pub bytes_per_node: Bytes,
}

/// The most popular models of the catalog that a cluster holds and the largest of its Macs does not, at 4 bits, or as they
/// are published where that is quantized already.
///
/// # Errors
/// When an entry of the catalog is wrong.
pub fn now_possible(
    catalog: &Models,
    sources: &Sources<'_, '_>,
    cluster: &Cluster,
    (coefficients, run): (&Coefficients, &Run),
    most: usize,
) -> Result<Vec<NowPossible>, UpgradeError> {
    let limits = cluster.machines().iter().map(|m| m.gpu_limit.bytes.0);
    let (largest, all) = (limits.clone().max().unwrap_or(0), limits.sum::<u64>());
    let mut out = Vec::new();
    for model in between(catalog, largest, all) {
        if out.len() >= most {
            break;
        }
        let subject = opened(model, sources, run.engine.program)?;
        let estimator = Estimator::new(coefficients, &subject, *run, Basis::Spec);
        if let Some((nodes, parallelism, bytes_per_node)) = fewest(&estimator, cluster)? {
            let (id, quant) = (subject.id.clone(), estimator.quant());
            out.push(NowPossible { id, quant, nodes, parallelism, bytes_per_node });
        }
    }
    Ok(out)
}

/// The fewest Macs that hold a model that none holds alone, and how; `None` where one does, or all do not.
fn fewest(
    estimator: &Estimator<'_>,
    cluster: &Cluster,
) -> Result<Option<(u32, Parallelism, Bytes)>, EstimateError> {
    for machine in cluster.machines() {
        if estimator.memory(machine)?.judgment.verdict != Fit::No {
            return Ok(None);
        }
    }
    for nodes in super::counts(cluster.machines().len()).into_iter().filter(|n| *n > 1) {
        for parallelism in Parallelism::ALL {
            let figures = match estimator.on_cluster(&cluster.first(nodes), parallelism) {
                Ok(figures) => figures,
                Err(EstimateError::Cluster(_)) => continue,
                Err(e) => return Err(e),
            };
            let memories = figures.nodes.iter().map(|n| &n.memory);
            if memories.clone().all(|m| m.judgment.verdict < Fit::Uncertain) {
                let bytes = memories.map(|m| m.peak.peak_bytes).max().unwrap_or(0);
                return Ok(Some((nodes as u32, parallelism, Bytes(bytes))));
            }
        }
    }
    Ok(None)
}
