//! The answer of `mlxplan compare --buy`.

use super::near::{self, NearKeys};
use crate::advise::Offer;
use crate::advise::money::{Costs, Economics};
use crate::advise::nearest::{Nearest, Relaxed};
use crate::advise::purchase::{Chances, Choice, ModelOnMac, Needs, Purchase};
use crate::advise::upgrade::{Faster, NewModel};
use crate::chart::{Axis, Chart, ChartPoints, ChartShape, Corner, Mark};
use crate::cli::compare::{Asked, faster, faster_text};
use crate::cli::shared::keys::{FigureKeys, ModelKey};
use crate::cli::shared::words::{percent, rates, run_text, short, usd};
use crate::estimate::{Estimator, Figures, Outcome, RunKeys};
use crate::hardware::catalog::AS_OF;
use crate::hardware::machine::{Machine, MachineSummary};
use crate::report::{Column, Document, Present, Table};
use crate::run::Work;
use crate::units::{Seconds, TokensPerSecond};
use schemars::JsonSchema;
use serde::Serialize;

/// The object `mlxplan.purchase/1`.
#[derive(Serialize, JsonSchema)]
pub(in crate::cli) struct PurchaseAnswer {
    /// `purchase`.
    kind: &'static str,
    /// The models.
    models: Vec<ModelKey>,
    /// The run.
    request: RunKeys,
    /// What the Mac must do.
    needs: Needs,
    /// What money is reckoned with.
    economics: Economics,
    /// The present Mac.
    from: Option<MachineSummary>,
    /// Configurations that may meet the needs, the best first.
    choices: Vec<ChoiceKeys>,
    /// The cheapest that surely does.
    smallest: Option<Place>,
    /// The next that is worth its price.
    step_up: Option<Place>,
    /// Configurations looked at.
    considered: usize,
    /// Those that fail a need.
    failed: usize,
    /// Those that cost more than the budget.
    over_budget: usize,
    /// Where none meets the needs: the configurations that come nearest, and what they lack.
    nearest: Vec<NearKeys>,
    /// For each need alone the smallest change with which a configuration passes, the smallest first.
    smallest_changes: Vec<Relaxed>,
    /// Popular models that fit the best choice but not the present Mac.
    new_models: Vec<NewModel>,
    /// State of the prices.
    prices_as_of: &'static str,
    /// Remarks.
    notes: Vec<String>,
    /// The run in a sentence.
    #[serde(skip)]
    run: String,
    /// Choices in the table at most.
    #[serde(skip)]
    limit: usize,
}

/// A configuration.
#[derive(Serialize, JsonSchema)]
struct ChoiceKeys {
    /// What is sold.
    offer: Offer,
    /// The machine that it is.
    machine: MachineSummary,
    /// Probability that it meets all needs.
    probability: f64,
    /// What that amounts to.
    outcome: Outcome,
    /// Whether no other is faster for the same money.
    pareto: bool,
    /// Decode rate of the slowest model.
    tokens_per_s: f64,
    /// Watts of the GPU rail during decode, where measured.
    decode_gpu_w: Option<f64>,
    /// What tokens cost.
    costs: Costs,
    /// Each model.
    runs: Vec<ModelRun>,
}

/// A model on a configuration.
#[derive(Serialize, JsonSchema)]
struct ModelRun {
    #[serde(flatten)]
    figures: FigureKeys,
    /// The model.
    model: ModelKey,
    /// Probabilities that it meets each need.
    probabilities: Chances,
    /// How many times faster than the present Mac.
    faster_than_from: Option<Faster>,
}

/// Configurations shown that come nearest.
const NEAREST: usize = 8;

/// Which configuration.
#[derive(PartialEq, Eq, Serialize, JsonSchema)]
struct Place {
    /// Id of the product.
    mac: String,
    /// Memory in GiB.
    memory_gib: u64,
}

/// What was asked for.
pub(super) struct PurchaseAsked<'a> {
    /// Models and run.
    pub asked: &'a Asked,
    /// Their estimators.
    pub estimators: &'a [Estimator<'a>],
    /// What the Mac must do.
    pub needs: Needs,
    /// What money is reckoned with.
    pub money: Economics,
    /// Figures of every model on the present Mac.
    pub before: Option<Vec<Figures>>,
    /// Choices in the table at most.
    pub limit: usize,
}

impl PurchaseAnswer {
    /// What was found.
    pub(super) fn of(
        asking: PurchaseAsked<'_>,
        found: &Purchase,
        new: Vec<NewModel>,
        notes: Vec<String>,
    ) -> Self {
        let PurchaseAsked { asked, estimators, needs, money, before, limit } = asking;
        let (models, run) = (asked.models(estimators), asked.run_of(estimators));
        let choice = |c| ChoiceKeys::of(c, (&models, &run.work), before.as_deref());
        Self {
            kind: "purchase",
            request: RunKeys::of(&run),
            needs,
            economics: money,
            from: asked.from.as_ref().map(Machine::summary),
            choices: found.choices.iter().map(choice).collect(),
            models,
            smallest: found.smallest().map(|c| Place::of(&c.offer)),
            step_up: found.step_up().map(|c| Place::of(&c.offer)),
            considered: found.considered,
            failed: found.failed,
            over_budget: found.over_budget,
            nearest: Vec::new(),
            smallest_changes: Vec::new(),
            new_models: new,
            prices_as_of: AS_OF,
            notes,
            run: run_text(&run, found.choices.iter().map(|c| &c.machine)),
            limit,
        }
    }

    /// The same with what comes nearest, where nothing meets the needs.
    pub(super) fn with_nearest(mut self, found: &Nearest) -> Self {
        self.nearest = found.all.iter().take(NEAREST).map(NearKeys::from).collect();
        self.smallest_changes.clone_from(&found.changes);
        self
    }

    fn at(&self, place: Option<&Place>) -> Option<&ChoiceKeys> {
        self.choices.iter().find(|c| Some(&Place::of(&c.offer)) == place)
    }
}

impl Place {
    fn of(offer: &Offer) -> Self {
        Self { mac: offer.mac.clone(), memory_gib: offer.memory_gib }
    }
}

impl ChoiceKeys {
    fn of(c: &Choice, (models, request): (&[ModelKey], &Work), before: Option<&[Figures]>) -> Self {
        let runs = c.runs.iter().zip(models).enumerate();
        let run =
            |(i, (run, model))| ModelRun::of(run, model, request, before.and_then(|b| b.get(i)));
        Self {
            offer: c.offer.clone(),
            machine: c.machine.summary(),
            probability: c.probability,
            outcome: c.outcome,
            pareto: c.pareto,
            tokens_per_s: c.tok_s,
            decode_gpu_w: c.machine.decode_gpu_w,
            costs: c.costs,
            runs: runs.map(run).collect(),
        }
    }

    fn name(&self) -> String {
        format!("{} {} GB", self.offer.name, self.offer.memory_gib)
    }

    /// Interval of the slowest model.
    fn interval(&self) -> String {
        let rate = |r: &&ModelRun| r.figures.decode.tokens_per_s;
        let slowest = self.runs.iter().min_by(|a, b| rate(a).total_cmp(&rate(b)));
        slowest.map(|r| rates(r.figures.decode.interval_90)).unwrap_or_default()
    }

    /// Time to first token of the slowest model.
    fn ttft_s(&self) -> f64 {
        self.runs.iter().map(|r| r.figures.prefill.ttft_s).fold(0.0, f64::max)
    }

    /// The shortest of the longest contexts.
    fn context_text(&self) -> Option<String> {
        let known = self.runs.iter().filter(|r| r.figures.memory.max_context_tokens.is_some());
        known.min_by_key(|r| r.figures.memory.max_context_tokens)?.figures.context_text()
    }

    fn faster(&self) -> Option<&Faster> {
        self.runs.first()?.faster_than_from.as_ref()
    }

    fn line(&self) -> String {
        format!(
            "{} ({}), {} USD: {} tok/s (90 % {})",
            self.name(),
            self.machine.id,
            usd(self.offer.usd_now),
            TokensPerSecond(self.tokens_per_s),
            self.interval()
        )
    }
}

impl ModelRun {
    fn of(run: &ModelOnMac, model: &ModelKey, request: &Work, before: Option<&Figures>) -> Self {
        Self {
            figures: FigureKeys::of(&run.figures, request, run.max_context),
            model: model.clone(),
            probabilities: run.chances,
            faster_than_from: before.map(|old| faster(old, &run.figures)),
        }
    }
}

impl Present for PurchaseAnswer {
    const SCHEMA: &'static str = "mlxplan.purchase/1";
    const NOT_MODELED: &'static [&'static str] = &[
        "street, education and refurbished prices, taxes",
        "electricity of chips that nobody measured",
        "quality of the models",
        "other processes, heat and power modes",
    ];

    fn document(&self) -> Document {
        let mut d = Document::default();
        let models: Vec<String> =
            self.models.iter().map(|m| format!("{} {}", short(&m.id), m.quant)).collect();
        d.heading(format!("Which Mac for {}?", models.join(" and ")));
        d.text(format!("{} {}", self.run, needs_text(&self.needs, self.request.batch)));
        if self.choices.is_empty() {
            d.text(self.nothing_text());
            near::add(&mut d, &self.nearest, &self.smallest_changes);
        } else {
            d.pairs(self.summary());
            let (priced, unpriced): (Vec<&ChoiceKeys>, Vec<&ChoiceKeys>) =
                self.choices.iter().partition(|c| c.offer.usd_now.is_some());
            d.main_table(self.table(if priced.is_empty() { &unpriced } else { &priced }));
            if !priced.is_empty() && !unpriced.is_empty() {
                d.heading("Without a known price, the fastest first");
                let mut unpriced = unpriced;
                unpriced.sort_by(|a, b| b.tokens_per_s.total_cmp(&a.tokens_per_s));
                d.table(self.table(&unpriced));
            }
        }
        d.notes(self.notes.clone());
        d
    }

    fn charts(&self) -> Vec<Chart> {
        let priced = |front: bool| -> ChartPoints {
            let found = self.choices.iter().filter(|c| c.pareto == front);
            let point = |c: &ChoiceKeys| {
                let usd = f64::from(c.offer.usd_now?);
                Some((usd, c.tokens_per_s, Some(c.machine.id.clone())))
            };
            found.filter_map(point).collect()
        };
        let mark = |name: &str, front| Mark {
            name: name.to_owned(),
            shape: ChartShape::Points(priced(front)),
        };
        vec![Chart {
            title: "Price and speed".to_owned(),
            description: "Decode tokens per second of the slowest model against the US list price; the front are the Macs that \
                          no other beats in both. Macs without a known price are not shown"
                .to_owned(),
            x: Axis::close("USD"),
            y: Axis::linear("tok/s"),
            legend: Corner::UpperLeft,
            marks: vec![mark("others", false), mark("the front", true)],
        }]
    }
}

fn needs_text(needs: &Needs, users: u32) -> String {
    let mut parts = vec!["Everything must fit".to_owned()];
    if let Some(x) = needs.min_tok_s {
        let each = if users > 1 { " for each user" } else { "" };
        parts.push(format!("at least {x} tok/s{each}"));
    }
    parts.extend(needs.max_ttft_s.map(|x| format!("the first token within {x} s")));
    parts.extend(needs.budget_usd.map(|x| format!("at most {x} USD")));
    format!("{}.", parts.join(", "))
}

impl PurchaseAnswer {
    fn nothing_text(&self) -> String {
        let mut text = format!(
            "None of {} configurations meets the needs: {} fail",
            self.considered, self.failed
        );
        if self.over_budget > 0 {
            text += &format!(", {} cost too much", self.over_budget);
        }
        text + "."
    }

    fn summary(&self) -> Vec<(String, String)> {
        let Some(smallest) = self.at(self.smallest.as_ref()) else {
            let none = "none with a known price surely does";
            return vec![("smallest that works".to_owned(), none.to_owned())];
        };
        let mut pairs = vec![("smallest that works".to_owned(), smallest.line())];
        if let Some(f) = smallest.faster() {
            let times = faster_text(f);
            let text =
                format!("{times} as fast as the present Mac, first token {:.1}x as soon", f.ttft);
            pairs.push((String::new(), text));
        }
        if let Some(up) = self.at(self.step_up.as_ref()) {
            let more = up.offer.usd_now.zip(smallest.offer.usd_now).map_or(0, |(a, b)| a - b);
            let gain = 100.0 * (up.tokens_per_s / smallest.tokens_per_s - 1.0);
            let line = up.line();
            let text = format!("{line}; {more} USD more buy {gain:.0} % more tokens per second");
            pairs.push(("one step up".to_owned(), text));
        }
        pairs
    }

    fn table(&self, choices: &[&ChoiceKeys]) -> Table {
        let api = self.choices.iter().any(|c| c.costs.break_even_days.is_some());
        let mut table = Table::new(columns(api, self.from.is_some()));
        let money = |x: Option<f64>| x.map_or_else(|| "?".to_owned(), |x| format!("{x:.2}"));
        for c in choices.iter().take(self.limit) {
            let costs = &c.costs;
            let mut row = vec![
                c.offer.mac.clone(),
                c.offer.memory_gib.to_string(),
                usd(c.offer.usd_now),
                percent(c.probability),
                self.mark(c).to_owned(),
                TokensPerSecond(c.tokens_per_s).to_string(),
                c.interval(),
                Seconds(c.ttft_s()).to_string(),
                c.context_text().unwrap_or_default(),
                money(costs.usd_per_tok_s),
                money(costs.usd_per_million_tokens_with_energy.or(costs.usd_per_million_tokens)),
            ];
            if api {
                row.push(costs.break_even_days.map_or("?".to_owned(), |d| format!("{d:.0}")));
            }
            if self.from.is_some() {
                row.push(c.faster().map(faster_text).unwrap_or_default());
            }
            table.row(row);
        }
        table
    }

    fn mark(&self, c: &ChoiceKeys) -> &'static str {
        if self.smallest.as_ref() == Some(&Place::of(&c.offer)) {
            "smallest"
        } else if c.pareto {
            "front"
        } else if c.outcome == Outcome::Uncertain {
            "uncertain"
        } else {
            ""
        }
    }
}

fn columns(api: bool, from: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::text("Mac"),
        Column::number("GB"),
        Column::number("USD"),
        Column::number("meets"),
        Column::text(""),
        Column::number("tok/s"),
        Column::number("90 %").droppable(2),
        Column::number("TTFT").droppable(1),
        Column::number("context").droppable(3),
        Column::number("USD per tok/s").droppable(4),
        Column::number("USD per Mtok").droppable(5),
    ];
    if api {
        columns.push(Column::number("break-even days").droppable(3));
    }
    if from {
        columns.push(Column::number("decode, times").droppable(6));
    }
    columns
}
