//! What a server does to memory beside the run: caches of earlier prompts that it keeps, and prompts that it reads at once.

use super::estimator::{Estimator, SmallerChunk};
use super::memory::{AutoFit, AutoFitRule, CachePool, Memory};
use super::warning::Warning;
use crate::engine::programs::{Engine, Engines};
use crate::graph::cache::CacheKind;
use crate::graph::towers::Loader;
use crate::hardware::cap::CapKind;
use crate::hardware::machine::Machine;
use crate::ledger::cache::CacheGrowth;
use crate::ledger::llama_cpp::Layout;
use crate::ledger::peak::PeakError;
use crate::run::Version;
use crate::units::Bytes;

/// Caches of earlier prompts that are worth a word, as a share of what is left under the limit.
const WORTH: f64 = 0.05;

impl Estimator<'_> {
    /// Doubts about what else a server keeps in memory, and reads, at the time of the run.
    pub(super) fn serving(
        &self,
        machine: &Machine,
        memory: &Memory,
    ) -> Result<Vec<Warning>, PeakError> {
        let engine = &self.run().engine;
        let program = engine.program;
        if program.runs_gguf() {
            let keeps = memory.llama.is_some_and(|l| l.host.most() > Bytes::ZERO);
            let given = engine.prompt_cache.is_some_and(|given| given > Bytes::ZERO);
            return Ok(if given && !keeps {
                vec![Warning::KeepsNoPrompts(program)]
            } else {
                Vec::new()
            });
        }
        if !program.is_mlx_server() {
            let given = engine.prompt_cache.is_some();
            return Ok(if given { vec![Warning::KeepsNoPrompts(program)] } else { Vec::new() });
        }
        let mut all = Vec::new();
        let (kept, limit) = (self.kept(machine)?, machine.gpu_limit.bytes.0);
        let left = limit.saturating_sub(memory.peak.peak_bytes) as f64;
        if kept.0 as f64 > WORTH * left {
            all.push(Warning::KeepsPrompts { program, kept: engine.keeps, bytes: kept });
        }
        let reads = engine.prompt_slots;
        let fit = at_once(machine, memory, self.run().in_memory().work.batch);
        if engine.parallel.is_none() && fit < reads {
            all.push(Warning::PromptsAtOnce { program, reads, fit });
        }
        all.extend(self.kept_on_disk()?);
        all.extend(self.other_chunk());
        all.extend(
            self.near_guard(machine, memory.peak_interval_90[1])?.map(
                |SmallerChunk { tokens, peak }| Warning::SmallerChunks { program, tokens, peak },
            ),
        );
        all.extend(self.own_room(machine, memory)?);
        Ok(all)
    }

    /// What the program keeps of the prompt on the SSD, where it does so by itself.
    fn kept_on_disk(&self) -> Result<Option<Warning>, PeakError> {
        let engine = &self.run().engine;
        let row = Engines::embedded().ok().and_then(|all| all.row(engine.program));
        let on_disk = |row: &&Engine| matches!(row.prompt_cache.as_deref(), Some("ssd" | "disk"));
        let Some(row) = row.filter(on_disk) else { return Ok(None) };
        let kinds = self.graph().cache_kinds();
        let hybrid = kinds.iter().any(|kind| matches!(kind, CacheKind::Arrays(_)));
        let block = row.block_tokens_hybrid.filter(|_| hybrid).or(row.block_tokens);
        let Some((block, most)) = block.zip(row.prompt_cache_ssd_rule.clone()) else {
            return Ok(None);
        };
        let blocks = self.run().work.context_tokens / block.max(1);
        let growth = CacheGrowth::of(self.graph(), engine.prefill_step, 1, engine.kv)?;
        let bytes = Bytes(if blocks == 0 { 0 } else { growth.bytes(blocks * block)? });
        let program = engine.program;
        Ok(Some(Warning::KeptOnDisk { program, block, blocks, bytes, most }))
    }

    /// A larger chunk that versions of the program read prompts of such a model in.
    fn other_chunk(&self) -> Option<Warning> {
        let engine = &self.run().engine;
        let row = Engines::embedded().ok()?.row(engine.program)?;
        let varies = row.prefill_step_vlm_varies && self.graph().loader() == Loader::MlxVlm;
        let tokens = row.prefill_step_vlm.filter(|_| varies)?;
        let longer =
            tokens > engine.prefill_step && self.run().work.context_tokens > engine.prefill_step;
        longer.then_some(Warning::OtherChunk { program: engine.program, tokens })
    }

    /// The chunks that the program chooses from when it fits the context, the largest first: its own and those below it,
    /// where the version chooses.
    fn steps_to_choose_from(&self) -> Vec<u32> {
        let engine = &self.run().engine;
        let row = Engines::embedded().ok().and_then(|all| all.row(engine.program));
        let since =
            row.and_then(|r| r.context_autofit_steps_from.as_ref()?.parse::<Version>().ok());
        let chooses = since.zip(engine.version).is_none_or(|(since, v)| !v.is_day() || v >= since);
        let smaller = row.map_or(&[][..], |r| &r.context_autofit_steps).iter().copied();
        let smaller = smaller.filter(|&step| chooses && step < engine.prefill_step);
        std::iter::once(engine.prefill_step).chain(smaller).collect()
    }

    /// How the program sizes the room for caches itself, where it does.
    fn own_room(&self, machine: &Machine, memory: &Memory) -> Result<Option<Warning>, PeakError> {
        let (graph, engine) = (self.graph(), &self.run().engine);
        let Some(row) = Engines::embedded().ok().and_then(|all| all.row(engine.program)) else {
            return Ok(None);
        };
        let weights = Bytes(memory.peak.weights_bytes);
        if let Some(reserve) = row.context_autofit_reserve_gib {
            let since = row.context_autofit_from.as_ref().and_then(|d| d.parse::<Version>().ok());
            if since.zip(engine.version).is_some_and(|(since, v)| v.is_day() && v < since) {
                return Ok(None);
            }
            let layout = Layout::of(graph)?;
            let without_scores =
                row.context_autofit_without_scores.iter().any(|t| t == graph.model_type());
            let steps = self.steps_to_choose_from();
            let rule = AutoFitRule { steps: &steps, reserve_gib: reserve, without_scores };
            return Ok(Some(Warning::AutoFit(AutoFit::of(
                &layout,
                (weights, graph.max_context()),
                (machine.gpu_limit.bytes, u64::from(self.run().work.context_tokens)),
                rule,
            ))));
        }
        if engine.cap.is_some_and(|cap| cap.kind == CapKind::Reserves) {
            let peak = &memory.peak;
            let beside = peak.attention_scratch_bytes + peak.run_ahead_bytes;
            let block = u64::from(row.block_tokens.unwrap_or(1));
            let layout = Layout::of(graph)?;
            let pool = CachePool::of(&layout, machine, weights + Bytes(beside), block);
            return Ok(pool.map(Warning::CachePool));
        }
        Ok(None)
    }
}

/// How many prompts like those of a run about fit at once: what a run needs beside the weights grows with them.
fn at_once(machine: &Machine, memory: &Memory, batch: u32) -> u32 {
    let peak = &memory.peak;
    let each = |bytes: u64| (bytes / u64::from(batch.max(1))).max(1);
    let beside = peak.weights_bytes + peak.kept_bytes;
    let room = machine.gpu_limit.bytes.0.saturating_sub(beside);
    let by_sum = room / each(peak.peak_bytes.saturating_sub(beside));
    let by_buffer = match peak.attention_scratch_bytes {
        0 => u64::MAX,
        scores => {
            let largest = peak.largest_buffer_bytes.min(scores);
            machine.gpu_limit.max_buffer().0 / each(largest)
        }
    };
    u32::try_from(by_sum.min(by_buffer)).unwrap_or(u32::MAX)
}
