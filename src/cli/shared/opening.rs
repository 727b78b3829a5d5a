//! Opening the models and Macs that arguments name.

use super::context::Context;
use super::machine_args::MachineArgs;
use super::progress::Progress;
use crate::data_dir;
use crate::estimate::{Opened, OpenedModel, SIZES_HINT, Sources};
use crate::hardware::machine::{CustomMachine, Machine};
use crate::hardware::spec;
use crate::model::source::Origin;
use crate::model::source::hub::{HubOptions, HubProgress};
use crate::run::Program;
use anyhow::{Result, anyhow, bail};
use std::sync::{Mutex, PoisonError};

/// An answer about a model, or an error that names its file and what to do.
pub(in crate::cli) trait About<T> {
    /// Says of which model it is.
    fn about(self, model: &OpenedModel) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> About<T> for std::result::Result<T, E> {
    fn about(self, model: &OpenedModel) -> Result<T> {
        self.map_err(|error| {
            let error: anyhow::Error = error.into();
            let text = format!("{error:#}");
            if !text.contains("this model cannot run") {
                return error;
            }
            let file = match &model.source.origin {
                Origin::Catalog { id, .. } => id.clone(),
                other => other.to_string(),
            };
            // Shapes stand in brackets: then sizes do not go together, and not what was asked for.
            let hint =
                if text.contains('[') { format!("\nhint: {SIZES_HINT}") } else { String::new() };
            anyhow!("{file}: {text}{hint}")
        })
    }
}

impl Context {
    /// Where models are looked up.
    pub(in crate::cli) fn sources(&self, assume: Option<&str>) -> Result<Sources<'_, 'static>> {
        let home = std::env::home_dir();
        let mut hub = HubOptions::from_env(&|name| std::env::var_os(name), home.as_deref());
        hub.offline |= self.offline;
        hub.store = data_dir::cache_dir().map(|folder| folder.join("hub"));
        let progress =
            if self.printer.quiet { &silent } else { &say as &(dyn Fn(HubProgress) + Sync) };
        Ok(Sources {
            catalog: self.catalogs.models()?,
            hub,
            progress,
            assume: assume.map(str::to_owned),
            program: Program::default(),
        })
    }

    /// Opens a model argument, for mlx-lm.
    pub(in crate::cli) fn open(
        &self,
        model: &str,
        quant: Option<&str>,
        assume: Option<&str>,
    ) -> Result<Opened<'_>> {
        self.open_for(Program::default(), model, quant, assume)
    }

    /// Opens a model argument, for a program.
    pub(in crate::cli) fn open_for(
        &self,
        program: Program,
        model: &str,
        quant: Option<&str>,
        assume: Option<&str>,
    ) -> Result<Opened<'_>> {
        let opened = self.open_any(program, model, quant, assume)?;
        if let Opened::Model(m) = &opened
            && let Some(what) = m.purpose.what()
        {
            bail!(
                "{} is {what}, which generates no text; `predict` and `inspect` say its memory and how fast it reads",
                m.id
            );
        }
        Ok(opened)
    }

    /// The same, of any model whose network is known, also where it generates nothing.
    fn open_any(
        &self,
        program: Program,
        model: &str,
        quant: Option<&str>,
        assume: Option<&str>,
    ) -> Result<Opened<'_>> {
        let sources = Sources { program, ..self.sources(assume)? };
        let opened = OpenedModel::open(model, quant, &sources).map_err(|e| {
            let hint = e.hint().map(str::to_owned);
            let error = anyhow::Error::from(e);
            match hint {
                Some(hint) => anyhow!("{error}\nhint: {hint}"),
                None => error,
            }
        })?;
        if let Opened::Model(m) = &opened {
            self.printer.detail(&format!("{} {}: {}", m.id, m.quant, m.source.origin));
        }
        Ok(opened)
    }

    /// Opens a model argument that must name one model, for mlx-lm.
    pub(in crate::cli) fn one_model(
        &self,
        model: &str,
        quant: Option<&str>,
        assume: Option<&str>,
    ) -> Result<OpenedModel> {
        self.one_model_for(Program::default(), model, quant, assume)
    }

    /// Opens a model argument that must name one model, for a program.
    pub(in crate::cli) fn one_model_for(
        &self,
        program: Program,
        model: &str,
        quant: Option<&str>,
        assume: Option<&str>,
    ) -> Result<OpenedModel> {
        Self::one(model, self.open_for(program, model, quant, assume)?)
    }

    /// Opens a model argument that must name one model, for a program; it may be one that generates nothing.
    pub(in crate::cli) fn any_model_for(
        &self,
        program: Program,
        model: &str,
        quant: Option<&str>,
        assume: Option<&str>,
    ) -> Result<OpenedModel> {
        Self::one(model, self.open_any(program, model, quant, assume)?)
    }

    fn one(model: &str, opened: Opened<'_>) -> Result<OpenedModel> {
        match opened {
            Opened::Model(subject) => Ok(*subject),
            Opened::Class(class) => {
                let suffix = class.scheme.map(|s| format!("-{}", s.suffix())).unwrap_or_default();
                let names: Vec<String> = class
                    .members
                    .iter()
                    .chain(&class.related)
                    .take(12)
                    .map(|m| format!("  {}{suffix}", m.model.id))
                    .collect();
                bail!(
                    "'{model}' is a size class, not one model; choose one, most popular first:\n{}",
                    names.join("\n")
                )
            }
        }
    }

    /// The machine that the arguments describe, or the one mlxplan runs on.
    pub(in crate::cli) fn machine(&self, args: &MachineArgs) -> Result<Machine> {
        if let (Some(bandwidth_gbs), Some(gpu_cores), Some(memory_gib)) =
            (args.bandwidth, args.gpu_cores, args.memory)
        {
            let custom = CustomMachine {
                bandwidth_gbs,
                gpu_cores,
                memory_gib,
                generation: None,
                tier: None,
            };
            return Ok(custom.resolve(&self.catalogs.macs)?);
        }
        let machine = spec::resolve(args.mac.as_deref().unwrap_or("this"), &self.catalogs.macs)?;
        for (figure, from) in machine.provenance() {
            self.printer.detail(&format!("{} {figure}: {from}", machine.id));
        }
        Ok(machine)
    }
}

/// Shows how many headers have arrived from the hub.
fn say(p: HubProgress) {
    static SHOWN: Mutex<Option<Progress>> = Mutex::new(None);
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if p.done >= p.total {
        *shown = None;
        return;
    }
    let bar = shown.get_or_insert_with(|| Progress::steps(false, "reading headers", 0));
    bar.set(p.done as u64, p.total as u64);
}

fn silent(_: HubProgress) {}
