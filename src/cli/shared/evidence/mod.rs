//! `--evidence FILE`: what was measured before of these very models, with this program, on these machines.

mod plausible;
mod rows;

use crate::bench::http::Address;
use crate::bench::record::{self, EngineRecord, Record};
use crate::bench::summary::{CaseSummary, TrialMetric};
use crate::calibration::evidence::{self, EvidenceMetric, LiveComparison};
use crate::cli::shared::context::Context;
use crate::estimate::widening::Of;
use crate::estimate::{Basis, OpenedModel, OwnRun, OwnRuns, Program, Run};
use crate::files;
use crate::hardware::machine::Machine;
use crate::run::Work;
use crate::stats::{TrialSummary, Z95};
use crate::validation::import::import;
use crate::validation::{Measurement, measurement};
use anyhow::{Context as _, Result, bail, ensure};
use plausible::PossibleRates;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;

/// Longest file of runs, bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Schema of the object that `validate` writes of runs here.
const LIVE: &str = "mlxplan.live_validation/1";
/// Reasons that are told at most.
const REASONS: usize = 4;
/// Characters of a name that are shown.
const SHOWN: usize = 80;
/// Models of a file that are looked up at most.
const MODELS: usize = 500;
/// Prompts below this many tokens tell more of the server than of the model.
const SHORTEST_PROMPT: u32 = 256;

/// A file of runs.
pub(in crate::cli) struct EvidenceFile {
    /// Its path, as it was given.
    path: String,
    /// Its name.
    name: String,
    held: Held,
}

/// What a file of runs holds.
enum Held {
    /// A result of `bench`.
    Bench(Box<Record>),
    /// Comparisons of `validate`.
    Live(Vec<LiveComparison>),
    /// Measurements, or results of another program; and its runs that are none, with the reason.
    Rows(Vec<Measurement>, Vec<(String, String)>),
}

/// What is predicted, as far as runs must be of the same.
pub(in crate::cli) struct Wanted<'a> {
    pub context: &'a Context,
    pub model: &'a OpenedModel,
    /// The machines that are asked about; `None` for any.
    pub machines: Option<&'a [Machine]>,
    pub run: &'a Run,
}

/// What predictions of models rest on: runs of them in a file, where one is given.
///
/// # Errors
/// When the file cannot be read, or no run in it counts.
pub(in crate::cli) fn bases<'a>(
    context: &'a Context,
    file: Option<&Path>,
    models: &[&'a OpenedModel],
    (machines, run): (Option<&'a [Machine]>, &'a Run),
) -> Result<Vec<Basis>> {
    let Some(path) = file else { return Ok(models.iter().map(|_| Basis::Spec).collect()) };
    let wanted = models.iter().map(|model| Wanted { context, model, machines, run });
    EvidenceFile::read(context, path)?.bases(&wanted.collect::<Vec<_>>())
}

/// What is found in a file of runs.
struct Found<'a> {
    file: &'a str,
    runs: Vec<OwnRun>,
    /// Why others do not count.
    left_out: Vec<String>,
}

impl EvidenceFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or holds no runs.
    pub fn read(context: &Context, path: &Path) -> Result<Self> {
        let text = files::text(path, MAX_BYTES)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let shown = path.display().to_string();
        let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let (models, macs) = (context.catalogs.models()?, &context.catalogs.macs);
        if let Some(found) = import(&shown, &text, models, macs)? {
            let held = Held::Rows(found.rows, found.left_out);
            return Ok(Self { path: shown, name, held });
        }
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv")) {
            let held = Held::Rows(measurement::read(&shown, &text)?, Vec::new());
            return Ok(Self { path: shown, name, held });
        }
        let held = match schema(&text).as_deref() {
            Some(record::SCHEMA) => {
                Held::Bench(Box::new(record::parse(&text).map_err(anyhow::Error::msg)?))
            }
            Some(LIVE) => {
                let mut live: Live = serde_json::from_str(&text)
                    .with_context(|| format!("{}: no result of validate", path.display()))?;
                let all = live.rows.len();
                live.rows.retain(evidence::is_sound);
                ensure!(
                    all == 0 || !live.rows.is_empty(),
                    "{}: no run of it can be believed: {all} with rates or errors that cannot be",
                    path.display()
                );
                Held::Live(live.rows)
            }
            Some(other) => bail!(
                "{}: {other} holds no runs; give a result of bench or validate",
                path.display()
            ),
            None => Held::Live(comparisons(&text, path)?),
        };
        Ok(Self { path: shown, name, held })
    }

    /// What predictions of some models rest on: the runs of each, where there are some.
    ///
    /// # Errors
    /// When no run is of any of them, with its program, on these machines.
    pub fn bases(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Basis>> {
        let (mut bases, mut why) = (Vec::new(), None);
        for found in wanted.iter().map(|w| self.runs(w)) {
            bases.push(match found {
                Ok(runs) => Basis::Measured(runs),
                Err(none) => {
                    why.get_or_insert(none);
                    Basis::Spec
                }
            });
        }
        let some = bases.iter().any(|b| matches!(b, Basis::Measured(_)));
        why.filter(|_| !some).map_or(Ok(bases), Err)
    }

    /// The runs that count.
    ///
    /// # Errors
    /// When there are none of this model, program, machine and number of sequences.
    pub fn runs(&self, wanted: &Wanted<'_>) -> Result<OwnRuns> {
        ensure!(
            wanted.run.engine.kv.is_none(),
            "--evidence: runs are measured with a 16-bit cache; leave --kv-bits out"
        );
        ensure!(
            wanted.machines.is_none_or(|all| all.iter().all(|m| m.bins.is_empty())),
            "--evidence: name the bin of the machine, such as m4max-40/128"
        );
        let mut found = Found { file: &self.name, runs: Vec::new(), left_out: Vec::new() };
        match &self.held {
            Held::Bench(record) => wanted.of_bench(record, &mut found),
            Held::Live(rows) => wanted.of_comparisons(rows, &mut found),
            Held::Rows(rows, none) => {
                found.left_out.extend(none.iter().map(|(id, why)| format!("{id}: {why}")));
                wanted.of_rows(rows, &mut found)?;
            }
        }
        let held_some = !found.runs.is_empty();
        let batch = wanted.run.work.batch;
        found.runs.retain(|r| r.work.batch == batch);
        let limits = PossibleRates::of(wanted)?;
        let (left_out, runs) = (&mut found.left_out, &mut found.runs);
        runs.retain(|run| {
            let problem = limits.problem(run);
            left_out.extend(problem.clone());
            problem.is_none()
        });
        if found.runs.is_empty() {
            let why = match found.left_out.is_empty() {
                true if !held_some => "it holds no run".to_owned(),
                true if batch == 1 => "its runs are of several sequences at once".to_owned(),
                true => format!("no run of {batch} sequences at once"),
                false => reasons(&mut found.left_out),
            };
            bail!(
                "--evidence {}: no run of {} {} with {} on {}: {why}",
                self.path,
                wanted.model.id,
                wanted.model.quant,
                wanted.program(),
                wanted.machine_names()
            );
        }
        Ok(OwnRuns::new(found.runs))
    }
}

impl Wanted<'_> {
    /// The program that runs the model: a GGUF file is run by llama.cpp.
    fn program(&self) -> Program {
        let asked = self.run.engine.program;
        let gguf = self.model.gguf_mix().is_some();
        let program = if gguf { asked.running(true) } else { asked };
        if gguf && !program.runs_gguf() { Program::LlamaCpp } else { program }
    }

    fn machine_names(&self) -> String {
        let ids = self.machines.into_iter().flatten().map(|m| m.id.as_str());
        match ids.collect::<Vec<&str>>().join(", ") {
            none if none.is_empty() => "any Mac".to_owned(),
            ids => ids,
        }
    }

    /// The runs of a result of `bench`.
    fn of_bench(&self, record: &Record, found: &mut Found<'_>) {
        let machine = HostKeys::of(record);
        for engine in &record.engines {
            let host = match self.check_engine(engine, &machine) {
                Ok(host) => host,
                Err(why) => {
                    found.left_out.push(why);
                    continue;
                }
            };
            let mine = record.summary.iter().filter(|s| s.engine == engine.label && s.users <= 1);
            mine.for_each(|s| found.add(&host, s));
        }
    }

    fn check_engine(&self, engine: &EngineRecord, machine: &HostKeys) -> Result<RunHost, String> {
        if engine.via == "http" && !Address::parse(&engine.at, true).is_ok_and(|a| a.is_loopback())
        {
            return Err(format!("the machine of {} is not known", engine.at));
        }
        let host = self.check_machine(machine)?;
        let server = engine.server.as_ref();
        let program = match server {
            Some(server) => server
                .engine()
                .ok_or_else(|| format!("{} is no program that is known", engine.program()))?,
            None => Program::MlxLm,
        };
        self.check_program(program)?;
        let name =
            server.map(|s| s.model.id.as_str()).or(engine.model.as_deref()).unwrap_or_default();
        self.check_model(name, server.and_then(|s| s.model.quant.as_deref()))?;
        Ok(host)
    }

    /// The runs of comparisons, which are of MLX in this process. Several predictions of one run count once.
    fn of_comparisons(&self, rows: &[LiveComparison], found: &mut Found<'_>) {
        let mut models: HashMap<(&str, &str), Result<(), String>> = HashMap::new();
        for r in rows {
            let machine = HostKeys {
                brand: Some(r.machine.chip.clone()),
                gpu_cores: r.machine.gpu_cores,
                memory_bytes: r.machine.memory_bytes,
                chip: None,
            };
            let fits = self.check_machine(&machine).and_then(|host| {
                self.check_program(Program::MlxLm)?;
                let many = models.len() >= MODELS;
                let check = || match many {
                    true => Err(format!("more than {MODELS} models")),
                    false => self.check_model(&r.model, Some(&r.quant)),
                };
                models.entry((&r.model, &r.quant)).or_insert_with(check).clone()?;
                Ok(host)
            });
            match fits {
                Ok(host) => found.add_comparison(&host, r),
                Err(why) => found.left_out.push(why),
            }
        }
    }

    fn check_program(&self, program: Program) -> Result<(), String> {
        let asked = self.program();
        if program == asked { Ok(()) } else { Err(format!("measured with {program}, not {asked}")) }
    }

    fn check_machine(&self, host: &HostKeys) -> Result<RunHost, String> {
        let chip = host.brand.as_deref().and_then(|b| b.strip_prefix("Apple "));
        let bin = chip
            .zip(host.gpu_cores)
            .map(|(chip, cores)| format!("{}-{cores}", chip.to_lowercase().replace(' ', "")));
        let gib = host.memory_bytes.map(|bytes| bytes >> 30);
        if let Some((chip, memory_gib)) = bin.zip(gib) {
            let same = |m: &Machine| {
                m.chip.as_ref() == Some(&chip) && m.memory.value.0 >> 30 == memory_gib
            };
            if self.machines.is_none_or(|all| all.iter().any(same)) {
                return Ok(RunHost { chip, memory_gib });
            }
        }
        let name = host.brand.as_deref().unwrap_or("an unknown machine");
        let cores = host.gpu_cores.map_or(String::new(), |n| format!(", {n} GPU cores"));
        let memory = gib.map_or(String::new(), |n| format!(", {n} GB"));
        Err(format!("measured on {name}{cores}{memory}, not {}", self.machine_names()))
    }

    fn check_model(&self, name: &str, quant: Option<&str>) -> Result<(), String> {
        // Names of files say the format themselves.
        let same = |m: &OpenedModel| m.id == self.model.id && m.quant == self.model.quant;
        let opened = self
            .context
            .one_model(name, quant, None)
            .or_else(|_| self.context.one_model(name, None, None));
        match opened {
            Ok(model) if same(&model) => Ok(()),
            Ok(model) => Err(format!("measured {} {}", model.id, model.quant)),
            Err(_) => {
                let start: String = name.chars().take(SHOWN).collect();
                let cut = if start.len() < name.len() { "…" } else { "" };
                Err(format!("measured '{start}{cut}', which is not known"))
            }
        }
    }
}

impl Found<'_> {
    /// The decode and prefill rates of a case; prefill where the prompt was long enough and not in a cache.
    fn add(&mut self, host: &RunHost, s: &CaseSummary) {
        let tokens = |m: TrialMetric| s.metric(m).map_or(0, |v| v.median.round() as u32);
        let work = Work {
            context_tokens: tokens(TrialMetric::PromptTokens),
            generate_tokens: tokens(TrialMetric::GeneratedTokens),
            batch: s.batch.unwrap_or(1),
            ..Work::default()
        };
        let cached = tokens(TrialMetric::CachedTokens);
        if let Some(rate) = s.metric(TrialMetric::DecodeTokensPerS) {
            self.push(host, Of::Decode, work, rate);
        }
        let whole = work.context_tokens >= SHORTEST_PROMPT && cached < work.context_tokens / 10;
        if let Some(rate) = s.metric(TrialMetric::PrefillTokensPerS).filter(|_| whole) {
            self.push(host, Of::Prefill, work, rate);
        }
    }

    fn push(&mut self, host: &RunHost, of: Of, work: Work, rate: &TrialSummary) {
        let log_error = rate.interval_95.map(|[low, high]| (high / low).ln() / (2.0 * Z95));
        let log_error = log_error.filter(|error| error.is_finite());
        let trials = format!("{} trials", rate.n);
        self.runs.push(OwnRun {
            id: self.id(of, work, &trials),
            chip: host.chip.clone(),
            memory_gib: host.memory_gib,
            of,
            work,
            rate: rate.median,
            log_error,
        });
    }

    fn add_comparison(&mut self, host: &RunHost, r: &LiveComparison) {
        let work = Work { context_tokens: r.context_tokens, generate_tokens: 0, ..Work::default() };
        let of = match r.metric {
            EvidenceMetric::Decode => Of::Decode,
            EvidenceMetric::Prefill => Of::Prefill,
        };
        let weights = if r.random_weights { ", random weights" } else { "" };
        let id = self.id(of, work, &format!("{} rounds{weights}", r.rounds));
        // The noise is the difference between two halves of the rounds.
        let run = OwnRun {
            id,
            chip: host.chip.clone(),
            memory_gib: host.memory_gib,
            of,
            work,
            rate: r.measured,
            log_error: Some(r.noise / 2.0),
        };
        if !self.runs.contains(&run) {
            self.runs.push(run);
        }
    }

    fn id(&self, of: Of, work: Work, trials: &str) -> String {
        format!("{}: {} at {} tokens, {trials}", self.file, of.name(), work.context_tokens)
    }
}

/// The machine of a run.
struct RunHost {
    /// Its chip's bin.
    chip: String,
    memory_gib: u64,
}

/// The keys of a machine that tell it from others, as `probe` writes them.
#[derive(Default, Deserialize)]
pub(in crate::cli) struct HostKeys {
    /// Id of the chip's bin, where the catalog has it.
    pub chip: Option<String>,
    brand: Option<String>,
    gpu_cores: Option<u32>,
    pub memory_bytes: Option<u64>,
}

impl HostKeys {
    /// Those of a result of `bench`; none where its machine is not described.
    pub(in crate::cli) fn of(record: &Record) -> Self {
        serde_json::from_value(record.machine.clone()).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Live {
    rows: Vec<LiveComparison>,
}

/// The comparisons of a file that has one on each line.
///
/// # Errors
/// When it has none.
fn comparisons(text: &str, path: &Path) -> Result<Vec<LiveComparison>> {
    let (rows, damaged) = evidence::parse(text);
    ensure!(
        !rows.is_empty(),
        "{}: no run can be read in it ({damaged} lines are none); give a result of bench or validate",
        path.display()
    );
    Ok(rows)
}

/// Why runs do not count: every reason once, and not all of many.
fn reasons(all: &mut Vec<String>) -> String {
    all.sort_unstable();
    all.dedup();
    let more = all.len().saturating_sub(REASONS);
    all.truncate(REASONS);
    let more = if more > 0 { format!("; and {more} more reasons") } else { String::new() };
    format!("{}{more}", all.join("; "))
}

/// The schema of a file that is one object.
fn schema(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    serde_json::from_str::<Head>(text).ok().map(|h| h.schema)
}
