//! What decides an answer besides the machine: the file that is run, the engine with its settings, and the work.
//!
//! This folder is below the ledger, so that a replay, a speed and a prediction all read the one [`Run`].

mod conditions;
mod draft;
mod engine;
mod file;
mod kept;
mod label;
mod named;
mod program;
mod server;
mod tiles;
mod version;
mod work;

pub use conditions::RunConditions;
pub use draft::{Acceptance, BadAcceptance, BadDraftTokens, Draft, DraftTokens, Drafter};
pub use engine::{EngineSetup, JOINING, MICRO_BATCH, MatrixUnits, MlxRelease, PREFILL_STEP};
pub use file::{FormatOrigin, GgufBytes, ModelFile, PromptUse};
pub use kept::KeptPrompts;
pub use label::Label;
pub use named::{EngineName, EngineNameError};
pub use program::{BadProgramName, Program, Unlisted};
pub use server::ServerTime;
pub use tiles::Tiles;
pub use version::{MLX_REPLAYED, Version, VersionError};
pub use work::{Images, ImagesError, Work};

use crate::graph::cache::KvQuantization;
use crate::units::Bytes;

/// A generation to plan for: everything that decides the answer besides model and machine. The default is what
/// `mlx_lm.generate` does with a prompt of 4096 tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Run {
    /// The file that is run.
    pub file: ModelFile,
    /// The program that runs it, and its settings.
    pub engine: EngineSetup,
    /// Prompt, output and sequences.
    pub work: Work,
    /// The state of the machine.
    pub conditions: RunConditions,
    /// Speculative decoding, where it was asked for.
    pub draft: Option<Draft>,
}

impl Run {
    /// All tokens of a sequence at the end of the generation.
    #[must_use]
    pub const fn total_tokens(&self) -> u32 {
        self.work.context_tokens.saturating_add(self.work.generate_tokens)
    }

    /// Tokens of a prompt whose logits are computed beside that of the last: those of the last chunk where a program
    /// computes all ([`EngineSetup::whole_logits`]), else none.
    #[must_use]
    pub fn logit_tokens(&self) -> u32 {
        if !self.engine.whole_logits {
            return 0;
        }
        (self.work.read_tokens() - 1) % self.engine.prefill_step.max(1)
    }

    /// Tokens in the cache in the middle of the generation.
    #[must_use]
    pub const fn middle_tokens(&self) -> u32 {
        self.work.context_tokens.saturating_add(self.work.generate_tokens / 2)
    }

    /// The same run of another file.
    #[must_use]
    pub const fn with_file(self, file: ModelFile) -> Self {
        Self { file, ..self }
    }

    /// The same run with another program in no known version, all settings kept that do not belong to the program.
    #[must_use]
    pub fn with_program(self, program: Program) -> Self {
        let version = self.engine.version.filter(|_| self.engine.program == program);
        let server = self.engine.server.filter(|_| self.engine.program == program);
        Self { engine: EngineSetup { program, version, server, ..self.engine }, ..self }
    }

    /// The same run with another engine.
    #[must_use]
    pub const fn with_engine(self, engine: EngineSetup) -> Self {
        Self { engine, ..self }
    }

    /// The same run with prefill chunks of `prefill_step` tokens; llama.cpp computes as many at once.
    #[must_use]
    pub const fn with_prefill_step(self, prefill_step: u32) -> Self {
        let micro_batch = if self.engine.program.runs_gguf() { Some(prefill_step) } else { None };
        let step_with_towers = None;
        let engine = EngineSetup { prefill_step, step_with_towers, micro_batch, ..self.engine };
        Self { engine, ..self }
    }

    /// The same run with another format of the cache.
    #[must_use]
    pub const fn with_kv(self, kv: Option<KvQuantization>) -> Self {
        Self { engine: EngineSetup { kv, ..self.engine }, ..self }
    }

    /// The same run on matrix units, or without them.
    #[must_use]
    pub const fn with_matrix_units(self, matrix_units: MatrixUnits) -> Self {
        Self { engine: EngineSetup { matrix_units, ..self.engine }, ..self }
    }

    /// The same run with all routed experts computed for every token.
    #[must_use]
    pub const fn with_all_experts(self) -> Self {
        Self { engine: EngineSetup { all_experts: true, ..self.engine }, ..self }
    }

    /// The same run with activations in 16-bit IEEE floats, or in bfloat16.
    #[must_use]
    pub const fn with_fp16(self, fp16: bool) -> Self {
        Self { file: ModelFile { fp16: Some(fp16), ..self.file }, ..self }
    }

    /// The same run with memory kept for macOS and other programs; `None` for the default.
    #[must_use]
    pub const fn with_reserve(self, reserve: Option<Bytes>) -> Self {
        Self { engine: EngineSetup { reserve, ..self.engine }, ..self }
    }

    /// The same run under a GPU memory limit that was set; `None` for the limit of the machine.
    #[must_use]
    pub const fn with_gpu_limit(self, gpu_limit: Option<Bytes>) -> Self {
        Self { engine: EngineSetup { gpu_limit, ..self.engine }, ..self }
    }

    /// The same run with so much memory meant for it; `None` for all that the limits allow.
    #[must_use]
    pub const fn with_budget(self, budget: Option<Bytes>) -> Self {
        Self { engine: EngineSetup { budget, ..self.engine }, ..self }
    }

    /// The same run with room for so many sequences; `None` for the program's own default.
    #[must_use]
    pub const fn with_parallel(self, parallel: Option<u32>) -> Self {
        Self { engine: EngineSetup { parallel, ..self.engine }, ..self }
    }

    /// The same run with so much memory for the caches of earlier prompts; `None` for the engine's own rule.
    #[must_use]
    pub const fn with_prompt_cache(self, prompt_cache: Option<Bytes>) -> Self {
        Self { engine: EngineSetup { prompt_cache, ..self.engine }, ..self }
    }

    /// The same run with these caches of earlier prompts in memory.
    #[must_use]
    pub const fn with_held(self, held: KeptPrompts) -> Self {
        Self { engine: EngineSetup { held, ..self.engine }, ..self }
    }

    /// Whether its caches are those of a batch whose sequences come and go, as servers have them.
    #[must_use]
    pub const fn pads_sequences(&self) -> bool {
        self.engine.pads_sequences && self.engine.kv.is_none()
    }

    /// The run as memory has to hold it: with all sequences that the program keeps room for, as many of their prompts read
    /// at once as it reads, and what was given to the caches of earlier prompts full of them. A larger batch than it reads
    /// at once is read in turns, while the first sequences generate.
    #[must_use]
    pub fn in_memory(self) -> Self {
        let engine = self.engine;
        if engine.program.runs_gguf() {
            return self;
        }
        let asked = engine.parallel.filter(|_| engine.program.is_mlx_server()).unwrap_or(0);
        let most = if engine.prompt_slots > 1 { engine.prompt_slots } else { u32::MAX };
        let batch = self.work.batch.min(most).max(asked.min(engine.prompt_slots));
        let generating = asked.max(self.work.batch).saturating_sub(batch);
        let given = engine.prompt_cache.filter(|_| engine.program.is_mlx_server());
        let held = given.map_or(engine.held, |_| engine.kept_at_most(Bytes::ZERO));
        Self { engine: EngineSetup { held, generating, ..engine }, ..self.with_batch(batch) }
    }

    /// The same with the caches of as many earlier prompts as the program comes to keep, on a machine with so much memory.
    #[must_use]
    pub fn at_its_fullest(self, memory: Bytes) -> Self {
        if self.engine.program.runs_gguf() || !self.engine.program.is_mlx_server() {
            return self.in_memory();
        }
        self.in_memory().with_held(self.engine.kept_at_most(memory))
    }

    /// The same run with a prompt of `context_tokens`.
    #[must_use]
    pub const fn with_context(self, context_tokens: u32) -> Self {
        Self { work: Work { context_tokens, ..self.work }, ..self }
    }

    /// The same run whose first `cached_tokens` tokens of the prompt are in a kept cache.
    #[must_use]
    pub const fn with_cached(self, cached_tokens: u32) -> Self {
        Self { work: Work { cached_tokens, ..self.work }, ..self }
    }

    /// The same run that generates `generate_tokens`.
    #[must_use]
    pub const fn with_generated(self, generate_tokens: u32) -> Self {
        Self { work: Work { generate_tokens, ..self.work }, ..self }
    }

    /// The same run with images in the prompt.
    #[must_use]
    pub const fn with_images(self, images: Option<Images>) -> Self {
        Self { work: Work { images, ..self.work }, ..self }
    }

    /// The same run in another state of the machine.
    #[must_use]
    pub const fn with_conditions(self, conditions: RunConditions) -> Self {
        Self { conditions, ..self }
    }

    /// The same run with drafts; `None` for without.
    #[must_use]
    pub const fn with_draft(self, draft: Option<Draft>) -> Self {
        Self { draft, ..self }
    }

    /// The same run of `batch` sequences at once.
    #[must_use]
    pub const fn with_batch(self, batch: u32) -> Self {
        Self { work: Work { batch, ..self.work }, ..self }
    }
}
