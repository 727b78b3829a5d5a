//! Turns and sessions of an agent: what each turn takes with a kept cache and without, where a session ends and why, how
//! many sessions fit beside the model, and what it costs.
//!
//! Every time and every byte comes from the one [`Estimator`]: a turn is a run whose prompt is partly in a kept cache.

mod growth;
mod limits;
mod spec;
mod waits;

pub use growth::{TurnTokens, turns};
pub use limits::{EndReason, SessionEnd, SessionsFit};
pub use spec::{MOST_TURNS, OwnTurn, SessionSpec, SessionSpecError, TurnSpec};
pub use waits::longest_wait;

use crate::estimate::energy::{cost, watt_hours};
use crate::estimate::{
    EngineAnswer, EstimateError, Estimator, Prediction, TimeRange, Turn, TurnTimes, Warning,
    Widening,
};
use crate::hardware::machine::{Machine, MachineSummary};
use crate::hardware::power::PowerFile;
use crate::ledger::kept::PrefixReuse;
use crate::roofline::kept::{KeptPlace, KeptTime};
use crate::run::Run;
use limits::{SessionLimits, SessionMemory};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

/// Hours of such work a day that energy is reckoned with, unless others are said.
const HOURS: f64 = 8.0;
/// USD for a kilowatt-hour, unless another price is said.
const USD_PER_KWH: f64 = 0.30;

/// `mlxplan.session/1`: one turn, or a session of them.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SessionPlan {
    /// The model.
    pub model: SessionModel,
    /// The engine.
    pub engine: EngineAnswer,
    /// The machine.
    pub machine: MachineSummary,
    /// The session that was asked for; `null` for one turn.
    pub session: Option<SessionSpec>,
    /// The turns, up to the one at which it ends.
    pub turns: Vec<TurnRow>,
    /// The turn at which it ends before all turns are done, and why; `null` where all are done.
    pub ends: Option<SessionEnd>,
    /// Where it would end if it went on; `null` where no limit is known, or beyond 100000 turns.
    pub would_end: Option<SessionEnd>,
    /// From the first request to the end of the last turn that is done.
    pub total: TimeRange,
    /// The same without kept caches.
    pub total_without_cache: TimeRange,
    /// How many such sessions fit beside the model at once.
    pub sessions: SessionsFit,
    /// Tokens of the longest turn that is done: what the context has to hold.
    pub needed_context_tokens: u32,
    /// Context to declare to the agent: what is safe in memory and what the model was made for.
    pub declared_context_tokens: u32,
    /// Where the engine has the kept cache from.
    pub kept_in: KeptPlace,
    /// What of a kept cache a later request can use, at the end.
    pub reuse: PrefixReuse,
    /// Seconds to write the last kept cache to a file, and to read it from one.
    pub files: KeptFiles,
    /// Energy and money, as assumptions.
    pub energy: Option<SessionEnergy>,
    /// Commands that start the engine for this.
    pub commands: Vec<String>,
    /// What to know.
    pub notes: Vec<String>,
    /// Why intervals are wider than their classes of measurements say.
    pub widenings: Vec<Widening>,
    /// Doubts.
    pub warnings: Vec<Warning>,
    /// What is left out.
    pub not_modeled: Vec<&'static str>,
    /// Whether the last turn fits into memory.
    #[serde(skip)]
    pub last: Box<Prediction>,
}

/// A model in the answer.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SessionModel {
    /// Its name.
    pub id: String,
    /// The format of its weights.
    pub quant: String,
}

/// One turn.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct TurnRow {
    /// Its number, from 1.
    pub turn: u32,
    /// Tokens of the prompt: those in the cache when its output begins.
    pub depth_tokens: u32,
    /// Tokens of the prompt that are in the kept cache.
    pub cached_tokens: u32,
    /// Tokens generated.
    pub output_tokens: u32,
    /// Time to first token without a kept cache, in seconds.
    pub ttft_cold_s: f64,
    /// Where nine of ten lie.
    pub ttft_cold_interval_90_s: [f64; 2],
    /// Time to first token with it, in seconds.
    pub ttft_warm_s: f64,
    /// Where nine of ten lie.
    pub ttft_warm_interval_90_s: [f64; 2],
    /// Generated tokens per second, what a server adds included.
    pub decode_tokens_per_s: f64,
    /// Where nine of ten lie.
    pub decode_interval_90: [f64; 2],
    /// Seconds of the whole turn with the kept cache.
    pub seconds: f64,
    /// Where nine of ten lie.
    pub seconds_interval_90: [f64; 2],
    /// Seconds of it without.
    pub seconds_cold: f64,
    /// Where nine of ten lie.
    pub seconds_cold_interval_90: [f64; 2],
    /// Seconds since the first request at its end.
    pub elapsed_s: f64,
    /// Its parts with the kept cache.
    pub parts: TurnTimes,
    /// Bytes of the cache that it leaves, at full capacity.
    pub cache_bytes: u64,
    /// Bytes of a file of that cache, without its header of some kilobytes.
    pub disk_bytes: u64,
    /// Peak memory: a replay of the first, the last done and up to three turns between them; between those on a line.
    pub peak_bytes: u64,
}

/// Times of files of a kept cache.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct KeptFiles {
    /// Writing it.
    pub save: TimeRange,
    /// Reading it.
    pub load: TimeRange,
}

/// Energy and money of a session; every figure is an assumption: lowest, middle, highest.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct SessionEnergy {
    /// Watts of the whole machine while it generates.
    pub watts: [f64; 3],
    /// Watt-hours of the turns.
    pub watt_hours: [f64; 3],
    /// Hours a day of such turns, one after the other.
    pub hours_per_day: f64,
    /// Kilowatt-hours of that day.
    pub kwh_per_day: [f64; 3],
    /// Price of a kilowatt-hour.
    pub usd_per_kwh: f64,
    /// What that day costs.
    pub usd_per_day: [f64; 3],
}

/// What is asked: one turn or a session.
#[derive(Clone, Debug)]
pub enum Conversation {
    /// One turn.
    Turn(TurnSpec),
    /// A session.
    Session(SessionSpec),
}

impl Conversation {
    /// Its turns: at least one.
    fn turns(&self) -> Vec<TurnTokens> {
        match self {
            Self::Turn(t) => {
                let TurnSpec { prompt, cached, output, tools_s } = *t;
                vec![TurnTokens { prompt, cached, output, tools_s }]
            }
            Self::Session(spec) => spec.all_turns(),
        }
    }

    /// The longest time to first token that was said to be acceptable.
    const fn max_ttft_s(&self) -> Option<f64> {
        match self {
            Self::Turn(_) => None,
            Self::Session(spec) => spec.max_ttft_s,
        }
    }
}

/// The run of a turn.
fn run_of(run: &Run, t: &TurnTokens) -> Run {
    run.with_context(t.prompt).with_cached(t.cached).with_generated(t.output)
}

impl SessionPlan {
    /// Plans a conversation with the model, the file and the engine of an estimator on a machine.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn of(
        estimator: &Estimator<'_>,
        machine: &Machine,
        asked: &Conversation,
    ) -> Result<Self, EstimateError> {
        let all = asked.turns();
        let timed: Vec<Turn> = all
            .par_iter()
            .map(|t| estimator.with_run(run_of(estimator.run(), t)).turn(machine, t.tools_s))
            .collect::<Result<_, _>>()?;
        let limits = SessionLimits::of(estimator, machine, &all)?;
        let ends = limits.end(&all, &timed, asked.max_ttft_s());
        let would_end = match asked {
            Conversation::Session(spec) => limits.end_later(spec),
            Conversation::Turn(_) => None,
        };
        let done_before = |end: SessionEnd| end.turn.saturating_sub(1) as usize;
        let last_done = ends.map_or(all.len(), done_before).max(1) - 1;
        let memory = SessionMemory::of(estimator, machine, &all, last_done)?;
        let shown = ends.map_or(all.len(), |end| end.turn as usize);
        let done = ends.map_or(all.len(), done_before);
        let mut rows = Vec::new();
        let mut elapsed = 0.0;
        for (number, (t, turn)) in all.iter().zip(&timed).take(shown).enumerate() {
            let run = run_of(estimator.run(), t);
            let kept = estimator.kept_cache(&run.work)?;
            elapsed += turn.warm.total.seconds;
            rows.push(TurnRow::of(number, t, turn, (kept.bytes, memory.peak(number), elapsed)));
        }
        let last = all[last_done];
        let kept = estimator.kept_cache(&run_of(estimator.run(), &last).work)?;
        let needed = all.iter().take(done).map(TurnTokens::total).max().unwrap_or(0);
        let place = estimator.kept_place();
        let silicon = estimator.silicon(machine);
        let SessionMemory { last: prediction, sessions, .. } = memory;
        let first = &timed[0];
        let mut plan = Self {
            model: SessionModel {
                id: prediction.model.id.clone(),
                quant: prediction.model.quant.clone(),
            },
            engine: EngineAnswer::of(estimator.run(), Some(machine)),
            machine: machine.summary(),
            session: match asked {
                Conversation::Session(spec) => Some(spec.clone()),
                Conversation::Turn(_) => None,
            },
            turns: rows,
            ends,
            would_end,
            total: total(timed.iter().take(done).map(|t| &t.warm)),
            total_without_cache: total(timed.iter().take(done).map(|t| &t.cold)),
            sessions,
            needed_context_tokens: needed,
            declared_context_tokens: limits.declared(),
            kept_in: place,
            reuse: kept.reuse,
            files: KeptFiles {
                save: KeptTime::to_save(kept.bytes).into(),
                load: KeptTime::to_use(KeptPlace::File, kept.bytes, &silicon).into(),
            },
            energy: energy(machine, timed.iter().take(done).map(|t| &t.warm))?,
            commands: limits::commands(&prediction, &sessions),
            notes: Vec::new(),
            widenings: first.widenings().cloned().collect(),
            warnings: first.warnings.clone(),
            not_modeled: vec![
                "other processes; heat and power modes",
                "the template and the tokenizer: every token is counted as it is said",
                "requests of other users at the same time",
            ],
            last: prediction,
        };
        plan.notes = limits::notes(&plan, estimator.run());
        Ok(plan)
    }
}

impl TurnRow {
    fn of(
        number: usize,
        t: &TurnTokens,
        turn: &Turn,
        (cache_bytes, peak_bytes, elapsed_s): (u64, u64, f64),
    ) -> Self {
        let (warm, cold) = (&turn.warm, &turn.cold);
        Self {
            turn: u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1),
            depth_tokens: t.prompt,
            cached_tokens: t.cached,
            output_tokens: t.output,
            ttft_cold_s: cold.first_token.seconds,
            ttft_cold_interval_90_s: cold.first_token.interval_90_s,
            ttft_warm_s: warm.first_token.seconds,
            ttft_warm_interval_90_s: warm.first_token.interval_90_s,
            decode_tokens_per_s: turn.decode.tokens_per_s,
            decode_interval_90: turn.decode.interval_90,
            seconds: warm.total.seconds,
            seconds_interval_90: warm.total.interval_90_s,
            seconds_cold: cold.total.seconds,
            seconds_cold_interval_90: cold.total.interval_90_s,
            elapsed_s,
            parts: *warm,
            cache_bytes,
            disk_bytes: cache_bytes,
            peak_bytes,
        }
    }
}

/// Prompts and outputs of some turns: the times of one law err together.
fn laws<'t>(all: impl Iterator<Item = &'t TurnTimes>) -> [TimeRange; 4] {
    let mut sums = [TimeRange::known(0.0); 4];
    for t in all {
        for (sum, part) in sums.iter_mut().zip([t.prefill, t.output, t.server, t.kept]) {
            *sum = sum.with(part);
        }
        sums[3] = sums[3].with(t.tools);
    }
    sums
}

fn total<'t>(all: impl Iterator<Item = &'t TurnTimes>) -> TimeRange {
    TimeRange::sum(&laws(all))
}

/// Energy of turns, and of a day of them.
fn energy<'t>(
    machine: &Machine,
    all: impl Iterator<Item = &'t TurnTimes> + Clone,
) -> Result<Option<SessionEnergy>, EstimateError> {
    let Some(row) = PowerFile::embedded()?.draw(machine.tier.value) else { return Ok(None) };
    let whole = total(all.clone()).seconds;
    if whole <= 0.0 {
        return Ok(None);
    }
    let [prefill, output, server, _] = laws(all);
    let spent = watt_hours(row.watts, prefill, output.with(server));
    let a_day = spent.map(|wh| wh * HOURS * 3600.0 / whole);
    Ok(Some(SessionEnergy {
        watts: row.watts,
        watt_hours: spent,
        hours_per_day: HOURS,
        kwh_per_day: a_day.map(|wh| wh / 1000.0),
        usd_per_kwh: USD_PER_KWH,
        usd_per_day: cost(a_day, USD_PER_KWH),
    }))
}

#[cfg(test)]
mod tests;
