//! What a Mac makes of a model in a list: whether it fits, with how much context, how fast.

use crate::cli::shared::context::Context;
use crate::estimate::memory::Fits;
use crate::estimate::{Basis, Estimator, Opened, OpenedModel, Run};
use crate::hardware::machine::Machine;
use crate::roofline::Coefficients;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

/// What a Mac makes of a model.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(in crate::cli) struct Verdict {
    /// Format of the weights that was judged.
    quant: Option<String>,
    /// Whether it fits.
    pub fits: Option<Fits>,
    /// The longest context that is safe, in tokens.
    pub max_context_tokens: Option<u32>,
    /// Decode speed after the prompt of the run, in tokens per second.
    pub tokens_per_s: Option<f64>,
    /// Why there is no verdict.
    pub reason: Option<String>,
}

impl Verdict {
    fn none(reason: impl ToString) -> Self {
        Self { reason: Some(reason.to_string()), ..Self::default() }
    }

    /// The verdict in a word.
    pub fn word(&self) -> String {
        match (&self.fits, &self.reason) {
            (Some(fits), _) => fits.to_string(),
            (None, Some(_)) => "-".to_owned(),
            (None, None) => String::new(),
        }
    }
}

/// The verdicts on what each of some model arguments names, for a run on `machine`.
pub(super) fn verdicts(context: &Context, models: &[String], machine: &Machine) -> Vec<Verdict> {
    let coefficients = match Coefficients::embedded() {
        Ok(coefficients) => coefficients,
        Err(problem) => return models.iter().map(|_| Verdict::none(&problem)).collect(),
    };
    let judge = |name: &String| match context.open(name, None, None) {
        Ok(Opened::Model(model)) => judge(coefficients, &model, machine),
        Ok(Opened::Class(_)) => Verdict::none("it names a size, not a model"),
        Err(problem) => Verdict::none(first_line(&format!("{problem:#}"))),
    };
    models.par_iter().map(judge).collect()
}

fn judge(coefficients: &Coefficients, model: &OpenedModel, machine: &Machine) -> Verdict {
    match Estimator::new(coefficients, model, Run::default(), Basis::Spec).at(machine) {
        Ok(p) => Verdict {
            quant: Some(p.model.quant.clone()),
            fits: p.memory.as_ref().map(|m| m.judgment.fits),
            max_context_tokens: p.context.map(|c| c.safe.tokens),
            tokens_per_s: Some(p.decode.tokens_per_s),
            reason: None,
        },
        Err(problem) => Verdict::none(problem),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
