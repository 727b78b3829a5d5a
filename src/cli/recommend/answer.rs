//! What to run on a Mac, as an answer.

use super::cells::{context_cell, memory_text};
use super::macs::{MacAnswer, macs_table};
use super::picks::{self, PickKeys};
use crate::advise::picks::Picks;
use crate::advise::use_case::UseCase;
use crate::advise::{CannotRun, EngineSettings, MacChoice};
use crate::chart::{Chart, NamedBar};
use crate::cli::shared::tables::changes_table;
use crate::cli::shared::words::{
    contexts_text, format_name, gb, loss_notes, parts_text, run_text, short, wired_notes,
};
use crate::estimate::memory::{ContextBound, Fit};
use crate::estimate::{OpenedModel, Prediction, Run, RunKeys, Warning};
use crate::hardware::machine::{Machine, MachineSummary};
use crate::model::quality::{LossBasis, PublishedLoss, is_below_four_bits, loss_cell};
use crate::report::{Column, Document, Present, Table, Tagged};
use crate::units::{Bytes, Seconds, TokensPerSecond};
use schemars::JsonSchema;
use serde::Serialize;

/// What to run on a Mac.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Recommendation {
    /// The machine.
    machine: MachineSummary,
    /// The run.
    request: RunKeys,
    /// The models and formats that match, as predicted.
    choices: Vec<Tagged<Prediction>>,
    /// Models and formats that match and cannot run as asked, with the reason.
    cannot_run: Vec<CannotRun>,
    /// Models and formats that match and lose more than was allowed, or of which nobody published a loss.
    lose_too_much: Vec<LosesTooMuch>,
    /// How the choices were found.
    notes: Vec<String>,
    /// What each choice of an overview is started with, and why it was taken, in the order of the choices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    picks: Vec<PickKeys>,
    /// Popular models that fit, where none of the choices does.
    instead: Vec<Tagged<Prediction>>,
    /// Macs that run the smallest choice, where none of the choices fits.
    macs: Vec<MacAnswer>,
    /// How to start the engine that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<EngineSettings>,
    /// What only people are shown.
    #[serde(skip)]
    shown: Shown,
}

/// A choice that was left out for its loss.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct LosesTooMuch {
    /// The model.
    pub model: String,
    /// The format of its weights.
    pub quant: String,
    /// What it loses; `null` where nobody published it.
    pub loss: Option<PublishedLoss>,
}

/// What only people are shown.
#[derive(Debug)]
struct Shown {
    title: String,
    /// The run in words.
    run: String,
    /// The GPU memory limit, its lowest and highest value.
    limit: (Bytes, [Bytes; 2]),
    /// Whether details of a single choice, and what would help, are shown.
    in_full: bool,
    /// The smallest choice, which the Macs run.
    smallest: String,
}

impl Recommendation {
    /// Choices that were asked for.
    pub(super) fn new(
        machine: &Machine,
        run: &Run,
        title: String,
        choices: Vec<Prediction>,
        notes: Vec<String>,
    ) -> Self {
        let limit = (machine.gpu_limit.bytes, machine.gpu_limit.range);
        let shown = Shown {
            title,
            run: run_text(run, [machine]),
            limit,
            in_full: true,
            smallest: String::new(),
        };
        Self {
            machine: machine.summary(),
            request: RunKeys::of(run),
            choices: choices.into_iter().map(Tagged).collect(),
            cannot_run: Vec::new(),
            lose_too_much: Vec::new(),
            notes,
            picks: Vec::new(),
            instead: Vec::new(),
            macs: Vec::new(),
            settings: None,
            shown,
        }
    }

    /// The best choices of a machine.
    pub(super) fn picks(
        machine: &Machine,
        run: &Run,
        title: String,
        (task, found): (Option<UseCase>, Picks),
    ) -> Self {
        let first = found.first_choice().map(|p| p.prediction.model.id.clone());
        let keys: Vec<PickKeys> =
            found.all.iter().map(|p| PickKeys::of(p, task, first.as_deref())).collect();
        let choices = found.all.into_iter().map(|p| p.prediction).collect();
        let mut all = Self::new(machine, run, title, choices, vec![picks::NOTE.to_owned()]);
        all.shown.in_full = false;
        all.picks = keys;
        all.cannot_run = found.cannot;
        all
    }

    /// Ends with the settings of an engine.
    pub(super) fn set_up(&mut self, settings: Option<EngineSettings>) {
        self.settings = settings;
    }

    /// Lists what cannot run as asked.
    pub(super) fn cannot_run(&mut self, all: Vec<CannotRun>) {
        self.cannot_run = all;
    }

    /// Lists what was left out for its loss.
    pub(super) fn lose_too_much(&mut self, all: Vec<LosesTooMuch>) {
        self.lose_too_much = all;
    }

    /// Offers models that fit.
    pub(super) fn offer(&mut self, instead: Vec<Prediction>) {
        self.instead = instead.into_iter().map(Tagged).collect();
    }

    /// Offers Macs that run the smallest choice.
    pub(super) fn offer_macs<'m>(
        &mut self,
        smallest: &OpenedModel,
        macs: impl Iterator<Item = &'m MacChoice>,
    ) {
        self.shown.smallest = format!("{} {}", short(&smallest.id), format_name(&smallest.quant));
        self.macs = macs.map(MacAnswer::from).collect();
    }
}

impl Present for Recommendation {
    const SCHEMA: &'static str = "mlxplan.recommendation/1";
    const NOT_MODELED: &'static [&'static str] = &[
        "quality of the models beyond published losses of formats",
        "other processes, heat and power modes",
    ];

    fn document(&self) -> Document {
        let rows: Vec<&Prediction> = self.choices.iter().map(|t| &t.0).collect();
        let mut d = Document::default();
        d.heading(self.shown.title.clone());
        d.text(self.shown.run.clone());
        if self.picks.is_empty() {
            d.table(table(&rows, &self.cannot_run));
        } else {
            picks::add(&mut d, &rows, &self.picks);
        }
        if let ([row], true) = (&rows[..], self.shown.in_full) {
            d.pairs(details(row));
        }
        let mut notes = notes(&self.notes, &rows, self.shown.limit);
        notes.extend(self.cannot_run.iter().map(|c| {
            format!("{} {} cannot run so: {}", short(&c.model), format_name(&c.quant), c.reason)
        }));
        notes.extend(self.lose_too_much.iter().map(|l| {
            let loses = match &l.loss {
                Some(loss) => format!("it loses {}", loss.text()),
                None => "what it loses is not published for models of this size".to_owned(),
            };
            format!("{} {} left out: {loses}", short(&l.model), format_name(&l.quant))
        }));
        d.notes(notes);
        if self.shown.in_full {
            changes(&mut d, &rows);
        }
        if !self.instead.is_empty() {
            d.heading("Popular models that fit instead, the largest first");
            d.table(table(&self.instead.iter().map(|t| &t.0).collect::<Vec<_>>(), &[]));
        }
        if !self.shown.smallest.is_empty() {
            d.heading(format!("Macs that run {}, cheapest first", self.shown.smallest));
            d.table(macs_table(&self.macs));
        }
        if let Some(settings) = &self.settings {
            d.heading(format!("Settings for {}", settings.engine));
            settings.commands.iter().for_each(|command| d.text(command.clone()));
            if let Some(file) = &settings.file {
                d.text(format!("{} (keys that it has beside these stay):", file.path));
                d.code(file.content.clone());
            }
            let mut notes = settings.notes.clone();
            notes.extend(
                settings
                    .wired_limit
                    .iter()
                    .map(|w| format!("to let more fit: {} (undo: {})", w.command, w.undo)),
            );
            d.notes(notes);
        }
        d
    }

    fn charts(&self) -> Vec<Chart> {
        let bar = |t: &Tagged<Prediction>| NamedBar {
            name: format!("{} {}", short(&t.0.model.id), format_name(&t.0.model.quant)),
            height: t.0.decode.tokens_per_s,
            interval: t.0.decode.interval_90,
        };
        let bars = self.choices.iter().filter(|t| t.0.generates()).map(bar).collect();
        let description = "Predicted decode tokens per second with 90 % intervals";
        vec![Chart::of_bars(&self.shown.title, description, "tok/s", bars)]
    }
}

/// A column of the table of choices.
type Cell = fn(&Prediction) -> String;

fn table(rows: &[&Prediction], cannot: &[CannotRun]) -> Table {
    let mut names = rows.iter().map(|r| &r.model.id).chain(cannot.iter().map(|c| &c.model));
    let first = names.next();
    let one_model = names.all(|name| Some(name) == first);
    let (format, loss) = (Column::text("format"), Column::number("loss"));
    let loss_of: Cell = |p| loss_cell(p.loss().as_ref());
    let mut columns: Vec<(Column, Cell)> = if one_model {
        vec![(format, |p| format_name(&p.model.quant)), (loss, loss_of)]
    } else {
        vec![
            (Column::text("model"), |p| short(&p.model.id).to_owned()),
            (format.droppable(2), |p| format_name(&p.model.quant)),
            (loss.droppable(2), loss_of),
        ]
    };
    columns
        .extend(FIGURES.map(|(title, drop, cell)| (Column::number(title).droppable(drop), cell)));
    let (columns, cells): (Vec<Column>, Vec<Cell>) = columns.into_iter().unzip();
    let mut table = Table::new(columns);
    for row in rows {
        table.row(cells.iter().map(|cell| cell(row)));
    }
    for c in cannot {
        let name = (!one_model).then(|| short(&c.model).to_owned());
        let figures = FIGURES.iter().map(|(title, ..)| if *title == "fits" { "no" } else { "–" });
        let cells = name.into_iter().chain([format_name(&c.quant), "–".to_owned()]);
        table.row(cells.chain(figures.map(str::to_owned)));
    }
    table
}

/// The figures of a choice: title, in which order the column is dropped, text.
const FIGURES: [(&str, u8, Cell); 8] = [
    ("fits", 0, |p| memory_text(p, |m| m.judgment.verdict.to_string())),
    ("tok/s", 0, |p| TokensPerSecond(p.decode.tokens_per_s).to_string()),
    ("90 %", 0, |p| {
        let [low, high] = p.decode.interval_90.map(TokensPerSecond);
        format!("{low}–{high}")
    }),
    ("TTFT", 0, |p| Seconds(p.prefill.ttft_s).to_string()),
    ("TTFT 90 %", 3, |p| {
        let [soon, late] = p.ttft_interval_90_s().map(Seconds);
        format!("{soon}–{late}")
    }),
    ("peak GB", 0, |p| memory_text(p, |m| gb(m.peak.peak_bytes))),
    ("context", 1, |p| context_cell(p.context.map(|c| c.safe))),
    ("at most", 4, |p| context_cell(p.context.map(|c| c.at_most))),
];

fn details(p: &Prediction) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    if let Some(m) = &p.memory {
        pairs.push(("peak".to_owned(), parts_text(&m.peak)));
        let [low, high] = m.peak_interval_90;
        pairs.push((
            String::new(),
            format!("90 % {low}–{high}; GPU limit {}", p.machine.gpu_limit.bytes),
        ));
    }
    if let Some(c) = p.context {
        pairs.push(("max context".to_owned(), contexts_text(c)));
    }
    pairs.push(("basis".to_owned(), p.decode.evidence.text.clone()));
    pairs
}

fn notes(
    own: &[String],
    rows: &[&Prediction],
    (limit, [low, high]): (Bytes, [Bytes; 2]),
) -> Vec<String> {
    let mut notes = own.to_vec();
    let range =
        if low == high { String::new() } else { format!(", {low}–{high} by macOS version") };
    notes.push(format!("GPU memory limit {limit}{range}"));
    if rows.iter().any(|r| r.context.is_some_and(|c| c.safe.bound == ContextBound::Memory)) {
        notes.push(
            "context: the safe one, below which every prompt fits, at the interval's upper end and under the lowest limit; at \
             most: the longest by the expected peak; * ended by memory, others by the model"
                .to_owned(),
        );
    }
    notes.extend(losses(rows));
    notes.extend(warnings(rows));
    notes
}

/// What stands behind the losses, and a warning where fewer than four bits are left.
fn losses(rows: &[&Prediction]) -> Vec<String> {
    let mut notes = Vec::new();
    let all: Vec<(String, PublishedLoss)> = rows
        .iter()
        .filter_map(|r| Some((format_name(&r.model.quant), r.loss()?)))
        .filter(|(_, loss)| loss.basis != LossBasis::Original)
        .collect();
    if all.is_empty() {
        return notes;
    }
    notes.push(
        "loss: published, not predicted: how much perplexity rises (KL divergence counts as its logarithm) or which share \
         of a benchmark's score is lost; ~ of other models of like size"
            .to_owned(),
    );
    let mut said: Vec<String> = Vec::new();
    for (format, loss) in all {
        let text = format!("{format} loses {}", loss.text());
        if !said.contains(&text) {
            said.push(text);
        }
    }
    notes.push(said.join("; "));
    let low = rows.iter().map(|r| &r.model.quant).find(|quant| is_below_four_bits(quant));
    notes.extend(low.map(|quant| {
        format!(
            "{}: below four bits quality falls fast; a smaller model in four bits is usually better",
            format_name(quant)
        )
    }));
    notes
}

/// The doubts of all rows; those of some rows only say which.
fn warnings(rows: &[&Prediction]) -> Vec<String> {
    let mut seen: Vec<(&Warning, Vec<&str>)> = Vec::new();
    for row in rows {
        for text in &row.warnings {
            match seen.iter_mut().find(|(known, _)| *known == text) {
                Some((_, models)) => models.push(short(&row.model.id)),
                None => seen.push((text, vec![short(&row.model.id)])),
            }
        }
    }
    let of_all = |models: &[&str]| models.len() == rows.len();
    seen.into_iter()
        .map(|(text, models)| {
            if of_all(&models) {
                text.to_string()
            } else {
                format!("{}: {text}", models.join(", "))
            }
        })
        .collect()
}

/// The rows whose changes are worth showing. Formats of one model are each other's changes: where one in four bits or more
/// fits, the table is the advice; else the smallest that does not fit stands for all.
fn advised<'p>(rows: &[&'p Prediction]) -> Vec<&'p Prediction> {
    let with = |p: &&Prediction| !p.changes.is_empty() || !p.withheld.is_empty();
    let formats = rows.len() > 1 && rows.iter().all(|p| p.model.id == rows[0].model.id);
    if !formats {
        return rows.iter().copied().filter(with).collect();
    }
    let fits = |p: &&Prediction| {
        let verdict = p.memory.as_ref().map(|m| m.judgment.verdict);
        verdict.is_some_and(|v| v <= Fit::Tight) && !is_below_four_bits(&p.model.quant)
    };
    if rows.iter().any(fits) {
        return Vec::new();
    }
    rows.iter().copied().rfind(with).into_iter().collect()
}

/// The changes that help the rows that do not fit.
fn changes(d: &mut Document, rows: &[&Prediction]) {
    for p in advised(rows) {
        d.text(format!(
            "What would help {} {}, by what it loses and then by what it gains:",
            short(&p.model.id),
            format_name(&p.model.quant)
        ));
        d.table(changes_table(&p.changes));
        let mut notes = wired_notes(&p.changes);
        notes.extend(loss_notes(&p.changes, &p.withheld));
        d.notes(notes);
    }
}
