//! The answer of `mlxplan compare --cluster`.

use super::notes::{ClusterSetting, copies_text, remarks, settings};
use crate::advise::cluster::{
    ClusterRow, ClusterVerdict, Copies, NowPossible, RowFigures, cluster_name, macs_name,
};
use crate::chart::{Chart, NamedBar};
use crate::cli::compare::Asked;
use crate::cli::shared::keys::ModelKey;
use crate::cli::shared::words::{format_name, gb, rates, run_text, short};
use crate::estimate::cluster::Ratio;
use crate::estimate::memory::Fit;
use crate::estimate::{Cluster, Estimator, Parallelism, RunKeys, Widening};
use crate::hardware::machine::MachineSummary;
use crate::report::{Column, Document, Present, Table};
use crate::roofline::links::Link;
use crate::units::{Bytes, Seconds, TokensPerSecond};
use schemars::JsonSchema;
use serde::Serialize;

/// A model with what was found for it.
pub(super) struct ModelOn {
    /// Which of the models.
    pub model: usize,
    /// Its rows.
    pub rows: Vec<ClusterRow>,
    /// Copies of it.
    pub copies: Option<Copies>,
}

/// What was found.
pub(super) struct FoundOnMacs<'c> {
    pub cluster: &'c Cluster,
    pub models: Vec<ModelOn>,
    pub new: Vec<NowPossible>,
}

/// The object `mlxplan.cluster/1`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct ClusterAnswer {
    /// The models.
    models: Vec<ModelKey>,
    /// The Macs, in the order of their ranks.
    machines: Vec<MachineSummary>,
    /// What joins them.
    link: Link,
    /// Seconds that a sum over two Macs waits: expected, and the range of the evidence.
    sum_s: f64,
    /// The range.
    sum_range_s: [f64; 2],
    /// The run.
    request: RunKeys,
    /// Every model on 1, 2, 4 … Macs, by tensors and in a pipeline.
    rows: Vec<RowKeys>,
    /// Independent copies, by model.
    copies: Vec<CopiesKeys>,
    /// Popular models that these Macs hold together and none of them alone.
    becomes_possible: Vec<NowPossible>,
    /// What to set up.
    settings: Vec<ClusterSetting>,
    /// Remarks.
    notes: Vec<String>,
    #[serde(skip)]
    said: Said,
}

/// What only people are shown.
#[derive(Debug)]
struct Said {
    macs: String,
    link: String,
    run: String,
}

/// A model on some Macs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct RowKeys {
    /// The model.
    model: ModelKey,
    /// How many Macs.
    nodes: u32,
    /// Their ids, rank 0 first.
    machines: Vec<String>,
    /// How the model is divided; `null` on one Mac.
    parallelism: Option<Parallelism>,
    /// `alone`, `possible`, `faster`, `slower`, `uncertain`, `impossible`; by decode.
    verdict: ClusterVerdict,
    /// The verdict in words.
    reason: String,
    /// Whether the fullest Mac holds its share.
    fits: Option<Fit>,
    /// Peak memory of the fullest Mac.
    bytes_per_node: Option<u64>,
    /// Every Mac.
    per_node: Vec<NodeKeys>,
    /// Generated tokens per second; `null` where it does not fit or cannot be.
    decode_tokens_per_s: Option<f64>,
    /// Where nine of ten measurements of it lie.
    interval_90: Option<[f64; 2]>,
    /// Prompt tokens per second.
    prefill_tokens_per_s: Option<f64>,
    /// Where nine of ten measurements of it lie.
    prefill_interval_90: Option<[f64; 2]>,
    /// Seconds to the first token.
    ttft_s: Option<f64>,
    /// Decode rate over that of the fastest of the Macs alone.
    decode_speedup: Option<Ratio>,
    /// The same of prefill.
    prefill_speedup: Option<Ratio>,
    /// Seconds that a token waits for other Macs: least, expected, most.
    wait_s: Option<[f64; 3]>,
    /// Why the intervals are wider than those of their class.
    widenings: Vec<Widening>,
}

/// One of the Macs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct NodeKeys {
    /// Its id.
    machine: String,
    /// Weights of its share; `null` on one Mac, where they are those of the model.
    weights_bytes: Option<u64>,
    /// Keys, values and states at the peak.
    cache_bytes: u64,
    /// Peak memory.
    peak_bytes: u64,
    /// Where nine of ten peaks lie.
    peak_interval_90_bytes: [Bytes; 2],
    /// Whether it fits.
    fits: Fit,
}

/// Copies of a model.
#[derive(Debug, Serialize, JsonSchema)]
struct CopiesKeys {
    /// The model.
    model: ModelKey,
    #[serde(flatten)]
    copies: Copies,
}

impl ClusterAnswer {
    pub(super) fn of(
        asked: &Asked,
        estimators: &[Estimator<'_>],
        found: FoundOnMacs<'_>,
        more: Vec<String>,
    ) -> Self {
        let FoundOnMacs { cluster, models: on, new } = found;
        let (models, run) = (asked.models(estimators), asked.run_of(estimators));
        let link = cluster.link();
        let rows = on
            .iter()
            .filter_map(|m| Some((models.get(m.model)?, &m.rows)))
            .flat_map(|(model, rows)| rows.iter().map(|row| RowKeys::of(model, row)))
            .collect();
        let copies = on
            .into_iter()
            .filter_map(|m| {
                Some(CopiesKeys { model: models.get(m.model)?.clone(), copies: m.copies? })
            })
            .collect();
        let mut notes = remarks(cluster);
        notes.extend(more);
        Self {
            machines: cluster.machines().iter().map(|m| m.summary()).collect(),
            link,
            sum_s: link.law().sum_s.value,
            sum_range_s: link.law().sum_s.range,
            request: RunKeys::of(&run),
            rows,
            copies,
            becomes_possible: new,
            settings: settings(cluster, &run),
            notes,
            said: Said {
                macs: cluster_name(cluster),
                link: link.to_string(),
                run: run_text(&run, cluster.machines()),
            },
            models,
        }
    }
}

impl RowKeys {
    fn of(model: &ModelKey, row: &ClusterRow) -> Self {
        let figures = row.figures.as_ref();
        let runs = figures.filter(|_| row.verdict != ClusterVerdict::Impossible);
        let (decode, prefill) = match runs {
            Some(RowFigures::One(f)) => (Some(&f.decode), Some(&f.prefill)),
            Some(RowFigures::Several(f)) => (Some(&f.decode), Some(&f.prefill)),
            None => (None, None),
        };
        let several = match runs {
            Some(RowFigures::Several(f)) => Some(f),
            _ => None,
        };
        let possible = |ratio: Ratio| (row.verdict != ClusterVerdict::Possible).then_some(ratio);
        Self {
            model: model.clone(),
            nodes: row.machines.len() as u32,
            machines: row.machines.clone(),
            parallelism: row.parallelism,
            verdict: row.verdict,
            reason: row.reason.clone(),
            fits: row.fits,
            bytes_per_node: figures.map(RowFigures::bytes_per_node),
            per_node: figures.map_or_else(Vec::new, |f| NodeKeys::all(&row.machines, f)),
            decode_tokens_per_s: decode.map(|d| d.tokens_per_s),
            interval_90: decode.map(|d| d.interval_90),
            prefill_tokens_per_s: prefill.map(|p| p.tokens_per_s),
            prefill_interval_90: prefill.map(|p| p.interval_90),
            ttft_s: prefill.map(|p| p.ttft_s),
            decode_speedup: several.and_then(|f| possible(f.decode_speedup)),
            prefill_speedup: several.and_then(|f| possible(f.prefill_speedup)),
            wait_s: several.map(|f| [f.wait.low, f.wait.middle, f.wait.high]),
            widenings: decode
                .into_iter()
                .flat_map(|d| d.widenings.clone())
                .chain(prefill.into_iter().flat_map(|p| p.widenings.clone()))
                .collect(),
        }
    }

    /// The cells of the row: with the model where there are several, and with the Macs where they are unlike.
    fn cells(&self, models: bool, alike: bool) -> Vec<String> {
        let or = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let how = self.parallelism.map_or("–", Parallelism::name);
        let verdict = match self.verdict {
            ClusterVerdict::Alone => "–",
            ClusterVerdict::Possible => "possible",
            ClusterVerdict::Faster => "faster",
            ClusterVerdict::Slower => "slower",
            ClusterVerdict::Uncertain => "alike",
            ClusterVerdict::Impossible => "no",
        };
        let times = self.decode_speedup.map(|r| format!("{:.2}x {verdict}", r.value));
        let mut cells = Vec::new();
        if models {
            cells.push(format!("{} {}", short(&self.model.id), format_name(&self.model.quant)));
        }
        cells.extend([
            if alike { self.nodes.to_string() } else { macs_name(&self.machines) },
            how.to_owned(),
            or(self.fits.map(|f| f.to_string())),
            or(self.bytes_per_node.map(gb)),
            or(self.decode_tokens_per_s.map(|r| TokensPerSecond(r).to_string())),
            or(self.interval_90.map(rates)),
            times.unwrap_or_else(|| verdict.to_owned()),
            or(self.prefill_tokens_per_s.map(|r| TokensPerSecond(r).to_string())),
            or(self.prefill_speedup.map(|r| format!("{:.2}x", r.value))),
            or(self.ttft_s.map(|s| Seconds(s).to_string())),
        ]);
        cells
    }

    /// What the row says, with its Macs.
    fn sentence(&self, models: bool) -> String {
        let model = if models { format!("{}, ", short(&self.model.id)) } else { String::new() };
        let how = self.parallelism.map_or_else(String::new, |p| format!(", {}", p.name()));
        format!("{model}{}{how}: {}", macs_name(&self.machines), self.reason)
    }
}

impl NodeKeys {
    fn all(machines: &[String], figures: &RowFigures) -> Vec<Self> {
        let weights: Vec<Option<u64>> = match figures {
            RowFigures::One(_) => vec![None],
            RowFigures::Several(f) => f.nodes.iter().map(|n| Some(n.weights_bytes)).collect(),
        };
        let memories = figures.memories();
        machines
            .iter()
            .zip(weights)
            .zip(memories)
            .map(|((machine, weights_bytes), memory)| Self {
                machine: machine.clone(),
                weights_bytes,
                cache_bytes: memory.peak.kv_bytes + memory.peak.state_bytes,
                peak_bytes: memory.peak.peak_bytes,
                peak_interval_90_bytes: memory.peak_interval_90,
                fits: memory.judgment.verdict,
            })
            .collect()
    }
}

impl Present for ClusterAnswer {
    const SCHEMA: &'static str = "mlxplan.cluster/1";
    const NOT_MODELED: &'static [&'static str] = &[
        "other traffic on the links and the time to bring the files to every Mac",
        "heat and power modes",
    ];

    fn document(&self) -> Document {
        let mut d = Document::default();
        let several = self.models.len() > 1;
        let first = self.machines.first().map(|m| &m.id);
        let alike = self.machines.iter().all(|m| Some(&m.id) == first);
        let what = match &self.models[..] {
            [one] => format!("{}  {}", short(&one.id), one.quant),
            all => format!("{} models", all.len()),
        };
        d.heading(format!("{what}  on  {}, joined by {}", self.said.macs, self.said.link));
        d.text(self.said.run.clone());
        let mut columns = vec![
            Column::text("Macs"),
            Column::text("split"),
            Column::number("fits"),
            Column::number("GB each"),
            Column::number("tok/s"),
            Column::number("90 %").droppable(1),
            Column::text("to one Mac"),
            Column::number("prefill tok/s"),
            Column::number("to one").droppable(2),
            Column::number("TTFT").droppable(3),
        ];
        if several {
            columns.insert(0, Column::text("model"));
        }
        let mut table = Table::new(columns);
        for row in &self.rows {
            table.row(row.cells(several, alike));
        }
        table.bars(self.rows.iter().map(|row| row.decode_tokens_per_s).collect(), 1);
        d.table(table);
        let sentences = self.rows.iter().filter(|row| row.verdict != ClusterVerdict::Alone);
        d.notes(sentences.map(|row| row.sentence(several)).collect());
        d.notes(self.copies.iter().map(|c| self.copies_note(c, several)).collect());
        if !self.becomes_possible.is_empty() {
            d.notes(vec![self.possible_text()]);
        }
        d.notes(self.settings.iter().map(ClusterSetting::text).collect());
        d.notes(self.notes.clone());
        d
    }

    fn charts(&self) -> Vec<Chart> {
        let bar = |row: &RowKeys| {
            let split = row.parallelism.map_or_else(String::new, |p| format!(" {}", p.name()));
            let model = match self.models.len() {
                0 | 1 => String::new(),
                _ => format!("{} ", short(&row.model.id)),
            };
            Some(NamedBar {
                name: format!("{model}{}{split}", row.nodes),
                height: row.decode_tokens_per_s?,
                interval: row.interval_90?,
            })
        };
        let bars = self.rows.iter().filter_map(bar).collect();
        let description = "Predicted decode tokens per second by Macs that run the model together, with 90 % intervals; what \
                           does not fit or cannot be divided has no bar";
        vec![Chart::of_bars(&format!("On {}", self.said.macs), description, "tok/s", bars)]
    }
}

impl ClusterAnswer {
    fn copies_note(&self, copies: &CopiesKeys, several: bool) -> String {
        let text = copies_text(&copies.copies);
        if several { format!("{}, {text}", short(&copies.model.id)) } else { text }
    }

    /// The popular models that become possible.
    fn possible_text(&self) -> String {
        let one = |m: &NowPossible| {
            format!(
                "{} {} ({} on each of {}, {})",
                short(&m.id),
                m.quant,
                m.bytes_per_node,
                m.nodes,
                m.parallelism.name()
            )
        };
        let names: Vec<String> = self.becomes_possible.iter().map(one).collect();
        format!("popular models that one of these Macs does not hold: {}", names.join(", "))
    }
}
