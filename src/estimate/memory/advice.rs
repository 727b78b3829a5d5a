//! What makes a generation fit, or lengthens its context: the change that loses least first.

use super::context::{MaxContext, roomy};
use super::interval::interval_90;
use super::{Fits, Memory};
use crate::estimate::Estimator;
use crate::graph::cache::KvQuantization;
use crate::hardware::limits::WiredLimitAdvice;
use crate::hardware::machine::Machine;
use crate::ledger::weights::Weights;
use crate::model::Scheme;
use crate::model::quality::PublishedLoss;
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// A change to the request, the machine's settings or the model.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// Smaller prefill chunks: less scratch, slower prompts.
    PrefillStep {
        /// Tokens of a chunk.
        tokens: u32,
    },
    /// A quantized cache. Its attention is not fused: MLX builds the scores of a whole chunk, so that chunks must be
    /// small for the bits to save anything.
    KvBits {
        /// Bits per element.
        bits: u32,
        /// Tokens of a chunk.
        prefill_step: u32,
    },
    /// Another type of llama.cpp's cache.
    KvType {
        /// The type.
        kv_type: &'static str,
    },
    /// Room for fewer sequences.
    Parallel {
        /// So many.
        sequences: u32,
    },
    /// A limit on the caches of earlier prompts that a server keeps.
    PromptCache {
        /// The limit.
        bytes: Bytes,
    },
    /// Fewer freed buffers kept by MLX.
    CacheLimit {
        /// The limit.
        bytes: Bytes,
    },
    /// A raised GPU memory limit.
    WiredLimit(WiredLimitAdvice),
    /// A smaller format of the weights.
    Quantization {
        /// The scheme, as in the names of models.
        quant: String,
    },
}

impl Change {
    /// The change in words, with the option or command that makes it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::PrefillStep { tokens } => format!("--prefill-step-size {tokens} (mlx-lm)"),
            Self::KvBits { bits, prefill_step } => {
                format!("--kv-bits {bits} --prefill-step-size {prefill_step} (mlx-lm)")
            }
            Self::KvType { kv_type } => {
                format!(
                    "--cache-type-k {kv_type} --cache-type-v {kv_type} (llama.cpp; OLLAMA_KV_CACHE_TYPE={kv_type})"
                )
            }
            Self::Parallel { sequences } => {
                format!("--parallel {sequences} (llama.cpp; OLLAMA_NUM_PARALLEL={sequences})")
            }
            Self::PromptCache { bytes } => {
                format!(
                    "--prompt-cache {:.1}GB (mlx_lm.server: --prompt-cache-bytes {})",
                    bytes.gb(),
                    bytes.0
                )
            }
            Self::CacheLimit { bytes } => {
                format!("mx.set_cache_limit({}) before generating", bytes.0)
            }
            Self::WiredLimit(w) => format!("{} (undo: {})", w.command, w.undo),
            Self::Quantization { quant } => format!("weights in {quant}"),
        }
    }
}

/// A change and what it buys.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Advice {
    /// What to change.
    #[serde(flatten)]
    pub what: Change,
    /// Peak with the change.
    pub peak_bytes: Bytes,
    /// How much lower the need, or higher the limit, becomes.
    pub gains_bytes: Bytes,
    /// Longest context with the change.
    pub max_context_tokens: u32,
    /// How much longer it becomes.
    pub gains_tokens: u32,
    /// Whether the request fits with the change.
    pub fits: Fits,
    /// What is lost with fewer bits, as published; a change that keeps them loses nothing.
    pub loss: PublishedLoss,
}

/// A change that would help and is not proposed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Withheld {
    /// The change.
    #[serde(flatten)]
    pub what: Change,
    /// What is lost, where somebody published it.
    pub loss: Option<PublishedLoss>,
}

impl Withheld {
    /// The change and why it is not proposed, in words.
    #[must_use]
    pub fn text(&self) -> String {
        let why = match &self.loss {
            Some(loss) => format!("published cases lose {}", loss.text()),
            None => "what it loses is not published for models of this size".to_owned(),
        };
        format!("not proposed: {}; {why}", self.what.text())
    }
}

/// Changes that help, and those that are not proposed although they would.
#[derive(Clone, Debug, Default)]
pub struct Advised {
    /// Those that are proposed: by what they lose, then by what they gain.
    pub changes: Vec<Advice>,
    /// Those that lower bits at a loss that nobody published, or that is ruinous.
    pub withheld: Vec<Withheld>,
}

/// Chunk lengths that are tried.
const STEPS: [u32; 2] = [512, 256];
/// Cache formats that are tried.
const KV_BITS: [u32; 2] = [8, 4];
/// Chunk length with a quantized cache.
const KV_BITS_STEP: u32 = 256;
/// Weight formats that are tried, best first.
const LADDER: [Scheme; 5] = [
    Scheme::Affine { bits: 8, group: 64 },
    Scheme::Affine { bits: 6, group: 64 },
    Scheme::Affine { bits: 5, group: 64 },
    Scheme::Affine { bits: 4, group: 64 },
    Scheme::Affine { bits: 3, group: 64 },
];
/// A cache limit that keeps MLX's reuse of small buffers without holding whole chunks.
const CACHE_LIMIT: Bytes = Bytes(1 << 30);
/// Changes that gain less context than this are not worth a line.
const WORTH_TOKENS: u32 = 1024;

/// Changes that help: those that lose nothing first, then by the loss that is published for fewer bits, then by what they
/// gain. Changes that neither make the request fit nor lengthen the context are left out.
#[must_use]
pub fn advise(estimator: &Estimator<'_>, machine: &Machine, now: (&Memory, MaxContext)) -> Advised {
    let case = AdviceCase { machine, estimator, now };
    let run = estimator.run();
    let mut out = Vec::new();
    for tokens in STEPS.into_iter().filter(|&n| n < run.engine.prefill_step) {
        let smaller = run.with_prefill_step(tokens);
        let smaller = estimator.with_run(smaller);
        out.extend(case.tried(Change::PrefillStep { tokens }, &smaller, machine));
    }
    if run.engine.kv.is_none() {
        for bits in KV_BITS {
            let prefill_step = run.engine.prefill_step.min(KV_BITS_STEP);
            let kv = Some(KvQuantization::bits(bits));
            let quantized = run.with_kv(kv).with_prefill_step(prefill_step);
            let change = Change::KvBits { bits, prefill_step };
            out.extend(case.tried(change, &estimator.with_run(quantized), machine));
        }
    }
    out.extend(case.prompt_cache());
    out.extend(case.cache_limit());
    out.extend(case.wired_limit());
    out.extend(LADDER.into_iter().filter_map(|scheme| {
        let smaller = estimator.opened()?.requantized(scheme)?;
        let change = Change::Quantization { quant: scheme.suffix() };
        case.tried(change, &estimator.of_other(&smaller), machine)
    }));
    Advised::of(out)
}

impl Advised {
    /// Sorts what was tried: of each kind the mildest that makes the request fit, by loss and then by gain.
    pub(super) fn of(tried: Vec<Tried>) -> Self {
        let mut all = Self::default();
        let mut proposed = Vec::new();
        for Tried { advice, loss } in tried {
            match loss {
                Some(loss) if !loss.is_ruinous() => proposed.push(Advice { loss, ..advice }),
                loss => all.withheld.push(Withheld { what: advice.what, loss }),
            }
        }
        all.changes = one_per_kind(proposed);
        all.changes.sort_by(|a, b| {
            let worst = |x: &Advice| x.loss.worst().max(0.0);
            worst(a).total_cmp(&worst(b)).then(b.gains_bytes.cmp(&a.gains_bytes))
        });
        all
    }
}

/// A change that helps, with what is published of its loss.
pub(super) struct Tried {
    advice: Advice,
    loss: Option<PublishedLoss>,
}

/// Of several changes of one kind, the mildest that makes the request fit, else the strongest.
fn one_per_kind(all: Vec<Advice>) -> Vec<Advice> {
    let mut kept: Vec<Advice> = Vec::new();
    for a in all {
        let same = |k: &Advice| std::mem::discriminant(&k.what) == std::mem::discriminant(&a.what);
        match kept.iter_mut().find(|k| same(k)) {
            None => kept.push(a),
            Some(known)
                if known.fits == Fits::No || (known.fits == Fits::Tight && a.fits == Fits::Yes) =>
            {
                *known = a;
            }
            Some(_) => {}
        }
    }
    kept
}

/// Whether weights alone are sure to exceed what MLX may use, so that a run neither fits nor has any context.
fn out_of_reach(changed: &Estimator<'_>, machine: &Machine) -> bool {
    if changed.run().engine.program.runs_gguf() {
        return false;
    }
    let least = changed.run().file.weights_range.map_or(1.0, |[low, _]| low.min(1.0));
    let weights = Weights::of(changed.graph()).active_bytes as f64 * least;
    interval_90(Bytes(weights as u64))[0] > machine.gpu_limit.range[1].max(machine.gpu_limit.bytes)
}

/// A run for which changes are looked for.
pub(super) struct AdviceCase<'a, 'e> {
    pub machine: &'a Machine,
    pub estimator: &'a Estimator<'e>,
    /// Memory and the longest context as they are.
    pub now: (&'a Memory, MaxContext),
}

impl AdviceCase<'_, '_> {
    /// What another model, machine or request would need; `None` when it helps nothing or cannot run.
    pub fn tried(&self, what: Change, changed: &Estimator<'_>, machine: &Machine) -> Option<Tried> {
        if out_of_reach(changed, machine) {
            return None;
        }
        let loss = self.loss(&what);
        let memory = changed.memory(machine).ok()?;
        let context = changed.max_context(machine).ok()?;
        let raised = machine.gpu_limit.bytes.saturating_sub(self.machine.gpu_limit.bytes);
        let saved = Bytes(self.now.0.peak.peak_bytes).saturating_sub(Bytes(memory.peak.peak_bytes));
        let advice = Advice {
            what,
            peak_bytes: Bytes(memory.peak.peak_bytes),
            gains_bytes: saved + raised,
            max_context_tokens: context.tokens,
            gains_tokens: context.tokens.saturating_sub(self.now.1.tokens),
            fits: memory.judgment.fits,
            loss: PublishedLoss::original(),
        };
        let better = memory.judgment.verdict < self.now.0.judgment.verdict;
        (better || advice.gains_tokens >= WORTH_TOKENS).then_some(Tried { advice, loss })
    }

    /// What is published of the loss of a change.
    fn loss(&self, what: &Change) -> Option<PublishedLoss> {
        let (id, parameters) = self.estimator.model_size();
        match what {
            Change::Quantization { quant } => PublishedLoss::of_weights(&id, parameters, quant),
            Change::KvBits { bits, .. } => {
                PublishedLoss::of_cache(&id, parameters, &bits.to_string())
            }
            Change::KvType { kv_type } => PublishedLoss::of_cache(&id, parameters, kv_type),
            _ => Some(PublishedLoss::original()),
        }
    }

    /// What the caches of earlier prompts may take beside the run, where all that the engine keeps may not fit.
    fn prompt_cache(&self) -> Option<Tried> {
        let (memory, limit) = (self.now.0, self.machine.gpu_limit.range[0]);
        let alone = interval_90(Bytes(memory.peak.peak_bytes))[1];
        let run = self.estimator.run();
        let over = memory.peak_interval_90[1] > limit && run.engine.prompt_cache.is_none();
        let tenth = 100_000_000;
        let bytes = Bytes(roomy(limit).saturating_sub(alone).0 / tenth * tenth);
        let given = self.estimator.with_run(run.with_prompt_cache(Some(bytes)));
        let keeps = !run.engine.keeps.is_none() && over && bytes > Bytes::ZERO;
        keeps.then(|| self.tried(Change::PromptCache { bytes }, &given, self.machine))?
    }

    /// A cache limit saves footprint, not peak: it helps other programs, and where memory is what is short.
    fn cache_limit(&self) -> Option<Tried> {
        let (memory, context) = self.now;
        let kept = Bytes(memory.process.mlx_resident_bytes)
            .saturating_sub(Bytes(memory.process.mlx_peak_bytes));
        let free = self.machine.memory.value.saturating_sub(memory.reserve);
        let short = memory.process.footprint_bytes[1] > free.0;
        (short && kept > CACHE_LIMIT).then(|| Tried {
            advice: Advice {
                what: Change::CacheLimit { bytes: CACHE_LIMIT },
                peak_bytes: Bytes(memory.peak.peak_bytes),
                gains_bytes: kept.saturating_sub(CACHE_LIMIT),
                max_context_tokens: context.tokens,
                gains_tokens: 0,
                fits: memory.judgment.fits,
                loss: PublishedLoss::original(),
            },
            loss: Some(PublishedLoss::original()),
        })
    }

    /// The lowest safe limit under which the request fits, or the highest safe one for more context.
    pub fn wired_limit(&self) -> Option<Tried> {
        let (memory, _) = self.now;
        let installed = self.machine.memory.value;
        let default = self.machine.gpu_limit.bytes;
        let fits = memory.judgment.fits == Fits::Yes;
        let advice = if fits {
            WiredLimitAdvice::highest(installed, default)
        } else {
            WiredLimitAdvice::for_need(installed, default, memory.peak_interval_90[1])
                .or_else(|| WiredLimitAdvice::highest(installed, default))
        }?
        .from(self.machine.gpu_limit.wired_limit_mib);
        let mut raised = self.machine.clone();
        raised.gpu_limit = raised.gpu_limit.with_wired_limit(advice.mib);
        // The limit that was given is the one that is raised.
        let run = self.estimator.run().with_gpu_limit(None);
        self.tried(Change::WiredLimit(advice), &self.estimator.with_run(run), &raised)
    }
}
