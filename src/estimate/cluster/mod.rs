//! One model on several Macs: the same estimator, with the share of each Mac and what they wait for.
//!
//! A cluster is machines and a link; how the model is divided among them follows mlx-lm. Memory and speed of each Mac are
//! those of its share, by the readings and laws of one Mac; what is added is the wait between Macs ([`crate::roofline::links`]).

mod memory;
mod refusal;
mod speed;
#[cfg(test)]
mod tests;

pub use refusal::ClusterRefusal;

use super::estimator::{EstimateError, Estimator};
use super::memory::Memory;
use super::speed::{Decode, Prefill};
use crate::graph::parallel::{LeftOver, ShardError};
use crate::hardware::machine::Machine;
use crate::ledger::shards::TensorRank;
use crate::roofline::links::{Link, Wait};
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// Macs that run one model together.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    machines: Vec<Machine>,
    link: Link,
}

/// How a model is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Parallelism {
    /// Every Mac has a part of every matrix.
    Tensor,
    /// Every Mac has some of the layers.
    Pipeline,
}

impl Parallelism {
    /// Both, in the order in which they are shown.
    pub const ALL: [Self; 2] = [Self::Tensor, Self::Pipeline];

    /// The name in JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tensor => "tensor",
            Self::Pipeline => "pipeline",
        }
    }
}

/// What one of the Macs needs.
#[derive(Clone, Debug)]
pub struct ClusterNode {
    /// Id of the machine.
    pub machine: String,
    /// Weights of its share, in bytes.
    pub weights_bytes: u64,
    /// Its memory.
    pub memory: Memory,
}

/// Figures of a model on several Macs.
#[derive(Clone, Debug)]
pub struct ClusterFigures {
    /// The Macs, rank 0 first.
    pub nodes: Vec<ClusterNode>,
    /// Decode speed.
    pub decode: Decode,
    /// Prefill speed and time to first token.
    pub prefill: Prefill,
    /// Decode rate over that of the fastest of the Macs alone, were its memory large enough.
    pub decode_speedup: Ratio,
    /// The same of prefill.
    pub prefill_speedup: Ratio,
    /// What a token waits for the other Macs, in seconds.
    pub wait: Wait,
    /// Sums over all Macs in a step; hops in a pipeline.
    pub exchanges: u32,
}

/// A ratio of rates with its interval: what both rates share cancels.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Ratio {
    /// The expected value.
    pub value: f64,
    /// Where nine of ten measurements lie.
    pub interval_90: [f64; 2],
}

impl Cluster {
    /// Machines in the order of their ranks, joined by a link.
    #[must_use]
    pub const fn new(machines: Vec<Machine>, link: Link) -> Self {
        Self { machines, link }
    }

    /// The link that is taken where none is said: RDMA where all Macs have Thunderbolt 5, TCP otherwise.
    #[must_use]
    pub fn usual_link(machines: &[Machine]) -> Link {
        let rdma = machines.iter().all(|m| m.thunderbolt.is_some_and(|port| port >= RDMA_PORT));
        if rdma { Link::Jaccl } else { Link::Ring }
    }

    /// The same with a GPU limit that was set on each Mac, and memory that is meant for the run.
    #[must_use]
    pub fn granted(&self, gpu_limit: Option<Bytes>, budget: Option<Bytes>) -> Self {
        let of = |machine: &Machine| machine.granted(gpu_limit, budget).into_owned();
        Self { machines: self.machines.iter().map(of).collect(), link: self.link }
    }

    /// The machines, rank 0 first.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The link.
    #[must_use]
    pub const fn link(&self) -> Link {
        self.link
    }

    /// How many Macs.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.machines.len() as u32
    }

    /// The first so many Macs.
    #[must_use]
    pub fn first(&self, nodes: usize) -> Self {
        Self { machines: self.machines.iter().take(nodes).cloned().collect(), link: self.link }
    }
}

/// The Thunderbolt generation that RDMA needs.
pub(in crate::estimate) const RDMA_PORT: u32 = 5;

impl Estimator<'_> {
    /// Memory and speeds on several Macs. Speeds are those of the laws; what was measured on one of the Macs does not count.
    ///
    /// # Errors
    /// When mlx-lm cannot run the model so, or the Macs cannot be joined so.
    pub fn on_cluster(
        &self,
        cluster: &Cluster,
        parallelism: Parallelism,
    ) -> Result<ClusterFigures, EstimateError> {
        self.possible()?;
        refusal::program(&self.run)?;
        refusal::link(cluster, &self.run)?;
        refusal::drafts(&self.run)?;
        match parallelism {
            Parallelism::Tensor => {
                let rank = self.tensor_rank(cluster.nodes())?;
                let nodes = self.tensor_nodes(cluster, &rank)?;
                self.tensor_speeds(cluster, &rank, nodes)
            }
            Parallelism::Pipeline => {
                let ranges = self.layers_of_ranks(cluster.nodes()).map_err(refused)?;
                let nodes = self.pipeline_nodes(cluster, &ranges)?;
                self.pipeline_speeds(cluster, &ranges, nodes)
            }
        }
    }

    /// The layers of every rank, as the program splits them.
    fn layers_of_ranks(&self, nodes: u32) -> Result<Vec<[u64; 2]>, ShardError> {
        let graph = self.graph();
        let any = refusal::rules(self.run.engine.program).and_then(|r| r.splits_any_layers);
        match graph.parallel().pipeline {
            None if any == Some(true) => graph.even_layers(nodes, LeftOver::Last),
            _ => graph.pipeline_ranges(nodes),
        }
    }

    /// What each Mac has of the model, split by tensors.
    fn tensor_rank(&self, nodes: u32) -> Result<TensorRank, EstimateError> {
        let features = self.speed()?.features();
        let key_heads = refusal::key_heads(self.graph(), features);
        // Whether there is a split at all comes first.
        let rank = TensorRank::of(self.graph(), nodes, key_heads);
        if !matches!(rank, Err(ShardError::NoShard(_))) {
            refusal::heads(self.graph(), features, nodes)?;
        }
        rank.map_err(refused)
    }
}

fn refused(error: ShardError) -> EstimateError {
    ClusterRefusal::from(error).into()
}
