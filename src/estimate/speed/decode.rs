//! Decode predictions.

use super::{Evidence, Speed, SpeedRequest, Term};
use crate::roofline::{Bound, Coefficients, DecodeStep, IntervalClass, LawKind, Silicon, StepTime};
use schemars::JsonSchema;
use serde::Serialize;

/// A decode speed with everything that explains it.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
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
    /// Doubts.
    pub warnings: Vec<String>,
}

/// The speed at one depth.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct AtDepth {
    /// Tokens in the cache when decoding starts.
    pub context_tokens: u32,
    /// Mean over the generated tokens, of all sequences together.
    pub tokens_per_s: f64,
}

impl Speed {
    fn step(&self, request: &SpeedRequest) -> DecodeStep {
        DecodeStep {
            program: self.engine.program(),
            old_build: false,
            fp16: request.fp16_activations.unwrap_or(self.features.fp16),
            generated: f64::from(request.generate_tokens),
            tokens: f64::from(request.context_tokens) + f64::from(request.generate_tokens) / 2.0,
            batch: f64::from(request.batch.max(1)),
        }
    }

    /// Seconds of the step in the middle of the generated tokens. Takes about a microsecond.
    #[must_use]
    pub fn decode_seconds(
        &self,
        coefficients: &Coefficients,
        target: &Silicon,
        request: &SpeedRequest,
    ) -> StepTime {
        let step = self.step(request);
        coefficients.decode_law(step.program).time(&self.features, target, step)
    }

    /// Decode speed on a machine.
    #[must_use]
    pub fn decode(
        &self,
        coefficients: &Coefficients,
        target: &Silicon,
        request: &SpeedRequest,
    ) -> Decode {
        let step = self.step(request);
        let time = self.decode_seconds(coefficients, target, request);
        let seconds = time.total();
        let rate = step.batch / seconds;
        let f = &self.features;
        let read = f.weight_bytes_per_step_of(step.batch);
        let class =
            IntervalClass::of_decode(step.program, f.weight_bytes_per_step(), f.has_experts());
        let band = coefficients.decode_band(class);
        let evidence = Evidence::of_decode(coefficients, target, self.engine);
        let mut warnings = self.remarks.clone();
        let width = self.doubts(coefficients, target, request, class, &evidence, &mut warnings);
        let (interval_80, interval_90) = band.widened(width).around(rate);
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
            warnings,
        }
    }

    /// Speeds at several depths.
    #[must_use]
    pub fn decode_at(
        &self,
        coefficients: &Coefficients,
        target: &Silicon,
        request: &SpeedRequest,
        depths: &[u32],
    ) -> Vec<AtDepth> {
        let at = |&context_tokens: &u32| {
            let request = SpeedRequest { context_tokens, ..*request };
            let seconds = self.decode_seconds(coefficients, target, &request).total();
            AtDepth { context_tokens, tokens_per_s: f64::from(request.batch.max(1)) / seconds }
        };
        depths.iter().map(at).collect()
    }

    /// Doubts about a decode prediction, and by how much they widen the logarithmic interval.
    fn doubts(
        &self,
        coefficients: &Coefficients,
        target: &Silicon,
        request: &SpeedRequest,
        class: IntervalClass,
        evidence: &Evidence,
        warnings: &mut Vec<String>,
    ) -> f64 {
        let file = coefficients.file();
        let law = LawKind::of_decode(self.engine.program());
        let mut width = coefficients.chip_width(law, target, class);
        evidence.chip_doubt(target, warnings);
        let end = request.context_tokens.saturating_add(request.generate_tokens);
        let depth = coefficients.depth_width(f64::from(end));
        if depth > 1.0 {
            warnings.push(format!(
                "no measurement reaches {end} tokens (deepest: {}); the interval is widened",
                file.deepest_tokens
            ));
        }
        let architecture = coefficients.architecture_width(&self.model_type);
        if architecture > 1.0 {
            warnings.push(format!(
                "no measurement of the model type '{}'; the interval is widened",
                self.model_type
            ));
        }
        width *= depth * architecture;
        if request.batch > 1 {
            width *= 1.5;
            warnings.push(
                "batch speeds rest on the physics of the kernels, not on measurements; the interval is widened".to_owned(),
            );
        }
        if self.kv_quantised {
            width *= 1.2;
            warnings.push(
                "no measurement with this quantised cache was fitted; the interval is widened"
                    .to_owned(),
            );
        }
        width
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
        .filter(|(_, seconds, _)| *seconds > 0.0)
        .map(|(name, seconds, bound)| Term { name, seconds, bound })
        .collect()
}
