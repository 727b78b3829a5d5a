//! Fine-tuning: what the figures of a run are, by sizing it.
//!
//! What a report leaves open, which matrices have adapters and how long its samples are, is tried, and the answer says with
//! what its figures come out. A figure that comes out with nothing is a finding.

use crate::audit::claim::ClaimedWork;
use crate::audit::training_claim::TrainingClaim;
use crate::audit::{AuditCase, AuditRule, Claim, Hardware, JudgedClaims, Known, Severity};
use crate::estimate::training::{peak_interval, peaks};
use crate::graph::training::{FineTuning, TrainingPlan, adaptable_paths};
use crate::ledger::replay::Gpu;
use crate::roofline::Coefficients;
use crate::roofline::training::{TrainingTime, TrainingWork};
use crate::run::Program;
use crate::units::Bytes;
use crate::versions::MLX_LINKED;

/// How far published millions of trained parameters, which are rounded, may lie off.
const ROUNDED: f64 = 0.000_6;
/// How far a measured rate may lie off, as a factor: batches are short, or their lengths are not known.
const RATE: f64 = 1.5;
/// Batches and lengths that are tried where a report does not say.
const BATCHES: [u32; 3] = [1, 2, 4];
const LENGTHS: [u32; 10] = [32, 64, 96, 128, 192, 256, 512, 1024, 1536, 2047];
/// Shapes that are named.
const NAMED: usize = 3;

pub(in crate::audit) fn check(case: &AuditCase, out: &mut JudgedClaims) {
    let claim = &case.claim;
    let (ClaimedWork::Training, Some(run)) = (claim.workload, &claim.training) else { return };
    let known = match &case.facts.model {
        Ok(known) => known,
        Err(reason) => return out.skip(&claim.id, AuditRule::TrainingPeak, reason),
    };
    let Some(options) = parameters(claim, run, known, out) else { return };
    let shapes = shapes(run);
    let tried: Vec<Tried> = shapes
        .into_iter()
        .filter_map(|shape| Tried::of(shape, run, &options, (known, case.facts.candidates())))
        .collect();
    let near = peak(claim, &tried, out);
    rate(claim, run, near.unwrap_or(&tried[..]), out);
}

/// The run by its trained parameters: with the keys that give them, where it names none.
fn parameters(
    claim: &Claim,
    run: &TrainingClaim,
    known: &Known,
    out: &mut JudgedClaims,
) -> Option<FineTuning> {
    let rule = AuditRule::TrainingParameters;
    let params = known.graph.params();
    let plain = FineTuning::default();
    let named = (!run.keys.is_empty()).then(|| run.keys.clone());
    let options = FineTuning {
        kind: run.fine_tune_type,
        optimizer: run.optimizer,
        rank: run.rank.unwrap_or(plain.rank),
        layers: run.num_layers.or(plain.layers),
        keys: named.clone(),
        checkpoint: run.grad_checkpoint,
        ..plain
    };
    let Some(published) = run.trainable_m else { return Some(options) };
    let sized = |keys: &Option<Vec<String>>| {
        let options = FineTuning { keys: keys.clone(), ..options.clone() };
        let plan = TrainingPlan::new(params, &options).ok()?;
        Some(plan.parameters() as f64 / 1e6)
    };
    let tried: Vec<Option<Vec<String>>> = match named {
        Some(keys) => vec![Some(keys)],
        None => guesses(&adaptable_paths(params).into_iter().collect::<Vec<_>>()),
    };
    let fits =
        |keys: &&Option<Vec<String>>| sized(keys).is_some_and(|m| (m - published).abs() < ROUNDED);
    let Some(keys) = tried.iter().find(fits) else {
        let all = sized(&tried[0]).map_or_else(|| "nothing".to_owned(), |m| format!("{m:.3} M"));
        let numbers =
            format!("{published:.3} M trained parameters, {all} by the options as stated");
        let cause = "another rank, other layers or other matrices than stated; the count follows from them exactly";
        out.find(&claim.id, rule, Severity::Doubtful, numbers, cause);
        return Some(options);
    };
    out.pass(&claim.id, rule);
    let of = keys.as_ref().map_or_else(|| "every matrix".to_owned(), |keys| keys.join(" and "));
    let layers =
        options.layers.map_or_else(|| "all layers".to_owned(), |n| format!("the last {n} layers"));
    out.explain(
        &claim.id,
        rule,
        format!("{published:.3} M trained parameters: rank {} on {of} of {layers}", options.rank),
    );
    Some(FineTuning { keys: keys.clone(), ..options })
}

/// Matrices that people adapt: all; queries and values; all of attention; one alone.
fn guesses(paths: &[String]) -> Vec<Option<Vec<String>>> {
    let ending = |ends: &[&str]| -> Option<Vec<String>> {
        let some = |p: &&String| ends.iter().any(|end| p.rsplit('.').next() == Some(*end));
        let found: Vec<String> = paths.iter().filter(some).cloned().collect();
        (found.len() == ends.len()).then_some(found)
    };
    let mut all = vec![None];
    let sets: [&[&str]; 3] = [
        &["q_proj", "v_proj"],
        &["q_proj", "k_proj", "v_proj"],
        &["q_proj", "k_proj", "v_proj", "o_proj"],
    ];
    all.extend(sets.into_iter().filter_map(ending).map(Some));
    all.extend(paths.iter().map(|path| Some(vec![path.clone()])));
    all
}

/// Batches and lengths: as stated, or those that are tried.
fn shapes(run: &TrainingClaim) -> Vec<(u32, u32)> {
    let batches = run.batch_size.map_or_else(|| BATCHES.to_vec(), |n| vec![n]);
    let lengths = run.seq_tokens.map_or_else(|| LENGTHS.to_vec(), |n| vec![n]);
    batches.iter().flat_map(|&b| lengths.iter().map(move |&n| (b, n))).collect()
}

/// A shape with what it takes.
struct Tried {
    batch: u32,
    tokens: u32,
    peak: u64,
    interval: [Bytes; 2],
    /// Seconds of an iteration on the machines that it may have been: fastest and slowest.
    seconds: Option<[f64; 2]>,
}

impl Tried {
    fn of(
        (batch, tokens): (u32, u32),
        run: &TrainingClaim,
        options: &FineTuning,
        (known, machines): (&Known, &[Hardware]),
    ) -> Option<Self> {
        let silicon = machines.first()?.target;
        let mlx = run.mlx.or_else(|| MLX_LINKED.parse().ok())?;
        let gpu = Gpu {
            class: silicon.tier.arch_class(),
            generation: 12 + silicon.generation,
            mlx,
            ..Gpu::REFERENCE
        };
        let options = FineTuning { batch, tokens, ..options.clone() };
        let (ledger, low) = peaks(&known.graph, &options, gpu).ok()?;
        let work = TrainingWork {
            flops: ledger.flops,
            kernels: ledger.dispatches,
            weight_bytes: ledger.weight_bytes_read,
        };
        let coefficients = Coefficients::embedded().ok();
        let seconds = coefficients.map(|c| {
            let laws = (c.prefill_law(), c.decode_law(Program::MlxLm));
            let of = |h: &Hardware| TrainingTime::of(work, laws.0, laws.1, &h.target).total();
            let all: Vec<f64> = machines.iter().map(of).collect();
            let ends = (f64::INFINITY, 0.0);
            let (fast, slow) = all.iter().fold(ends, |(a, b), &x| (x.min(a), x.max(b)));
            [fast, slow]
        });
        let peak = ledger.peak_bytes;
        Some(Self { batch, tokens, peak, interval: peak_interval(low, peak), seconds })
    }

    fn shape(&self) -> String {
        format!("{} x {} tokens", self.batch, self.tokens)
    }
}

/// The shapes with which the claimed peak comes out.
fn peak<'t>(claim: &Claim, tried: &'t [Tried], out: &mut JudgedClaims) -> Option<&'t [Tried]> {
    let rule = AuditRule::TrainingPeak;
    let range = claim.memory_gb?;
    let [low, high] = [range.low * 1e9, range.high * 1e9];
    if tried.is_empty() {
        out.skip(&claim.id, rule, "the run cannot be sized");
        return None;
    }
    let near = |t: &&Tried| t.interval[0].0 as f64 <= high && low <= t.interval[1].0 as f64;
    let mut found: Vec<&Tried> = tried.iter().filter(near).collect();
    let middle = f64::midpoint(low, high);
    found.sort_by_key(|t| (t.peak as f64 - middle).abs() as u64);
    let all = tried.iter().map(|t| t.peak);
    let (least, most) = (all.clone().min().unwrap_or(0), all.max().unwrap_or(0));
    if found.is_empty() {
        let numbers = format!(
            "{} claimed; {} to {} with the shapes that it may have",
            Bytes(middle as u64),
            Bytes(least),
            Bytes(most)
        );
        let cause = "another batch, length, rank or format than stated, or a figure of another metric than MLX's peak";
        out.find(&claim.id, rule, Severity::Doubtful, numbers, cause);
        return None;
    }
    out.pass(&claim.id, rule);
    let named: Vec<String> =
        found.iter().take(NAMED).map(|t| format!("{} ({})", t.shape(), Bytes(t.peak))).collect();
    out.explain(
        &claim.id,
        rule,
        format!("peak {}: the longest batch had {}", Bytes(middle as u64), named.join(", or ")),
    );
    let first = tried.iter().position(|t| std::ptr::eq(t, found[0]))?;
    tried.get(first..=first)
}

/// Whether the rate is one of training, and what an iteration is.
fn rate(claim: &Claim, run: &TrainingClaim, tried: &[Tried], out: &mut JudgedClaims) {
    let rule = AuditRule::TrainingRate;
    let Some(rate) = run.tokens_per_s else { return };
    let Some(shape) = tried.first() else {
        return out.skip(&claim.id, rule, "the run cannot be sized");
    };
    let Some([fast, slow]) = shape.seconds else {
        return out.skip(&claim.id, rule, "the laws of speed cannot be read");
    };
    let whole = f64::from(shape.batch) * f64::from(shape.tokens);
    let counted = run.iterations_per_s.map_or(whole, |it| f64::midpoint(rate.low, rate.high) / it);
    let ends = [counted / (slow * RATE), counted * RATE / fast];
    let share = 100.0 * counted / whole;
    let text = format!(
        "{} tok/s are tokens in the loss of training, not generation: {counted:.0} an iteration, {share:.0} % of a batch of {}; \
         {:.0} to {:.0} tok/s are expected of that",
        rate.high,
        shape.shape(),
        ends[0],
        ends[1]
    );
    if rate.low > ends[1] && run.seq_tokens.is_some() {
        let cause = "other lengths than stated, or a rate of something else than the tokens that are trained on";
        return out.find(&claim.id, rule, Severity::Doubtful, text, cause);
    }
    out.pass(&claim.id, rule);
    out.explain(&claim.id, rule, text);
}
