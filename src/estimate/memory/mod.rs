//! Whether a generation fits: its peak, what the process will occupy, and the limits of the machine.

mod advice;
mod advice_llama;
mod autofit;
mod below;
mod chunks;
mod context;
mod ends;
mod interval;
mod limits;
mod llama;
mod longest;

pub use advice::{Advice, Advised, Change, Withheld, advise};
pub use advice_llama::{advise_llama, file_in, smaller_mixes};
pub use autofit::{AutoFit, AutoFitRule, CachePool};
pub use below::{Room, below};
pub use context::{ContextBound, MaxContext, budget, roomy, safe_budget, within, within_less};
pub use ends::{Ends, PromptEnd};
pub use interval::{PEAK_INTERVAL_SOURCE, interval_90};
pub use limits::{Fit, Fits, Judgment, Limit, LimitKind, Need, Swap};
pub use llama::{BUFFERS_INTERVAL_SOURCE, HostPrompts, LlamaMemory, LlamaModel};
pub use longest::{longest, start};

use crate::hardware::cap::CapKind;
use crate::hardware::limits::macos_reserve;
use crate::hardware::machine::Machine;
use crate::ledger::peak::Peak;
use crate::run::{EngineSetup, Program};
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// Memory of a Python process with mlx-lm beside MLX's buffers: interpreter, libraries, tokenizer. An assumption, from
/// footprints of 0.3 to 0.6 GB that idle servers show.
pub const RUNTIME_BYTES: [u64; 2] = [300_000_000, 600_000_000];

/// Memory kept for macOS and other programs unless the user says otherwise: [`macos_reserve`], but no more than a
/// quarter of the memory, because macOS itself leaves three quarters of a small Mac to the GPU.
#[must_use]
pub fn default_reserve(memory: Bytes) -> Bytes {
    macos_reserve(memory).min(Bytes(memory.0 / 4))
}

/// The memory of a generation on a machine.
#[derive(Clone, Debug)]
pub struct Memory {
    /// MLX's peak and its parts.
    pub peak: Peak,
    /// Where the measured peak will be nine times out of ten.
    pub peak_interval_90: [Bytes; 2],
    /// What macOS will show for the process.
    pub process: Process,
    /// What the limits say.
    pub judgment: Judgment,
    /// Memory kept for macOS and other programs.
    pub reserve: Bytes,
    /// What caches of earlier prompts may come to take beside the peak; the upper ends hold it.
    pub kept: Bytes,
    /// What a draft model adds to the peak, which holds it.
    pub draft: Bytes,
    /// What is allocated and for what, where llama.cpp runs the model.
    pub llama: Option<LlamaMemory>,
}

/// What macOS shows for a process that generates with mlx-lm (`footprint`, Activity Monitor).
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct Process {
    /// MLX's active memory at its peak (`mx.get_peak_memory()`).
    pub mlx_peak_bytes: u64,
    /// The same and the freed buffers that MLX keeps for reuse at that time, up to its limit.
    pub mlx_resident_bytes: u64,
    /// Interpreter, libraries and tokenizer: lowest and highest value assumed.
    pub runtime_bytes: [u64; 2],
    /// Footprint of the process: lowest and highest value expected.
    pub footprint_bytes: [u64; 2],
}

impl Memory {
    /// Judges a peak that has been simulated, where others may be meant whose peaks lie between two.
    #[must_use]
    pub fn judge_between(
        peak: Peak,
        [low, high]: [Bytes; 2],
        machine: &Machine,
        engine: &EngineSetup,
    ) -> Self {
        let peak_interval_90 = [interval_90(low)[0], interval_90(high)[1]];
        let more = high.saturating_sub(Bytes(peak.peak_bytes));
        let process = Process::of(&peak, machine, engine.program).keeping(more);
        let reserve = engine.reserve.unwrap_or_else(|| default_reserve(machine.memory.value));
        let judgment =
            Judgment::of((&peak).into(), peak_interval_90, process.runtime_bytes, machine, reserve);
        let [kept, draft] = [Bytes::ZERO; 2];
        Self { peak, peak_interval_90, process, judgment, reserve, kept, draft, llama: None }
    }

    /// The same with a draft model that adds so much.
    pub(super) fn beside(mut self, draft: Bytes, machine: &Machine) -> Self {
        self.draft += draft;
        self.peak.peak_bytes += draft.0;
        self.peak.resident_bytes += draft.0;
        self.peak_interval_90 = self.peak_interval_90.map(|end| end + draft);
        self.process.mlx_peak_bytes += draft.0;
        self.process.mlx_resident_bytes += draft.0;
        self.process.footprint_bytes = self.process.footprint_bytes.map(|end| end + draft.0);
        self.judgment = match &self.llama {
            Some(llama) => {
                llama::judge((llama, self.draft), self.peak_interval_90, machine, self.reserve)
            }
            None => Judgment::of(
                (&self.peak).into(),
                self.peak_interval_90,
                self.process.runtime_bytes,
                machine,
                self.reserve,
            ),
        };
        self
    }

    /// The same of files whose weights lie in a range of those that were simulated.
    pub(super) fn over_files(self, [less, more]: [f64; 2], machine: &Machine) -> Self {
        let weights = self.peak.weights_bytes as f64;
        let [low, high] = self.peak_interval_90;
        let peak_interval_90 = [
            low.saturating_sub(Bytes((weights * (1.0 - less).max(0.0)) as u64)),
            high + Bytes((weights * (more - 1.0).max(0.0)) as u64),
        ];
        let judgment = Judgment::of(
            (&self.peak).into(),
            peak_interval_90,
            self.process.runtime_bytes,
            machine,
            self.reserve,
        );
        Self { peak_interval_90, judgment, ..self }
    }
}

impl Process {
    /// MLX gives freed buffers back once active and freed ones reach 0.95 of the GPU limit
    /// ([`crate::hardware::limits::MlxLimits`]), but active ones stay.
    ///
    /// A server lives longer than the run: chunks and batches of other lengths have left buffers that these do not reuse,
    /// as many again as the run needs beside weights and caches. An assumption that footprints of Rapid-MLX and oMLX
    /// bear out (`tests/records/servers.rs`).
    fn of(peak: &Peak, machine: &Machine, program: Program) -> Self {
        let reclaim = machine.mlx_limits().reclaim.0;
        let earlier = if program.is_mlx_server() {
            peak.attention_scratch_bytes + peak.run_ahead_bytes
        } else {
            0
        };
        let cap = machine.cap_bytes();
        let waits = cap.filter(|(cap, ..)| cap.kind == CapKind::Waits).map(|(_, bytes, _)| bytes.0);
        let reclaim = waits.map_or(reclaim, |bytes| bytes.min(reclaim));
        let resident = (peak.resident_bytes + earlier).min(reclaim.max(peak.peak_bytes));
        let [low, high] = RUNTIME_BYTES;
        if let Some((_, _, [least, most])) = cap.filter(|(c, ..)| c.kind == CapKind::Reserves) {
            let footprint_bytes = [least.0.max(peak.peak_bytes) + low, most.0.max(resident) + high];
            let mlx_resident_bytes = resident.max(least.0);
            return Self {
                mlx_peak_bytes: peak.peak_bytes,
                mlx_resident_bytes,
                runtime_bytes: RUNTIME_BYTES,
                footprint_bytes,
            };
        }
        Self {
            mlx_peak_bytes: peak.peak_bytes,
            mlx_resident_bytes: resident,
            runtime_bytes: RUNTIME_BYTES,
            footprint_bytes: [peak.peak_bytes + low, resident + high],
        }
    }

    /// The same with so many bytes of caches that the program may come to keep.
    const fn keeping(self, more: Bytes) -> Self {
        let [low, high] = self.footprint_bytes;
        Self { footprint_bytes: [low, high + more.0], ..self }
    }
}

#[cfg(test)]
mod tests;
