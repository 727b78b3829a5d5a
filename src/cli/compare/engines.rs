//! `mlxplan compare --engines` and the object of every variation: one model on one Mac with one choice varied.

mod verdicts;

use super::Asked;
use super::args::CompareArgs;
use super::trained::TrainedVariant;
use crate::chart::{Chart, NamedBar};
use crate::cli::shared::context::Context;
use crate::cli::shared::evidence::{EvidenceFile, Wanted};
use crate::cli::shared::exit::ExitStatus;
use crate::cli::shared::training_keys::TrainingRequest;
use crate::cli::shared::words::{engine_text, gb, predicted_engine_text, rates, short};
use crate::engine::programs::AskedEngine;
use crate::estimate::memory::{ContextBound, Fit};
use crate::estimate::{
    Basis, EngineAnswer, Estimator, ModelAnswer, OpenedModel, Prediction, RunKeys,
};
use crate::hardware::machine::{Machine, MachineSummary};
use crate::model::quality::{PublishedLoss, loss_cell};
use crate::report::{Answer, Column, Document, Present, Table};
use crate::roofline::Coefficients;
use crate::run::{EngineName, EngineSetup, Run};
use crate::units::{Bytes, Seconds, TokensPerSecond};
use anyhow::{Result, bail};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// The object `mlxplan.variants/1`: one run, one choice of it varied.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Variants {
    /// What is varied: `engine`, `kv`, `quant`, `chunk`, or of fine-tuning `checkpoint`, `layers`, `batch`.
    pub(super) varied: &'static str,
    /// The answer in words.
    pub(super) answer: Vec<String>,
    /// The model.
    pub(super) model: ModelAnswer,
    /// The machine.
    pub(super) machine: MachineSummary,
    /// The run, by the first variant.
    pub(super) request: RunKeys,
    /// The fine-tuning run, where a choice of one is varied; its own choice is among the variants.
    pub(super) training: Option<TrainingRequest>,
    /// The variants, in the order in which they were asked for.
    pub(super) rows: Vec<VariantRow>,
    /// Remarks.
    pub(super) notes: Vec<String>,
}

/// One variant.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct VariantRow {
    /// Its name.
    pub name: String,
    /// The engine.
    pub engine: EngineAnswer,
    /// Why it cannot run, where it cannot; the figures are `null` then.
    pub reason: Option<String>,
    /// Whether it fits.
    pub fits: Option<Fit>,
    /// Most active memory.
    pub peak_bytes: Option<u64>,
    /// Where the measured peak will be nine times out of ten.
    pub peak_interval_90_bytes: Option<[Bytes; 2]>,
    /// The longest safe context.
    pub max_context_tokens: Option<u32>,
    /// The longest context that fits by the expected peak.
    pub max_context_at_most_tokens: Option<u32>,
    /// Generated tokens per second; of fine-tuning tokens in the loss.
    pub tokens_per_s: Option<f64>,
    /// Interval that holds 90 % of measurements.
    pub interval_90: Option<[f64; 2]>,
    /// Time to first token.
    pub ttft_s: Option<f64>,
    /// What the variant loses, as published; `null` where nobody measured it or nothing of that kind is varied.
    pub published_loss: Option<PublishedLoss>,
    /// Fine-tuning with it, where that is varied.
    pub training: Option<TrainedVariant>,
    /// What ends the safe context.
    #[serde(skip)]
    pub bound: Option<ContextBound>,
    /// The engine in one line.
    #[serde(skip)]
    pub line: String,
}

pub(super) fn run(
    context: &Context,
    args: &CompareArgs,
    asked: &Asked,
) -> Result<(Answer, ExitStatus)> {
    through(context, args, asked, &args.engines)
}

/// The model through some engines.
pub(super) fn through(
    context: &Context,
    args: &CompareArgs,
    asked: &Asked,
    engines: &[EngineName],
) -> Result<(Answer, ExitStatus)> {
    let [name] = &args.model[..] else {
        bail!("engines are compared for one --model on one --mac");
    };
    let cases = engines.iter().map(|engine| Asking::open(context, args, asked, (*engine, name)));
    answer(context, args, "engine", cases.collect::<Result<Vec<Asking>>>()?)
}

/// The answer for the cases of what is varied.
pub(super) fn answer(
    context: &Context,
    args: &CompareArgs,
    varied: &'static str,
    engines: Vec<Asking>,
) -> Result<(Answer, ExitStatus)> {
    let ([name], [mac]) = (&args.model[..], &args.mac[..]) else {
        bail!("one choice is varied for one --model on one --mac");
    };
    let machine = super::mac(context, mac)?;
    let bases = bases(context, args, &machine, &engines)?;
    let coefficients = Coefficients::embedded()?;
    let of = |(engine, basis): (&Asking, Basis)| {
        let (shown, run) = (engine.shown.clone(), engine.run);
        let model = match &engine.model {
            Ok(model) => model,
            Err(reason) => return (shown, run, Err(reason.clone())),
        };
        let estimator = Estimator::new(coefficients, model, run, basis);
        let run = *estimator.run();
        (shown, run, estimator.at(&machine).map_err(|e| e.to_string()))
    };
    let found: Vec<Found> = engines.par_iter().zip(bases).map(of).collect();
    let first = found.first().map_or_else(Run::default, |(_, run, _)| *run);
    let model = found.iter().find_map(|(_, _, p)| Some(ModelAnswer::from(&p.as_ref().ok()?.model)));
    let Some(model) = model else {
        let reasons =
            found.iter().filter_map(|(name, _, p)| Some(format!("{name}: {}", p.as_ref().err()?)));
        bail!("nothing of it can run {name}: {}", reasons.collect::<Vec<_>>().join("; "));
    };
    let notes = notes(&found);
    let rows: Vec<VariantRow> = found
        .into_iter()
        .map(|(name, run, prediction)| VariantRow::of(varied, name, &run, (&machine, prediction)))
        .collect();
    let fits = rows.iter().any(|r| r.reason.is_none() && r.fits.is_none_or(|f| f < Fit::Uncertain));
    let unsure = rows.iter().any(|r| r.fits == Some(Fit::Uncertain));
    let status = match (fits, unsure) {
        (true, _) => ExitStatus::Ok,
        (false, true) => ExitStatus::Uncertain,
        (false, false) => ExitStatus::No,
    };
    let answer = verdicts::of(varied, &rows);
    let request = RunKeys::of(&first);
    let variants = Variants {
        varied,
        answer,
        model,
        machine: machine.summary(),
        request,
        training: None,
        rows,
        notes,
    };
    Ok((Answer::of(variants), status))
}

/// An engine that is asked about: its name as it was given, the run, and the model as it loads it, or why it does not.
pub(super) struct Asking {
    pub shown: String,
    pub run: Run,
    pub model: Result<Arc<OpenedModel>, String>,
}

/// What was found for an engine.
type Found = (String, Run, Result<Prediction, String>);

impl Asking {
    fn open(
        context: &Context,
        args: &CompareArgs,
        asked: &Asked,
        (engine, model): (EngineName, &str),
    ) -> Result<Self> {
        let run = asked.run.with_engine(setup(args, engine, asked)?);
        let model = context.one_model_for(engine.program, model, args.quant.as_deref(), None)?;
        let model = model.loaded_by(engine.program).map(Arc::new).map_err(|e| e.to_string());
        Ok(Self { shown: spelled(engine), run, model })
    }
}

/// What the speeds of each engine rest on.
fn bases(
    context: &Context,
    args: &CompareArgs,
    machine: &Machine,
    engines: &[Asking],
) -> Result<Vec<Basis>> {
    let Some(path) = &args.run.evidence else {
        return Ok(engines.iter().map(|_| Basis::Spec).collect());
    };
    let machines = Some(std::slice::from_ref(machine));
    let of = |(model, run)| Wanted { context, model, machines, run };
    let wanted = engines.iter().filter_map(|e| Some((e.model.as_deref().ok()?, &e.run))).map(of);
    let mut found =
        EvidenceFile::read(context, path)?.bases(&wanted.collect::<Vec<_>>())?.into_iter();
    let basis = |e: &Asking| e.model.as_ref().ok().and_then(|_| found.next()).unwrap_or_default();
    Ok(engines.iter().map(basis).collect())
}

/// The settings of one of the engines; versions of MLX and macOS, the cache and the limits hold for all that were asked
/// for.
fn setup(args: &CompareArgs, name: EngineName, asked: &Asked) -> Result<EngineSetup> {
    let common = args.run.engine.asked(args.run.prefill_step);
    let setup = AskedEngine { engine: Some(name), ..common }.setup()?;
    Ok(setup.asked_as(&asked.run.engine))
}

fn spelled(name: EngineName) -> String {
    name.version.map_or_else(|| name.program.to_string(), |v| format!("{}@{v}", name.program))
}

fn notes(found: &[Found]) -> Vec<String> {
    let mut notes = vec![
        "fits: whether it runs in this memory; peak: the most memory that it takes; context: the longest prompt and answer \
         that are safe and, behind it, the longest that fit by the expected peak, * ended by memory; tok/s: tokens of the \
         answer a second, and the range of nine in ten; TTFT: the time until the first token"
            .to_owned(),
    ];
    for (name, _, prediction) in found {
        match prediction {
            Ok(p) => {
                for warning in &p.warnings {
                    let text = warning.to_string();
                    if !notes.iter().any(|known| known.ends_with(&text)) {
                        notes.push(format!("{name}: {text}"));
                    }
                }
            }
            Err(reason) => notes.push(format!("{name} cannot run it so: {reason}")),
        }
    }
    notes
}

impl VariantRow {
    fn of(
        varied: &str,
        name: String,
        run: &Run,
        (machine, prediction): (&Machine, Result<Prediction, String>),
    ) -> Self {
        let (engine, line) = match &prediction {
            Ok(p) => {
                // llama.cpp reads a GGUF file, whatever the name of the model says.
                let gguf = p.run.file.gguf.filter(|_| p.run.engine.program.runs_gguf());
                let format =
                    gguf.map_or_else(|| p.model.quant.clone(), |mix| format!("gguf-{mix}"));
                let line = format!("{}, weights in {format}", predicted_engine_text(p));
                (EngineAnswer::of_prediction(p), line)
            }
            Err(_) => (EngineAnswer::of(run, Some(machine)), engine_text(run, Some(machine))),
        };
        let (p, reason) = match prediction {
            Ok(p) => (Some(p), None),
            Err(reason) => (None, Some(reason)),
        };
        let memory = p.as_ref().and_then(|p| p.memory.as_ref());
        let context = p.as_ref().and_then(|p| p.context);
        Self {
            name,
            engine,
            reason,
            fits: memory.map(|m| m.judgment.verdict),
            peak_bytes: memory.map(|m| m.peak.peak_bytes),
            peak_interval_90_bytes: memory.map(|m| m.peak_interval_90),
            max_context_tokens: context.map(|c| c.safe.tokens),
            max_context_at_most_tokens: context.map(|c| c.at_most.tokens),
            tokens_per_s: p.as_ref().map(|p| p.decode.tokens_per_s),
            interval_90: p.as_ref().map(|p| p.decode.interval_90),
            ttft_s: p.as_ref().map(|p| p.prefill.ttft_s),
            published_loss: p.as_ref().and_then(|p| loss(varied, p)),
            training: None,
            bound: context.map(|c| c.safe.bound),
            line,
        }
    }
}

/// What a variant loses, where weights or caches are varied.
fn loss(varied: &str, p: &Prediction) -> Option<PublishedLoss> {
    match varied {
        "quant" => p.loss(),
        "kv" => match p.run.engine.kv {
            None => Some(PublishedLoss::original()),
            Some(kv) => {
                let gguf = p.run.engine.program.runs_gguf();
                let (id, parameters) = (&p.model.id, p.model.weights.parameters);
                PublishedLoss::of_cache_bits(id, parameters, kv.packing.bits, gguf)
            }
        },
        _ => None,
    }
}

impl Present for Variants {
    const SCHEMA: &'static str = "mlxplan.variants/1";
    const NOT_MODELED: &'static [&'static str] =
        &["quality beyond published losses", "other processes, heat and power modes"];

    fn document(&self) -> Document {
        let mut d = Document::default();
        d.heading(format!(
            "{}{}  on  {}, by {}",
            short(&self.model.id),
            if self.varied == "quant" { String::new() } else { format!("  {}", self.model.quant) },
            self.machine.id,
            match self.varied {
                "kv" => "KV cache",
                "quant" => "format",
                "chunk" => "prefill chunk",
                "checkpoint" => "checkpointing of fine-tuning",
                "layers" => "layers that are trained",
                "batch" => "batch of fine-tuning",
                other => other,
            }
        ));
        let run = &self.request;
        d.text(match &self.training {
            Some(training) => format!("Fine-tuning: {}.", training.text()),
            None => format!(
                "A prompt of {} tokens and {} generated.",
                run.context_tokens, run.generate_tokens
            ),
        });
        self.answer.iter().for_each(|line| d.text(line.clone()));
        if self.training.is_some() {
            d.main_table(self.training_table());
            d.notes(self.rows.first().map(|r| format!("with {}", r.line)).into_iter().collect());
            d.notes(self.notes.clone());
            return d;
        }
        let lossy = matches!(self.varied, "kv" | "quant");
        let mut columns = vec![
            Column::text(match self.varied {
                "kv" => "KV cache",
                "quant" => "format",
                other => other,
            }),
            Column::number("fits"),
            Column::number("peak GB"),
            Column::number("90 %").droppable(2),
            Column::number("context"),
            Column::number("tok/s"),
            Column::number("90 %").droppable(1),
            Column::number("TTFT"),
        ];
        if lossy {
            columns.insert(1, Column::number("loss"));
        }
        let mut table = Table::new(columns);
        for row in &self.rows {
            let mut cells = row.cells().to_vec();
            if lossy {
                cells.insert(1, loss_cell(row.published_loss.as_ref()));
            }
            table.row(cells);
        }
        d.main_table(table);
        if self.varied == "engine" {
            d.notes(self.rows.iter().map(|r| format!("{}: {}", r.name, r.line)).collect());
        } else {
            d.notes(self.rows.first().map(|r| format!("with {}", r.line)).into_iter().collect());
        }
        d.notes(self.notes.clone());
        d
    }

    fn charts(&self) -> Vec<Chart> {
        let bar = |row: &VariantRow| {
            let (height, interval) = (row.tokens_per_s?, row.interval_90?);
            Some(NamedBar { name: row.name.clone(), height, interval })
        };
        let bars = self.rows.iter().filter_map(bar).collect();
        let description = match self.training {
            Some(_) => "Predicted tokens in the loss per second of fine-tuning with 90 % intervals",
            None => {
                "Predicted decode tokens per second with 90 % intervals; what cannot run has no bar"
            }
        };
        let title = format!("{} on {}", short(&self.model.id), self.machine.id);
        vec![Chart::of_bars(&title, description, "tok/s", bars)]
    }
}

impl Variants {
    /// The variants of a fine-tuning run.
    fn training_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::text(self.varied),
            Column::number("fits"),
            Column::number("peak GB"),
            Column::number("90 %").droppable(2),
            Column::number("tok/s"),
            Column::number("90 %").droppable(1),
            Column::number("s/iteration"),
            Column::number("M trained").droppable(3),
        ]);
        for row in &self.rows {
            let [name, fits, peak, interval, _, rate, rates, _] = row.cells();
            let t = row.training.as_ref();
            let seconds = t.map_or("–".to_owned(), |t| format!("{:.3}", t.seconds_per_iteration));
            let trained = t.map_or("–".to_owned(), |t| {
                format!("{:.3}", t.trainable_parameters as f64 / 1e6)
            });
            table.row([name, fits, peak, interval, rate, rates, seconds, trained]);
        }
        table
    }
}

#[cfg(test)]
impl VariantRow {
    /// A variant of which nothing is known.
    pub(super) fn named(name: &str) -> Self {
        let run = Run::default();
        Self {
            name: name.to_owned(),
            engine: EngineAnswer::of(&run, None),
            reason: None,
            fits: None,
            peak_bytes: None,
            peak_interval_90_bytes: None,
            max_context_tokens: None,
            max_context_at_most_tokens: None,
            tokens_per_s: None,
            interval_90: None,
            ttft_s: None,
            published_loss: None,
            training: None,
            bound: None,
            line: String::new(),
        }
    }
}

impl VariantRow {
    fn cells(&self) -> [String; 8] {
        let missing = || if self.reason.is_some() { "–".to_owned() } else { "?".to_owned() };
        let or = |text: Option<String>| text.unwrap_or_else(missing);
        let context = self.max_context_tokens.zip(self.max_context_at_most_tokens);
        let fits = self.fits.map(|f| f.to_string());
        [
            self.name.clone(),
            fits.unwrap_or_else(|| {
                if self.reason.is_some() { "no".to_owned() } else { "?".to_owned() }
            }),
            or(self.peak_bytes.map(gb)),
            or(self
                .peak_interval_90_bytes
                .map(|[low, high]| format!("{}–{}", gb(low.0), gb(high.0)))),
            or(context.map(|(safe, most)| {
                let star = if self.bound == Some(ContextBound::Memory) { "*" } else { "" };
                if safe == most { format!("{safe}{star}") } else { format!("{safe}{star}, {most}") }
            })),
            or(self.tokens_per_s.map(|r| TokensPerSecond(r).to_string())),
            or(self.interval_90.map(rates)),
            or(self.ttft_s.map(|s| Seconds(s).to_string())),
        ]
    }
}
