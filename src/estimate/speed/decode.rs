//! Decode predictions.

use super::{Evidence, Speed, Term};
use crate::estimate::basis::{RunAnchor, Timing};
use crate::estimate::warning::{self, Warning};
use crate::estimate::widening::{self, Widening};
use crate::roofline::features::{Matrices, MatrixRole};
use crate::roofline::{
    Bound, Coefficients, DecodeStep, IntervalClass, LawKind, Silicon, StepFeatures, StepTime,
};
use crate::run::Run;

/// Layers of a drafter that drafts a block at once, as published ones have (DFlash: 5 to 8).
const BLOCK_LAYERS: f64 = 5.0;

/// Kernel launches of a prediction head, its embedding and its norms. An assumption.
const HEAD_LAUNCHES: f64 = 40.0;

/// Weights of all products but the output head.
fn weights_of_layers(f: &StepFeatures) -> f64 {
    let weights =
        |m: &Matrices| if m.part == MatrixRole::Head { 0.0 } else { m.launches * m.weights };
    f.matrices.iter().map(weights).sum()
}

/// A decode speed with everything that explains it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decode {
    /// Mean over the generated tokens, of all sequences together.
    pub tokens_per_s: f64,
    /// Interval that holds 80 % of measurements.
    pub interval_80: [f64; 2],
    /// Interval that holds 90 % of measurements.
    pub interval_90: [f64; 2],
    /// Seconds from one token of a sequence to the next.
    pub seconds_per_token: f64,
    /// Bytes read per step: weights, keys and values, states.
    pub bytes_per_token: u64,
    /// Kernels launched per step.
    pub dispatches_per_token: u64,
    /// What takes most of the time.
    pub bound: Bound,
    /// Where the time goes.
    pub terms: Vec<Term>,
    /// What the prediction rests on.
    pub evidence: Evidence,
    /// Why its interval is wider than its class of measurements says.
    pub widenings: Vec<Widening>,
    /// Doubts.
    pub warnings: Vec<Warning>,
}

/// The speed at one depth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AtDepth {
    /// Tokens in the cache when decoding starts.
    pub context_tokens: u32,
    /// Mean over the generated tokens, of all sequences together.
    pub tokens_per_s: f64,
}

impl Decode {
    /// Takes what was timed instead of what the laws say.
    pub(in crate::estimate) fn take(&mut self, timing: &Timing) {
        let rates = timing.decode.rates(1.0);
        self.tokens_per_s = rates.rate;
        self.interval_80 = rates.interval_80;
        self.interval_90 = rates.interval_90;
        let longer = timing.decode.seconds / self.seconds_per_token;
        self.terms.iter_mut().for_each(|term| term.seconds *= longer);
        self.seconds_per_token = timing.decode.seconds;
        self.evidence.text = timing.text();
        self.widenings.clear();
    }
}

impl Decode {
    /// Takes what own runs make of the rate.
    pub(in crate::estimate) fn anchor(&mut self, anchor: &RunAnchor) {
        let rates = anchor.rate(self.tokens_per_s);
        self.tokens_per_s = rates.rate;
        self.interval_80 = rates.interval_80;
        self.interval_90 = rates.interval_90;
        self.seconds_per_token /= anchor.ratio;
        self.terms.iter_mut().for_each(|term| term.seconds /= anchor.ratio);
        self.evidence.text = anchor.text();
        self.widenings.clone_from(&anchor.widenings);
    }
}

impl Decode {
    /// Makes it so many times as fast, with the ends of an interval of that.
    pub(crate) fn scale(&mut self, times: f64, [low, high]: [f64; 2]) {
        let ends = |[slow, fast]: [f64; 2]| [slow * low, fast * high];
        self.tokens_per_s *= times;
        self.seconds_per_token /= times;
        self.interval_80 = ends(self.interval_80);
        self.interval_90 = ends(self.interval_90);
    }
}

impl AtDepth {
    /// Takes what was timed at this depth, if anything was.
    pub(in crate::estimate) fn take(&mut self, timing: Option<&Timing>) {
        let timed = timing.and_then(|t| t.at_depth.iter().find(|(d, _)| *d == self.context_tokens));
        if let Some((_, timed)) = timed {
            self.tokens_per_s = timed.rates(1.0).rate;
        }
    }
}

impl Speed {
    fn step(&self, run: &Run) -> DecodeStep {
        let work = run.work;
        let tokens = f64::from(work.context_tokens) + f64::from(work.generate_tokens) / 2.0;
        // What a server adds was published of single streams.
        let server = run.engine.server.filter(|_| work.batch <= 1);
        DecodeStep {
            program: self.program,
            old_build: false,
            fp16: self.features.fp16,
            flash: self.flash,
            generated: f64::from(work.generate_tokens),
            tokens,
            batch: f64::from(work.batch.max(1)),
            server: server.map(|server| server.seconds(tokens)),
            rows: 1.0,
            mlx: run.engine.mlx.taken,
        }
    }

    /// Seconds of a forward pass over `rows` tokens of every sequence at once, as drafts are verified, from the middle of
    /// the generated tokens on: keys and values are read once.
    #[must_use]
    pub fn verify_seconds(
        &self,
        coefficients: &Coefficients,
        target: &Silicon,
        run: &Run,
        rows: u32,
    ) -> StepTime {
        let step = DecodeStep { rows: f64::from(rows.max(1)), ..self.step(run) };
        coefficients.decode_law(step.program).time(&self.features, target, step)
    }

    /// Seconds of the step in the middle of the generated tokens. Takes about a microsecond.
    #[must_use]
    pub fn decode_seconds(
        &self,
        coefficients: &Coefficients,
        target: &Silicon,
        run: &Run,
    ) -> StepTime {
        let step = self.step(run);
        coefficients.decode_law(step.program).time(&self.features, target, step)
    }

    /// Seconds of a step of `sequences`, the longest of which has `tokens` in its cache.
    #[must_use]
    pub fn step_seconds(
        &self,
        (coefficients, target): (&Coefficients, &Silicon),
        run: &Run,
        sequences: u32,
        tokens: u32,
    ) -> StepTime {
        let (tokens, batch) = (f64::from(tokens), f64::from(sequences.max(1)));
        let step = DecodeStep { tokens, batch, ..self.step(run) };
        coefficients.decode_law(step.program).time(&self.features, target, step)
    }

    /// Seconds of a draft by a prediction head: the output head and one layer with 16-bit weights, as checkpoints have
    /// it, with its launches.
    #[must_use]
    pub fn head_seconds(&self, coefficients: &Coefficients, target: &Silicon, run: &Run) -> f64 {
        let (step, f) = (self.step(run), &self.features);
        let law = coefficients.decode_law(step.program);
        let time = law.time(f, target, step);
        let rates = law.rates(f, target, step);
        let layers = f.layers.max(1) as f64;
        let layer = weights_of_layers(f) / layers;
        time.head + 2.0 * layer / rates.stream + time.kv / layers + HEAD_LAUNCHES * rates.launch
    }

    /// Seconds in which a drafter that was made for the model drafts a block: a few layers with 16-bit weights, over all
    /// positions at once, and the model's own head.
    #[must_use]
    pub fn block_seconds(
        &self,
        coefficients: &Coefficients,
        target: &Silicon,
        run: &Run,
        drafts: u32,
    ) -> f64 {
        let (step, f) = (self.step(run), &self.features);
        let law = coefficients.decode_law(step.program);
        let rates = law.rates(f, target, step);
        let head = self.verify_seconds(coefficients, target, run, drafts + 1).head;
        let layers = BLOCK_LAYERS / f.layers.max(1) as f64;
        let bytes = 2.0 * layers * weights_of_layers(f);
        head + bytes / rates.stream + layers * f.dispatches * rates.launch
    }

    /// Decode speed on a machine.
    #[must_use]
    pub fn decode(&self, coefficients: &Coefficients, target: &Silicon, run: &Run) -> Decode {
        let step = self.step(run);
        let time = self.decode_seconds(coefficients, target, run);
        let seconds = time.total();
        let rate = step.batch / seconds;
        let f = &self.features;
        let read = f.weight_bytes_per_step_of(step.batch);
        let class =
            IntervalClass::of_decode(step.program, f.weight_bytes_per_step(), f.has_experts());
        let band = coefficients.decode_band(class);
        let law = LawKind::of_decode(self.program);
        let evidence = Evidence::of(coefficients, target, law);
        let doubtful = self.doubtful(target, run, (law, class), run.total_tokens());
        let mut widenings = widening::decode(coefficients, &doubtful);
        let server =
            run.engine.server.zip(step.server).map(|(server, s)| (server.band, s / seconds));
        widenings.extend(server.and_then(|s| widening::server(&band, self.program, s)));
        // It errs apart from all else that widens.
        let known = band.widened(widening::factor(&widenings));
        widenings.extend(widening::attention(&known, step.tokens, time.kv / seconds));
        let mut warnings = self.remarks.clone();
        warnings.extend(warning::of_widenings(&widenings));
        let (interval_80, interval_90) = band.widened(widening::factor(&widenings)).around(rate);
        Decode {
            tokens_per_s: rate,
            interval_80,
            interval_90,
            seconds_per_token: seconds,
            bytes_per_token: (read + step.batch * (f.kv_bytes(step.tokens) + f.state_bytes)) as u64,
            dispatches_per_token: f.dispatches_at(step.tokens) as u64,
            bound: time.bound(),
            terms: terms(&time),
            evidence,
            widenings,
            warnings,
        }
    }

    /// Speeds at several depths.
    #[must_use]
    pub fn decode_at(
        &self,
        coefficients: &Coefficients,
        target: &Silicon,
        run: &Run,
        depths: &[u32],
    ) -> Vec<AtDepth> {
        let at = |&context_tokens: &u32| {
            let run = run.with_context(context_tokens);
            let seconds = self.decode_seconds(coefficients, target, &run).total();
            AtDepth { context_tokens, tokens_per_s: f64::from(run.work.batch.max(1)) / seconds }
        };
        depths.iter().map(at).collect()
    }
}

fn terms(t: &StepTime) -> Vec<Term> {
    let weights = if t.compute > 0.5 * (t.weights + t.experts + t.head) {
        Bound::Compute
    } else {
        Bound::Bandwidth
    };
    let all = [
        ("launches", t.launches, Bound::Overhead),
        ("weights", t.weights, weights),
        ("experts", t.experts, weights),
        ("head", t.head, weights),
        ("kv", t.kv, Bound::Bandwidth),
        ("states", t.states, Bound::Bandwidth),
        ("other", t.other, Bound::Bandwidth),
        ("program", t.program, Bound::Overhead),
        ("heat", t.heat, Bound::Compute),
    ];
    all.into_iter()
        .filter(|(_, seconds, _)| *seconds != 0.0)
        .map(|(name, seconds, bound)| Term { name, seconds, bound })
        .collect()
}
