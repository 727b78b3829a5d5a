//! Speed with drafts over acceptances and bins of a machine, and the verdict in words.

use super::answer::{AtAcceptance, DraftAnswer, DraftVerdict};
use super::refusal::{DraftDoubt, GoesBack, drafting};
use super::times::DraftWork;
use super::{Plain, band_of};
use crate::estimate::{EstimateError, Estimator, OpenedModel};
use crate::hardware::machine::Machine;
use crate::roofline::speculation::{
    BestDrafts, MOST_DRAFTS, RoundTimes, accepted_share, mean_speedup, tokens_per_round,
};
use crate::run::{Draft, DraftTokens, Drafter, FormatOrigin, Program, Run};

/// A draft to be judged.
pub(super) struct Judged<'j, 'm, 'd> {
    pub main: &'j Estimator<'m>,
    pub draft: Option<&'j Estimator<'d>>,
    pub by: Drafter,
    pub asked: &'j Draft,
}

impl Judged<'_, '_, '_> {
    /// Speed on a machine. Over its bins: the middle of figures, the span of intervals.
    pub(super) fn on(
        &self,
        machine: &Machine,
        plain: Plain,
        points: &[(f64, Option<&'static str>)],
    ) -> Result<DraftAnswer, EstimateError> {
        let most = match self.asked.tokens {
            DraftTokens::Stated(drafts) => drafts,
            DraftTokens::Default | DraftTokens::Best => MOST_DRAFTS,
        };
        let work = self.draft.map_or(DraftWork::Heads, DraftWork::Model);
        let bins = machine.possible_bins().iter();
        let times: Vec<RoundTimes> = bins
            .map(|bin| self.main.round_times(&work, &self.main.silicon(bin), most))
            .collect::<Result<_, _>>()?;
        let middle = middle(points);
        let drafts = self.drafts(&times, middle);
        let program = self.main.run().engine.program;
        let band = band_of(program, self.by, self.main.graph());
        let at: Vec<AtAcceptance> =
            points.iter().map(|(a, task)| at(&times, (*a, *task), (drafts, band), plain)).collect();
        let interval = at.iter().fold([f64::INFINITY, 0.0_f64], |[low, high], p| {
            [low.min(p.interval_90[0]), high.max(p.interval_90[1])]
        });
        let verdict = match interval {
            [low, _] if low > 1.0 => DraftVerdict::Faster,
            [_, high] if high < 1.0 => DraftVerdict::Slower,
            _ => DraftVerdict::Uncertain,
        };
        // Where bins differ, the acceptance that is enough on all of them.
        let break_even: Option<Vec<f64>> = times.iter().map(|t| t.break_even(drafts)).collect();
        let break_even = break_even.map(|all| all.into_iter().fold(0.0, f64::max));
        let best = BestDrafts::of(&times, middle);
        let mut answer = DraftAnswer::impossible(String::new(), None, String::new());
        answer.verdict = verdict;
        answer.reason = reason(verdict, drafts, break_even);
        answer.speedup = mean_speedup(&times, middle, drafts);
        answer.acceptance = Some(middle);
        answer.interval_90 = Some(interval);
        answer.break_even_acceptance = break_even;
        answer.draft_tokens = Some(drafts);
        answer.best_draft_tokens = best.map(|b| b.drafts);
        answer.best_speedup = best.map(|b| b.speedup);
        answer.at = at;
        answer.draft_s = Some(mean(times.iter().map(|t| t.draft)));
        let verify = |t: &RoundTimes| t.verify.get(drafts.checked_sub(1)? as usize).copied();
        answer.verify_s = Some(mean(times.iter().filter_map(verify)));
        Ok(answer)
    }

    /// Drafts a round: as asked, else the engine's own number, else the fastest.
    fn drafts(&self, times: &[RoundTimes], middle: f64) -> u32 {
        let own = || drafting(self.main.run().engine.program)?.tokens.filter(|n| *n > 0);
        let fastest = || BestDrafts::of(times, middle).map_or(1, |b| b.drafts);
        match self.asked.tokens {
            DraftTokens::Stated(drafts) => drafts,
            DraftTokens::Best => fastest(),
            DraftTokens::Default => own().unwrap_or_else(fastest),
        }
    }

    /// The command that runs it, where the options of the program are known.
    pub(super) fn command(&self, draft: &OpenedModel, drafts: Option<u32>) -> Option<String> {
        let program = self.main.run().engine.program;
        let start = match program {
            Program::MlxLm => "mlx_lm.generate --model",
            Program::MlxServer => "mlx_lm.server --model",
            _ => return None,
        };
        let options = drafting(program)?;
        let (model, tokens) = (options.model_option.as_ref()?, options.tokens_option.as_ref()?);
        let main = repository(self.main.opened()?);
        Some(format!("{start} {main} {model} {} {tokens} {}", repository(draft), drafts?))
    }
}

/// The repository that usually holds a model in its format.
fn repository(model: &OpenedModel) -> String {
    let stored = matches!(model.origin, FormatOrigin::File | FormatOrigin::Native);
    match model.graph.uniform_scheme() {
        Some(scheme) if !stored && model.gguf_mix().is_none() => {
            let name = model.id.rsplit('/').next().unwrap_or(&model.id);
            format!("mlx-community/{name}-{}", scheme.suffix())
        }
        _ => model.id.clone(),
    }
}

/// The acceptance that stands for all: the one in the middle, or between the two there.
fn middle(points: &[(f64, Option<&'static str>)]) -> f64 {
    let n = points.len();
    points.get(n / 2).zip(points.get((n - 1) / 2)).map_or(0.5, |(a, b)| f64::midpoint(a.0, b.0))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
    if n > 0.0 { sum / n } else { f64::NAN }
}

fn at(
    times: &[RoundTimes],
    (acceptance, task): (f64, Option<&'static str>),
    (drafts, band): (u32, [f64; 2]),
    plain: Plain,
) -> AtAcceptance {
    let each = || times.iter().filter_map(|t| t.speedup(acceptance, drafts));
    let speedup = mean(each());
    let best = BestDrafts::of(times, acceptance).unwrap_or(BestDrafts { drafts, speedup });
    AtAcceptance {
        acceptance,
        task,
        accepted_share: accepted_share(acceptance, drafts),
        tokens_per_round: tokens_per_round(acceptance, drafts),
        speedup,
        interval_90: [
            band[0] * each().fold(f64::INFINITY, f64::min),
            band[1] * each().fold(0.0, f64::max),
        ],
        tokens_per_s: speedup * plain.tokens_per_s,
        best_draft_tokens: best.drafts,
        best_speedup: best.speedup,
    }
}

fn reason(verdict: DraftVerdict, drafts: u32, break_even: Option<f64>) -> String {
    let pays = match break_even {
        None => {
            format!("rounds of {drafts} cost more than they yield even where every draft is right")
        }
        Some(a) if a < 0.005 => format!("rounds of {drafts} cost no more than a token"),
        Some(a) => format!("rounds of {drafts} pay from an acceptance of {a:.2} on"),
    };
    match verdict {
        DraftVerdict::Uncertain => format!("{pays}; the interval holds both faster and slower"),
        _ => pays,
    }
}

/// A doubt where the draft's own caches do not go back.
pub(super) fn forgets(draft: &OpenedModel, run: &Run) -> Option<DraftDoubt> {
    let lost = match GoesBack::of(draft.graph.cache_kinds()) {
        GoesBack::Never(_) => true,
        GoesBack::Below(window) => run.total_tokens() >= window,
        GoesBack::Always | GoesBack::Unknown => false,
    };
    (lost && !run.engine.program.runs_gguf()).then_some(DraftDoubt::DraftForgets)
}
