//! What the screen asks: the arguments of one prediction, and how a key changes each of them.

use super::knob::Knob;
use super::steps::{
    CONTEXTS, DRAFTS, Direction, GENERATED, KV_BITS, USERS, beside, formats, stepped,
};
use crate::cli::shared::draft_args::DraftArgs;
use crate::cli::shared::machine_args::MachineArgs;
use crate::cli::shared::run_args::RunArgs;
use crate::cli::shared::typed::CommandWords;
use crate::cli::shared::words::format_name;
use crate::run::{EngineName, Program};

/// The arguments of a prediction.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Inquiry {
    /// The model, once there is one.
    pub model: Option<String>,
    /// The format of its weights, where that is said beside the name.
    pub quant: Option<String>,
    /// The family that an unknown `model_type` is read as.
    pub assume: Option<String>,
    /// What drafts tokens.
    pub drafts: DraftArgs,
    /// The machine.
    pub machine: MachineArgs,
    /// The run.
    pub run: RunArgs,
}

/// What is known of the model that was last opened, as far as changes of the question need it.
#[derive(Clone, Debug)]
pub(super) struct ModelFacts {
    /// The name of the model without a format; `None` where its files have one and no other can be asked for.
    pub base: Option<String>,
    /// The format that it was opened in.
    pub quant: String,
}

impl Inquiry {
    /// The program that runs the model.
    pub(super) fn program(&self) -> Program {
        self.run.engine.engine.map_or_else(Program::default, |engine| engine.program)
    }

    /// The command that predicts the same.
    pub fn command(&self) -> String {
        let mut words = CommandWords::of_command("predict");
        words.flag("--model", self.model.as_ref());
        words.flag("--quant", self.quant.as_ref());
        words.machine(&self.machine);
        words.run(&self.run);
        words.drafts(&self.drafts);
        words.flag("--assume", self.assume.as_ref());
        words.joined()
    }

    /// The command that writes the report of the same.
    pub fn report_command(&self) -> String {
        let mut words = CommandWords::of_command("report");
        words.flag("--model", self.model.as_ref());
        words.flag("--quant", self.quant.as_ref());
        words.flag("--mac", self.machine.mac.as_ref());
        words.run(&self.run);
        words.joined()
    }

    /// What a setting stands at, as the screen shows it; `facts` are of the model as it was opened last.
    pub(super) fn shown(&self, knob: Knob, facts: Option<&ModelFacts>) -> String {
        let run = &self.run;
        match knob {
            Knob::Mac => match (&self.machine.mac, self.machine.bandwidth) {
                (Some(mac), _) => mac.clone(),
                (None, Some(gbs)) => format!("{gbs} GB/s, by its figures"),
                (None, None) => "this machine".to_owned(),
            },
            Knob::Model => self.model.clone().unwrap_or_else(|| "none yet".to_owned()),
            Knob::Format => match (&self.quant, facts) {
                (Some(quant), _) => quant.clone(),
                (None, Some(facts)) => format_name(&facts.quant),
                (None, None) => "as the name says".to_owned(),
            },
            Knob::Context => run.context.to_string(),
            Knob::Output => run.generate.to_string(),
            Knob::Kv => match (run.kv_bits, run.kv_type) {
                (Some(bits), _) => format!("{bits} bit"),
                (None, Some(kind)) => kind.to_string(),
                (None, None) => "16 bit".to_owned(),
            },
            Knob::Users => run.batch.to_string(),
            Knob::Draft => self.drafts.draft.clone().unwrap_or_else(|| "none".to_owned()),
            Knob::Engine => {
                let name = run.engine.engine.unwrap_or_default();
                match run.engine.mlx {
                    Some(mlx) => format!("{name}, MLX {mlx}"),
                    None => name.to_string(),
                }
            }
        }
    }

    /// Moves a setting one step.
    ///
    /// # Errors
    /// Why it does not move, in words.
    pub(super) fn step(
        &mut self,
        knob: Knob,
        way: Direction,
        facts: Option<&ModelFacts>,
    ) -> Result<(), &'static str> {
        let run = &mut self.run;
        match knob {
            Knob::Mac | Knob::Model => return Err("press Enter to choose by typing"),
            Knob::Format => return self.step_format(way, facts),
            Knob::Context => run.context = beside(run.context, way, CONTEXTS),
            Knob::Output => run.generate = beside(run.generate, way, GENERATED),
            Knob::Users => run.batch = beside(run.batch, way, USERS),
            Knob::Kv => {
                let now = run.kv_bits.or_else(|| {
                    let kind = run.kv_type.and_then(|t| t.quantization().ok()).flatten();
                    kind.map(|kv| kv.packing.bits)
                });
                run.kv_bits = stepped(&KV_BITS, KV_BITS.iter().position(|b| *b == now), way);
                run.kv_type = None;
            }
            Knob::Engine => self.step_engine(way),
            Knob::Draft => self.step_draft(way),
        }
        Ok(())
    }

    fn step_format(
        &mut self,
        way: Direction,
        facts: Option<&ModelFacts>,
    ) -> Result<(), &'static str> {
        let Some(facts) = facts else { return Err("the model is not known yet") };
        let Some(base) = &facts.base else {
            return Err("the files of this model have their format; no other can be asked for");
        };
        let all = formats(self.program().runs_gguf());
        let now = self.quant.as_deref().unwrap_or(&facts.quant);
        let at = all.iter().position(|f| same_format(f, now));
        self.quant = Some(stepped(all, at, way).to_owned());
        self.model = Some(base.clone());
        Ok(())
    }

    /// Another program, in its newest version. A format of weights that it does not run is left to its default.
    fn step_engine(&mut self, way: Direction) {
        let now = self.program();
        let at = Program::ALL.iter().position(|p| *p == now);
        let program = stepped(&Program::ALL, at, way);
        if program.runs_gguf() != now.runs_gguf() {
            self.quant = None;
        }
        let engine = &mut self.run.engine;
        engine.engine =
            (program != Program::default()).then_some(EngineName { program, version: None });
        engine.mlx = None;
    }

    /// Another kind of draft. How many drafts are right, and how many there are in a round, stays as it was said.
    fn step_draft(&mut self, way: Direction) {
        let now = self.drafts.draft.as_deref();
        let draft = stepped(&DRAFTS, DRAFTS.iter().position(|d| *d == now), way);
        self.drafts = match draft {
            None => DraftArgs::default(),
            Some(draft) => DraftArgs { draft: Some(draft.to_owned()), ..self.drafts.clone() },
        };
    }

    /// Sets a number that was typed.
    ///
    /// # Errors
    /// What the numbers may be, in words.
    pub(super) fn set(&mut self, knob: Knob, text: &str) -> Result<(), String> {
        let (slot, [low, high]) = match knob {
            Knob::Context => (&mut self.run.context, CONTEXTS),
            Knob::Output => (&mut self.run.generate, GENERATED),
            Knob::Users => (&mut self.run.batch, USERS),
            _ => return Err("this setting is no number".to_owned()),
        };
        let number = number(text).filter(|n| (low..=high).contains(n));
        *slot = number.ok_or_else(|| {
            format!("'{text}': a number from {low} to {high}, such as 4096 or 32k")
        })?;
        Ok(())
    }
}

/// A number, also in thousands of 1024: `32k`.
fn number(text: &str) -> Option<u32> {
    let text = text.trim().to_lowercase();
    match text.strip_suffix('k') {
        Some(thousands) => thousands.trim_end().parse::<u32>().ok()?.checked_mul(1024),
        None => text.replace([',', '_'], "").parse().ok(),
    }
}

/// Whether two texts name the same format of weights.
fn same_format(one: &str, other: &str) -> bool {
    let plain = |text: &str| {
        let text = text.strip_prefix("gguf-").unwrap_or(text);
        text.parse::<crate::model::NamedFormat>()
            .map_or_else(|_| text.to_owned(), |f| f.to_string())
    };
    plain(one).eq_ignore_ascii_case(&plain(other))
}

#[cfg(test)]
mod tests;
