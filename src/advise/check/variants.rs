//! What the workloads of a plan could be instead, each planned once for all Macs.

use super::case::CheckCase;
use super::judge::Planned;
use super::plan::Plan;
use crate::advise::recommend::LADDER;
use crate::estimate::{Basis, OpenedModel};
use crate::graph::cache::KvQuantization;
use crate::model::Scheme;
use crate::roofline::Coefficients;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Smaller formats of every workload's model, made when they are first asked for.
pub(super) struct PlanFormats<'p> {
    plan: &'p Plan,
    of_workload: Vec<OnceLock<Vec<(String, OpenedModel)>>>,
}

impl<'p> PlanFormats<'p> {
    pub fn of(plan: &'p Plan) -> Self {
        Self { plan, of_workload: plan.workloads.iter().map(|_| OnceLock::new()).collect() }
    }

    /// Smaller formats of a workload's model, the most precise first.
    pub fn smaller(&self, index: usize) -> &[(String, OpenedModel)] {
        let (Some(w), Some(made)) = (self.plan.workloads.get(index), self.of_workload.get(index))
        else {
            return &[];
        };
        if let Some(known) = made.get() {
            return known;
        }
        // Two threads may make the same; neither waits for the other.
        let format = |scheme: Scheme| Some((scheme.suffix(), w.subject.requantized(scheme)?));
        let all = LADDER.into_iter().filter_map(format).collect();
        made.get_or_init(|| all)
    }
}

/// A workload with one thing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Variant {
    /// Prefill chunks of so many tokens.
    PrefillStep(u32),
    /// A quantized cache.
    KvBits {
        /// Bits per element.
        bits: u32,
        /// Tokens of a chunk, where they change too.
        prefill_step: Option<u32>,
    },
    /// One of the smaller formats.
    Smaller(usize),
    /// So many users at once.
    Users(u32),
    /// A prompt of so many tokens.
    Context(u32),
}

/// The variants of a plan's workloads that have been planned so far.
pub(super) struct CaseVariants<'a> {
    coefficients: &'a Coefficients,
    formats: &'a PlanFormats<'a>,
    planned: Mutex<HashMap<(usize, Variant), Arc<Planned<'a>>>>,
}

impl<'a> CaseVariants<'a> {
    pub fn new(coefficients: &'a Coefficients, formats: &'a PlanFormats<'a>) -> Self {
        Self { coefficients, formats, planned: Mutex::default() }
    }

    /// Smaller formats of a workload's model, the most precise first.
    pub fn smaller(&self, index: usize) -> &'a [(String, OpenedModel)] {
        self.formats.smaller(index)
    }

    /// A variant of a workload; `None` of a format that does not exist.
    pub fn of(
        &self,
        (index, case): (usize, &Planned<'a>),
        what: Variant,
    ) -> Option<Arc<Planned<'a>>> {
        let planned = || self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = planned().get(&(index, what)) {
            return Some(Arc::clone(known));
        }
        let made = Arc::new(self.make(index, case, what)?);
        Some(Arc::clone(planned().entry((index, what)).or_insert(made)))
    }

    fn make(&self, index: usize, case: &Planned<'a>, what: Variant) -> Option<Planned<'a>> {
        let run = case.case.run;
        Some(match what {
            Variant::PrefillStep(tokens) => case.with_run(run.with_prefill_step(tokens)),
            Variant::Users(users) => case.with_run(run.with_batch(users)),
            Variant::Context(tokens) => case.with_run(run.with_context(tokens)),
            Variant::KvBits { bits, prefill_step } => {
                let run = run.with_kv(Some(KvQuantization::bits(bits)));
                let run = prefill_step.map_or(run, |step| run.with_prefill_step(step));
                Planned::new(self.coefficients, CheckCase { run, ..case.case })
            }
            Variant::Smaller(format) => {
                let (_, model) = self.smaller(index).get(format)?;
                let smaller = CheckCase { model, basis: &Basis::Spec, ..case.case };
                Planned::new(self.coefficients, smaller)
            }
        })
    }
}
