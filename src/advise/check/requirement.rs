//! One thing that must hold, what is predicted, and how probable it is that it does.

use super::case::CheckCase;
use super::training_key::FineTuningNeeds;
use crate::advise::purchase::of_memory;
use crate::advise::serving::UnderRate;
use crate::estimate::chance;
use crate::estimate::memory::{Limit, LimitKind, Memory, RUNTIME_BYTES};
use crate::estimate::{
    Decode, Figures, Outcome, Prefill, Spread, TimeRange, TrainingEstimate, TrainingSpeed,
};
use crate::hardware::machine::Machine;
use crate::stats::{Z80, Z90};
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequirementKind {
    /// Peak memory, headroom and other programs stay under the limits; bytes.
    Memory,
    /// The prompt and the answer are no longer than the model was made for; tokens.
    Context,
    /// Decode rate of each user, or of fine-tuning tokens in the loss; tokens per second.
    TokS,
    /// Time to first token; seconds.
    Ttft,
    /// Requests per second that the server keeps up with.
    Rate,
    /// Several Macs can run the model together; 1 where they can.
    Divided,
    /// Hours of a fine-tuning run.
    Hours,
}

impl RequirementKind {
    /// The word in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Context => "context",
            Self::TokS => "tok/s",
            Self::Ttft => "TTFT",
            Self::Rate => "requests/s",
            Self::Divided => "division",
            Self::Hours => "hours",
        }
    }

    /// The word in programs' output.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Context => "context",
            Self::TokS => "tok_s",
            Self::Ttft => "ttft",
            Self::Rate => "rate",
            Self::Divided => "divided",
            Self::Hours => "hours",
        }
    }
}

/// A requirement and what became of it.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Requirement {
    /// What must hold.
    pub kind: RequirementKind,
    /// The threshold: a maximum for memory, context, TTFT and hours, a minimum for tok/s.
    pub threshold: f64,
    /// What is predicted, in the same unit.
    pub predicted: f64,
    /// Where nine of ten measurements will lie.
    pub interval_90: [f64; 2],
    /// Probability that it holds.
    pub probability: f64,
    /// What that amounts to; for memory also uncertain where the limit depends on the version of macOS.
    pub outcome: Outcome,
    /// Which limit of memory is the tightest.
    pub limit: Option<LimitKind>,
}

/// What a process takes of a machine's memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryNeed {
    pub peak: u64,
    interval_90: [u64; 2],
    /// Lowest and highest of what the process holds beside MLX.
    runtime: [u64; 2],
    largest_buffer: u64,
}

impl MemoryNeed {
    /// A generation.
    pub fn of(memory: &Memory) -> Self {
        Self {
            peak: memory.peak.peak_bytes,
            interval_90: memory.peak_interval_90.map(|end| end.0),
            runtime: memory.process.runtime_bytes,
            largest_buffer: memory.peak.largest_buffer_bytes,
        }
    }

    /// A fine-tuning run.
    pub fn of_training(found: &TrainingEstimate) -> Self {
        Self {
            peak: found.ledger.peak_bytes,
            interval_90: found.peak_interval_90.map(|end| end.0),
            runtime: RUNTIME_BYTES,
            largest_buffer: found.ledger.largest_buffer_bytes,
        }
    }
}

/// The 80 % interval of a quantity of which the 90 % interval is known, as of a normal logarithm.
fn narrower(middle: f64, interval_90: [f64; 2]) -> [f64; 2] {
    interval_90.map(|end| middle * (end / middle).powf(Z80 / Z90))
}

impl Requirement {
    /// A requirement on a quantity with a spread: at least the threshold for rates, at most for times.
    fn of_spread(
        kind: RequirementKind,
        threshold: f64,
        predicted: f64,
        interval_90: [f64; 2],
        spread: Spread,
    ) -> Self {
        let probability = match kind {
            RequirementKind::TokS | RequirementKind::Rate => spread.at_least(threshold),
            _ => spread.at_most(threshold),
        };
        let outcome = Outcome::of(probability);
        Self { kind, threshold, predicted, interval_90, probability, outcome, limit: None }
    }

    /// The speeds that a workload asks for.
    pub(super) fn of_speed(case: &CheckCase<'_>, d: &Decode, p: &Prefill) -> Vec<Self> {
        let (r, n) = (case.run.work, case.needs);
        let users = f64::from(r.batch.max(1));
        let rate = n.min_tok_s.map(|least| {
            let [low, high] = d.interval_80.map(|x| x / users);
            let ninety = d.interval_90.map(|x| x / users);
            let spread = Spread::new(d.tokens_per_s / users, [low, high], ninety);
            Self::of_spread(RequirementKind::TokS, least, d.tokens_per_s / users, ninety, spread)
        });
        let ttft = n.max_ttft_s.map(|most| {
            let ninety = p.ttft_at(p.interval_90, &r);
            let spread = p.ttft_spread(&r);
            Self::of_spread(RequirementKind::Ttft, most, p.ttft_s, ninety, spread)
        });
        [rate, ttft].into_iter().flatten().collect()
    }

    /// What a workload asks for of a server under a rate of requests: that it keeps up, that the slowest tenth of its users
    /// is fast enough, and that nine of ten wait no longer.
    pub(super) fn of_load(case: &CheckCase<'_>, load: &UnderRate) -> Vec<Self> {
        let one = |kind, threshold: f64, predicted: f64, interval_90: [f64; 2]| {
            let spread = Spread::new(predicted, narrower(predicted, interval_90), interval_90);
            Self::of_spread(kind, threshold, predicted, interval_90, spread)
        };
        let most = (load.most_requests_per_s, load.most_requests_interval_90_per_s);
        let mut all = vec![one(RequirementKind::Rate, load.requests_per_s, most.0, most.1)];
        all.extend(case.needs.min_tok_s.map(|least| {
            let slowest = load.slowest_tenth_tokens_per_s;
            one(RequirementKind::TokS, least, slowest, load.slowest_tenth_interval_90)
        }));
        all.extend(case.needs.max_ttft_s.map(|most| {
            one(RequirementKind::Ttft, most, load.ttft_p90_s, load.ttft_p90_interval_90_s)
        }));
        all
    }

    /// What an agent asks for: the rate of its longest turn, and the longest wait of all turns.
    pub(super) fn of_session(
        case: &CheckCase<'_>,
        figures: &Figures,
        wait: TimeRange,
    ) -> Vec<Self> {
        let mut all = Self::of_speed(case, &figures.decode, &figures.prefill);
        all.retain(|r| r.kind != RequirementKind::Ttft);
        all.extend(case.needs.max_ttft_s.map(|most| {
            let (middle, ends) = (wait.seconds, wait.interval_90_s);
            let spread = Spread::new(middle, narrower(middle, ends), ends);
            Self::of_spread(RequirementKind::Ttft, most, middle, ends, spread)
        }));
        all
    }

    /// Whether the model was made for so many tokens, where that is known.
    pub(super) fn of_context(case: &CheckCase<'_>) -> Option<Self> {
        let made_for = case.model.graph.max_context()? as f64;
        let total = f64::from(case.run.total_tokens());
        let holds = total <= made_for;
        Some(Self {
            kind: RequirementKind::Context,
            threshold: made_for,
            predicted: total,
            interval_90: [total; 2],
            probability: f64::from(u8::from(holds)),
            outcome: if holds { Outcome::Pass } else { Outcome::Fail },
            limit: None,
        })
    }

    /// Whether several Macs can run the model together.
    pub(super) fn of_division(can: bool) -> Self {
        let predicted = f64::from(u8::from(can));
        Self {
            kind: RequirementKind::Divided,
            threshold: 1.0,
            predicted,
            interval_90: [predicted; 2],
            probability: predicted,
            outcome: if can { Outcome::Pass } else { Outcome::Fail },
            limit: None,
        }
    }

    /// What a fine-tuning run of so many iterations, of whose tokens a share counts, asks for in speed.
    pub(super) fn of_training(
        needs: &FineTuningNeeds,
        speed: &TrainingSpeed,
        (iters, fill): (u32, f64),
    ) -> Vec<Self> {
        let (rate, inner, outer) = speed.tokens_per_s();
        let counted = |rate: f64| fill * rate;
        let rate = needs.min_tok_s.map(|least| {
            let (rate, ends) = (counted(rate), outer.map(counted));
            let spread = Spread::new(rate, inner.map(counted), ends);
            Self::of_spread(RequirementKind::TokS, least, rate, ends, spread)
        });
        let hours = needs.max_hours.map(|most| {
            let of = |seconds: f64| f64::from(iters) * seconds / 3600.0;
            let (hours, ends) =
                (of(speed.seconds_per_iteration), speed.seconds_interval_90.map(of));
            let spread = Spread::new(hours, narrower(hours, ends), ends);
            Self::of_spread(RequirementKind::Hours, most, hours, ends, spread)
        });
        rate.into_iter().chain(hours).collect()
    }

    /// Whether processes fit together with so much left free.
    pub(super) fn of_needs(
        processes: &[MemoryNeed],
        machine: &Machine,
        reserve: Bytes,
        headroom: Bytes,
    ) -> Option<Self> {
        let sum = |part: &dyn Fn(&MemoryNeed) -> u64| processes.iter().map(part).sum::<u64>();
        let need = sum(&|m| m.peak);
        let ends = [sum(&|m| m.interval_90[0]), sum(&|m| m.interval_90[1])];
        let runtime = [sum(&|m| m.runtime[0]), sum(&|m| m.runtime[1])];
        let largest = processes.iter().map(|m| m.largest_buffer).max()?;
        let gpu = &machine.gpu_limit;
        let free = |limit: Bytes| limit.saturating_sub(headroom);
        let with = |middle: u64, [low, high]: [u64; 2]| {
            (Bytes(need + middle), [Bytes(ends[0] + low), Bytes(ends[1] + high)])
        };
        let memory = free(machine.memory.value.saturating_sub(reserve));
        let occupied = with((runtime[0] + runtime[1]) / 2, runtime);
        let mut limits = vec![
            Limit::new(
                LimitKind::GpuLimit,
                with(0, [0; 2]),
                (free(gpu.bytes), gpu.range.map(free)),
                "as predict",
            ),
            Limit::new(
                LimitKind::LargestBuffer,
                (Bytes(largest), [Bytes(largest); 2]),
                (gpu.max_buffer(), [gpu.max_buffer(); 2]),
                "as predict",
            ),
            Limit::new(LimitKind::Memory, occupied, (memory, [memory; 2]), "as predict"),
        ];
        limits.extend(machine.budget.map(free).map(|budget| {
            Limit::new(LimitKind::Budget, occupied, (budget, [budget; 2]), "as predict")
        }));
        let used = |l: &Limit| l.need_bytes.0 as f64 / l.limit_bytes.0.max(1) as f64;
        let tightest = limits
            .iter()
            .max_by(|a, b| a.verdict.cmp(&b.verdict).then(used(a).total_cmp(&used(b))))?;
        let probability = limits.iter().map(chance::under).fold(1.0, f64::min);
        let worst = limits.iter().map(|l| of_memory(l.verdict)).max().unwrap_or(Outcome::Pass);
        Some(Self {
            kind: RequirementKind::Memory,
            threshold: tightest.limit_bytes.0 as f64,
            predicted: tightest.need_bytes.0 as f64,
            interval_90: tightest.need_range_bytes.map(|b| b.0 as f64),
            probability,
            outcome: worst,
            limit: Some(tightest.kind),
        })
    }
}
