//! Why a model, a program or Macs cannot run together.

use super::{Cluster, RDMA_PORT};
use crate::engine::programs::{Engine, Engines};
use crate::graph::Graph;
use crate::graph::parallel::{KeyHeads, ShardError};
use crate::roofline::StepFeatures;
use crate::roofline::features::AttentionReads;
use crate::run::{Program, Run, Version};
use thiserror::Error;

/// Why several Macs cannot run a model.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClusterRefusal {
    /// mlx-lm cannot divide it so.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// Heads cannot be divided.
    #[error("{heads} {what} cannot be divided among {nodes} Macs")]
    Heads {
        /// Which heads.
        what: &'static str,
        /// How many.
        heads: u64,
        /// Macs.
        nodes: u32,
    },
    /// A Mac has no Thunderbolt 5.
    #[error(
        "{machine} has {}, and RDMA (jaccl) needs Thunderbolt {RDMA_PORT} on every Mac; --link ring runs over any cable",
        port(*.thunderbolt)
    )]
    Port {
        /// The machine.
        machine: String,
        /// Its Thunderbolt generation, where it is known.
        thunderbolt: Option<u32>,
    },
    /// macOS is too old.
    #[error("RDMA (jaccl) needs macOS {RDMA_MACOS} or later, not {0}; --link ring runs before it")]
    Macos(Version),
    /// Drafts need one Mac.
    #[error("mlx-lm drafts on one Mac only; leave the draft model out")]
    Drafts,
    /// No Macs were given.
    #[error("a cluster needs at least one Mac")]
    Empty,
    /// The program runs on one Mac.
    #[error(
        "mlxplan knows no way in which {0} runs one model on several Macs; mlx-lm, mlx-lm-server and exo do"
    )]
    Program(Program),
}

/// The first macOS with RDMA over Thunderbolt.
const RDMA_MACOS: Version = Version::new(26, 2, 0);

fn port(thunderbolt: Option<u32>) -> String {
    thunderbolt.map_or_else(
        || "no Thunderbolt 5 that mlxplan knows of".to_owned(),
        |generation| format!("Thunderbolt {generation}"),
    )
}

/// What is known of a program.
pub(super) fn rules(program: Program) -> Option<&'static Engine> {
    Engines::embedded().ok()?.row(program)
}

/// What speaks against the program.
pub(super) fn program(run: &Run) -> Result<(), ClusterRefusal> {
    let program = run.engine.program;
    if rules(program).is_some_and(|row| row.several_macs == Some(true)) {
        return Ok(());
    }
    Err(ClusterRefusal::Program(program))
}

/// What speaks against the link.
pub(super) fn link(cluster: &Cluster, run: &Run) -> Result<(), ClusterRefusal> {
    if !cluster.link().needs_rdma() || cluster.nodes() < 2 {
        return Ok(());
    }
    let without = |thunderbolt: Option<u32>| thunderbolt.is_none_or(|port| port < RDMA_PORT);
    if let Some(machine) = cluster.machines().iter().find(|m| without(m.thunderbolt)) {
        let (machine, thunderbolt) = (machine.id.clone(), machine.thunderbolt);
        return Err(ClusterRefusal::Port { machine, thunderbolt });
    }
    match run.engine.macos {
        Some(macos) if macos < RDMA_MACOS => Err(ClusterRefusal::Macos(macos)),
        _ => Ok(()),
    }
}

/// What speaks against drafts.
pub(super) const fn drafts(run: &Run) -> Result<(), ClusterRefusal> {
    if run.draft.is_some() { Err(ClusterRefusal::Drafts) } else { Ok(()) }
}

/// The reads that have heads of keys: not the latent ones, where one row serves all heads.
fn with_heads(graph: &Graph, features: &StepFeatures) -> Vec<AttentionReads> {
    let whole = graph.parallel().tensor.as_ref().is_some_and(|t| t.keys == KeyHeads::Whole);
    features.attention.iter().filter(|a| !(whole && a.kv_heads == 1)).copied().collect()
}

/// Fewest heads of keys in any layer; 0 where there are none.
pub(super) fn key_heads(graph: &Graph, features: &StepFeatures) -> u32 {
    let fewest = with_heads(graph, features).iter().map(|a| a.kv_heads).min();
    fewest.map_or(0, |heads| heads as u32)
}

/// What speaks against the heads of attention.
pub(super) fn heads(
    graph: &Graph,
    features: &StepFeatures,
    nodes: u32,
) -> Result<(), ClusterRefusal> {
    let n = u64::from(nodes.max(1));
    let repeated = graph.parallel().tensor.as_ref().is_some_and(|t| t.keys == KeyHeads::Repeated);
    let refuse = |what, heads| Err(ClusterRefusal::Heads { what, heads, nodes });
    for a in &features.attention {
        if a.heads % n != 0 {
            return refuse("attention heads", a.heads);
        }
    }
    for a in with_heads(graph, features) {
        let divides = if repeated && n > a.kv_heads {
            n % a.kv_heads.max(1) == 0
        } else {
            a.kv_heads % n == 0
        };
        if !divides {
            return refuse("heads of keys and values", a.kv_heads);
        }
    }
    Ok(())
}
