//! What ends a session: the context of the model, memory, the time that somebody waits; and how many sessions fit.

use super::growth::{TurnTokens, turns};
use super::spec::SessionSpec;
use super::{SessionPlan, run_of};
use crate::advise::{EngineSettings, usual_repository};
use crate::estimate::memory::{budget, safe_budget};
use crate::estimate::{EstimateError, Estimator, Prediction, Turn};
use crate::hardware::machine::Machine;
use crate::ledger::kept::PrefixReuse;
use crate::roofline::kept::KeptPlace;
use crate::run::{KeptPrompts, Program, Run};
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// Turns that are looked at beyond those of a session.
const FURTHER: usize = 100_000;
/// Most sessions that are counted.
const MOST_SESSIONS: u32 = 512;

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// More tokens than the model was made for.
    ModelContext,
    /// Memory.
    Memory,
    /// The first token comes later than is acceptable.
    Ttft,
}

impl EndReason {
    /// The reason in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::ModelContext => "the context that the model was made for",
            Self::Memory => "memory",
            Self::Ttft => "the longest acceptable time to first token",
        }
    }
}

/// The turn that cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct SessionEnd {
    /// Its number, from 1.
    pub turn: u32,
    /// Why.
    pub reason: EndReason,
    /// The first turn whose memory is not safe: at the upper end of its interval it exceeds the lowest limit. `null` where
    /// none is before that.
    pub unsafe_from: Option<u32>,
}

/// Sessions like the last turn at once: one that generates, the caches of the others kept beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct SessionsFit {
    /// At the upper end of the interval of memory, under the lowest limit.
    pub safe: u32,
    /// By the expected memory.
    pub at_most: u32,
    /// Bytes that each takes while it waits.
    pub each_bytes: u64,
}

/// The longest contexts of a session.
pub(super) struct SessionLimits {
    made_for: Option<u64>,
    most: u32,
    safe: u32,
}

/// Memory of the turns of a session that are done.
pub(super) struct SessionMemory {
    /// The last turn.
    pub last: Box<Prediction>,
    /// Sessions at once.
    pub sessions: SessionsFit,
    /// Turn and peak, from the first replayed turn to the last.
    peaks: Vec<(usize, u64)>,
}

impl SessionMemory {
    /// Of the turns up to the one of number `last`, from 0.
    pub fn of(
        estimator: &Estimator<'_>,
        machine: &Machine,
        all: &[TurnTokens],
        last: usize,
    ) -> Result<Self, EstimateError> {
        let run = in_session(estimator, all);
        let longest = estimator.with_run(cold(&run, &all[last]));
        let prediction = longest.at(machine)?;
        let llama = prediction.memory.as_ref().and_then(|m| m.llama).is_some();
        let mut peaks = Vec::new();
        for number in anchors(last) {
            // llama.cpp allocates for the last turn before the first.
            let known = number == last || llama;
            let memory = match &prediction.memory {
                Some(memory) if known => memory.clone(),
                _ => estimator.with_run(cold(&run, &all[number])).memory(machine)?,
            };
            peaks.push((number, memory.peak.peak_bytes));
        }
        let sessions = sessions(&longest, machine, &all[last], &prediction)?;
        Ok(Self { sessions, last: Box::new(prediction), peaks })
    }

    /// Peak of a turn, from 0; never less than that of a turn before.
    pub fn peak(&self, number: usize) -> u64 {
        let mut before: Option<(usize, u64)> = None;
        for &(at, peak) in &self.peaks {
            let peak = before.map_or(peak, |(_, least)| peak.max(least));
            if at >= number {
                let Some((from, low)) = before else { return peak };
                let share = (number - from) as f64 / (at - from) as f64;
                return low + ((peak - low) as f64 * share) as u64;
            }
            before = Some((at, peak));
        }
        before.map_or(0, |(_, peak)| peak)
    }
}

impl SessionLimits {
    pub fn of(
        estimator: &Estimator<'_>,
        machine: &Machine,
        all: &[TurnTokens],
    ) -> Result<Self, EstimateError> {
        let run = in_session(estimator, all);
        let first = estimator.with_run(cold(&run, &all[0]));
        Ok(Self {
            made_for: estimator.graph().max_context(),
            most: first.max_context(machine)?.tokens,
            safe: first.safe_context(machine)?.tokens,
        })
    }

    /// The context to declare: what is safe in memory, and no more than the model was made for.
    pub fn declared(&self) -> u32 {
        let made_for = self.made_for.and_then(|n| u32::try_from(n).ok());
        self.safe.min(made_for.unwrap_or(u32::MAX))
    }

    /// Why a turn of so many tokens cannot be, if it cannot.
    fn stops(&self, tokens: u32) -> Option<EndReason> {
        if self.made_for.is_some_and(|most| u64::from(tokens) > most) {
            Some(EndReason::ModelContext)
        } else {
            (tokens > self.most).then_some(EndReason::Memory)
        }
    }

    /// The first turn that cannot be done.
    pub fn end(
        &self,
        all: &[TurnTokens],
        timed: &[Turn],
        max_ttft_s: Option<f64>,
    ) -> Option<SessionEnd> {
        let late = |turn: &Turn| max_ttft_s.is_some_and(|s| turn.warm.first_token.seconds > s);
        all.iter().zip(timed).enumerate().find_map(|(number, (t, turn))| {
            let reason = self.stops(t.total()).or_else(|| late(turn).then_some(EndReason::Ttft))?;
            Some(self.ended(number, reason, all.iter().copied()))
        })
    }

    /// The first turn at which the session would end by its tokens if it went on.
    pub fn end_later(&self, spec: &SessionSpec) -> Option<SessionEnd> {
        let (number, reason) = turns(spec)
            .take(FURTHER)
            .enumerate()
            .find_map(|(number, t)| Some((number, self.stops(t.total())?)))?;
        Some(self.ended(number, reason, turns(spec)))
    }

    fn ended(
        &self,
        number: usize,
        reason: EndReason,
        all: impl Iterator<Item = TurnTokens>,
    ) -> SessionEnd {
        let count = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
        let first = all.take(number).position(|t| t.total() > self.safe);
        SessionEnd { turn: count(number), reason, unsafe_from: first.map(count) }
    }
}

/// The run of a session: a server that keeps caches in memory holds the one of the turn before while it runs the next. A
/// cache that cannot be cut is kept at every boundary, as many as the server keeps.
fn in_session(estimator: &Estimator<'_>, all: &[TurnTokens]) -> Run {
    let run = *estimator.run();
    let engine = run.engine;
    if estimator.kept_place() != KeptPlace::Memory || engine.keeps.is_none() {
        return run;
    }
    let held = KeptPrompts { entries: 1, ..KeptPrompts::NONE };
    let tokens = all.iter().map(TurnTokens::total).max().unwrap_or(0);
    let keeps = match PrefixReuse::of(estimator.graph(), tokens) {
        PrefixReuse::AnyPrefix => held,
        PrefixReuse::StoredBoundaries => engine.keeps,
    };
    run.with_engine(crate::run::EngineSetup { held, keeps, ..engine })
}

/// A turn whose whole prompt is read: the most memory that it takes.
fn cold(run: &Run, t: &TurnTokens) -> Run {
    run_of(run, t).with_cached(0)
}

/// Turns that are replayed: the first, the last, and some between.
fn anchors(last: usize) -> Vec<usize> {
    let mut all: Vec<usize> = [0, last / 4, last / 2, 3 * last / 4, last].into();
    all.dedup();
    all
}

/// How many sessions like a turn fit at once.
fn sessions(
    estimator: &Estimator<'_>,
    machine: &Machine,
    last: &TurnTokens,
    prediction: &Prediction,
) -> Result<SessionsFit, EstimateError> {
    let each = estimator.kept_cache(&cold(estimator.run(), last).work)?.bytes;
    let reserve = estimator.run().engine.reserve;
    let [most, safe] = [budget(machine, reserve), safe_budget(machine, reserve)];
    let Some(memory) = &prediction.memory else {
        return Ok(SessionsFit { safe: 0, at_most: 0, each_bytes: each });
    };
    let count = |budget: Bytes| -> Result<u32, EstimateError> {
        if memory.llama.is_some() {
            return slots(estimator, machine, budget);
        }
        let peak = memory.peak.peak_bytes;
        let Some(room) = budget.0.checked_sub(peak) else { return Ok(0) };
        // The kept cache of the session that generates is in the peak already.
        let others = room / each.max(1);
        Ok(u32::try_from(1 + others).unwrap_or(MOST_SESSIONS).min(MOST_SESSIONS))
    };
    Ok(SessionsFit { safe: count(safe)?, at_most: count(most)?, each_bytes: each })
}

/// Slots of llama.cpp that fit, each for the run.
fn slots(
    estimator: &Estimator<'_>,
    machine: &Machine,
    budget: Bytes,
) -> Result<u32, EstimateError> {
    let fits = |n: u32| -> Result<bool, EstimateError> {
        let run = estimator.run().with_batch(n).with_parallel(Some(n));
        Ok(estimator.with_run(run).memory(machine)?.peak.peak_bytes <= budget.0)
    };
    let (mut low, mut high) = (0, MOST_SESSIONS + 1);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if fits(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Commands that start the engine with room for as many sessions as are safe.
pub(super) fn commands(last: &Prediction, sessions: &SessionsFit) -> Vec<String> {
    let engine = last.run.engine;
    if engine.program == Program::MlxLm {
        return with_files(last);
    }
    let kept = Bytes(sessions.each_bytes.saturating_mul(u64::from(sessions.safe.max(1))));
    let mut p = last.clone();
    p.run = p.run.with_prompt_cache(Some(kept));
    let settings = EngineSettings::of(&p, engine.program);
    let entries = match engine.program {
        Program::MlxServer if sessions.safe > engine.keeps.entries.max(10) => {
            format!(" --prompt-cache-size {}", sessions.safe)
        }
        _ => String::new(),
    };
    let of = |command: String| format!("{command}{entries}");
    settings.map_or_else(Vec::new, |s| s.commands.into_iter().map(of).collect())
}

/// Commands of mlx-lm that write a kept cache and read it.
fn with_files(p: &Prediction) -> Vec<String> {
    let model = usual_repository(&p.model.id, &p.model.quant, p.run.file.origin);
    let file = "--prompt-cache-file kept.safetensors";
    vec![
        format!("mlx_lm.cache_prompt --model {model} {file} --prompt - < prefix.txt"),
        format!(
            "mlx_lm.generate --model {model} {file} --max-tokens {} --prompt - < rest.txt",
            p.run.work.generate_tokens
        ),
    ]
}

/// What to know of the session.
pub(super) fn notes(plan: &SessionPlan, run: &Run) -> Vec<String> {
    let mut all = Vec::new();
    let program = run.engine.program;
    if plan.reuse == PrefixReuse::StoredBoundaries && !program.runs_gguf() {
        all.push(
            "this model keeps states or windows that cannot be taken back: a kept cache is of use only whole, at a \
             boundary where it was stored (the end of the system prompt, of a message, of a reply); a prompt that parts \
             from it earlier is read from the boundary before, or from the beginning"
                .to_owned(),
        );
        if program == Program::MlxServer {
            all.push(format!(
                "mlx_lm.server keeps such a cache for every boundary, up to {} of them, each with all keys and values: \
                 --prompt-cache-bytes limits them",
                run.engine.keeps.entries
            ));
        }
    }
    let thinks = plan
        .session
        .as_ref()
        .is_some_and(|s| s.thinking > 0 || s.own.iter().any(|t| t.thinking.is_some_and(|n| n > 0)));
    if thinks {
        all.push(
            "the template removes thinking text from the history: behind it the kept cache is of no use, and the reply is \
             read again without it"
                .to_owned(),
        );
    } else {
        all.push(
            "prefixes are taken to stay the same from turn to turn: a template that removes thinking text, a date or a \
             changed tool description at the beginning makes turns cold (thinking=TOKENS in --session); watch cached_tokens"
                .to_owned(),
        );
    }
    match plan.kept_in {
        KeptPlace::Memory | KeptPlace::Slot => {}
        KeptPlace::File if program == Program::MlxLm => all.push(
            "mlx-lm keeps no cache between runs by itself: mlx_lm.cache_prompt writes one, --prompt-cache-file reads it, \
             or a Python program passes prompt_cache on, which costs nothing"
                .to_owned(),
        ),
        KeptPlace::File => all.push(format!("{program} keeps states of prompts on disk")),
        KeptPlace::Blocks => all.push(format!(
            "{program} keeps blocks on the SSD; published reads of them are far slower than the disk, and the interval is wide"
        )),
    }
    if program == Program::MlxVlm {
        all.push(
            "mlx-vlm keeps no prompts unless it is told to: without that every turn is cold"
                .to_owned(),
        );
    }
    all
}
