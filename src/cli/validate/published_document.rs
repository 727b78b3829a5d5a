//! Predictions against published measurements, for people.

use crate::report::{Column, Document, Table};
use crate::validation::Validation;
use crate::validation::evaluate::{FitBasis, GROUPINGS, MeasuredMetric, Row};
use crate::validation::measurement::RateKind;
use crate::validation::score::ErrorScore;
use std::collections::BTreeMap;

/// How rows say that their rate is one over the whole request.
const WHOLE: &str = RateKind::EndToEnd.name();
/// Configurations that are listed as worst.
const WORST: usize = 10;

pub(super) fn document(file: &str, v: &Validation) -> Document {
    let mut d = Document::default();
    d.heading(format!("Predictions against {file}"));
    d.text(format!("{}.", said(v.basis)));
    d.table(accuracy(v));
    let whole = |r: &Row| r.metric == MeasuredMetric::Decode && r.rate_kind == WHOLE;
    let n = v.rows.iter().filter(|r| whole(r)).count();
    if n > 0 {
        d.text(format!(
            "{n} rows of decode are rates over whole requests (rate kind {WHOLE}), predicted as such, prompt included."
        ));
    }
    if v.direction.n > 0 {
        d.text(format!(
            "Several Macs: faster or slower than one is rightly said of {} of {} rows that give both.",
            v.direction.right, v.direction.n
        ));
    }
    for metric in MeasuredMetric::ALL {
        if v.score(metric, |_| true).is_none() {
            continue;
        }
        d.heading(format!("{} by group", title(metric)));
        d.table(groups(v, metric));
    }
    if !v.baselines.is_empty() {
        d.heading("Simpler predictors of decode speed with MLX, on the same rows");
        d.table(baselines(v));
        d.text("Their constants are fitted on these very rows, which favors them.");
    }
    for metric in MeasuredMetric::ALL {
        let worst = v.worst(metric, WORST);
        if !worst.is_empty() {
            d.heading(format!("{}: configurations with the largest errors", title(metric)));
            d.table(worst_table(metric, &worst));
        }
    }
    d.heading("Rows without a prediction");
    d.table(skipped(v));
    d
}

const fn title(metric: MeasuredMetric) -> &'static str {
    match metric {
        MeasuredMetric::Decode => "Decode",
        MeasuredMetric::Prefill => "Prefill",
        MeasuredMetric::PeakMemory => "Peak memory",
        MeasuredMetric::Users => "Several users",
        MeasuredMetric::ClusterDecode => "Decode of several Macs",
        MeasuredMetric::ClusterPrefill => "Prefill of several Macs",
        MeasuredMetric::TrainingPeak => "Peak memory of fine-tuning",
        MeasuredMetric::TrainingSpeed => "Speed of fine-tuning",
    }
}

/// Columns of every table of scores after the first ones.
fn score_columns(first: &[&str]) -> Table {
    let mut columns: Vec<Column> = first.iter().map(|c| Column::text(c)).collect();
    columns.push(Column::number("n"));
    columns.push(Column::number("rows").droppable(1));
    columns.push(Column::number("median"));
    columns.push(Column::number("mean").droppable(3));
    columns.push(Column::number("p90"));
    columns.push(Column::number("bias").droppable(2));
    columns.push(Column::number("in 80 %"));
    columns.push(Column::number("in 90 %"));
    Table::new(columns)
}

/// The cells of a score, balanced by configuration.
fn score_cells(row: &ErrorScore, c: &ErrorScore) -> [String; 8] {
    [
        c.n.to_string(),
        row.n.to_string(),
        percent(c.median_abs_error),
        percent(c.mean_abs_error),
        percent(c.p90_abs_error),
        signed(c.bias),
        percent(c.coverage_80),
        percent(c.coverage_90),
    ]
}

/// What README shows: the metrics and the subsets that have a bar of their own.
fn accuracy(v: &Validation) -> Table {
    let mut table = score_columns(&["what"]);
    let mut add = |name: &str, metric: MeasuredMetric, keep: &dyn Fn(&Row) -> bool| {
        if let Some([row, c]) = v.score(metric, keep) {
            table.row(std::iter::once(name.to_owned()).chain(score_cells(&row, &c)));
        }
    };
    let mlx = |r: &Row| !["llama.cpp", "ollama", "lmstudio-gguf"].contains(&r.engine);
    let small = |r: &Row| ["below 1 GB", "1 to 3 GB"].contains(&r.size_class);
    let matrix = |r: &Row| r.chip.starts_with("m5");
    add("decode, MLX", MeasuredMetric::Decode, &mlx);
    add("decode, MLX, models of 3 GB and more", MeasuredMetric::Decode, &|r| mlx(r) && !small(r));
    add("decode, mlx-lm alone", MeasuredMetric::Decode, &|r| r.engine == "mlx-lm");
    add("decode, llama.cpp", MeasuredMetric::Decode, &|r| r.engine == "llama.cpp");
    add("decode, Ollama", MeasuredMetric::Decode, &|r| r.engine == "ollama");
    add("decode, LM Studio (GGUF)", MeasuredMetric::Decode, &|r| r.engine == "lmstudio-gguf");
    add("prefill, MLX, before M5", MeasuredMetric::Prefill, &|r| !matrix(r));
    add("prefill, MLX, M5", MeasuredMetric::Prefill, &matrix);
    let own = |r: &Row| r.engine == "mlx-lm";
    add("peak memory, mlx-lm", MeasuredMetric::PeakMemory, &own);
    add("peak memory, other programs on MLX", MeasuredMetric::PeakMemory, &|r| !own(r));
    for (name, metric) in [
        ("several users", MeasuredMetric::Users),
        ("decode, several Macs", MeasuredMetric::ClusterDecode),
        ("prefill, several Macs", MeasuredMetric::ClusterPrefill),
        ("fine-tuning, peak memory", MeasuredMetric::TrainingPeak),
        ("fine-tuning, speed", MeasuredMetric::TrainingSpeed),
    ] {
        add(name, metric, &|_| true);
    }
    table
}

fn groups(v: &Validation, metric: MeasuredMetric) -> Table {
    let mut table = score_columns(&["group", "value"]);
    // Versions move peaks; speeds of one version are few.
    let versions = metric == MeasuredMetric::PeakMemory;
    for grouping in GROUPINGS.into_iter().filter(|g| versions || *g != "engine_version") {
        for (name, [row, c]) in v.groups(metric, grouping) {
            let first = [grouping.replace('_', " "), name];
            table.row(first.into_iter().chain(score_cells(&row, &c)));
        }
    }
    table
}

fn baselines(v: &Validation) -> Table {
    let mut table = Table::new(vec![
        Column::text("predictor"),
        Column::number("median"),
        Column::number("mean"),
        Column::number("p90"),
    ]);
    let cells = |name: &str, c: &ErrorScore| {
        [
            name.to_owned(),
            percent(c.median_abs_error),
            percent(c.mean_abs_error),
            percent(c.p90_abs_error),
        ]
    };
    let gguf = ["llama.cpp", "ollama", "lmstudio-gguf"];
    if let Some([_, own]) = v.score(MeasuredMetric::Decode, |r| !gguf.contains(&r.engine)) {
        table.row(cells("mlxplan", &own));
    }
    for (name, c, _) in &v.baselines {
        table.row(cells(name, c));
    }
    table
}

fn worst_table(metric: MeasuredMetric, rows: &[&Row]) -> Table {
    let mut table = Table::new(vec![
        Column::text("row"),
        Column::text("engine").droppable(2),
        Column::text("chip"),
        Column::text("model"),
        Column::number("measured"),
        Column::number("predicted"),
        Column::number("error"),
        Column::text("guess at the cause").droppable(1),
    ]);
    let value = |x: f64| match metric {
        MeasuredMetric::PeakMemory | MeasuredMetric::TrainingPeak => format!("{:.2} GB", x / 1e9),
        _ => format!("{x:.1} tok/s"),
    };
    for r in rows {
        table.row([
            r.id.clone(),
            r.engine.to_owned(),
            r.chip.clone(),
            r.model.clone(),
            value(r.measured),
            value(r.predicted),
            signed(r.error),
            r.cause.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn skipped(v: &Validation) -> Table {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    v.skipped.iter().for_each(|(_, reason)| *reasons.entry(reason).or_default() += 1);
    let mut counted: Vec<(&str, usize)> = reasons.into_iter().collect();
    counted.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    let mut table = Table::new(vec![Column::number("rows"), Column::text("reason")]);
    for (reason, n) in counted {
        table.row([n.to_string(), reason.to_owned()]);
    }
    table
}

/// How the predictions were made, in one sentence.
pub(super) const fn said(basis: FitBasis) -> &'static str {
    match basis {
        FitBasis::Shipped => "predicted with the shipped coefficients",
        FitBasis::OwnerLeftOut => {
            "cross-validation: every speed is predicted by a fit that has not seen any row of its owner; peaks are \
             simulated, not fitted"
        }
        FitBasis::ChipLeftOut => {
            "cross-validation: every speed is predicted by a fit that has not seen any row of its chip; peaks are \
             simulated, not fitted"
        }
    }
}

pub(super) fn percent(x: f64) -> String {
    format!("{:.1} %", 100.0 * x)
}

pub(super) fn signed(x: f64) -> String {
    format!("{:+.1} %", 100.0 * x)
}
