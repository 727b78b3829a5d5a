//! Memory of each Mac: the run of one Mac with its share of weights, caches and states.

use super::super::estimator::{EstimateError, Estimator};
use super::super::memory::Memory;
use super::{Cluster, ClusterNode};
use crate::hardware::machine::Machine;
use crate::ledger::cache::{after_prompt, bytes};
use crate::ledger::peak::Peak;
use crate::ledger::shards::{self, TensorRank};
use crate::units::Bytes;

/// What a Mac has of the memory of one.
#[derive(Clone, Copy, Debug)]
struct MemoryShare {
    /// Weights in memory, in bytes.
    weights: u64,
    /// Share of keys and values, and of kept caches.
    keys: f64,
    /// Share of recurrent states.
    states: f64,
    /// Share of attention scores.
    scores: f64,
}

fn part(bytes: u64, share: f64) -> u64 {
    (bytes as f64 * share).ceil() as u64
}

impl MemoryShare {
    /// The peak with the share. What waits for the GPU is taken to be as much as on one Mac, which is the most it can be.
    fn of(&self, whole: &Peak) -> Peak {
        let mut own = Peak {
            weights_bytes: self.weights.min(whole.weights_bytes),
            kv_bytes: part(whole.kv_bytes, self.keys),
            state_bytes: part(whole.state_bytes, self.states),
            attention_scratch_bytes: part(whole.attention_scratch_bytes, self.scores),
            kept_bytes: part(whole.kept_bytes, self.keys),
            ..whole.clone()
        };
        own.peak_bytes = own.weights_bytes
            + own.kv_bytes
            + own.state_bytes
            + own.attention_scratch_bytes
            + own.run_ahead_bytes
            + own.kept_bytes;
        let less = whole.peak_bytes.saturating_sub(own.peak_bytes);
        own.resident_bytes = whole.resident_bytes.saturating_sub(less).max(own.peak_bytes);
        own
    }
}

impl Estimator<'_> {
    pub(super) fn tensor_nodes(
        &self,
        cluster: &Cluster,
        rank: &TensorRank,
    ) -> Result<Vec<ClusterNode>, EstimateError> {
        let nodes = f64::from(cluster.nodes().max(1));
        let share = MemoryShare {
            weights: rank.weights.active_bytes,
            keys: rank.keys,
            states: rank.states,
            scores: 1.0 / nodes,
        };
        let of = |machine| self.node(machine, rank.weights.bytes, &share);
        cluster.machines().iter().map(of).collect()
    }

    pub(super) fn pipeline_nodes(
        &self,
        cluster: &Cluster,
        ranges: &[[u64; 2]],
    ) -> Result<Vec<ClusterNode>, EstimateError> {
        let weights = shards::of_layers(self.graph(), ranges);
        let caches = self.caches_of_layers(ranges)?;
        let ranks = cluster.machines().iter().zip(weights).zip(caches);
        ranks
            .map(|((machine, weights), keys)| {
                let weights_in_memory = weights.active_bytes;
                let share =
                    MemoryShare { weights: weights_in_memory, keys, states: keys, scores: 1.0 };
                self.node(machine, weights.bytes, &share)
            })
            .collect()
    }

    /// The share of every rank in the bytes of all caches.
    fn caches_of_layers(&self, ranges: &[[u64; 2]]) -> Result<Vec<f64>, EstimateError> {
        let (run, graph) = (&self.run, self.graph());
        let (tokens, step) = (run.total_tokens(), run.engine.prefill_step);
        let caches = after_prompt(graph, tokens, step, run.work.batch, run.engine.kv)
            .map_err(crate::ledger::peak::PeakError::from)?;
        let all = bytes(&caches);
        let of = |&[first, end]: &[u64; 2]| {
            if caches.len() as u64 != graph.layers() || all == 0 {
                return (end - first) as f64 / graph.layers().max(1) as f64;
            }
            bytes(&caches[first as usize..end as usize]) as f64 / all as f64
        };
        Ok(ranges.iter().map(of).collect())
    }

    fn node(
        &self,
        machine: &Machine,
        weights_bytes: u64,
        share: &MemoryShare,
    ) -> Result<ClusterNode, EstimateError> {
        let machine = &*self.granted(machine);
        let found = self.peaks_between(machine)?;
        let own = share.of(&found.peak);
        let less = found.peak.peak_bytes.saturating_sub(own.peak_bytes);
        let kept = Bytes(part(found.kept.0, share.keys));
        let [low, high] = found.between.map(|bytes| bytes.saturating_sub(Bytes(less)));
        let memory = Memory::judge_between(own, [low, high + kept], machine, &self.run.engine);
        let memory = Memory { kept, ..memory };
        let memory = match self.run.file.weights_range {
            Some(range) => memory.over_files(range, machine),
            None => memory,
        };
        Ok(ClusterNode { machine: machine.id.clone(), weights_bytes, memory })
    }
}
