//! The engine of a run: the program, its version, and the settings of it that move memory or speed.

use super::{KeptPrompts, Program, ServerTime, Tiles, Version};
use crate::graph::cache::KvQuantization;
use crate::hardware::cap::MemoryCap;
use crate::units::Bytes;

/// Tokens of a prefill chunk of `mlx_lm.generate` (`--prefill-step-size`).
pub const PREFILL_STEP: u32 = 2048;

/// Tokens that llama.cpp computes at once (`-ub`).
pub const MICRO_BATCH: u32 = 512;

/// Times that the caches of sequences which generate are in memory while another joins them: `extend` of mlx-lm's batched
/// caches makes new arrays for all, beside the old ones.
pub const JOINING: u64 = 2;

/// The newest mlx-lm, and the MLX that it is installed with: what is taken where nothing is said.
const NEWEST: (Version, Version) = (Version::new(0, 32, 2), Version::new(0, 32, 4));

/// A program with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineSetup {
    /// The program.
    pub program: Program,
    /// Its version, where it is known.
    pub version: Option<Version>,
    /// The version of MLX that it runs on; means nothing where it runs GGUF files.
    pub mlx: MlxRelease,
    /// The version of macOS, where it is known.
    pub macos: Option<Version>,
    /// Whether MLX uses the matrix units of GPUs that have them.
    pub matrix_units: MatrixUnits,
    /// Tokens of a prefill chunk.
    pub prefill_step: u32,
    /// The same for models that are loaded with towers, where it is another one and none was asked for.
    pub step_with_towers: Option<u32>,
    /// Tokens that llama.cpp computes at once (`-ub`), where they were asked for; `None` for the program's own.
    pub micro_batch: Option<u32>,
    /// Whether every call of the model computes the logits of all its tokens, as mlx-lm did before 0.27.0.
    pub whole_logits: bool,
    /// Whether its caches are those of sequences that come and go: masks of attention are arrays then, and fewer kernels
    /// are fused. Not where the cache is quantized.
    pub pads_sequences: bool,
    /// Caches of earlier prompts that it may come to keep in memory.
    pub keeps: KeptPrompts,
    /// Memory that was given to them; `None` for the program's own rule.
    pub prompt_cache: Option<Bytes>,
    /// Those that are in memory during the run.
    pub held: KeptPrompts,
    /// The limit of memory that it sets itself, where it has one.
    pub cap: Option<MemoryCap>,
    /// Whether it cuts wide attention into tiles.
    pub tiles: Tiles,
    /// What it adds to every token of a single stream, where that was published.
    pub server: Option<ServerTime>,
    /// Prompts that it reads at once, at most.
    pub prompt_slots: u32,
    /// Sequences that it generates at once where nothing else is said, at most.
    pub slots: u32,
    /// Sequences that generate while the prompts of the run are read.
    pub generating: u32,
    /// Whether and how the cache is quantized.
    pub kv: Option<KvQuantization>,
    /// Tokens from which the program quantizes it, where these are not mlx-lm's.
    pub kv_start: Option<u32>,
    /// Whether all routed experts are computed for every token, as by programs without kernels for chosen ones.
    pub all_experts: bool,
    /// Memory kept for macOS and other programs; `None` for the default of the machine.
    pub reserve: Option<Bytes>,
    /// GPU memory limit that was set (`iogpu.wired_limit_mb`); `None` for the limit of the machine.
    pub gpu_limit: Option<Bytes>,
    /// How much of the memory the process may take; `None` for all that the limits allow.
    pub budget: Option<Bytes>,
    /// Sequences that the program keeps room for; `None` for its own default.
    pub parallel: Option<u32>,
}

/// A version of MLX, or several that a program may run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MlxRelease {
    /// The one that is predicted.
    pub taken: Version,
    /// The oldest and the newest that it may be; both are `taken` where it is known.
    pub range: [Version; 2],
}

/// Whether MLX uses the matrix units of a GPU that has them (M5 and later).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MatrixUnits {
    /// Where MLX and macOS are recent enough, as far as they are known.
    #[default]
    Auto,
    /// It does.
    On,
    /// It does not: a wheel for macOS 14 or 15, or the environment says so.
    Off,
}

impl MlxRelease {
    /// A version that is known.
    #[must_use]
    pub const fn known(version: Version) -> Self {
        Self { taken: version, range: [version; 2] }
    }

    /// Whether the version is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.range[0] == self.range[1]
    }
}

impl Default for EngineSetup {
    fn default() -> Self {
        let (version, mlx) = NEWEST;
        Self {
            program: Program::MlxLm,
            version: Some(version),
            mlx: MlxRelease::known(mlx),
            macos: None,
            matrix_units: MatrixUnits::Auto,
            prefill_step: PREFILL_STEP,
            micro_batch: None,
            step_with_towers: None,
            whole_logits: false,
            pads_sequences: false,
            keeps: KeptPrompts::NONE,
            prompt_cache: None,
            held: KeptPrompts::NONE,
            cap: None,
            tiles: Tiles::Never,
            server: None,
            prompt_slots: 8,
            slots: 1,
            generating: 0,
            kv: None,
            kv_start: None,
            all_experts: false,
            reserve: None,
            gpu_limit: None,
            budget: None,
            parallel: None,
        }
    }
}

impl EngineSetup {
    /// This engine with what was asked of another beside the program: the cache, the limits of memory and the sequences.
    #[must_use]
    pub const fn asked_as(self, other: &Self) -> Self {
        let Self { kv, reserve, gpu_limit, budget, parallel, prompt_cache, .. } = *other;
        Self { kv, reserve, gpu_limit, budget, parallel, prompt_cache, ..self }
    }

    /// What it keeps of earlier prompts at most: what was given to them, else its own rule. A program whose rule is to
    /// keep none in memory takes what it is given.
    #[must_use]
    pub fn kept_at_most(&self, memory: Bytes) -> KeptPrompts {
        let keeps = self.keeps.on(memory);
        match self.prompt_cache {
            None => keeps,
            Some(given) => KeptPrompts {
                entries: if keeps.entries == 0 { u32::MAX } else { keeps.entries },
                bytes: Some(given),
                percent: None,
            },
        }
    }

    /// Tokens that are read of a prompt at once: a chunk of MLX, or what llama.cpp computes at once (512 unless told
    /// otherwise; Ollama takes more for long contexts).
    #[must_use]
    pub const fn chunk(&self) -> u32 {
        match self.micro_batch {
            Some(tokens) => tokens,
            None if self.program.runs_gguf() => MICRO_BATCH,
            None => self.prefill_step,
        }
    }

    /// The type of the cache as engines name it: `f16`, or `q8` and the like when it is quantized.
    #[must_use]
    pub fn kv_type(&self) -> String {
        self.kv.map_or_else(|| "f16".to_owned(), |kv| format!("q{}", kv.packing.bits))
    }

    /// Program, version and MLX in words: `mlx-lm 0.32.2 (MLX 0.32.4)`.
    #[must_use]
    pub fn name(&self) -> String {
        let version = self.version.map_or_else(String::new, |v| format!(" {v}"));
        if self.program.runs_gguf() {
            return format!("{}{version}", self.program);
        }
        let [oldest, newest] = self.mlx.range;
        let mlx = if self.mlx.is_known() {
            format!("MLX {newest}")
        } else {
            format!("MLX {}, of {oldest} to {newest}", self.mlx.taken)
        };
        format!("{}{version} ({mlx})", self.program)
    }
}
