//! Prefill predictions.

use super::{Engine, Evidence, Speed, SpeedRequest, Term};
use crate::roofline::prefill::PrefillPrompt;
use crate::roofline::{Coefficients, IntervalClass, LawKind, PrefillTime, Silicon};
use schemars::JsonSchema;
use serde::Serialize;

/// A prefill speed with everything that explains it.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Prefill {
    /// Prompt tokens per second, of all sequences together.
    pub tokens_per_s: f64,
    /// Time to first token: the prompt and the first decode step.
    pub ttft_s: f64,
    /// Interval of `tokens_per_s` that holds 80 % of measurements.
    pub interval_80: [f64; 2],
    /// Interval of `tokens_per_s` that holds 90 % of measurements.
    pub interval_90: [f64; 2],
    /// Where the time goes.
    pub terms: Vec<Term>,
    /// What the prediction rests on.
    pub evidence: Evidence,
    /// Doubts.
    pub warnings: Vec<String>,
}

impl Speed {
    /// Seconds to process the prompt.
    #[must_use]
    pub fn prefill_seconds(
        &self,
        coefficients: &Coefficients,
        target: &Silicon,
        request: &SpeedRequest,
    ) -> PrefillTime {
        let prompt = PrefillPrompt {
            program: self.engine.program(),
            fp16: request.fp16_activations.unwrap_or(self.features.fp16),
            tokens: f64::from(request.context_tokens.max(1)),
            chunk: f64::from(request.prefill_step.max(1)),
            batch: f64::from(request.batch.max(1)),
        };
        coefficients.prefill_law().time(&self.features, target, prompt)
    }

    /// Prefill speed on a machine.
    #[must_use]
    pub fn prefill(
        &self,
        coefficients: &Coefficients,
        target: &Silicon,
        request: &SpeedRequest,
    ) -> Prefill {
        let time = self.prefill_seconds(coefficients, target, request);
        let tokens = f64::from(request.context_tokens.max(1)) * f64::from(request.batch.max(1));
        let rate = tokens / time.total();
        let first = SpeedRequest { generate_tokens: 0, ..*request };
        let step = self.decode_seconds(coefficients, target, &first).total();
        let file = coefficients.file();
        let evidence = Evidence::of_prefill(coefficients, target);
        let mut warnings = self.remarks.clone();
        evidence.chip_doubt(target, &mut warnings);
        let class = IntervalClass::of_prefill(target.matrix_units);
        let mut width = coefficients.chip_width(LawKind::Prefill, target, class)
            * coefficients.architecture_width(&self.model_type);
        if self.engine != Engine::Mlx {
            width *= 1.5;
            warnings.push(format!(
                "prefill with {} is taken to be like MLX's; the interval is widened",
                self.engine
            ));
        }
        let length = coefficients.prompt_width(f64::from(request.context_tokens));
        if length > 1.0 {
            width *= length;
            warnings.push(format!(
                "no measured prompt is as long as {} tokens (longest: {}); the interval is widened",
                request.context_tokens, file.longest_prompt
            ));
        }
        if target.matrix_units {
            warnings.push(
                "prefill on this chip depends on whether macOS and MLX use its matrix units; published speeds differ \
                 widely, and the interval covers both"
                    .to_owned(),
            );
        }
        let (interval_80, interval_90) =
            coefficients.prefill_band(class).widened(width).around(rate);
        let terms = time
            .terms()
            .into_iter()
            .filter(|(_, seconds, _)| *seconds > 0.0)
            .map(|(name, seconds, bound)| Term { name, seconds, bound })
            .collect();
        Prefill {
            tokens_per_s: rate,
            ttft_s: time.total() + step,
            interval_80,
            interval_90,
            terms,
            evidence,
            warnings,
        }
    }
}
