//! The answer of `mlxplan finetune`.

use super::choices::{TrainingMacAnswer, table};
use super::command;
use super::data::{MeasuredData, TrainingDataKeys};
use super::run::FinetuneRun;
use super::timed::TimedStep;
use crate::advise::finetune::{LargestRun, TrainingChange};
use crate::advise::usual_repository;
use crate::cli::shared::keys::ModelKey;
use crate::cli::shared::training_keys::TrainingRequest;
use crate::cli::shared::words::{limit_texts, program_text, short};
use crate::engine::programs;
use crate::estimate::memory::{Fit, Limit};
use crate::estimate::{EngineAnswer, Fidelity, OpenedModel, TrainingEstimate, Widening};
use crate::graph::cache::CacheKind;
use crate::graph::training::{FineTuneType, adaptable_paths, skipped_keys};
use crate::hardware::machine::{Machine, MachineSummary};
use crate::ledger::training::{PeakPart, PeakPlace, StepPhase};
use crate::report::{Column, Document, Present, Table};
use crate::run::{FormatOrigin, Run};
use crate::units::{Bytes, Seconds, TokensPerSecond};
use schemars::JsonSchema;
use serde::Serialize;

/// The object `mlxplan.finetune/1`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct FinetuneAnswer {
    /// The base.
    model: ModelKey,
    /// The machine; `null` away from a Mac.
    machine: Option<MachineSummary>,
    /// The run.
    request: TrainingRequest,
    /// What is trained on, where it was measured.
    data: Option<TrainingDataKeys>,
    /// The engine.
    engine: EngineAnswer,
    /// Parameters that are trained.
    trainable_parameters: u64,
    /// Bytes of the adapters in their file, or of the trained tensors.
    trained_bytes: Bytes,
    /// Bytes that the optimizer keeps.
    optimizer_bytes: Bytes,
    /// Floating-point operations of an iteration with an update.
    flops_per_iteration: u64,
    /// Kernels of such an iteration.
    kernels_per_iteration: u64,
    /// Memory.
    memory: FinetuneMemory,
    /// Speed; `null` away from a Mac.
    speed: Option<FinetuneSpeed>,
    /// The step timed on this machine; `null` where that was not asked for.
    timed_here: Option<TimedStep>,
    /// What lowers the peak, in order of advice.
    changes: Vec<TrainingChange>,
    /// How far the run can be taken on the machine; `null` away from a Mac, and for models with recurrent layers.
    largest: Option<LargestRun>,
    /// The cheapest Macs that do it, away from a Mac.
    macs: Vec<TrainingMacAnswer>,
    /// What to run.
    command: Vec<String>,
    /// Why the interval of the speed is wider than that of the runs that were fitted.
    widenings: Vec<Widening>,
    /// What is left out.
    not_modeled: Vec<&'static str>,
    /// Doubts and traps.
    warnings: Vec<String>,
    /// Why the answer is about other machines.
    #[serde(skip)]
    why: Option<String>,
    #[serde(skip)]
    engine_line: String,
    #[serde(skip)]
    machine_name: String,
}

/// Memory of the run.
#[derive(Debug, Serialize, JsonSchema)]
struct FinetuneMemory {
    /// Most active memory: `mx.get_peak_memory()`.
    peak_bytes: Bytes,
    /// Where nine of ten measured peaks lie.
    peak_interval_90_bytes: [Bytes; 2],
    /// What the peak consists of.
    parts: Vec<PeakPart>,
    /// Where in the step it lies.
    place: PeakPlace,
    /// Whether it fits; `null` away from a Mac.
    fits: Option<Fit>,
    /// The limits; none away from a Mac.
    limits: Vec<Limit>,
}

/// Speed of the run.
#[derive(Debug, Serialize, JsonSchema)]
struct FinetuneSpeed {
    /// Tokens in the loss per second, as `mlx_lm.lora` reports them.
    tokens_per_s: f64,
    /// Interval that holds 80 % of measurements.
    interval_80: [f64; 2],
    /// Interval that holds 90 % of measurements.
    interval_90: [f64; 2],
    /// Iterations per second.
    iterations_per_s: f64,
    /// Seconds of an iteration.
    seconds_per_iteration: f64,
    /// Seconds of 1000 iterations.
    seconds_per_1000_iterations: f64,
    /// Seconds of the whole run.
    run_s: f64,
    /// How close what the speed rests on is to the run.
    fidelity: Fidelity,
    /// What it rests on.
    basis: String,
}

/// What a peak leaves out.
const NOT_MODELED: [&str; 3] = [
    "validation during training (below the peak), and the compilation of every new batch shape",
    "dropout above 0, distributed training",
    "memory of Python and of macOS beside MLX's (the limits allow for both)",
];

impl FinetuneAnswer {
    /// What was found for a machine.
    pub(super) fn of(
        (wanted, data): (&FinetuneRun, Option<MeasuredData>),
        (model, run): (&OpenedModel, &Run),
        machine: &Machine,
        found: &TrainingEstimate,
    ) -> Self {
        let o = &wanted.options;
        let (rate, interval_80, interval_90) = found.speed.tokens_per_s();
        let filled = |x: f64| x * wanted.fill;
        let seconds = found.speed.seconds_per_iteration;
        let mut warnings = warnings(wanted, model, run);
        let data = data.map(|mut data| {
            warnings.append(&mut data.notes);
            data.keys.epoch_s = Some(data.keys.iterations_per_epoch as f64 * seconds);
            data.keys
        });
        let ledger = &found.ledger;
        Self {
            model: ModelKey { id: model.id.clone(), quant: model.quant.clone() },
            machine: Some(machine.summary()),
            request: TrainingRequest::of(o, wanted.max_seq_length, wanted.iters),
            data,
            engine: EngineAnswer::of(run, Some(machine)),
            trainable_parameters: ledger.trainable_parameters,
            trained_bytes: Bytes(ledger.trainable_bytes),
            optimizer_bytes: Bytes(ledger.optimizer_bytes),
            flops_per_iteration: ledger.flops,
            kernels_per_iteration: ledger.dispatches,
            memory: FinetuneMemory {
                peak_bytes: Bytes(ledger.peak_bytes),
                peak_interval_90_bytes: found.peak_interval_90,
                parts: ledger.parts.clone(),
                place: ledger.place,
                fits: Some(found.judgment.verdict),
                limits: found.judgment.limits.clone(),
            },
            speed: Some(FinetuneSpeed {
                tokens_per_s: filled(rate),
                interval_80: interval_80.map(filled),
                interval_90: interval_90.map(filled),
                iterations_per_s: 1.0 / seconds,
                seconds_per_iteration: seconds,
                seconds_per_1000_iterations: 1000.0 * seconds,
                run_s: f64::from(wanted.iters) * seconds,
                fidelity: found.speed.fidelity,
                basis: found.speed.basis.clone(),
            }),
            timed_here: None,
            changes: Vec::new(),
            largest: None,
            macs: Vec::new(),
            command: command::lines(wanted, &base(&wanted.model, model)),
            widenings: found.speed.widenings.clone(),
            not_modeled: NOT_MODELED.to_vec(),
            warnings,
            why: None,
            engine_line: program_text(run, Some(machine)),
            machine_name: machine.name.clone(),
        }
    }

    /// With changes that help, and how far the run can be taken.
    pub(super) fn with_advice(
        mut self,
        changes: Vec<TrainingChange>,
        largest: Option<LargestRun>,
    ) -> Self {
        (self.changes, self.largest) = (changes, largest);
        self
    }

    /// With the step timed on this machine.
    pub(super) fn with_timing(mut self, timed: Option<TimedStep>) -> Self {
        self.timed_here = timed;
        self
    }

    /// About the Macs that do it, instead of one of them.
    pub(super) fn on_macs(mut self, why: String, macs: Vec<TrainingMacAnswer>) -> Self {
        self.macs = macs;
        if let Some(data) = &mut self.data {
            data.epoch_s = None;
        }
        (self.machine, self.speed, self.memory.fits) = (None, None, None);
        self.memory.limits.clear();
        self.why = Some(why);
        self
    }
}

/// The base as `mlx_lm.lora` finds it: what was named where that is files, else the repository that usually holds it.
fn base(named: &str, model: &OpenedModel) -> String {
    match model.origin {
        FormatOrigin::File => named.trim_start_matches("hf:").to_owned(),
        origin => usual_repository(&model.id, &model.quant, origin),
    }
}

/// Doubts about the figures, and traps of `mlx_lm.lora`.
fn warnings(wanted: &FinetuneRun, model: &OpenedModel, run: &Run) -> Vec<String> {
    let o = &wanted.options;
    let mut all = wanted.notes.clone();
    if !wanted.length_known {
        all.push(format!(
            "the data is not known: every batch is taken to be as long as --max-seq-length allows, {} tokens (--longest \
             says how long the longest sample is, --data FOLDER measures them)",
            o.tokens
        ));
    }
    if programs::has(programs::TRAINING_ATTENTION_FUSED, run.engine.mlx.taken) {
        all.push(
            "from MLX 0.32.4 attention is one kernel in training, where there is one and the mask is no array; its \
             backward kernel is not modeled: the peak is the one without it, the interval begins at the one that keeps \
             no scores (--mlx 0.32.2 for the other rule)"
                .to_owned(),
        );
    }
    let skipped = skipped_keys(model.graph.params(), o);
    if !skipped.is_empty() {
        let known: Vec<String> = adaptable_paths(model.graph.params()).into_iter().collect();
        all.push(format!(
            "mlx_lm.lora skips keys that the model does not have, in silence: {}; it has {}",
            skipped.join(", "),
            known.join(", ")
        ));
    }
    if o.kind == FineTuneType::Dora {
        all.push(
            "DoRA keeps a 16-bit copy of every adapted matrix of a quantized base from the forward to the backward pass, \
             and --grad-checkpoint makes it worse; that follows from MLX's rules and has not been measured"
                .to_owned(),
        );
    }
    let recurrent = |kind: &CacheKind| matches!(kind, CacheKind::Arrays(_));
    if model.graph.cache_kinds().iter().any(recurrent) {
        all.push(
            "recurrent layers train as plain operations, token by token: tens of kernels per token and layer".to_owned(),
        );
    }
    if wanted.dropout > 0.0 {
        all.push(format!(
            "dropout {:?}: its masks are not modeled, so the peak is higher than this",
            wanted.dropout
        ));
    }
    if wanted.mask_prompt && wanted.data.is_none() {
        all.push(format!(
            "with --mask-prompt a sample whose prompt alone exceeds {} tokens has no token left in the loss, which is then \
             nan",
            wanted.max_seq_length
        ));
    }
    all
}

impl Present for FinetuneAnswer {
    const SCHEMA: &'static str = "mlxplan.finetune/1";

    fn document(&self) -> Document {
        let mut d = Document::default();
        let on =
            self.machine.as_ref().map_or(String::new(), |_| format!("  on  {}", self.machine_name));
        d.heading(format!("Fine-tuning {}  {}{on}", short(&self.model.id), self.model.quant));
        d.pairs(self.pairs());
        d.table(self.parts());
        if !self.changes.is_empty() {
            d.text("Changes that lower the peak, in the order to try them:");
            d.table(self.changes_table());
        }
        if let Some(why) = &self.why {
            d.text(format!("{why}. So these are the Macs on sale that do it:"));
            d.table(table(&self.macs));
        }
        d.code(self.command.join("\n"));
        let mut notes = self.warnings.clone();
        notes.extend(
            self.widenings
                .iter()
                .map(|w| format!("speed: {}, interval x {:.1} ({})", w.cause, w.factor, w.source)),
        );
        d.notes(notes);
        d.not_modeled(&self.not_modeled);
        d
    }
}

impl FinetuneAnswer {
    fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut add = |name: &str, text: String| pairs.push((name.to_owned(), text));
        let r = &self.request;
        add("run", r.text());
        if let Some(data) = &self.data {
            add("data", data.text());
        }
        add("engine", self.engine_line.clone());
        add(
            "trained",
            format!(
                "{:.3} M parameters, {}; optimizer {}",
                self.trainable_parameters as f64 / 1e6,
                self.trained_bytes,
                self.optimizer_bytes
            ),
        );
        let m = &self.memory;
        let [low, high] = m.peak_interval_90_bytes;
        let fits = m.fits.map_or(String::new(), |fits| format!("; fits: {fits}"));
        add(
            "peak memory",
            format!("{} (MLX), 90 % {low}–{high}, in {}{fits}", m.peak_bytes, m.place.words()),
        );
        limit_texts(&m.limits).for_each(|text| add("", text));
        if let Some(s) = &self.speed {
            let t = TokensPerSecond;
            let [low, high] = s.interval_90.map(t);
            add(
                "speed",
                format!(
                    "{} tok/s, 90 % {low}–{high}; {} an iteration",
                    t(s.tokens_per_s),
                    Seconds(s.seconds_per_iteration)
                ),
            );
            if s.fidelity != Fidelity::Spec {
                add("", s.basis.clone());
            }
            let thousand = Seconds(s.seconds_per_1000_iterations);
            let whole = match r.iters {
                1000 => String::new(),
                iters => format!(", {} for {iters}", Seconds(s.run_s)),
            };
            let epoch = self
                .data
                .as_ref()
                .and_then(|d| d.epoch_s)
                .map_or(String::new(), |s| format!(", {} an epoch", Seconds(s)));
            add("time", format!("{thousand} for 1000 iterations{whole}{epoch}"));
        }
        if let (None, Some(step)) = (&self.speed, &self.timed_here) {
            add("timed here", step.text());
        }
        if let Some(l) = self.largest {
            let or = |n: Option<u32>| n.map_or_else(|| "none".to_owned(), |n| n.to_string());
            add(
                "largest that fits",
                format!(
                    "batch {} of {} tokens; {} tokens with batch {}",
                    or(l.batch),
                    r.seq_tokens,
                    or(l.tokens),
                    r.batch_size
                ),
            );
        }
        pairs
    }

    fn parts(&self) -> Table {
        let mut table = Table::new(vec![Column::text("at the peak"), Column::number("bytes")]);
        for p in &self.memory.parts {
            table.row([p.part.name().to_owned(), Bytes(p.bytes).to_string()]);
        }
        table.bars(self.memory.parts.iter().map(|p| Some(p.bytes as f64)).collect(), 0);
        table
    }

    fn changes_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::text("change"),
            Column::number("peak"),
            Column::number("time"),
            Column::text("fits"),
            Column::text("costs").droppable(1),
        ]);
        for c in &self.changes {
            table.row([
                c.change.clone(),
                c.peak_bytes.to_string(),
                format!("x {:.2}", c.time_factor),
                c.fits.to_string(),
                c.costs.to_owned(),
            ]);
        }
        table
    }
}

impl PeakPlace {
    /// The place in words.
    fn words(self) -> String {
        let layer = self.layer.map_or(String::new(), |n| format!(" of layer {n}"));
        match self.phase {
            StepPhase::Loaded => "loading".to_owned(),
            StepPhase::Forward => format!("the forward pass{layer}"),
            StepPhase::Loss => "the loss".to_owned(),
            StepPhase::Backward => format!("the backward pass{layer}"),
        }
    }
}
