//! One turn of a conversation: the seconds of its parts, with a kept cache and without.
//!
//! ```text
//! turn = server + (copy or load of the kept cache) + prefill of the new tokens at their depth + output·t(depth) + tools
//! ```
//! Prefill and output come from the two laws, which err independently of one another; what a server adds is in both and is
//! shown as a part of its own.

use super::estimator::{EstimateError, Estimator};
use super::speed::{Decode, Prefill, Term};
use super::time_range::TimeRange;
use super::warning::{self, Warning};
use super::widening::Widening;
use crate::engine::programs::Engines;
use crate::hardware::machine::Machine;
use crate::ledger::kept::{PrefixReuse, kept_bytes};
use crate::ledger::peak::PeakError;
use crate::roofline::kept::{KeptPlace, KeptTime};
use crate::run::{Program, Run, Work};
use schemars::JsonSchema;
use serde::Serialize;

/// Factors on the time that a server adds to a request: the spread of the fit (`data/coefficients.json`, `server_ms` of
/// prefill) at 90 %.
const REQUEST_BAND: [f64; 2] = [0.35, 2.8];

/// The parts of a turn.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct TurnTimes {
    /// What the server adds to the request and to every token.
    pub server: TimeRange,
    /// Copying or loading the kept cache.
    pub kept: TimeRange,
    /// Reading the new tokens of the prompt.
    pub prefill: TimeRange,
    /// Generating the output.
    pub output: TimeRange,
    /// Tools, as they were said.
    pub tools: TimeRange,
    /// From the request to the first token.
    pub first_token: TimeRange,
    /// All parts.
    pub total: TimeRange,
}

/// A turn on a machine.
#[derive(Clone, Debug)]
pub struct Turn {
    /// With the kept cache.
    pub warm: TurnTimes,
    /// Without one: the whole prompt is read.
    pub cold: TurnTimes,
    /// Speed of the output.
    pub decode: Decode,
    /// Speed of the new tokens of the prompt.
    pub prefill: Prefill,
    /// Doubts.
    pub warnings: Vec<Warning>,
}

/// The cache that a turn leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct KeptCache {
    /// Tokens in it: prompt and output.
    pub tokens: u32,
    /// Its bytes at full capacity, in memory; a file of it has a header besides.
    pub bytes: u64,
    /// What of it a later request can use.
    pub reuse: PrefixReuse,
}

impl Estimator<'_> {
    /// Where the program of the run has a kept cache from.
    #[must_use]
    pub fn kept_place(&self) -> KeptPlace {
        let program = self.run().engine.program;
        if program.runs_gguf() {
            return KeptPlace::Slot;
        }
        let row = Engines::embedded().ok().and_then(|all| all.row(program));
        match row.and_then(|r| r.prompt_cache.as_deref()) {
            Some("ssd") => KeptPlace::Blocks,
            // A program that keeps nothing by itself can write a file.
            Some("disk" | "none") => KeptPlace::File,
            _ => KeptPlace::Memory,
        }
    }

    /// The cache after a prompt and an output.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn kept_cache(&self, work: &Work) -> Result<KeptCache, PeakError> {
        let Work { context_tokens, generate_tokens, .. } = *work;
        let tokens = context_tokens.saturating_add(generate_tokens);
        let engine = &self.run().engine;
        let bytes = if engine.program.runs_gguf() {
            self.llama_cache_bytes(tokens)?
        } else {
            let step = engine.prefill_step;
            kept_bytes(self.graph(), (context_tokens, generate_tokens), step, engine.kv)?
        };
        Ok(KeptCache { tokens, bytes, reuse: PrefixReuse::of(self.graph(), tokens) })
    }

    /// The turn that the run is, with so many seconds of tools.
    ///
    /// # Errors
    /// When mlx-lm could not run the model, or the timings say nothing about the machine.
    pub fn turn(&self, machine: &Machine, tools_s: f64) -> Result<Turn, EstimateError> {
        self.possible()?;
        let run = *self.run();
        let (decode, prefill) = self.speeds(machine)?;
        let whole = self.with_run(run.with_cached(0));
        let (_, cold) = whole.speeds(machine)?;
        let cached = run.work.cached_tokens;
        let kept = if cached == 0 {
            TimeRange::known(0.0)
        } else {
            let before = Work { context_tokens: cached, generate_tokens: 0, ..run.work };
            let bytes = self.kept_cache(&before)?.bytes;
            KeptTime::to_use(self.kept_place(), bytes, &self.silicon(machine)).into()
        };
        let tools = TimeRange::known(tools_s);
        let none = TimeRange::known(0.0);
        let warm = times(&run, (&decode, &prefill), kept, tools);
        let cold = times(whole.run(), (&decode, &cold), none, tools);
        let mut warnings = self.doubts().to_vec();
        warning::join(&mut warnings, &decode.warnings);
        warning::join(&mut warnings, &prefill.warnings);
        Ok(Turn { warm, cold, decode, prefill, warnings })
    }
}

impl Turn {
    /// Why the intervals are wider than their classes of measurements say.
    pub fn widenings(&self) -> impl Iterator<Item = &Widening> {
        self.decode.widenings.iter().chain(&self.prefill.widenings)
    }
}

/// What the program adds to a time.
fn of_program(terms: &[Term]) -> f64 {
    terms.iter().filter(|t| t.name == "program").map(|t| t.seconds).sum()
}

/// The parts of a turn from its speeds.
fn times(
    run: &Run,
    (decode, prefill): (&Decode, &Prefill),
    kept: TimeRange,
    tools: TimeRange,
) -> TurnTimes {
    let Work { generate_tokens, .. } = run.work;
    let (read, written) = (f64::from(run.work.read_tokens()), f64::from(generate_tokens));
    let prompt = TimeRange::of_tokens(read, prefill.tokens_per_s, prefill.interval_90);
    let output = TimeRange::of_tokens(written, decode.tokens_per_s, decode.interval_90);
    let pause = prefill.pause.filter(|p| p.counted).map_or(TimeRange::known(0.0), |p| TimeRange {
        seconds: p.seconds,
        interval_90_s: p.interval_90_s,
    });
    let first_step = TimeRange::known((prefill.ttft_s - prompt.seconds - pause.seconds).max(0.0));
    let is_server = is_server(run.engine.program);
    let added = |terms: &[Term]| if is_server { of_program(terms) } else { 0.0 };
    let (request, token) = (added(&prefill.terms), added(&decode.terms));
    let band = run.engine.server.map_or(REQUEST_BAND, |server| server.band);
    let server = TimeRange::sum(&[
        TimeRange::within(request, REQUEST_BAND),
        TimeRange::within(token * written, band),
    ]);
    TurnTimes {
        server,
        kept,
        prefill: prompt.part(prompt.seconds - request),
        output: output.part(output.seconds - token * written),
        tools,
        first_token: TimeRange::sum(&[kept, pause, prompt, first_step]),
        total: TimeRange::sum(&[kept, pause, prompt, output, tools]),
    }
}

/// Whether requests come over HTTP.
const fn is_server(program: Program) -> bool {
    program.is_mlx_server() || matches!(program, Program::Ollama)
}
