//! Models run here, against what was predicted for them: `validate --suite` and `validate --model`.

mod case;
mod ladder;
mod show;

use super::args::LiveArgs;
use super::live_answer::{LiveSummary, LiveValidation, SkippedCase};
use crate::calibration::evidence::{self, EvidenceMetric, LiveComparison, PredictedRate};
use crate::calibration::profile::Profile;
use crate::calibration::{Host, widths};
use crate::cli::shared::context::Context;
use crate::cli::shared::exit::ExitStatus;
use crate::cli::shared::here::{allowed, runnable};
use crate::cli::shared::profiles::host;
use crate::cli::shared::{output, signals};
use crate::engine::mlx::{EngineError, backend, clear_cache, clock, version};
use crate::estimate::{Fidelity, OpenedModel};
use crate::graph::params::Module;
use crate::model::Scheme;
use crate::report::Answer;
use anyhow::{Context as _, Result, bail};
use case::{Estimate, Measured, Tensors};
use ladder::LadderCase;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tokens of the prompt that is timed for a model, where prompts are fast and where they are slow.
const PROMPT: [u32; 2] = [512, 33];

/// The part of the time that is for first measurements; the rest is for measuring some again.
const CASES: f64 = 0.88;
/// Cases that are measured again at the end.
const AGAIN: usize = 2;

/// What all cases share.
struct LiveRun<'a> {
    context: &'a Context,
    args: &'a LiveArgs,
    profile: Option<Profile>,
    machine: Host,
    memory_limit: u64,
    store: Option<PathBuf>,
    start: Instant,
    time: Duration,
}

/// Runs what was asked and compares.
pub(in crate::cli) fn validate(context: &Context, args: &LiveArgs) -> Result<(Answer, ExitStatus)> {
    let probe = context.here()?;
    let profile = context.profile(&probe)?;
    if profile.is_none() {
        context.printer.hint("no calibration of this machine; `mlxplan calibrate` makes one");
    }
    let run = LiveRun {
        context,
        args,
        profile,
        machine: host(&probe, backend()),
        memory_limit: allowed(&probe, args.force)?,
        store: evidence::file(),
        start: Instant::now(),
        time: Duration::from_secs_f64(60.0 * args.minutes),
    };
    let cases = match &args.model {
        Some(model) => run.cases_of(model),
        None if args.depths.is_empty() => run.rarest_first(ladder::cases(args.fitted_on)),
        None => run.at_depths(ladder::cases(args.fitted_on)),
    };
    let stop = signals::stop(context.printer.quiet)?;
    let (mut rows, mut skipped, mut done) = (Vec::new(), Vec::new(), Vec::new());
    for (n, case) in cases.iter().enumerate() {
        if stop.requested() {
            skipped.push(run.skipped(case, "a signal ended the run before"));
            continue;
        }
        let left = run.time.mul_f64(CASES).saturating_sub(run.start.elapsed());
        if args.suite && left.is_zero() {
            skipped.push(run.skipped(case, "time was up; --minutes gives more"));
            continue;
        }
        // Cheap cases leave time for the others.
        let share = 1.5 * left.as_secs_f64() / (cases.len() - n) as f64;
        match run.case(case, Duration::from_secs_f64(share)) {
            Ok((of_case, measured)) => {
                done.push((case, measured));
                rows.extend(of_case);
            }
            Err(e) if args.suite => skipped.push(run.skipped(case, &format!("{e:#}"))),
            Err(e) => return Err(e),
        }
        clear_cache();
    }
    if rows.is_empty() {
        let reasons: Vec<&str> = skipped.iter().map(|s: &SkippedCase| s.reason.as_str()).collect();
        bail!("nothing could be compared: {}", reasons.first().unwrap_or(&"no prediction"));
    }
    if args.suite && !stop.requested() {
        rows.extend(run.again(done)?);
    }
    let verdict = if stop.requested() { ExitStatus::Interrupted } else { ExitStatus::Ok };
    let answer = LiveValidation {
        basis: "live",
        backend: backend().to_owned(),
        mlx: version(),
        clock: clock::name(),
        ladder: run.set(),
        method: METHOD,
        stored_in: run.store.clone(),
        seconds: run.start.elapsed().as_secs_f64(),
        summary: LiveSummary::of(&rows),
        machine: run.machine,
        rows,
        skipped,
    };
    Ok((Answer::of(answer), verdict))
}

/// How the comparisons are made, in words.
const METHOD: &str = "a cache of made-up keys and values; medians of rounds in which the layers of the prediction and the \
                      whole model take turns; noise is the difference of two measurements of the same whose rounds take \
                      turns; rows of fidelity measured compare a measurement with the same one minutes earlier";

impl LiveRun<'_> {
    /// Which cases these are, in stored rows.
    fn set(&self) -> &'static str {
        match (&self.args.model, self.args.fitted_on) {
            (Some(_), _) => "model",
            (None, false) => "held_out",
            (None, true) => "fitted_on",
        }
    }

    fn name(&self, case: &LadderCase) -> String {
        let quant = case.quant.as_deref().unwrap_or_default();
        let what = match case.metric {
            EvidenceMetric::Decode => format!("at {} tokens", case.tokens),
            EvidenceMetric::Prefill => format!("prompt of {} tokens", case.tokens),
        };
        format!("{} {quant} {what}", case.model)
    }

    fn skipped(&self, case: &LadderCase, reason: &str) -> SkippedCase {
        self.context.printer.hint(&format!("{}: {reason}", self.name(case)));
        SkippedCase { id: self.name(case), reason: reason.to_owned() }
    }

    /// One model at the chosen depths, and a prompt.
    fn cases_of(&self, model: &str) -> Vec<LadderCase> {
        let given = self.args.depths.as_slice();
        let depths = if given.is_empty() { &[0, 512, 2048] } else { given };
        let case = |tokens, metric| LadderCase {
            model: model.to_owned(),
            quant: self.args.quant.clone(),
            tokens,
            metric,
        };
        let mut all: Vec<LadderCase> =
            depths.iter().map(|&d| case(d, EvidenceMetric::Decode)).collect();
        all.push(case(PROMPT[usize::from(backend() == "cpu")], EvidenceMetric::Prefill));
        all
    }

    /// First the cases that this machine has fewest stored runs of, so that short suites add up to a whole one.
    fn rarest_first(&self, mut cases: Vec<LadderCase>) -> Vec<LadderCase> {
        let stored = self.store.as_deref().and_then(|path| evidence::read(path).ok());
        let (rows, _) = stored.unwrap_or_default();
        let scheme = |text: &str| text.parse::<Scheme>().ok();
        let runs = |case: &LadderCase| {
            let same = |r: &&LiveComparison| {
                (&r.machine, r.set.as_str(), &r.model) == (&self.machine, self.set(), &case.model)
                    && (r.clock.as_str(), r.mlx.as_str()) == (clock::name(), version().as_str())
                    && (r.context_tokens, r.metric) == (case.tokens, case.metric)
                    && scheme(&r.quant) == case.quant.as_deref().and_then(scheme)
                    && r.fidelity != Fidelity::Measured
            };
            rows.iter().filter(same).count()
        };
        cases.sort_by_cached_key(runs);
        cases
    }

    /// Every model and format of a ladder at the chosen depths.
    fn at_depths(&self, cases: Vec<LadderCase>) -> Vec<LadderCase> {
        let decode = cases.into_iter().filter(|c| c.metric == EvidenceMetric::Decode);
        let at = |c: LadderCase| {
            self.args.depths.iter().map(move |&tokens| LadderCase { tokens, ..c.clone() })
        };
        decode.flat_map(at).collect()
    }

    fn subject(&self, case: &LadderCase) -> Result<OpenedModel> {
        self.context.one_model(&case.model, case.quant.as_deref(), None)
    }

    /// Runs a case; its predictions in seconds and what was measured.
    fn measure(
        &self,
        case: &LadderCase,
        time: Duration,
    ) -> Result<(Vec<Estimate>, Measured, String)> {
        let subject = self.subject(case)?;
        let folder = Path::new(&case.model);
        let tensors = match (self.args.random_weights || self.args.suite, folder.is_dir()) {
            (true, _) => Tensors::Random,
            (false, true) => Tensors::Folder(folder),
            (false, false) => bail!(
                "'{}' is no folder with weights; give one, or add --random-weights",
                case.model
            ),
        };
        let graph = runnable(&subject)?;
        let bytes: u64 = graph.params().modules().iter().map(Module::bytes).sum();
        // The model, the copies of its layers, and as much again for what MLX needs beside them.
        let needed = bytes.saturating_mul(2);
        if needed > self.memory_limit {
            return Err(EngineError::Memory { needed, limit: self.memory_limit }.into());
        }
        let budget = (self.args.rounds, time);
        let profile = self.profile.as_ref();
        let (estimates, measured) =
            case::run(&graph, case, tensors, profile, budget, self.memory_limit)?;
        Ok((estimates, measured, subject.quant))
    }

    /// Runs a case, shows and stores its rows.
    fn case(&self, case: &LadderCase, time: Duration) -> Result<(Vec<LiveComparison>, Measured)> {
        let (estimates, measured, quant) = self.measure(case, time)?;
        let rows: Vec<LiveComparison> =
            estimates.iter().map(|e| self.row(case, &quant, e, &measured)).collect();
        self.keep(&rows)?;
        Ok((rows, measured))
    }

    /// The cheapest decode cases once more: what an earlier measurement is worth as a prediction of a later one.
    fn again(&self, mut done: Vec<(&LadderCase, Measured)>) -> Result<Vec<LiveComparison>> {
        done.retain(|(case, _)| case.metric == EvidenceMetric::Decode);
        done.sort_by(|(_, a), (_, b)| a.seconds.total_cmp(&b.seconds));
        let mut rows = Vec::new();
        for (case, before) in done.iter().take(AGAIN) {
            let (_, measured, quant) = self.measure(case, Duration::from_secs(6))?;
            let earlier = Estimate {
                fidelity: Fidelity::Measured,
                seconds: before.seconds,
                log_error: widths::PACE,
                timing_log_error: 0.0,
            };
            rows.push(self.row(case, &quant, &earlier, &measured));
            self.keep(&rows[rows.len() - 1..])?;
            clear_cache();
        }
        Ok(rows)
    }

    /// Shows and stores rows.
    fn keep(&self, rows: &[LiveComparison]) -> Result<()> {
        for row in rows {
            if !self.context.printer.quiet {
                output::say(&show::line(row, self.start.elapsed().as_secs_f64()));
            }
            if let Some(path) = &self.store {
                evidence::append(path, row).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    fn row(&self, case: &LadderCase, quant: &str, e: &Estimate, m: &Measured) -> LiveComparison {
        let tokens = match case.metric {
            EvidenceMetric::Decode => 1.0,
            EvidenceMetric::Prefill => f64::from(case.tokens.saturating_sub(1)),
        };
        let p = PredictedRate::new(tokens / e.seconds, e.log_error);
        let measured = tokens / m.seconds;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let calibrated = e.fidelity == Fidelity::Calibrated;
        LiveComparison {
            version: evidence::VERSION,
            unix_s: now.as_secs(),
            machine: self.machine.clone(),
            mlx: version(),
            clock: clock::name().to_owned(),
            set: self.set().to_owned(),
            model: case.model.clone(),
            quant: quant.to_owned(),
            random_weights: self.args.random_weights || self.args.suite,
            context_tokens: case.tokens,
            metric: case.metric,
            fidelity: e.fidelity,
            predicted: p.rate,
            timing_log_error: e.timing_log_error,
            interval_80: p.interval_80,
            interval_90: p.interval_90,
            measured,
            error: p.rate / measured - 1.0,
            held_90: (p.interval_90[0]..=p.interval_90[1]).contains(&measured),
            noise: m.noise,
            wall_tokens_per_s: tokens / m.wall_seconds,
            rounds: m.rounds,
            mlx_peak_bytes: m.mlx_peak_bytes,
            process_bytes: crate::engine::mlx::process_bytes(),
            profile_unix_s: self.profile.as_ref().filter(|_| calibrated).map(|p| p.created_unix_s),
        }
    }
}
