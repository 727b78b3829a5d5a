//! The answer of `mlxplan compare`: models side by side.

use super::{Pair, Target};
use crate::advise::upgrade::{Faster, NewModel};
use crate::advise::{Largest, Offer};
use crate::chart::{Chart, NamedBar};
use crate::cli::compare::{Asked, faster_text};
use crate::cli::shared::keys::{FigureKeys, ModelKey};
use crate::cli::shared::words::{rates, run_text, short, times, usd};
use crate::estimate::{Estimator, RunKeys};
use crate::hardware::catalog::AS_OF;
use crate::hardware::machine::{Machine, MachineSummary};
use crate::report::{Column, Document, Present, Table};
use crate::run::Work;
use crate::units::{Seconds, TokensPerSecond};
use schemars::JsonSchema;
use serde::Serialize;

/// The object `mlxplan.comparison/1`.
#[derive(Serialize, JsonSchema)]
pub(in crate::cli) struct SideBySide {
    /// `side_by_side`.
    kind: &'static str,
    /// The models.
    models: Vec<ModelKey>,
    /// The run.
    request: RunKeys,
    /// The present Mac.
    from: Option<MachineSummary>,
    /// Every model on every Mac.
    rows: Vec<RowKeys>,
    /// Popular models that fit a Mac but not the present one.
    new_models: Vec<NewOn>,
    /// State of the prices.
    prices_as_of: &'static str,
    /// Remarks.
    notes: Vec<String>,
    /// Names of the Macs.
    #[serde(skip)]
    macs: Vec<String>,
    /// The run in a sentence.
    #[serde(skip)]
    run: String,
}

/// A model on a Mac.
#[derive(Serialize, JsonSchema)]
struct RowKeys {
    #[serde(flatten)]
    figures: FigureKeys,
    /// The model.
    model: ModelKey,
    /// The Mac.
    machine: MachineSummary,
    /// What it costs.
    price: Option<Offer>,
    /// Watts of the GPU rail during decode, where measured.
    decode_gpu_w: Option<f64>,
    /// The most precise format that fits; `none` where none does, `null` where the files are quantized already.
    largest_quant_that_fits: Option<String>,
    /// How many times faster than the present Mac.
    faster_than_from: Option<Faster>,
    /// The most precise format for the table.
    #[serde(skip)]
    largest: Largest,
}

/// What a Mac makes possible.
#[derive(Serialize, JsonSchema)]
struct NewOn {
    /// The Mac.
    machine: String,
    /// The models.
    models: Vec<NewModel>,
}

impl SideBySide {
    /// What was found for every pair.
    pub(super) fn of(
        (asked, estimators): (&Asked, &[Estimator<'_>]),
        pairs: &[Pair<'_>],
        new: Vec<(&Target, Vec<NewModel>)>,
        notes: Vec<String>,
    ) -> Self {
        let (models, run) = (asked.models(estimators), asked.run_of(estimators));
        let on = |(t, models): (&Target, _)| NewOn { machine: t.machine.id.clone(), models };
        Self {
            kind: "side_by_side",
            models: models.clone(),
            request: RunKeys::of(&run),
            from: asked.from.as_ref().map(Machine::summary),
            rows: pairs.iter().filter_map(|p| RowKeys::of(p, &run.work, &models)).collect(),
            macs: new.iter().map(|(t, _)| t.machine.id.clone()).collect(),
            new_models: new.into_iter().map(on).collect(),
            prices_as_of: AS_OF,
            notes,
            run: run_text(&run, pairs.iter().map(|p| &p.mac.machine)),
        }
    }
}

impl RowKeys {
    fn of(p: &Pair<'_>, work: &Work, models: &[ModelKey]) -> Option<Self> {
        let machine = &p.mac.machine;
        Some(Self {
            figures: FigureKeys::of(&p.figures, work, Some(p.context)),
            model: models.get(p.model)?.clone(),
            machine: machine.summary(),
            price: p.mac.offer.clone(),
            decode_gpu_w: machine.decode_gpu_w,
            largest_quant_that_fits: match p.largest {
                Largest::Fits(scheme) => Some(scheme.to_string()),
                Largest::None => Some("none".to_owned()),
                Largest::Unknown => None,
            },
            faster_than_from: p.faster,
            largest: p.largest,
        })
    }
}

impl Present for SideBySide {
    const SCHEMA: &'static str = "mlxplan.comparison/1";
    const NOT_MODELED: &'static [&'static str] =
        &["quality of the models", "other processes, heat and power modes"];

    fn document(&self) -> Document {
        let title: Vec<String> =
            self.models.iter().map(|m| format!("{} {}", short(&m.id), m.quant)).collect();
        let macs = match self.macs.as_slice() {
            [one] => one.clone(),
            several => format!("{} Macs", several.len()),
        };
        let mut d = Document::default();
        d.heading(format!("{} on {macs}", title.join(", ")));
        d.text(self.run.clone());
        d.main_table(self.table());
        d.notes(self.notes.clone());
        d
    }

    fn charts(&self) -> Vec<Chart> {
        let (models, macs) = (self.models.len() > 1, self.macs.len() > 1);
        let bar = |row: &RowKeys| NamedBar {
            name: match (models, macs) {
                (true, false) => format!("{} {}", short(&row.model.id), row.model.quant),
                (false, _) => row.machine.id.clone(),
                (true, true) => format!("{} {}", row.machine.id, short(&row.model.id)),
            },
            height: row.figures.decode.tokens_per_s,
            interval: row.figures.decode.interval_90,
        };
        let bars = self.rows.iter().map(bar).collect();
        let description = "Predicted decode tokens per second with 90 % intervals";
        vec![Chart::of_bars("Side by side", description, "tok/s", bars)]
    }
}

fn largest_text(largest: Largest) -> String {
    match largest {
        Largest::Fits(scheme) => scheme.suffix(),
        Largest::None => "none".to_owned(),
        Largest::Unknown => "?".to_owned(),
    }
}

impl SideBySide {
    fn table(&self) -> Table {
        let several = self.models.len() > 1;
        let powered = self.rows.iter().any(|r| r.decode_gpu_w.is_some());
        let mut table = Table::new(columns(several, powered, self.from.is_some()));
        for r in &self.rows {
            let f = &r.figures;
            let mut row = Vec::new();
            if several {
                row.push(short(&r.model.id).to_owned());
            }
            row.extend([
                r.machine.id.clone(),
                usd(r.price.as_ref().and_then(|o| o.usd_now)),
                r.machine
                    .bandwidth_gbs
                    .map_or_else(|| "by bin".to_owned(), |gbs| format!("{gbs:.0}")),
                format!("{:.1}", r.machine.gpu_limit_bytes.gb()),
                f.memory.fits.to_string(),
                format!("{:.1}", f.memory.peak_bytes as f64 / 1e9),
                TokensPerSecond(f.decode.tokens_per_s).to_string(),
                rates(f.decode.interval_90),
                Seconds(f.prefill.ttft_s).to_string(),
                times(f.prefill.ttft_interval_90_s),
                f.context_text().unwrap_or_default(),
                largest_text(r.largest),
            ]);
            if powered {
                row.push(r.decode_gpu_w.map_or_else(|| "?".to_owned(), |w| format!("{w:.0}")));
            }
            row.extend(r.faster_than_from.as_ref().map(faster_text));
            table.row(row);
        }
        let speeds = self.rows.iter().map(|r| Some(r.figures.decode.tokens_per_s));
        table.bars(speeds.collect(), 4);
        table
    }
}

fn columns(several: bool, powered: bool, from: bool) -> Vec<Column> {
    let mut columns = Vec::new();
    if several {
        columns.push(Column::text("model"));
    }
    columns.extend([
        Column::text("Mac"),
        Column::number("USD now").droppable(3),
        Column::number("GB/s").droppable(3),
        Column::number("limit GB").droppable(5),
        Column::text("fits"),
        Column::number("peak GB").droppable(2),
        Column::number("tok/s"),
        Column::number("90 %"),
        Column::number("TTFT"),
        Column::number("TTFT 90 %").droppable(4),
        Column::number("context").droppable(1),
        Column::text("largest that fits").droppable(3),
    ]);
    if powered {
        columns.push(Column::number("GPU watts").droppable(6));
    }
    if from {
        columns.push(Column::number("decode, times"));
    }
    columns
}
