//! Doubts about a prediction. The text of each names the option that settles it, where there is one.

use super::memory::{AutoFit, CachePool};
use super::widening::{Cause, Widening};
use crate::model::gguf::GgufMix;
use crate::run::{EngineSetup, KeptPrompts, Program, Version};
use crate::units::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A doubt about a prediction.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// A remark of the model's name, files or configuration.
    Model(String),
    /// MLX was asked for, but does not run the file.
    GgufWithMlx,
    /// The run is longer than the model was made for.
    BeyondTheModel {
        /// Tokens of the run.
        tokens: u32,
        /// Tokens that the model was made for.
        made_for: u64,
    },
    /// Nothing is known of the program but its name.
    UnlistedProgram(Program),
    /// A version is older or newer than all that are listed.
    UnlistedVersion {
        /// The program, or MLX.
        name: String,
        /// The version.
        version: Version,
        /// The nearest version that is listed, whose rules are taken.
        nearest: Version,
    },
    /// Which MLX the program runs on is not known.
    MlxVersion(Box<EngineSetup>),
    /// Another version of MLX that the program supports needs another peak, beyond the interval.
    OtherMlx {
        /// The version.
        mlx: Version,
        /// Its peak.
        peak: Bytes,
    },
    /// Without matrix units the peak is another, beyond the interval.
    WithoutMatrixUnits(Bytes),
    /// The format of the GGUF file was not said.
    GgufMixAssumed(GgufMix),
    /// What a quantized cache does to the speed of the program is not known.
    KvNotModeled(Program),
    /// The program keeps caches of earlier prompts, more than may fit.
    KeepsPrompts {
        /// The program.
        program: Program,
        /// How many, and so many bytes.
        kept: KeptPrompts,
        /// What they come to where each is as long as the run.
        bytes: Bytes,
    },
    /// The program keeps earlier prompts on the SSD.
    KeptOnDisk {
        /// The program.
        program: Program,
        /// Tokens of a block.
        block: u32,
        /// Whole blocks of the prompt, and their bytes.
        blocks: u32,
        /// Bytes of the blocks.
        bytes: Bytes,
        /// How much it takes at most.
        most: String,
    },
    /// More memory was given to the caches of earlier prompts than the program has use for: it keeps none.
    KeepsNoPrompts(Program),
    /// Fewer prompts of this length fit at once than the program reads.
    PromptsAtOnce {
        /// The program.
        program: Program,
        /// How many it reads.
        reads: u32,
        /// How many about fit.
        fit: u32,
    },
    /// Versions of the program read prompts of models with towers in other chunks.
    OtherChunk {
        /// The program.
        program: Program,
        /// Tokens of a chunk in some versions.
        tokens: u32,
    },
    /// Near its own limit the program reads prompts in smaller chunks.
    SmallerChunks {
        /// The program.
        program: Program,
        /// Tokens of the smallest chunk.
        tokens: u32,
        /// The peak with it.
        peak: Bytes,
    },
    /// The program fits the context itself.
    AutoFit(AutoFit),
    /// The program reserves a pool when it starts.
    CachePool(CachePool),
    /// Whether the matrix units are used decides the speed of prompts, and it is not known.
    MatrixUnits {
        /// How many times as fast the prompt is with them.
        times: f64,
    },
    /// The GPU limit that was given is more than the memory.
    LimitBeyondMemory {
        /// What was given.
        given: Bytes,
        /// The memory.
        memory: Bytes,
    },
    /// Images were asked for, but the program loads no tower of the model.
    ImagesUnseen(Program),
    /// How many tokens the images become is not known.
    ImagesNotCounted(String),
    /// An interval was widened.
    Widened(Cause),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(text) => f.write_str(text),
            Self::GgufWithMlx => {
                f.write_str("MLX does not run GGUF files as they are; predicted for llama.cpp (--engine names another program)")
            }
            Self::BeyondTheModel { tokens, made_for } => {
                write!(f, "{tokens} tokens are more than the {made_for} that the model was made for")
            }
            Self::UnlistedProgram(program) => {
                let like = if program.runs_gguf() { "llama.cpp" } else { "a server on MLX" };
                write!(
                    f,
                    "nothing is known of the program '{program}' (--engine): taken as {like}, with wide intervals"
                )
            }
            Self::UnlistedVersion { name, version, nearest } => {
                let how = if version < nearest { "older" } else { "newer" };
                write!(
                    f,
                    "{name} {version} is {how} than any that is known here: the rules of {nearest} are taken"
                )
            }
            Self::MlxVersion(engine) => {
                let [oldest, newest] = engine.mlx.range;
                write!(
                    f,
                    "which MLX {}{} runs on is not known: predicted for {}, and the intervals of memory cover {oldest} \
                     to {newest} (--mlx settles it)",
                    engine.program,
                    engine.version.map_or_else(String::new, |v| format!(" {v}")),
                    engine.mlx.taken
                )
            }
            Self::OtherMlx { mlx, peak } => write!(
                f,
                "with MLX {mlx}, which is met too, the peak is {peak} (--mlx {mlx}): its attention is another"
            ),
            Self::WithoutMatrixUnits(peak) => write!(
                f,
                "where MLX does not use the matrix units (a wheel for macOS 14 or 15, or macOS before 26.2), the peak is \
                 {peak} (--nax off, or --macos VERSION)"
            ),
            Self::GgufMixAssumed(mix) => {
                write!(f, "the weights are taken as a GGUF file of format {mix}")
            }
            Self::KvNotModeled(program) => {
                write!(f, "the effect of a quantized cache on {program} is not modeled")
            }
            Self::KeepsPrompts { program, kept, bytes } => {
                let entries = match (kept.entries, kept.percent) {
                    (u32::MAX, Some(percent)) => format!("{percent} % of the memory"),
                    (entries, Some(percent)) => {
                        format!("up to {entries} of them and {percent} % of the memory")
                    }
                    (entries, None) => format!("up to {entries} of them, however large"),
                };
                write!(
                    f,
                    "{program} keeps the caches of earlier prompts, {entries}: {bytes} where each is as long as this one, \
                     which the upper ends of memory hold (--prompt-cache SIZE)"
                )
            }
            Self::KeptOnDisk { program, block, blocks, bytes, most } => write!(
                f,
                "{program} keeps earlier prompts on the SSD, not in memory, in blocks of {block} tokens: of this prompt {blocks}, \
                 {bytes}; at most {most}"
            ),
            Self::KeepsNoPrompts(program) => write!(
                f,
                "--prompt-cache is left out: {program} keeps no caches of earlier prompts in memory"
            ),
            Self::PromptsAtOnce { program, reads, fit } => write!(
                f,
                "{program} reads up to {reads} prompts at once; of this length about {fit} fit, and a client that gives up \
                 and asks again adds one (--parallel N predicts them)"
            ),
            Self::OtherChunk { program, tokens } => write!(
                f,
                "versions of {program} read prompts of models with a tower in chunks of {tokens}, which need more memory where \
                 attention builds scores (--prefill-step {tokens} predicts them)"
            ),
            Self::SmallerChunks { program, tokens, peak } => write!(
                f,
                "so near its own limit {program} reads prompts in smaller chunks, down to {tokens} tokens, which takes longer: \
                 with those the peak is {peak}, which the lower end of the interval holds"
            ),
            Self::AutoFit(fit) => write!(
                f,
                "LM Studio sets the context itself where auto-fit is on: by its rule {} tokens here, where it estimates a peak of \
                 {} of the {} that it allows, the working set less {} GiB{}{}",
                fit.tokens,
                fit.peak,
                fit.ceiling,
                fit.reserve_gib,
                match fit.charges_scores {
                    true => "; it charges scores of attention that MLX may not build",
                    false => "",
                },
                fit.chunks_text()
            ),
            Self::CachePool(pool) => write!(
                f,
                "vllm-metal reserves {} when it starts, whatever the prompt: about {} of it are blocks of its cache, for {} \
                 tokens of all sequences together (VLLM_METAL_MEMORY_FRACTION)",
                pool.reserved, pool.pool, pool.tokens
            ),
            Self::MatrixUnits { times } => write!(
                f,
                "prompts are predicted on the matrix units, which MLX uses from macOS 26.2 on where its wheel was made for \
                 macOS 26; without them they take {times:.1} times as long (--nax on|off or --macos VERSION settles it, and \
                 probe --measure tells on the Mac itself)"
            ),
            Self::LimitBeyondMemory { given, memory } => write!(
                f,
                "--gpu-limit {given} is more than the {:.0} GiB of this Mac, which are taken instead",
                memory.gib()
            ),
            Self::ImagesUnseen(program) => write!(
                f,
                "the images are left out: {program} runs this model without a vision tower; --engine mlx-vlm loads \
                 those of models that have one"
            ),
            Self::ImagesNotCounted(reason) => {
                write!(f, "the images are left out: {reason}; add their tokens to --context")
            }
            Self::Widened(cause) => write!(f, "{}", cause.warning()),
        }
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Warning {
    fn schema_name() -> Cow<'static, str> {
        "Warning".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// Adds the doubts that are not among the known ones.
pub(super) fn join(known: &mut Vec<Warning>, more: &[Warning]) {
    for warning in more {
        if !known.contains(warning) {
            known.push(warning.clone());
        }
    }
}

/// The doubts that widenings stand for.
pub(super) fn of_widenings(all: &[Widening]) -> impl Iterator<Item = Warning> {
    all.iter().filter(|w| w.cause.is_doubt()).map(|w| Warning::Widened(w.cause.clone()))
}
