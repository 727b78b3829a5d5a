//! Memory of llama.cpp, and of the programs that run it, on a machine: the context that is declared, what is allocated
//! for it, and the longest one that fits.

use super::context::{ContextBound, MaxContext, budget, safe_budget};
use super::limits::{Judgment, LimitKind};
use super::{Limit, Memory, Process, default_reserve};
use crate::engine::programs::{Engines, OllamaDefaults};
use crate::estimate::StoredWeights;
use crate::graph::Graph;
use crate::hardware::machine::Machine;
use crate::ledger::llama_cpp::{KvType, Layout, LlamaBuffers, LlamaRelease, LlamaSettings};
use crate::ledger::peak::{Peak, PeakError, Phase};
use crate::run::{MICRO_BATCH, Program, Run, Version};
use crate::units::Bytes;
use std::sync::Arc;

/// Memory of a llama.cpp process beside its buffers: code, vocabulary, Metal's own. An assumption.
const RUNTIME: [u64; 2] = [50_000_000, 300_000_000];
/// How far buffers for intermediate results are off at most in published logs (`tests/data/llama_cpp_buffers.csv`).
const OFF: f64 = 0.15;
/// Where the interval comes from, in words.
pub const BUFFERS_INTERVAL_SOURCE: &str = "buffers printed by llama.cpp on Macs (tests/data/llama_cpp_buffers.csv): caches and states to the digit, \
     buffers for intermediate results within 15 %, most of them within 2 %";
/// Context that LM Studio declares unless told otherwise.
const LM_STUDIO_CONTEXT: u64 = 4096;
/// Slots of llama-server and LM Studio, unless told otherwise; they share one cache.
const SLOTS: u64 = 4;
/// Part of the memory up to which Ollama takes larger batches.
const OLLAMA_ROOM: f64 = 0.80;

/// A model as llama.cpp loads it.
#[derive(Clone, Debug)]
pub struct LlamaModel {
    layout: Arc<Layout>,
    weights: StoredWeights,
    made_for: Option<u64>,
    model_type: String,
}

/// What is allocated, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LlamaMemory {
    /// What the program is started with.
    pub settings: LlamaSettings,
    /// What it allocates.
    pub buffers: LlamaBuffers,
    /// Earlier prompts that the server keeps in the memory of the CPU.
    pub host: HostPrompts,
}

/// Earlier prompts that a server on llama.cpp keeps in the memory of the CPU (`--cache-ram`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPrompts {
    /// Up to so much was given to them: taken as full.
    Given(Bytes),
    /// What the program lets them grow to by itself: the upper end of the footprint holds it, verdicts do not, because
    /// only many other prompts fill it.
    Default(Bytes),
}

impl HostPrompts {
    /// Bytes at most.
    #[must_use]
    pub const fn most(self) -> Bytes {
        match self {
            Self::Given(bytes) | Self::Default(bytes) => bytes,
        }
    }

    /// Bytes that the limits have to hold.
    #[must_use]
    const fn held(self) -> Bytes {
        match self {
            Self::Given(bytes) => bytes,
            Self::Default(_) => Bytes::ZERO,
        }
    }
}

impl LlamaModel {
    /// A model with the weights of its file.
    ///
    /// # Errors
    /// When the model cannot be traced.
    pub fn of(graph: &Graph, weights: StoredWeights) -> Result<Self, PeakError> {
        Ok(Self {
            layout: Layout::of(graph)?,
            weights,
            made_for: graph.max_context(),
            model_type: graph.model_type().to_owned(),
        })
    }

    /// Memory of a run.
    ///
    /// # Errors
    /// When the cache is asked for in a type that llama.cpp does not have.
    pub fn memory(&self, machine: &Machine, run: &Run) -> Result<Memory, PeakError> {
        let settings = self.settings(machine, run)?;
        let buffers = LlamaBuffers::of(&self.layout, self.weights.bytes, &settings);
        let interval = self.interval(&buffers);
        let total = buffers.total();
        let [low, high] = RUNTIME;
        let host = host_prompts(run);
        let footprint_bytes =
            [interval[0] + host.held(), interval[1] + host.most()].map(|bytes| bytes.0);
        let process = Process {
            mlx_peak_bytes: total,
            mlx_resident_bytes: total,
            runtime_bytes: RUNTIME,
            footprint_bytes: [footprint_bytes[0] + low, footprint_bytes[1] + high],
        };
        let reserve = run.engine.reserve.unwrap_or_else(|| default_reserve(machine.memory.value));
        let llama = LlamaMemory { settings, buffers, host };
        let judgment = judge((&llama, Bytes::ZERO), interval, machine, reserve);
        Ok(Memory {
            peak: peak(&buffers, settings.context),
            peak_interval_90: interval,
            process,
            judgment,
            reserve,
            kept: Bytes::ZERO,
            draft: Bytes::ZERO,
            llama: Some(llama),
        })
    }

    /// Bytes of the states and of the used cells of a sequence of so many tokens: what a file of them holds.
    ///
    /// # Errors
    /// As [`Self::memory`].
    pub fn cache_bytes(&self, run: &Run, tokens: u32) -> Result<u64, PeakError> {
        let context = u64::from(tokens).next_multiple_of(256).max(256);
        let settings = LlamaSettings {
            context,
            slots: 1,
            unified: true,
            micro_batch: u64::from(MICRO_BATCH),
            flash: true,
            kv: [kv_type(run)?; 2],
            all_logits: false,
            release: LlamaRelease::NEWEST,
        };
        let buffers = LlamaBuffers::of(&self.layout, 0, &settings);
        let used = u128::from(buffers.kv_bytes) * u128::from(tokens) / u128::from(context);
        Ok(u64::try_from(used).unwrap_or(u64::MAX) + buffers.state_bytes)
    }

    /// What the program is started with: the context that holds the run, or the program's own if that is more.
    fn settings(&self, machine: &Machine, run: &Run) -> Result<LlamaSettings, PeakError> {
        let sequences = u64::from(run.work.batch.max(1));
        let (program, version) = (run.engine.program, run.engine.version);
        let ollama = (program == Program::Ollama).then(|| self.ollama(machine, version)).flatten();
        let release = match (&ollama, version) {
            (Some(ollama), _) => LlamaRelease::of(ollama.build),
            (None, Some(build)) if build.is_build() => LlamaRelease::of(build.major),
            (None, _) => LlamaRelease::NEWEST,
        };
        let usual = match &ollama {
            Some(ollama) => ollama.slots,
            None if program == Program::LmStudioGguf || release.shared_slots => SLOTS,
            None => 1,
        };
        let slots = match run.engine.parallel {
            Some(asked) => u64::from(asked).max(sequences),
            None => usual.max(sequences),
        };
        let unified = run.engine.parallel.is_none() && ollama.is_none();
        // Slots with a cache each have to hold the run in every one of them.
        let asked = u64::from(run.total_tokens()) * if unified { sequences } else { slots };
        let own = match (&ollama, program) {
            (Some(ollama), _) => {
                slots * self.made_for.map_or(ollama.context, |most| ollama.context.min(most))
            }
            (None, Program::LmStudioGguf) => LM_STUDIO_CONTEXT,
            (None, _) => 0,
        };
        let settings = LlamaSettings {
            context: own.max(asked).div_ceil(256) * 256,
            slots,
            unified,
            micro_batch: u64::from(run.engine.chunk()),
            flash: ollama.map_or(release.auto_flash, |ollama| ollama.flash),
            kv: [kv_type(run)?; 2],
            all_logits: !release.few_logits,
            release,
        };
        if settings.kv[1].is_quantized() && !settings.flash {
            return Err(PeakError::Request(
                "llama.cpp needs flash attention for a quantized cache, and this version does not use it for this model by \
                 itself: leave --kv-bits out, or name a newer version",
            ));
        }
        let asked = run.engine.micro_batch.is_some();
        let larger = !asked && ollama.is_some_and(|ollama| ollama.larger_batches);
        Ok(if larger { self.larger_batches(machine, settings) } else { settings })
    }

    fn ollama(&self, machine: &Machine, version: Option<Version>) -> Option<OllamaDefaults> {
        let engines = Engines::embedded().ok()?;
        engines.ollama(version, &self.model_type, machine.gpu_limit.bytes)
    }

    /// Ollama takes larger batches for longer contexts, where they leave room.
    fn larger_batches(&self, machine: &Machine, settings: LlamaSettings) -> LlamaSettings {
        let micro_batch = match settings.context {
            0..=4096 => u64::from(MICRO_BATCH),
            4097..=32_768 => 1024,
            _ => 2048,
        };
        let larger = LlamaSettings { micro_batch, ..settings };
        let need = LlamaBuffers::of(&self.layout, self.weights.bytes, &larger).total();
        if need as f64 <= OLLAMA_ROOM * machine.gpu_limit.bytes.0 as f64 {
            larger
        } else {
            settings
        }
    }

    /// Where the memory will be nine times out of ten.
    fn interval(&self, buffers: &LlamaBuffers) -> [Bytes; 2] {
        let doubt = (OFF * buffers.compute_bytes as f64) as u64;
        // Tensors that only the CPU reads are not under the GPU's limit.
        let host = buffers.host_compute_bytes + buffers.output_bytes;
        let total = buffers.total();
        let [least, most] = self.weights.interval;
        let rest = total - self.weights.bytes;
        [Bytes((least + rest).saturating_sub(host + doubt)), Bytes(most + rest + doubt)]
    }

    /// The longest context under which all is allocated within a budget: the expected memory, or the upper end of the
    /// interval under the lowest limit.
    ///
    /// # Errors
    /// As [`Self::memory`].
    pub fn longest(
        &self,
        machine: &Machine,
        run: &Run,
        safe: bool,
    ) -> Result<MaxContext, PeakError> {
        let reserve = run.engine.reserve;
        let most = if safe { safe_budget(machine, reserve) } else { budget(machine, reserve) };
        let top = self.made_for.unwrap_or(1 << 24).clamp(256, 1 << 24);
        let needs = |cells: u64| -> Result<bool, PeakError> {
            let tokens = u32::try_from(cells * 256).unwrap_or(u32::MAX);
            let generated = run.work.generate_tokens.min(tokens - 1);
            let run = run.with_generated(generated).with_context(tokens - generated);
            // The declared context of the program itself is not what is asked here.
            let settings = self.settings(machine, &run)?;
            let sequences = match settings.unified {
                true => u64::from(run.work.batch.max(1)),
                false => settings.slots,
            };
            let settings = LlamaSettings { context: u64::from(tokens) * sequences, ..settings };
            let buffers = LlamaBuffers::of(&self.layout, self.weights.bytes, &settings);
            let need = if safe { self.interval(&buffers)[1].0 } else { buffers.total() };
            Ok(need <= most.0)
        };
        let (mut low, mut high) = (0, top / 256 + 1);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if needs(middle)? { low = middle } else { high = middle }
        }
        let bound = match (low == top / 256, self.made_for) {
            (true, Some(_)) => ContextBound::Model,
            (true, None) => ContextBound::None,
            (false, _) => ContextBound::Memory,
        };
        let tokens = if low == top / 256 { top } else { low * 256 };
        Ok(MaxContext { tokens: u32::try_from(tokens).unwrap_or(u32::MAX), bound })
    }
}

/// What the program of a run keeps of earlier prompts in the memory of the CPU.
fn host_prompts(run: &Run) -> HostPrompts {
    let (engine, all) = (&run.engine, Engines::embedded());
    let usual = all.ok().and_then(|all| all.host_prompts(engine.program, engine.version));
    match (engine.prompt_cache, usual) {
        (Some(given), Some(_)) => HostPrompts::Given(given),
        (_, usual) => HostPrompts::Default(usual.unwrap_or(Bytes::ZERO)),
    }
}

/// The type of keys and values that a run asks for.
fn kv_type(run: &Run) -> Result<KvType, PeakError> {
    let Some(kv) = run.engine.kv else { return Ok(KvType::F16) };
    KvType::of_bits(kv.packing.bits)
        .ok_or(PeakError::Request("llama.cpp keeps caches of 8, 5 or 4 bits (q8_0, q5_0, q4_0)"))
}

/// The buffers as a peak: all is allocated before the first prompt.
fn peak(buffers: &LlamaBuffers, context: u64) -> Peak {
    Peak {
        peak_bytes: buffers.total(),
        weights_bytes: buffers.weights_bytes,
        kv_bytes: buffers.kv_bytes,
        state_bytes: buffers.state_bytes,
        attention_scratch_bytes: 0,
        run_ahead_bytes: buffers.beyond(),
        kept_bytes: 0,
        largest_buffer_bytes: buffers.largest_bytes,
        resident_bytes: buffers.total(),
        phase: Phase::Prefill,
        context_tokens: u32::try_from(context).unwrap_or(u32::MAX),
        steps: Vec::new(),
    }
}

/// The limits of a machine on what llama.cpp allocates, and so many bytes of a draft model beside it.
pub(super) fn judge(
    (llama, draft): (&LlamaMemory, Bytes),
    interval: [Bytes; 2],
    machine: &Machine,
    reserve: Bytes,
) -> Judgment {
    let (buffers, kept) = (&llama.buffers, llama.host.held());
    let (gpu, total) = (&machine.gpu_limit, Bytes(buffers.total()) + draft);
    let exact = |bytes: Bytes| (bytes, [bytes; 2]);
    let [low, high] = RUNTIME.map(Bytes);
    let middle = Bytes((low.0 + high.0) / 2);
    let occupied = (total + kept + middle, [interval[0] + kept + low, interval[1] + kept + high]);
    let memory = machine.memory.value.saturating_sub(reserve);
    let mut limits = vec![
        Limit::new(
            LimitKind::GpuLimit,
            (total, interval),
            (gpu.bytes, gpu.range),
            "weights, caches and buffers must stay under Metal's recommendedMaxWorkingSetSize",
        ),
        Limit::new(
            LimitKind::LargestBuffer,
            exact(Bytes(buffers.largest_bytes)),
            exact(gpu.max_buffer()),
            "no tensor may be larger than Metal's maxBufferLength, three quarters of the default limit",
        ),
        Limit::new(
            LimitKind::Memory,
            occupied,
            exact(memory),
            "all buffers, the process and the reserve must fit into memory; otherwise macOS swaps",
        ),
    ];
    limits.extend(machine.budget.map(|budget| {
        let rule = "all buffers and the process must stay within the memory meant for them";
        Limit::new(LimitKind::Budget, occupied, exact(budget), rule)
    }));
    let excess = (total + kept + middle).saturating_sub(memory);
    let read = (buffers.weights_bytes + buffers.kv_bytes) as f64;
    Judgment::of_limits(limits, (excess, read), machine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::cache::KvQuantization;
    use crate::hardware::{Macs, spec};
    use crate::model::{Config, DType};

    fn machine(text: &str) -> Machine {
        spec::resolve(text, &Macs::embedded()).expect("a Mac")
    }

    /// Qwen3-14B, in a file of so many 10^9 bytes.
    fn qwen3_14b(gb: f64) -> LlamaModel {
        let config = Config::parse(
            r#"{"model_type":"qwen3","hidden_size":5120,"num_hidden_layers":40,"num_attention_heads":40,
                "num_key_value_heads":8,"head_dim":128,"intermediate_size":17408,"vocab_size":151936,
                "max_position_embeddings":131072,"rms_norm_eps":1e-6,"rope_theta":1e6,"tie_word_embeddings":false}"#,
        );
        let graph = Graph::new(&config.expect("valid JSON"), DType::F16).expect("a known family");
        let bytes = (gb * 1e9) as u64;
        LlamaModel::of(&graph, StoredWeights { bytes, interval: [bytes; 2] }).expect("runs")
    }

    fn llama(context: u32) -> Run {
        let run = Run::default().with_program(Program::LlamaCpp).with_generated(1);
        run.with_context(context - 1).with_parallel(Some(1))
    }

    /// lmstudio-bug-tracker#2404: 65536 tokens of a 14B in Q5_K_M with a cache in q8_0 fit 24 GB, with one in f16 not.
    #[test]
    fn a_quantized_cache_is_what_makes_it_fit() {
        let (model, mac) = (qwen3_14b(10.51), machine("m4pro-20/24"));
        let plain = model.memory(&mac, &llama(65_536)).expect("runs");
        let eight = llama(65_536).with_kv(Some(KvQuantization::bits(8)));
        let eight = model.memory(&mac, &eight).expect("runs");
        assert_eq!(plain.peak.kv_bytes, 65_536 * 40 * 2 * 8 * 128 * 2);
        assert_eq!(eight.peak.kv_bytes, plain.peak.kv_bytes / 64 * 34);
        let limit = mac.gpu_limit.bytes.0;
        assert!(eight.peak.peak_bytes < limit && plain.peak.peak_bytes > limit, "{eight:?}");
        assert!((15.9..17.0).contains(&Bytes(eight.peak.peak_bytes).gb()), "{:?}", eight.peak);
        let three = llama(4096).with_kv(Some(KvQuantization::bits(3)));
        assert!(model.memory(&mac, &three).is_err());
    }

    /// Without a cache for all (`-np` divides the context), every slot has to hold the run.
    #[test]
    fn slots_with_a_cache_each_hold_the_run() {
        let (model, mac) = (qwen3_14b(9.0), machine("m4pro-20/24"));
        let at = |slots| model.memory(&mac, &llama(4096).with_parallel(Some(slots))).expect("runs");
        let [one, four] = [1, 4].map(|slots| at(slots).llama.expect("llama.cpp").settings.context);
        assert_eq!((one, four), (4096, 4 * 4096));
        let longest = |slots| {
            model
                .longest(&mac, &llama(4096).with_parallel(Some(slots)), false)
                .expect("runs")
                .tokens
        };
        assert!(longest(4) < longest(1) / 3, "{} {}", longest(4), longest(1));
    }

    #[test]
    fn ollama_declares_a_context_by_memory() {
        let model = qwen3_14b(9.0);
        let run = llama(2048).with_program(Program::Ollama);
        let declared = |mac: &str| {
            let memory = model.memory(&machine(mac), &run).expect("runs");
            memory.llama.expect("llama.cpp").settings.context
        };
        assert_eq!(declared("m4pro-20/24"), 4096);
        assert_eq!(declared("m4max-32/36"), 32_768);
        assert_eq!(declared("m4max-40/128"), 131_072, "no more than the model was made for");
        let longer = run.with_context(50_000);
        let memory = model.memory(&machine("m4pro-20/24"), &longer).expect("runs");
        assert!(memory.llama.expect("llama.cpp").settings.context >= 50_000);
    }

    #[test]
    fn the_longest_context_fits_and_a_longer_one_does_not() {
        let (model, mac) = (qwen3_14b(9.0), machine("m4pro-20/24"));
        let longest = model.longest(&mac, &llama(4096), false).expect("runs");
        assert_eq!(longest.bound, ContextBound::Memory);
        let need = |tokens| model.memory(&mac, &llama(tokens)).expect("runs").peak.peak_bytes;
        let most = budget(&mac, None).0;
        assert!(need(longest.tokens) <= most && need(longest.tokens + 256) > most, "{longest:?}");
        let safe = model.longest(&mac, &llama(4096), true).expect("runs");
        assert!(safe.tokens <= longest.tokens);
        let memory = model.memory(&mac, &llama(safe.tokens)).expect("runs");
        assert!(memory.judgment.verdict <= super::super::Fit::Tight, "{:?}", memory.judgment);
    }
}
