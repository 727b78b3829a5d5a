//! The answer of `mlxplan why`.

use crate::audit::Finding;
use crate::cli::shared::keys::ModelKey;
use crate::cli::shared::words::{engine_text, percent, rates, times};
use crate::estimate::{OpenedModel, Run, RunKeys};
use crate::hardware::machine::{Machine, MachineSummary};
use crate::hardware::power::Form;
use crate::report::{Column, Document, Present, Table};
use crate::units::{Seconds, TokensPerSecond};
use crate::why::{
    CauseFile, GapCase, GapCause, Ranked, RankedCause, SeenSpeeds, StatedParts, Suspect,
};
use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

/// Least share of the gap of a cause that is listed, and most causes.
const LEAST: f64 = 0.01;
const SHOWN: usize = 10;

/// The object `mlxplan.why/1`.
#[derive(Serialize, JsonSchema)]
pub(in crate::cli) struct WhyAnswer {
    /// The model.
    model: ModelKey,
    /// The machine.
    machine: MachineSummary,
    /// The run that was predicted.
    request: RunKeys,
    /// Which speed `predicted`, `measured` and `ratio` are of: the decode rate, where it was measured.
    metric: GapMetric,
    /// Predicted tokens per second, or seconds to the first token.
    predicted: f64,
    /// Where nine of ten measurements lie.
    interval_90: [f64; 2],
    /// What was measured.
    measured: f64,
    /// Measured over predicted speed: below 1 it is slower than predicted.
    ratio: f64,
    /// Both speeds, where they were measured.
    gaps: Vec<GapKeys>,
    /// Whether every measured speed lies in its 90 % interval.
    as_predicted: bool,
    /// Probability that nothing is there but the scatter of predictions.
    as_predicted_probability: f64,
    /// Share of the gap that is left to a cause that is none of those listed.
    unexplained: f64,
    /// Whether the decode rate is faster than the memory bus allows with one token a step.
    faster_than_the_bus: bool,
    /// What would explain the gap, what explains most first.
    causes: Vec<CauseKeys>,
    /// Two causes that explain it together better than any alone.
    together: Option<TogetherKeys>,
    /// What the auditor says of the figures.
    findings: Vec<Finding>,
    /// What was not said, and what was taken instead.
    assumed: Vec<String>,
    /// Where the measured figures come from.
    measured_by: String,
    /// Where the priors of causes come from.
    prior_source: String,
    #[serde(skip)]
    engine: String,
}

/// A speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum GapMetric {
    /// Tokens per second.
    Decode,
    /// Seconds to the first token.
    Ttft,
}

/// A measured speed beside the predicted one.
#[derive(Clone, Serialize, JsonSchema)]
struct GapKeys {
    /// Which.
    metric: GapMetric,
    /// Predicted tokens per second, or seconds.
    predicted: f64,
    /// Where nine of ten measurements lie.
    interval_90: [f64; 2],
    /// What was measured.
    measured: f64,
    /// Measured over predicted speed.
    ratio: f64,
}

/// A cause.
#[derive(Serialize, JsonSchema)]
struct CauseKeys {
    /// The cause.
    cause: GapCause,
    /// Probability that it is there.
    probability: f64,
    /// Factor that it would bring to the speed of `metric`: the one within `factor_interval` that comes nearest to the gap.
    factor: f64,
    /// Lowest and highest such factor.
    factor_interval: [f64; 2],
    /// Lowest and highest factor on tokens per second.
    decode_factor_interval: [f64; 2],
    /// Lowest and highest factor on the speed to the first token; its time is longer by the inverse.
    ttft_factor_interval: [f64; 2],
    /// Share of the gap that it is expected to explain, over all causes that may be there; of one that the prediction
    /// has already, the probability that nothing else is.
    explains: f64,
    /// Whether the factor is computed from the laws rather than reported.
    computed: bool,
    /// Whether the prediction has it already.
    included: bool,
    /// What speaks for it.
    evidence: String,
    /// Where that was found.
    source: Vec<String>,
    /// The command that tests it.
    test: String,
}

/// Two causes at once.
#[derive(Serialize, JsonSchema)]
struct TogetherKeys {
    /// The causes.
    causes: [GapCause; 2],
    /// Lowest and highest factor of both on the speed of `metric`.
    factor_interval: [f64; 2],
}

/// What an answer is about.
pub(in crate::cli) struct WhyParts<'a> {
    /// The model.
    pub model: &'a OpenedModel,
    /// The machine.
    pub machine: &'a Machine,
    /// Format of its weights, as the engine runs them.
    pub quant: String,
    /// The run.
    pub run: &'a Run,
    /// What was said.
    pub stated: StatedParts,
    /// What was measured.
    pub seen: SeenSpeeds,
}

impl WhyAnswer {
    /// The answer of a case.
    pub fn of(
        parts: WhyParts<'_>,
        (case, suspects, ranked): (&GapCase<'_>, &[Suspect], &Ranked),
        measured_by: &str,
    ) -> Result<Self> {
        let (gaps, assumed) = (gaps(case, &parts.seen), assumed(&parts));
        // The arguments see to it that something was measured.
        let first = gaps.first().cloned().unwrap_or(GapKeys {
            metric: GapMetric::Decode,
            predicted: case.decode.tokens_per_s,
            interval_90: case.decode.interval_90,
            measured: case.decode.tokens_per_s,
            ratio: 1.0,
        });
        let within = |g: &GapKeys| (g.interval_90[0]..=g.interval_90[1]).contains(&g.measured);
        let of = |s: &Suspect| match first.metric {
            GapMetric::Decode => s.decode,
            GapMetric::Ttft => s.first,
        };
        let listed = ranked.causes.iter().filter(|c| c.explains >= LEAST).take(SHOWN);
        let keys = |c: &RankedCause| {
            let suspect = &suspects[c.suspect];
            CauseKeys::of(suspect, c, of(suspect), first.ratio)
        };
        let causes = listed.map(keys).collect();
        let together = ranked.together.map(|pair| {
            let [a, b] = pair.map(|i| &suspects[i]);
            let [x, y] = [of(a), of(b)];
            TogetherKeys { causes: [a.cause, b.cause], factor_interval: [x[0] * y[0], x[1] * y[1]] }
        });
        Ok(Self {
            model: ModelKey { id: parts.model.id.clone(), quant: parts.quant },
            machine: parts.machine.summary(),
            request: RunKeys::of(parts.run),
            metric: first.metric,
            predicted: first.predicted,
            interval_90: first.interval_90,
            measured: first.measured,
            ratio: first.ratio,
            as_predicted: gaps.iter().all(within),
            gaps,
            as_predicted_probability: ranked.nothing,
            unexplained: ranked.unexplained,
            faster_than_the_bus: false,
            causes,
            together,
            findings: Vec::new(),
            assumed,
            measured_by: measured_by.to_owned(),
            prior_source: CauseFile::embedded()?.prior_source.clone(),
            engine: engine_text(parts.run, Some(parts.machine)),
        })
    }
}

impl WhyAnswer {
    /// Whether a measured speed is above the predicted one.
    pub fn is_faster(&self) -> bool {
        self.gaps.iter().any(|g| g.ratio > 1.0)
    }

    /// With what the auditor says, and whether the rate is above the bus.
    pub fn audited(self, findings: Vec<Finding>, faster_than_the_bus: bool) -> Self {
        Self { findings, faster_than_the_bus, ..self }
    }
}

fn gaps(case: &GapCase<'_>, seen: &SeenSpeeds) -> Vec<GapKeys> {
    let decode = seen.decode.map(|measured| GapKeys {
        metric: GapMetric::Decode,
        predicted: case.decode.tokens_per_s,
        interval_90: case.decode.interval_90,
        measured,
        ratio: measured / case.decode.tokens_per_s,
    });
    let first = seen.ttft_s.map(|measured| GapKeys {
        metric: GapMetric::Ttft,
        predicted: case.ttft_s,
        interval_90: case.ttft_interval_90_s,
        measured,
        ratio: case.ttft_s / measured,
    });
    decode.into_iter().chain(first).collect()
}

/// What was not said.
fn assumed(WhyParts { machine, run, stated, .. }: &WhyParts<'_>) -> Vec<String> {
    let mut all = Vec::new();
    if !stated.context {
        all.push(format!(
            "a prompt of {} tokens: --context gives its length, system prompt and history included",
            run.work.context_tokens
        ));
    }
    if !stated.generate {
        all.push(format!("{} tokens generated: --generate", run.work.generate_tokens));
    }
    if !stated.version {
        all.push(format!("{}: --engine PROGRAM@VERSION", run.engine.name()));
    }
    if run.engine.macos.is_none() {
        all.push("a recent macOS: --macos".to_owned());
    }
    if !stated.format {
        all.push("the format of the weights: --quant".to_owned());
    }
    all.push(match run.conditions.power {
        Some(mode) => format!("full clocks: what {mode} mode leaves of them is a cause"),
        None if Form::of(machine).may_be_laptop() => {
            "full clocks: a cool machine in High Power, or in Automatic mode before it is warm"
                .to_owned()
        }
        None => "full clocks, without Low Power Mode".to_owned(),
    });
    all
}

impl CauseKeys {
    fn of(s: &Suspect, ranked: &RankedCause, range: [f64; 2], ratio: f64) -> Self {
        let [low, high] = [range[0].min(range[1]), range[1].max(range[0])];
        let factor = if s.included { low } else { ratio.clamp(low, high) };
        Self {
            cause: s.cause,
            probability: ranked.probability,
            factor,
            factor_interval: [low, high],
            decode_factor_interval: s.decode,
            ttft_factor_interval: s.first,
            explains: ranked.explains,
            computed: s.computed,
            included: s.included,
            evidence: s.evidence.clone(),
            source: s.sources.clone(),
            test: s.test.clone(),
        }
    }

    fn factor_text(&self) -> String {
        let [low, high] = self.factor_interval;
        if high / low < 1.02 {
            format!("× {}", number(low))
        } else {
            format!("× {}–{}", number(low), number(high))
        }
    }
}

/// A factor with two digits.
fn number(x: f64) -> String {
    match x {
        x if x >= 9.95 => format!("{x:.0}"),
        x if x >= 0.095 => format!("{x:.2}"),
        x if x >= 0.0095 => format!("{x:.3}"),
        x => format!("{x:.4}"),
    }
}

impl Present for WhyAnswer {
    const SCHEMA: &'static str = "mlxplan.why/1";
    const NOT_MODELED: &'static [&'static str] =
        &["causes of which nothing was said and nothing was measured"];

    fn document(&self) -> Document {
        let mut d = Document::default();
        d.heading(format!("Why {} {} on {}", self.model.id, self.model.quant, self.machine.id));
        let mut pairs: Vec<(String, String)> = self.gaps.iter().map(gap_pair).collect();
        pairs.push(("engine".to_owned(), self.engine.clone()));
        pairs.push(("verdict".to_owned(), self.verdict()));
        d.pairs(pairs);
        if !self.causes.is_empty() {
            let of = match self.metric {
                GapMetric::Decode => "factor on tok/s",
                GapMetric::Ttft => "factor on the speed to the first token",
            };
            let mut table = Table::new(vec![
                Column::text("cause"),
                Column::number("explains"),
                Column::text(of),
                Column::number("probability").droppable(1),
            ]);
            for c in &self.causes {
                let mark = if c.included { " (in the prediction)" } else { "" };
                table.row([
                    format!("{}{mark}", c.cause.title()),
                    percent(c.explains),
                    c.factor_text(),
                    percent(c.probability),
                ]);
            }
            d.main_table(table);
            for c in self.causes.iter().take(4) {
                d.text(format!("{}: {}. {}", c.cause.title(), c.evidence, c.source.join(", ")));
                d.code(c.test.clone());
            }
        }
        let mut notes: Vec<String> =
            self.findings.iter().map(|f| format!("{}: {}", f.numbers, f.cause)).collect();
        notes.extend(self.assumed.iter().map(|a| format!("taken: {a}")));
        d.notes(notes);
        d
    }
}

fn gap_pair(g: &GapKeys) -> (String, String) {
    let speed = |x: f64| format!("{:.0} %", 100.0 * x);
    match g.metric {
        GapMetric::Decode => (
            "decode".to_owned(),
            format!(
                "{} tok/s measured, {} predicted (90 % {}): {} of it",
                TokensPerSecond(g.measured),
                TokensPerSecond(g.predicted),
                rates(g.interval_90),
                speed(g.ratio)
            ),
        ),
        GapMetric::Ttft => (
            "first token".to_owned(),
            format!(
                "after {} measured, {} predicted (90 % {}): {} of the speed",
                Seconds(g.measured),
                Seconds(g.predicted),
                times(g.interval_90),
                speed(g.ratio)
            ),
        ),
    }
}

impl WhyAnswer {
    /// The answer in a sentence.
    fn verdict(&self) -> String {
        if self.faster_than_the_bus {
            return "faster than the memory bus allows with one token a step".to_owned();
        }
        if self.as_predicted {
            return "as predicted: nothing needs an explanation".to_owned();
        }
        let first = self.causes.iter().find(|c| !c.included);
        let together = self.together.as_ref().map(|t| {
            format!("most likely together: {} and {}", t.causes[0].title(), t.causes[1].title())
        });
        match (together, first) {
            (Some(text), _) => text,
            (None, Some(c)) if c.explains >= self.unexplained => {
                format!("most likely: {}", c.cause.title())
            }
            _ => "none of the known causes explains it well".to_owned(),
        }
    }
}
