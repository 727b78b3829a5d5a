//! Prefill predictions.

use super::{Evidence, Speed, Term};
use crate::estimate::basis::{RunAnchor, Timing};
use crate::estimate::pause::PauseCost;
use crate::estimate::warning::{self, Warning};
use crate::estimate::widening::{self, Widening};
use crate::roofline::prefill::PrefillPrompt;
use crate::roofline::{Bound, Coefficients, IntervalClass, LawKind, PrefillTime, Silicon};
use crate::run::{MatrixUnits, Run};

/// A prefill speed with everything that explains it.
#[derive(Clone, Debug, PartialEq)]
pub struct Prefill {
    /// Prompt tokens that are read per second, of all sequences together: without those of a kept cache.
    pub tokens_per_s: f64,
    /// Time to first token: the prompt and the first decode step.
    pub ttft_s: f64,
    /// Interval of `tokens_per_s` that holds 80 % of measurements.
    pub interval_80: [f64; 2],
    /// Interval of `tokens_per_s` that holds 90 % of measurements.
    pub interval_90: [f64; 2],
    /// What a pause before the prompt adds to the time to first token.
    pub pause: Option<PauseCost>,
    /// The same without matrix units, where it is not known whether the program uses those of the GPU.
    pub without_units: Option<Box<Prefill>>,
    /// Where the time of the prompt goes.
    pub terms: Vec<Term>,
    /// What the prediction rests on.
    pub evidence: Evidence,
    /// Why its interval is wider than its class of measurements says.
    pub widenings: Vec<Widening>,
    /// Doubts.
    pub warnings: Vec<Warning>,
}

impl Prefill {
    /// Takes what was timed instead of what the law says, if prompts were.
    pub(in crate::estimate) fn take(&mut self, timing: &Timing) {
        let Some(prompt) = &timing.prompt else { return };
        let rates = prompt.rates();
        let longer = self.tokens_per_s / rates.rate;
        self.terms.iter_mut().for_each(|term| term.seconds *= longer);
        self.tokens_per_s = rates.rate;
        self.interval_80 = rates.interval_80;
        self.interval_90 = rates.interval_90;
        self.ttft_s = prompt.ttft().0 + self.pause.map_or(0.0, |p| p.counted_s());
        self.evidence.text = prompt.text();
        self.widenings.clear();
        self.found_mode();
    }
}

impl Prefill {
    /// Where the time to first token goes: the prompt, a pause before it, and the step that makes the token.
    pub(crate) fn terms_to_first_token(&self) -> Vec<Term> {
        let prompt: f64 = self.terms.iter().map(|term| term.seconds).sum();
        let waited = self.pause.map_or(0.0, |p| p.counted_s());
        let beside = [
            ("pause", waited, Bound::Overhead),
            ("first token", self.ttft_s - prompt - waited, Bound::Bandwidth),
        ];
        let some = beside.into_iter().filter(|(_, seconds, _)| *seconds > 0.0);
        let beside = some.map(|(name, seconds, bound)| Term { name, seconds, bound });
        self.terms.iter().cloned().chain(beside).collect()
    }

    /// Takes what own runs make of the rate; `tokens` are those of all prompts.
    pub(in crate::estimate) fn anchor(&mut self, anchor: &RunAnchor, tokens: f64) {
        let rates = anchor.rate(self.tokens_per_s);
        self.ttft_s += tokens / rates.rate - tokens / self.tokens_per_s;
        self.tokens_per_s = rates.rate;
        self.interval_80 = rates.interval_80;
        self.interval_90 = rates.interval_90;
        self.terms.iter_mut().for_each(|term| term.seconds /= anchor.ratio);
        self.evidence.text = anchor.text();
        self.widenings.clone_from(&anchor.widenings);
        self.found_mode();
    }

    /// What was measured here was measured in the mode that the machine is in.
    fn found_mode(&mut self) {
        self.without_units = None;
        self.warnings.retain(|w| !matches!(w, Warning::MatrixUnits { .. }));
    }
}

impl Speed {
    /// Seconds to process the prompt.
    #[must_use]
    pub fn prefill_seconds(
        &self,
        coefficients: &Coefficients,
        target: &Silicon,
        run: &Run,
    ) -> PrefillTime {
        let prompt = PrefillPrompt {
            program: self.program,
            fp16: self.features.fp16,
            tokens: f64::from(run.work.context_tokens.max(1)),
            cached: f64::from(run.work.cached_tokens),
            chunk: f64::from(run.engine.prefill_step.max(1)),
            batch: f64::from(run.work.batch.max(1)),
            logit_tokens: f64::from(run.logit_tokens()),
            paused: false,
        };
        let time = coefficients.prefill_law().time(&self.features, target, prompt);
        PrefillTime { recurrent: time.recurrent * self.recurrent, ..time }
    }

    /// The speed without the matrix units of a GPU, where it is taken for granted that they are used.
    fn without_units(
        &self,
        coefficients: &Coefficients,
        target: &Silicon,
        run: &Run,
    ) -> Option<Box<Prefill>> {
        let engine = &run.engine;
        let taken = target.matrix_units
            && !engine.program.runs_gguf()
            && engine.matrix_units == MatrixUnits::Auto
            && engine.macos.is_none();
        let shaders = Silicon { matrix_units: false, ..*target };
        taken.then(|| Box::new(self.prefill(coefficients, &shaders, run)))
    }

    /// Prefill speed on a machine.
    #[must_use]
    pub fn prefill(&self, coefficients: &Coefficients, target: &Silicon, run: &Run) -> Prefill {
        let time = self.prefill_seconds(coefficients, target, run);
        let tokens = f64::from(run.work.read_tokens()) * f64::from(run.work.batch.max(1));
        let rate = tokens / time.total();
        let first = run.with_generated(0);
        let step = self.decode_seconds(coefficients, target, &first).total();
        let pause = PauseCost::of(coefficients, target, run, self.features.weight_bytes);
        let waited = pause.map_or(0.0, |p| p.counted_s());
        let evidence = Evidence::of(coefficients, target, LawKind::Prefill);
        let class = IntervalClass::of_prefill(target.matrix_units);
        let doubtful =
            self.doubtful(target, run, (LawKind::Prefill, class), run.work.context_tokens);
        let widenings = widening::prefill(coefficients, &doubtful);
        let mut warnings = self.remarks.clone();
        warnings.extend(warning::of_widenings(&widenings));
        let without_units = self.without_units(coefficients, target, run);
        if let Some(other) = &without_units {
            warnings.push(Warning::MatrixUnits { times: rate / other.tokens_per_s });
        }
        let factor = widening::factor(&widenings);
        let (interval_80, interval_90) =
            coefficients.prefill_band(class).widened(factor).around(rate);
        let terms = time
            .terms()
            .into_iter()
            .filter(|(_, seconds, _)| *seconds != 0.0)
            .map(|(name, seconds, bound)| Term { name, seconds, bound })
            .collect();
        Prefill {
            tokens_per_s: rate,
            ttft_s: time.total() + step + waited,
            interval_80,
            interval_90,
            pause,
            without_units,
            terms,
            evidence,
            widenings,
            warnings,
        }
    }
}
