//! `mlxplan models`: the catalog of models, the families, and what is on this disk.

mod verdict;

use super::shared::caches::cached;
use super::shared::context::{Catalogs, Context};
use super::shared::exit::ExitStatus;
use super::shared::machine_args::MachineArgs;
use super::shared::words::contains;
use crate::graph::families::FAMILIES;
use crate::model::catalog::Summary;
use crate::model::source::cache::{Discovery, FoundModel};
use crate::report::{Answer, Column, Document, Present, Table};
use crate::units::Bytes;
use anyhow::Result;
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;
use verdict::{Verdict, verdicts};

/// Models that a Mac judges in one list, at most.
const JUDGED: usize = 40;

/// Arguments of `models`.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// Words that the name, family or size class must contain
    #[arg(value_name = "WORDS")]
    pub words: Vec<String>,

    /// List the model families (model_type) instead
    #[arg(long)]
    pub families: bool,

    /// List the models on this machine instead: those of Hugging Face, LM Studio and Ollama
    #[arg(long, conflicts_with = "families")]
    pub local: bool,

    /// The Mac to say of each whether it fits, with how much context
    #[command(flatten)]
    pub machine: MachineArgs,
}

pub(super) fn run(context: &Context, args: &ModelsArgs) -> Result<(Answer, ExitStatus)> {
    if args.families {
        return Ok((Answer::of(FamiliesAnswer::of(&args.words)), ExitStatus::Ok));
    }
    let mut answer = match args.local {
        true => ModelsAnswer::local(&args.words),
        false => ModelsAnswer::known(&context.catalogs, &args.words)?,
    };
    if args.machine.mac.is_some() || args.machine.bandwidth.is_some() {
        answer.judge(context, &args.machine)?;
    }
    Ok((Answer::of(answer), ExitStatus::Ok))
}

/// The object `mlxplan.models/1`: models of the catalog, or those on this machine.
#[derive(Serialize, JsonSchema)]
pub(super) struct ModelsAnswer {
    /// The models.
    models: Vec<ModelKeys>,
    /// What could not be read.
    problems: Vec<String>,
    /// The Mac that judged them.
    mac: Option<String>,
    /// Whether these are the ones on this machine.
    #[serde(skip)]
    local: bool,
}

/// A model. What the catalog knows is `null` for one found on this machine, and the other way round.
#[derive(Default, Serialize, JsonSchema)]
struct ModelKeys {
    /// Repository.
    id: String,
    /// Name to show.
    name: Option<String>,
    /// `model_type` of its configuration.
    model_type: Option<String>,
    /// Further names that the command line takes.
    aliases: Option<Vec<String>>,
    /// Whether mlx-lm implements the `model_type`.
    mlx_lm_supported: Option<bool>,
    /// Parameters of the published safetensors.
    published_params: Option<u64>,
    /// Parameters active per token, as the name states them.
    active_params: Option<u64>,
    /// Downloads from Hugging Face.
    downloads: Option<u64>,
    /// Format of the files on this machine.
    format: Option<String>,
    /// Bytes of the weight files.
    weight_bytes: Option<u64>,
    /// Folder, or the first file of a GGUF model.
    path: Option<String>,
    /// Commit, in the Hugging Face cache.
    revision: Option<String>,
    /// What the Mac that was named makes of it.
    on_mac: Option<Verdict>,
}

impl ModelsAnswer {
    /// Says of the first models what a Mac makes of them, in a run with the default context.
    fn judge(&mut self, context: &Context, machine: &MachineArgs) -> Result<()> {
        let machine = context.machine(machine)?;
        // A file on this machine is opened where it lies; of the catalog's models the usual conversion is meant, which
        // the name without its owner stands for, rather than the original repository.
        let short = |id: &str| id.rsplit('/').next().unwrap_or(id).to_owned();
        let name = |m: &ModelKeys| m.path.clone().unwrap_or_else(|| short(&m.id));
        let names: Vec<String> = self.models.iter().take(JUDGED).map(name).collect();
        for (model, verdict) in self.models.iter_mut().zip(verdicts(context, &names, &machine)) {
            model.on_mac = Some(verdict);
        }
        self.mac = Some(machine.name.clone());
        Ok(())
    }

    fn known(catalogs: &Catalogs, words: &[String]) -> Result<Self> {
        let text = |m: &Summary| format!("{} {} {}", m.id, m.model_type, m.aliases.join(" "));
        let all = catalogs.models()?.models().iter();
        let mut found: Vec<&Summary> = all.filter(|m| contains(words, &text(m))).collect();
        found.sort_by(|a, b| b.downloads.cmp(&a.downloads).then_with(|| a.id.cmp(&b.id)));
        let models = found.into_iter().map(ModelKeys::known).collect();
        Ok(Self { models, problems: Vec::new(), mac: None, local: false })
    }

    fn local(words: &[String]) -> Self {
        let Discovery { models, problems } = cached();
        let models = models.iter().filter(|m| contains(words, &m.id)).map(ModelKeys::local);
        Self { models: models.collect(), problems, mac: None, local: true }
    }
}

impl ModelKeys {
    fn known(m: &Summary) -> Self {
        Self {
            id: m.id.clone(),
            name: Some(m.name.clone()),
            model_type: Some(m.model_type.clone()),
            aliases: Some(m.aliases.clone()),
            mlx_lm_supported: Some(m.mlx_lm_supported),
            published_params: m.published_params,
            active_params: m.active_params,
            downloads: m.downloads,
            ..Self::default()
        }
    }

    fn local(m: &FoundModel) -> Self {
        Self {
            id: m.id.clone(),
            format: Some(m.format.to_string()),
            weight_bytes: Some(m.weight_bytes),
            path: Some(m.path.display().to_string()),
            revision: m.revision.clone(),
            ..Self::default()
        }
    }

    fn short_name(&self) -> &str {
        super::shared::words::short(&self.id)
    }
}

impl Present for ModelsAnswer {
    const SCHEMA: &'static str = "mlxplan.models/1";
    const NOT_MODELED: &'static [&'static str] =
        &["quality of the models", "repositories newer than the catalog"];

    fn document(&self) -> Document {
        let mut d = Document::default();
        let n = self.models.len();
        if self.local {
            d.table(local_table(&self.models));
            let count =
                format!("{} in the folders of Hugging Face, LM Studio and Ollama", models_text(n));
            let judged = self.judged();
            d.notes(std::iter::once(count).chain(judged).chain(self.problems.clone()).collect());
        } else {
            d.table(known_table(&self.models));
            let mut notes = vec![format!(
                "{}. Any of them takes a quantization suffix: {}-4bit. Models that are \
                 not listed: give a folder, a config.json, a .gguf file or hf:org/name.",
                if n == 1 {
                    models_text(n)
                } else {
                    format!("{}, most downloaded first", models_text(n))
                },
                self.models.first().map_or("qwen3-32b", ModelKeys::short_name)
            )];
            notes.extend(self.judged());
            d.notes(notes);
        }
        d
    }
}

impl ModelsAnswer {
    /// What the verdicts rest on.
    fn judged(&self) -> Option<String> {
        let mac = self.mac.as_ref()?;
        let rest = self.models.len().saturating_sub(JUDGED);
        let more = match rest {
            0 => String::new(),
            n => format!("; the other {n} were not judged: add words that the names must contain"),
        };
        Some(format!(
            "on {mac}: a 4096-token prompt in the format that the engine runs by default; context is the longest that \
             is safe{more}"
        ))
    }
}

/// The cells that a Mac adds to a row.
fn verdict_cells(model: &ModelKeys) -> [String; 3] {
    let Some(on) = &model.on_mac else { return Default::default() };
    [
        on.word(),
        on.max_context_tokens.map(|n| n.to_string()).unwrap_or_default(),
        on.tokens_per_s.map(|rate| format!("{rate:.1}")).unwrap_or_default(),
    ]
}

/// The columns that a Mac adds, where any row has a verdict.
fn verdict_columns(models: &[ModelKeys]) -> Vec<Column> {
    match models.iter().any(|m| m.on_mac.is_some()) {
        true => vec![Column::text("fits"), Column::number("context"), Column::number("tok/s")],
        false => Vec::new(),
    }
}

fn known_table(models: &[ModelKeys]) -> Table {
    let mut columns = vec![
        Column::text("model"),
        Column::text("family").droppable(1),
        Column::number("parameters"),
        Column::number("active").droppable(2),
        Column::number("downloads").droppable(3),
    ];
    columns.extend(verdict_columns(models));
    let width = columns.len();
    let mut table = Table::new(columns);
    for m in models {
        let cells = [
            m.id.clone(),
            m.model_type.clone().unwrap_or_default(),
            m.published_params.map_or_else(|| "?".to_owned(), billions),
            m.active_params.map(billions).unwrap_or_default(),
            m.downloads.map(|n| n.to_string()).unwrap_or_default(),
        ];
        table.row(cells.into_iter().chain(verdict_cells(m)).take(width));
    }
    table
}

fn local_table(models: &[ModelKeys]) -> Table {
    let mut columns = vec![
        Column::text("model"),
        Column::text("format"),
        Column::number("weights"),
        Column::text("folder").droppable(1),
    ];
    columns.extend(verdict_columns(models));
    let width = columns.len();
    let mut table = Table::new(columns);
    for m in models {
        let cells = [
            m.id.clone(),
            m.format.clone().unwrap_or_default(),
            m.weight_bytes.map(|b| Bytes(b).to_string()).unwrap_or_default(),
            m.path.clone().unwrap_or_default(),
        ];
        table.row(cells.into_iter().chain(verdict_cells(m)).take(width));
    }
    table
}

fn billions(n: u64) -> String {
    format!("{:.1} B", n as f64 / 1e9)
}

/// The object `mlxplan.families/1`.
#[derive(Serialize, JsonSchema)]
pub(super) struct FamiliesAnswer {
    /// The families, by name.
    families: Vec<FamilyKeys>,
}

/// A `model_type`.
#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
struct FamilyKeys {
    /// Its name.
    model_type: &'static str,
    /// What stands in its way in mlx-lm.
    remark: Option<&'static str>,
}

impl FamiliesAnswer {
    fn of(words: &[String]) -> Self {
        let types = FAMILIES.iter().flat_map(|f| {
            f.model_types
                .iter()
                .map(move |&t| FamilyKeys { model_type: t, remark: f.not_in_mlx_lm })
        });
        let mut families: Vec<FamilyKeys> =
            types.filter(|f| contains(words, f.model_type)).collect();
        families.sort_unstable();
        Self { families }
    }
}

impl Present for FamiliesAnswer {
    const SCHEMA: &'static str = "mlxplan.families/1";

    fn document(&self) -> Document {
        let mut table = Table::new(vec![Column::text("model_type"), Column::text("remark")]);
        for f in &self.families {
            table.row([f.model_type, f.remark.unwrap_or_default()]);
        }
        let mut d = Document::default();
        d.table(table);
        d.notes(vec![format!("{} model types", self.families.len())]);
        d
    }
}
/// So many models, in words.
fn models_text(n: usize) -> String {
    if n == 1 { "1 model".to_owned() } else { format!("{n} models") }
}
