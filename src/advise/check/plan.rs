//! The plan file: workloads, the Macs they are to run on, and what must hold.

use super::lookup::Lookup;
use super::training_key::{self, PlannedFineTuning};
use super::{draft, session_key};
use crate::advise::session::SessionSpec;
use crate::estimate::memory::default_reserve;
use crate::estimate::{Basis, Cluster, OpenedModel, Program, Run};
use crate::graph::cache::KvQuantization;
use crate::hardware::catalog::Problem;
use crate::hardware::catalog::document::{DataEntry, Field, TomlFile, whole};
use crate::hardware::machine::Machine;
use crate::ledger::llama_cpp::KvType;
use crate::run::{Images, RunConditions};
use crate::units::{Bytes, SizeError};
use schemars::JsonSchema;
use serde::Serialize;
use std::ops::RangeInclusive;
use toml::de::DeValue;

/// Workloads, the Macs they are to run on, and what must hold.
#[derive(Debug)]
pub struct Plan {
    /// Name to show.
    pub name: String,
    /// The Macs; the plan must hold on each.
    pub macs: Vec<Machine>,
    /// Macs that run each model together, where the plan must hold there too.
    pub cluster: Option<Cluster>,
    /// Which models are in memory.
    pub resident: ResidentModels,
    /// Memory kept for macOS; `None` for the default.
    pub reserve: Option<Bytes>,
    /// Memory of other programs beside macOS.
    pub other_programs: Bytes,
    /// Memory meant for the workloads; `None` for all that the limits allow.
    pub budget: Option<Bytes>,
    /// The workloads.
    pub workloads: Vec<PlannedWorkload>,
    /// The fine-tuning runs.
    pub fine_tunings: Vec<PlannedFineTuning>,
}

impl Plan {
    /// The Macs on which it must hold: those by themselves, and those of the cluster.
    pub fn places(&self) -> impl Iterator<Item = &Machine> {
        self.macs.iter().chain(self.cluster.iter().flat_map(|c| c.machines()))
    }

    /// Memory kept for macOS and other programs on a machine.
    #[must_use]
    pub fn reserve_on(&self, machine: &Machine) -> Bytes {
        self.reserve.unwrap_or_else(|| default_reserve(machine.memory.value)) + self.other_programs
    }
}

/// Which models are in memory at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResidentModels {
    /// The one that is used.
    OneAtATime,
    /// All of them.
    Together,
}

impl Field for ResidentModels {
    const EXPECTED: &'static str = "\"one at a time\" or \"together\"";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "one at a time" => Some(Self::OneAtATime),
            "together" => Some(Self::Together),
            _ => None,
        }
    }
}

/// A model at work and what is asked of it.
#[derive(Debug)]
pub struct PlannedWorkload {
    /// Name, unique in the plan.
    pub name: String,
    /// The model.
    pub subject: OpenedModel,
    /// The run; its batch is the number of users at once.
    pub run: Run,
    /// What the speeds rest on.
    pub basis: Basis,
    /// The model that drafts, where one does.
    pub draft: Option<OpenedModel>,
    /// The session that it is, if it is one; the run is that of its longest turn.
    pub session: Option<SessionSpec>,
    /// What must hold.
    pub needs: WorkloadNeeds,
}

/// What must hold for a workload, besides that it fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize)]
pub struct WorkloadNeeds {
    /// Tokens per second for each user, at least.
    pub min_tok_s: Option<f64>,
    /// Time to first token, at most.
    pub max_ttft_s: Option<f64>,
    /// Requests per second of all users together, which arrive independently of one another; then `min_tok_s` is of the
    /// slowest tenth and `max_ttft_s` of nine of ten.
    pub rate: Option<f64>,
    /// Memory left free under every limit, at least.
    pub headroom: Bytes,
}

/// Longest plan that is read, in bytes.
pub const LONGEST: usize = 1 << 20;
/// Most workloads and most Macs of a plan.
const MOST: usize = 64;

#[rustfmt::skip]
const KEYS: [&str; 12] = [
    "schema", "name", "macs", "cluster", "link", "resident", "gpu_limit", "budget_memory", "reserve_gb", "other_programs_gb", "workload",
    "finetune",
];
#[rustfmt::skip]
const WORKLOAD_KEYS: [&str; 27] = [
    "name", "model", "quant", "session", "context", "generate", "users", "rate", "batch", "images", "engine", "mlx", "macos", "nax",
    "kv_bits", "kv_type", "prompt_cache", "parallel", "prefill_step", "idle", "evidence", "draft", "acceptance", "draft_tokens",
    "min_tok_s", "max_ttft_s", "headroom_gb",
];

/// Reads a plan. `name` is the file's name in messages.
///
/// # Errors
/// All problems of the file, each with its place.
pub fn read(name: &str, text: &str, lookup: &Lookup<'_>) -> Result<Plan, Vec<Problem>> {
    let source = TomlFile::new(name.to_owned(), text.to_owned().into(), false);
    let mut problems = Vec::new();
    if text.len() > LONGEST {
        return Err(vec![source.problem(0, "plan", format!("is longer than {LONGEST} bytes"))]);
    }
    let mut plan = None;
    whole(&source, &mut problems, "plan", |entry| plan = read_plan(entry, name, lookup));
    problems.sort_by_key(|p| (p.line, p.column));
    match plan {
        Some(plan) if problems.is_empty() => Ok(plan),
        _ => Err(problems),
    }
}

fn read_plan(entry: &mut DataEntry<'_>, file: &str, lookup: &Lookup<'_>) -> Option<Plan> {
    entry.only(&KEYS);
    if entry.has("schema") {
        entry.within("schema", None, 1..=1u64);
    }
    let name: Option<String> = entry.optional("name");
    let resident = entry.optional("resident").unwrap_or(ResidentModels::OneAtATime);
    let reserve = gigabytes(entry, "reserve_gb");
    let other_programs = gigabytes(entry, "other_programs_gb").unwrap_or_default();
    let (gpu_limit, budget) = (size(entry, "gpu_limit"), size(entry, "budget_memory"));
    let cluster = super::cluster_key::read(entry, lookup.mac).map(|c| c.granted(gpu_limit, budget));
    let macs: Option<Vec<Machine>> = read_macs(entry, lookup)
        .map(|macs| macs.iter().map(|mac| mac.granted(gpu_limit, budget).into_owned()).collect());
    let on = macs.as_deref().unwrap_or_default();
    let mut workloads: Vec<PlannedWorkload> = Vec::new();
    let mut found = 0;
    let given = entry.tables("workload", &mut |w| {
        found += 1;
        if found > MOST {
            if found == MOST + 1 {
                w.wrong("name", format!("a plan has at most {MOST} workloads"));
            }
            return;
        }
        w.set_label(format!("workload {found}"));
        let Some(workload) = read_workload(w, (found, on), lookup) else { return };
        let alone =
            [("rate", workload.needs.rate.is_some()), ("session", workload.session.is_some())];
        for (key, _) in alone.into_iter().filter(|(_, given)| *given && cluster.is_some()) {
            w.wrong(key, "is judged on single Macs alone; leave it or cluster out");
        }
        if workloads.iter().any(|known| known.name == workload.name) {
            w.wrong("name", format!("\"{}\" stands twice", workload.name));
        }
        workloads.push(workload);
    });
    let fine_tunings = read_fine_tunings(entry, &workloads, lookup);
    if (!given || found == 0) && !entry.has("finetune") {
        entry.wrong(
            "workload",
            "is missing; a plan needs at least one [[workload]] or [[finetune]]",
        );
    }
    if cluster.is_some() && entry.has("finetune") {
        entry.wrong("finetune", "is judged on single Macs alone; leave it or cluster out");
    }
    let name = name.unwrap_or_else(|| file.to_owned());
    let macs = macs?;
    Some(Plan {
        name,
        macs,
        cluster,
        resident,
        reserve,
        other_programs,
        budget,
        workloads,
        fine_tunings,
    })
}

fn read_fine_tunings(
    entry: &mut DataEntry<'_>,
    workloads: &[PlannedWorkload],
    lookup: &Lookup<'_>,
) -> Vec<PlannedFineTuning> {
    let mut all: Vec<PlannedFineTuning> = Vec::new();
    let mut found = 0;
    entry.one_or_more("finetune", &mut |run| {
        found += 1;
        if found > MOST {
            if found == MOST + 1 {
                run.wrong("name", format!("a plan has at most {MOST} fine-tuning runs"));
            }
            return;
        }
        run.set_label(format!("finetune {found}"));
        let Some(read) = training_key::read(run, found, lookup) else { return };
        let mut names = workloads.iter().map(|w| &w.name).chain(all.iter().map(|t| &t.name));
        if names.any(|known| *known == read.name) {
            run.wrong("name", format!("\"{}\" stands twice", read.name));
        }
        all.push(read);
    });
    all
}

fn read_macs(entry: &mut DataEntry<'_>, lookup: &Lookup<'_>) -> Option<Vec<Machine>> {
    if !entry.has("macs") && entry.has("cluster") {
        return Some(Vec::new());
    }
    let specs: Vec<String> = entry.required("macs", None)?;
    if specs.is_empty() || specs.len() > MOST {
        entry.wrong("macs", format!("must name from 1 to {MOST} Macs"));
    }
    let mut macs: Vec<Machine> = Vec::new();
    for spec in specs.iter().take(MOST) {
        match (lookup.mac)(spec) {
            // A Mac that stands twice has one answer.
            Ok(machine) if macs.contains(&machine) => {}
            Ok(machine) => macs.push(machine),
            Err(message) => entry.wrong("macs", message),
        }
    }
    Some(macs)
}

fn read_workload(
    entry: &mut DataEntry<'_>,
    (number, macs): (usize, &[Machine]),
    lookup: &Lookup<'_>,
) -> Option<PlannedWorkload> {
    entry.only(&WORKLOAD_KEYS);
    let name: Option<String> = entry.optional("name");
    if let Some(name) = &name {
        entry.set_label(format!("workload \"{name}\""));
    }
    let standard = Run::default();
    let context_tokens =
        entry.within("context", Some(standard.work.context_tokens), 1..=16_777_216);
    let generate_tokens =
        entry.within("generate", Some(standard.work.generate_tokens), 1..=1_048_576);
    let batch = read_users(entry);
    let images: Option<Images> = entry.optional("images");
    let parallel =
        if entry.has("parallel") { entry.within("parallel", None, 1..=512) } else { None };
    let engine = super::engine::read(entry);
    let kv = read_kv(entry);
    let prompt_cache = size(entry, "prompt_cache");
    let evidence: Option<String> = entry.optional("evidence");
    let idle_s = entry.optional("idle");
    let min_tok_s = bounded(entry, "min_tok_s", 1e-3..=1e6);
    let max_ttft_s = bounded(entry, "max_ttft_s", 1e-3..=1e6);
    let rate = bounded(entry, "rate", 1e-6..=1e4);
    let headroom = gigabytes(entry, "headroom_gb").unwrap_or_default();
    let quant: Option<String> = entry.optional("quant");
    let model: String = entry.required("model", None)?;
    let engine = engine?;
    if rate.is_some() && engine.slots == 1 && engine.program == Program::MlxLm {
        entry.wrong("rate", "needs an engine that serves, such as engine = \"mlx-lm-server\"");
        return None;
    }
    let subject = match (lookup.model)(engine.program, &model, quant.as_deref()) {
        Ok(subject) => subject,
        Err(message) => {
            let about_quant = quant.is_some() && message.contains("quant");
            entry.wrong(if about_quant { "quant" } else { "model" }, message);
            return None;
        }
    };
    let run = standard
        .with_engine(engine)
        .with_conditions(RunConditions { idle_s, ..RunConditions::default() })
        .with_context(context_tokens?)
        .with_generated(generate_tokens?)
        .with_batch(batch?)
        .with_images(images)
        .with_prompt_cache(prompt_cache)
        .with_parallel(parallel)
        .with_kv(kv);
    let (run, session) = session_key::read(entry, run)?;
    let (run, draft) = draft::read(entry, &subject, run, lookup)?;
    let basis = match evidence.map(|file| (lookup.evidence)(&file, &subject, macs, &run)) {
        None => Basis::Spec,
        Some(Ok(basis)) => basis,
        Some(Err(message)) => {
            entry.wrong("evidence", message);
            return None;
        }
    };
    Some(PlannedWorkload {
        name: name.unwrap_or_else(|| format!("{number}: {}", subject.id)),
        subject,
        run,
        basis,
        draft,
        session,
        needs: WorkloadNeeds { min_tok_s, max_ttft_s, rate, headroom },
    })
}

/// The number of users at once, which `batch` says as well.
fn read_users(entry: &mut DataEntry<'_>) -> Option<u32> {
    if entry.has("users") && entry.has("batch") {
        entry.wrong("batch", "says the same as users; leave one of them out");
    }
    let key = if entry.has("batch") { "batch" } else { "users" };
    entry.within(key, Some(1), 1..=512)
}

/// The cache, which `kv_bits` or `kv_type` says.
fn read_kv(entry: &mut DataEntry<'_>) -> Option<KvQuantization> {
    if entry.has("kv_type") {
        if entry.has("kv_bits") {
            entry.wrong("kv_type", "says the same as kv_bits; leave one of them out");
        }
        let kind: String = entry.optional("kv_type")?;
        let kind = kind.parse::<KvType>().map_err(|e| e.to_string());
        let kv = kind.and_then(|kind| kind.quantization().map_err(|e| e.to_string()));
        return kv.unwrap_or_else(|message| {
            entry.wrong("kv_type", message);
            None
        });
    }
    let bits: u32 = entry.optional("kv_bits")?;
    let kv = KvQuantization::of_bits(bits);
    if kv.is_none() {
        entry.wrong("kv_bits", format!("must be 2, 3, 4, 5, 6 or 8, found {bits}"));
    }
    kv
}

impl Field for Images {
    const EXPECTED: &'static str = "a number of images, or \"N@WIDTHxHEIGHT\"";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_integer() {
            Some(count) => count.as_str().parse().ok(),
            None => value.as_str()?.parse().ok(),
        }
    }
}

/// A number within the bounds that the flag of the same name has.
fn bounded(entry: &mut DataEntry<'_>, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
    entry.has(key).then(|| entry.within(key, None, range))?
}

/// A size with its unit.
fn size(entry: &mut DataEntry<'_>, key: &str) -> Option<Bytes> {
    let text: String = entry.optional(key)?;
    text.parse().map_err(|e: SizeError| entry.wrong(key, e.to_string())).ok()
}

fn gigabytes(entry: &mut DataEntry<'_>, key: &str) -> Option<Bytes> {
    entry.has(key).then(|| entry.within(key, None, 0.0..=100_000.0))?.map(Bytes::from_gb)
}
