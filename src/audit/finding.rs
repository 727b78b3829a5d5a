//! What an audit finds.

use schemars::JsonSchema;
use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Physics, the model's size or the catalog rule it out.
    Impossible,
    /// The figure is not what it is called, or the method cannot show what is claimed.
    Misleading,
    /// Possible, but hard to believe.
    Doubtful,
}

impl Severity {
    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Impossible => "impossible",
            Self::Misleading => "misleading",
            Self::Doubtful => "doubtful",
        }
    }
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditRule {
    /// Decode rate times bytes per token may not exceed the bandwidth of the memory bus.
    ImpliedBandwidth,
    /// Prompt speed times operations per token may not exceed the arithmetic peak of the GPU.
    PrefillAbovePeak,
    /// A GPU engine is not several times slower than its memory allows.
    CpuSpeed,
    /// A decode rate leaves the prompt's time out.
    EndToEnd,
    /// The claimed bandwidth of the machine is the catalog's.
    BandwidthFigure,
    /// The term that is said to limit the speed takes most of the time.
    Explanation,
    /// Memory holds at least the weights and the cache.
    MemoryBelowModel,
    /// Memory is not far above weights and cache.
    MemoryAboveModel,
    /// The memory metric counts what the GPU uses.
    MemoryMetric,
    /// A context fits into the model and the machine.
    ContextLimit,
    /// A leak needs many turns.
    LeakTooFewTurns,
    /// A leak is not negative.
    NegativeLeak,
    /// Outliers are shown, not removed.
    OutliersRemoved,
    /// The times at which tokens arrived support the rate.
    ArrivalTimes,
    /// Training throughput is not generation speed.
    TrainingSpeed,
    /// The number of trained parameters follows from model, rank, layers and matrices.
    TrainingParameters,
    /// The peak of fine-tuning is that of a batch it can have had.
    TrainingPeak,
    /// The rate of fine-tuning is one that the machine reaches.
    TrainingRate,
    /// Expected and measured figures do not stand in one table without a label.
    TheoryNextToMeasurement,
    /// Engines are compared on equally large weights.
    UnequalPeers,
}

impl AuditRule {
    /// Name on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ImpliedBandwidth => "implied-bandwidth",
            Self::PrefillAbovePeak => "prefill-above-peak",
            Self::CpuSpeed => "cpu-speed",
            Self::EndToEnd => "end-to-end",
            Self::BandwidthFigure => "bandwidth-figure",
            Self::Explanation => "explanation",
            Self::MemoryBelowModel => "memory-below-model",
            Self::MemoryAboveModel => "memory-above-model",
            Self::MemoryMetric => "memory-metric",
            Self::ContextLimit => "context-limit",
            Self::LeakTooFewTurns => "leak-too-few-turns",
            Self::NegativeLeak => "negative-leak",
            Self::OutliersRemoved => "outliers-removed",
            Self::ArrivalTimes => "arrival-times",
            Self::TrainingSpeed => "training-speed",
            Self::TrainingParameters => "training-parameters",
            Self::TrainingPeak => "training-peak",
            Self::TrainingRate => "training-rate",
            Self::TheoryNextToMeasurement => "theory-next-to-measurement",
            Self::UnequalPeers => "unequal-peers",
        }
    }
}

/// A claim that breaks a rule.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Finding {
    /// Id of the claim.
    pub claim: String,
    /// The rule.
    pub rule: AuditRule,
    /// How bad it is.
    pub severity: Severity,
    /// The numbers: what is claimed, and what it is held against.
    pub numbers: String,
    /// The likely cause.
    pub cause: String,
}

/// A rule that could not be applied to a claim.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Skipped {
    /// Id of the claim.
    pub claim: String,
    /// The rule.
    pub rule: AuditRule,
    /// What is missing.
    pub reason: String,
}

/// What a figure is that a rule reproduces.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct ExplainedFigure {
    /// Id of the claim.
    pub claim: String,
    /// The rule.
    pub rule: AuditRule,
    /// The figure and what it comes from.
    pub text: String,
}

/// The result of an audit.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize)]
pub struct JudgedClaims {
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
    /// Figures that are reproduced, and what they are.
    pub explained: Vec<ExplainedFigure>,
    /// Rules that held, as pairs of claim and rule.
    pub passed: Vec<(String, AuditRule)>,
    /// Rules that could not be applied although the claim has figures for them.
    pub skipped: Vec<Skipped>,
}

impl JudgedClaims {
    /// Whether something is impossible.
    #[must_use]
    pub fn impossible(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Impossible)
    }

    pub(super) fn explain(&mut self, claim: &str, rule: AuditRule, text: String) {
        self.explained.push(ExplainedFigure { claim: claim.to_owned(), rule, text });
    }

    pub(super) fn pass(&mut self, claim: &str, rule: AuditRule) {
        self.passed.push((claim.to_owned(), rule));
    }

    pub(super) fn skip(&mut self, claim: &str, rule: AuditRule, reason: impl Into<String>) {
        self.skipped.push(Skipped { claim: claim.to_owned(), rule, reason: reason.into() });
    }

    pub(super) fn find(
        &mut self,
        claim: &str,
        rule: AuditRule,
        severity: Severity,
        numbers: String,
        cause: impl Into<String>,
    ) {
        let cause = cause.into();
        self.findings.push(Finding { claim: claim.to_owned(), rule, severity, numbers, cause });
    }
}
