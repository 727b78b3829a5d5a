//! Figures and names in the words that every command uses.

use super::exit::ExitStatus;
use crate::engine::programs::Engines;
use crate::estimate::memory::{
    Advice, Change, ContextBound, Fit, Limit, MaxContext, Memory, Withheld,
};
use crate::estimate::{EngineAnswer, Longest, Prediction, Run};
use crate::hardware::machine::Machine;
use crate::hardware::power::Form;
use crate::ledger::llama_cpp::NEWEST_BUILD;
use crate::ledger::peak::Peak;
use crate::model::Scheme;
use crate::model::quality::{LossBasis, is_below_four_bits};
use crate::run::MICRO_BATCH;
use crate::units::{Bytes, Seconds, TokensPerSecond};

/// A probability; only what cannot be otherwise is rounded to certainty.
pub(in crate::cli) fn percent(p: f64) -> String {
    match p {
        1.0 => "100 %".to_owned(),
        0.0 => "0 %".to_owned(),
        p if p > 0.99 => ">99 %".to_owned(),
        p if p < 0.01 => "<1 %".to_owned(),
        p => format!("{:.0} %", 100.0 * p),
    }
}

/// The run on some machines in a sentence, and another about their clocks where these are not known to be full.
pub(in crate::cli) fn run_text<'m>(
    run: &Run,
    machines: impl IntoIterator<Item = &'m Machine>,
) -> String {
    let r = run.work;
    let kv = run.engine.kv.map_or(String::new(), |q| format!(", {}-bit KV cache", q.packing.bits));
    let batch = if r.batch > 1 { format!(", {} at once", r.batch) } else { String::new() };
    let may_be_laptop = || machines.into_iter().any(|m| Form::of(m).may_be_laptop());
    let clocks = match run.conditions.power {
        Some(mode) => format!(
            " Speeds are of full clocks; `mlxplan predict --power {mode}` gives what the mode leaves."
        ),
        None if may_be_laptop() => {
            " Speeds are of full clocks: High Power, or Automatic mode before a laptop is warm."
                .to_owned()
        }
        None => String::new(),
    };
    format!(
        "With {}, a prompt of {} tokens and {} generated{batch}{kv}.{clocks}",
        engine_text(run, None),
        r.context_tokens,
        r.generate_tokens
    )
}

/// The limits under which a need does not surely fit, in words.
pub(in crate::cli) fn limit_texts(limits: &[Limit]) -> impl Iterator<Item = String> {
    limits.iter().filter(|l| l.verdict > Fit::Yes).map(|l| {
        format!(
            "{} {}: {} needed, {} allowed",
            l.kind.name(),
            l.verdict,
            l.need_bytes,
            l.limit_bytes
        )
    })
}

/// A chunk that no prompt fills: the program reads prompts at once.
const WHOLE: u32 = 1 << 20;

/// The engine in one line: program, version, MLX, matrix units of a machine that has them, and chunk.
pub(in crate::cli) fn engine_text(run: &Run, machine: Option<&Machine>) -> String {
    let engine = program_text(run, machine);
    if run.engine.program.runs_gguf() {
        return match micro_batches(run) {
            [least, most] if least == most => format!("{engine}, batches of {most}"),
            [least, most] => format!("{engine}, batches of {least} to {most}"),
        };
    }
    match run.engine.prefill_step {
        WHOLE.. => format!("{engine}, prompts in one chunk"),
        step => format!("{engine}, chunks of {step}"),
    }
}

/// The engine of a prediction in one line, with the batch that llama.cpp was found to take.
pub(in crate::cli) fn predicted_engine_text(p: &Prediction) -> String {
    engine_text(&p.with_batch_taken(), Some(&p.machine))
}

/// Tokens that llama.cpp computes at once, fewest and most: as asked for, or by the program's own rule.
fn micro_batches(run: &Run) -> [u32; 2] {
    let engine = &run.engine;
    let own = |all: &Engines| all.micro_batches(engine.program, engine.version);
    let asked = engine.micro_batch.map(|tokens| [tokens; 2]);
    asked.or_else(|| Engines::embedded().ok().map(own)).unwrap_or([MICRO_BATCH; 2])
}

/// The program on llama.cpp, its version, and the build of llama.cpp that is taken where the version does not say it.
fn on_llama_cpp(run: &Run) -> String {
    let engine = &run.engine;
    let within = |all: &Engines| all.llama_cpp_in(engine.program, engine.version);
    let build = Engines::embedded().ok().and_then(within);
    match (engine.version, build) {
        (Some(version), Some(build)) => {
            format!("{} {version} (llama.cpp b{build})", engine.program)
        }
        (Some(version), None) if version.is_build() => engine.name(),
        (version, _) => {
            let version = version.map_or_else(|| "version not known".to_owned(), |v| v.to_string());
            format!("{} ({version}; as llama.cpp b{NEWEST_BUILD})", engine.program)
        }
    }
}

/// The engine in one line without the chunk, for runs that read no prompts.
pub(in crate::cli) fn program_text(run: &Run, machine: Option<&Machine>) -> String {
    if run.engine.program.runs_gguf() {
        return on_llama_cpp(run);
    }
    let engine = run.engine.name();
    let with_units = machine.filter(|m| m.matrix_units.value);
    match with_units.map(|m| EngineAnswer::of(run, Some(m)).nax) {
        None => engine,
        Some("unknown") => format!("{engine}, matrix units taken as used"),
        Some(state) => format!("{engine}, matrix units {state}"),
    }
}

/// A figure in 10^9 bytes, for a column that names the unit.
pub(in crate::cli) fn gb(bytes: u64) -> String {
    format!("{:.1}", Bytes(bytes).gb())
}

/// A format as the names of models have it: `4bit`.
pub(in crate::cli) fn format_name(quant: &str) -> String {
    quant.parse().map_or_else(|_| quant.to_owned(), Scheme::suffix)
}

/// The last part of a repository's name.
pub(in crate::cli) fn short(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// The parts of a peak, those that are there.
pub(in crate::cli) fn parts_text(p: &Peak) -> String {
    let parts = [
        ("weights", p.weights_bytes),
        ("cache", p.kv_bytes),
        ("states", p.state_bytes),
        ("attention scores", p.attention_scratch_bytes),
        ("run-ahead", p.run_ahead_bytes),
        ("kept caches", p.kept_bytes),
    ];
    let texts: Vec<String> = parts
        .into_iter()
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(name, bytes)| format!("{name} {}", Bytes(bytes)))
        .collect();
    texts.join(" + ")
}

/// The longest context in words. Generated tokens take as much of the cache as those of the prompt, and count.
pub(in crate::cli) fn context_text(c: MaxContext) -> String {
    let MaxContext { tokens, bound } = c;
    match bound {
        ContextBound::Model => {
            format!("{tokens} tokens of prompt and output, what the model was made for")
        }
        ContextBound::Memory => {
            format!("{tokens} tokens of prompt and output, as much as memory holds")
        }
        ContextBound::None => format!("{tokens} tokens of prompt and output, or more"),
    }
}

/// The longest context that is safe, and the longest that fits by the expected peak where that is another.
pub(in crate::cli) fn contexts_text(c: Longest) -> String {
    if c.safe == c.at_most {
        return context_text(c.safe);
    }
    format!("{} tokens are safe; at most {}", c.safe.tokens, context_text(c.at_most))
}

/// The exit code of what memory says.
pub(in crate::cli) fn status(memory: Option<&Memory>) -> ExitStatus {
    match memory.map(|m| m.judgment.verdict) {
        Some(Fit::No) => ExitStatus::No,
        Some(Fit::Uncertain) => ExitStatus::Uncertain,
        _ => ExitStatus::Ok,
    }
}

/// What to know about raising the GPU limit.
pub(in crate::cli) fn wired_notes(changes: &[Advice]) -> Vec<String> {
    let wired = changes.iter().find_map(|c| match &c.what {
        Change::WiredLimit(w) => Some(w),
        _ => None,
    });
    wired.map_or_else(Vec::new, |w| {
        let mut notes = vec![format!("undo the GPU limit with: {}", w.undo)];
        notes.extend(w.notes.iter().cloned());
        notes
    })
}

/// Both ends of an interval of rates.
pub(in crate::cli) fn rates(ends: [f64; 2]) -> String {
    let [low, high] = ends.map(TokensPerSecond);
    format!("{low}–{high}")
}

/// Both ends of an interval of times.
pub(in crate::cli) fn times(ends: [f64; 2]) -> String {
    let [soon, late] = ends.map(Seconds);
    format!("{soon}–{late}")
}

/// A price in USD.
pub(in crate::cli) fn usd(price: Option<u32>) -> String {
    price.map_or_else(|| "?".to_owned(), |usd| usd.to_string())
}

/// Whether a text contains all the words, in any case.
pub(in crate::cli) fn contains(words: &[String], text: &str) -> bool {
    let text = text.to_lowercase();
    words.iter().all(|w| text.contains(&w.to_lowercase()))
}

/// What changes lose with what stands behind the figures, a warning where fewer than four bits are left, and what is not
/// proposed.
pub(in crate::cli) fn loss_notes(changes: &[Advice], withheld: &[Withheld]) -> Vec<String> {
    let lossy = changes.iter().filter(|c| c.loss.basis != LossBasis::Original);
    let mut notes: Vec<String> = lossy
        .map(|c| {
            let below = match &c.what {
                Change::Quantization { quant } if is_below_four_bits(quant) => {
                    "; below four bits quality falls fast: try a smaller model first"
                }
                _ => "",
            };
            format!("{} loses {}{below}", c.what.text(), c.loss.text())
        })
        .collect();
    notes.extend(withheld.iter().map(Withheld::text));
    notes
}
