//! The tools, one row for each.

use super::argument_schema::ArgumentSchema;
use super::arguments::Arguments;
use crate::advise::serving::Serving;
use crate::advise::session::SessionPlan;
use crate::cli::audit::{self, AuditAnswer, AuditArgs};
use crate::cli::check::answer::CheckAnswer;
use crate::cli::check::{self, CheckArgs};
use crate::cli::compare::args::CompareArgs;
use crate::cli::compare::buy::answer::PurchaseAnswer;
use crate::cli::inspect::answer::InspectAnswer;
use crate::cli::inspect::args::InspectArgs;
use crate::cli::predict::args::PredictArgs;
use crate::cli::recommend::answer::Recommendation;
use crate::cli::recommend::args::RecommendArgs;
use crate::cli::recommend::which_mac::WhichMac;
use crate::cli::shared::context::Context;
use crate::cli::shared::exit::ExitStatus;
use crate::cli::why::answer::WhyAnswer;
use crate::cli::why::args::WhyArgs;
use crate::cli::{compare, inspect, predict, recommend, why};
use crate::estimate::{Prediction, Speculation};
use crate::report::{Answer, Present, Tagged};
use anyhow::Result;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// The argument of every tool that lets it use the network.
pub(super) const ONLINE: &str = "online";

/// A command as a tool.
pub(super) struct ToolRow {
    /// Its name.
    pub name: &'static str,
    title: &'static str,
    description: &'static str,
    /// The flags of its command.
    augment: fn(Command) -> Command,
    /// Flags that are always given.
    fixed: &'static [&'static str],
    /// Arguments that are not offered: what measures, or what the fixed flags exclude.
    hidden: &'static [&'static str],
    /// Of these one is needed although the command does without.
    any_of: &'static [&'static str],
    answers: &'static [fn(&mut SchemaGenerator) -> Schema],
    run: fn(&Context, &ArgMatches) -> Result<(Answer, ExitStatus)>,
}

fn of<T: Present>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Tagged<T>>()
}

/// All tools.
pub(super) const TOOLS: [ToolRow; 9] = [
    ToolRow {
        name: "recommend",
        title: "What runs on a Mac",
        description: "Which models and quantizations run on a Mac: whether each fits, decode tokens/s and time to first \
                      token with intervals, peak memory, longest context, settings. With model: that model or size class \
                      (32B-4bit); without: the best choices by size. Without mac: this machine. With draft: what speculative decoding gains.",
        augment: RecommendArgs::augment_args,
        fixed: &[],
        hidden: &["users", "prompt", "rate", "min_tok_s", "max_ttft"],
        any_of: &[],
        answers: &[of::<Recommendation>, of::<WhichMac>, of::<Speculation>],
        run: |context, m| recommend::run(context, &RecommendArgs::from_arg_matches(m)?),
    },
    ToolRow {
        name: "predict",
        title: "One model on one Mac, in full",
        description: "Decode and prefill speed with 80 % and 90 % intervals, memory by part, whether it fits, the longest \
                      safe context, and what the figures rest on, of one model on one Mac with a given engine.",
        augment: PredictArgs::augment_args,
        fixed: &[],
        hidden: &["time_layers", "force", "turn", "session"],
        any_of: &[],
        answers: &[of::<Prediction>],
        run: |context, m| predict::run(context, &PredictArgs::from_arg_matches(m)?),
    },
    ToolRow {
        name: "serve",
        title: "Several users at once",
        description: "How many users of one model at once a Mac serves: total and per-user tokens/s with intervals, time to first token, \
                      peak memory for 1, 2, 4 … users, where more of them gain nothing, and the command that starts the server. \
                      Tokens of a prompt are prompt, of an answer generate; rate: requests per second.",
        augment: RecommendArgs::augment_args,
        fixed: &[],
        hidden: &["for", "limit", "draft", "acceptance", "draft_tokens"],
        any_of: &["users"],
        answers: &[of::<Serving>],
        run: |context, m| recommend::run(context, &RecommendArgs::from_arg_matches(m)?),
    },
    ToolRow {
        name: "session",
        title: "A turn or a session of an agent",
        description: "The turns of a conversation or of an agent's work, with a kept prompt cache and without: time to first token cold and \
                      warm, speed, cache and peak memory by turn, and where it ends. turn: prompt=8000,cached=6000,output=400; \
                      session: turns=40,system=6000,prompt=300,output=500,tool=1500, or the path of a TOML file.",
        augment: PredictArgs::augment_args,
        fixed: &[],
        hidden: &["time_layers", "force", "depths", "explain"],
        any_of: &["turn", "session"],
        answers: &[of::<SessionPlan>],
        run: |context, m| predict::run(context, &PredictArgs::from_arg_matches(m)?),
    },
    ToolRow {
        name: "compare_buy",
        title: "Which Mac to buy",
        description: "Every Mac configuration that meets the needs (models, context, tokens/s, time to first token, users, \
                      budget in USD): price, speed, longest context, USD per token/s and per million tokens, Pareto front.",
        augment: CompareArgs::augment_args,
        fixed: &["--buy"],
        hidden: &["buy", "mac", "macs", "cluster", "link", "engines", "vary"],
        any_of: &[],
        answers: &[of::<PurchaseAnswer>],
        run: |context, m| compare::run(context, &CompareArgs::from_arg_matches(m)?),
    },
    ToolRow {
        name: "check",
        title: "Whether a plan holds",
        description: "A gate before deployment: whether the workloads of a plan hold on their Macs, each need with its \
                      probability, and the smallest change that helps. plan is the path of a TOML file, or its text: \
                      macs = [\"m4max-40/64\"], then [[workload]] tables with name, model, context, min_tok_s, max_ttft_s, fits.",
        augment: CheckArgs::augment_args,
        fixed: &[],
        hidden: &[],
        any_of: &[],
        answers: &[of::<CheckAnswer>],
        run: |context, m| {
            let args = CheckArgs::from_arg_matches(m)?;
            match written(&args.plan) {
                Some(text) => check::checked(context, "plan", text),
                None => check::run(context, &args),
            }
        },
    },
    ToolRow {
        name: "inspect",
        title: "Exact sizes of a model",
        description: "Exact weight bytes, parameters, cache bytes by tokens, traffic, FLOPs and kernel launches of a step, \
                      of a catalog name, a folder, a config.json or a GGUF file; tensors and ops list everything and are long.",
        augment: InspectArgs::augment_args,
        fixed: &[],
        hidden: &[],
        any_of: &[],
        answers: &[of::<InspectAnswer>],
        run: |context, m| inspect::run(context, &InspectArgs::from_arg_matches(m)?),
    },
    ToolRow {
        name: "why",
        title: "Why a run is slower than predicted",
        description: "What explains the gap between a measured speed (measured: tokens/s, ttft: seconds, or bench: a result \
                      file of mlxplan bench) and the prediction: causes in order, each with its factor, evidence and a test.",
        augment: WhyArgs::augment_args,
        fixed: &[],
        hidden: &["server"],
        any_of: &[],
        answers: &[of::<WhyAnswer>],
        run: |context, m| why::run(context, &WhyArgs::from_arg_matches(m)?),
    },
    ToolRow {
        name: "audit",
        title: "Whether claimed speeds can be",
        description: "Judges claimed measurements against physical bounds, exact model sizes and sound method. file is the \
                      path of claims (.toml), of a bench result (.json) or of measurements (.csv), or their text: \
                      [[claim]] tables with id, model, quant, machine, engine, prompt_tokens, decode_tokens_per_s, ttft_s.",
        augment: AuditArgs::augment_args,
        fixed: &[],
        hidden: &[],
        any_of: &[],
        answers: &[of::<AuditAnswer>],
        run: |context, m| {
            let args = AuditArgs::from_arg_matches(m)?;
            match written(&args.file) {
                Some(text) => audit::judged(context, ("claims", text), args.mac.as_deref()),
                None => audit::run(context, &args),
            }
        },
    },
];

/// The text that was given in place of a file's path; no path goes over lines.
fn written(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| text.contains('\n'))
}

impl ToolRow {
    fn arguments(&self) -> Arguments {
        Arguments::new(self.name, self.augment, (self.fixed, self.hidden, self.any_of))
    }

    /// How it is offered to agents.
    pub(super) fn tool(&self, may_go_online: bool) -> Tool {
        let mut inputs = self.arguments().schema();
        if let Some(Value::Object(keys)) = inputs.get_mut("properties")
            && may_go_online
        {
            let said = "Whether the network may be used, for models that are not known here (Hugging Face)";
            let online = ArgumentSchema::one("boolean", Vec::new());
            online.described(said.to_owned(), Some(false.into())).insert_into(keys, ONLINE);
        }
        let annotations = ToolAnnotations::with_title(self.title);
        let annotations = annotations.read_only(true).idempotent(true).open_world(may_go_online);
        Tool::new(self.name, self.description, Arc::new(inputs))
            .with_title(self.title)
            .with_annotations(annotations)
            .with_raw_output_schema(Arc::new(self.answer_schema()))
    }

    /// The schema of its answers; of several, any.
    fn answer_schema(&self) -> JsonObject {
        let settings = SchemaSettings::draft2020_12().for_serialize();
        let mut generator = settings.into_generator();
        let answers: Vec<Value> =
            self.answers.iter().map(|a| a(&mut generator).to_value()).collect();
        let definitions = generator.take_definitions(true);
        let mut schema = JsonObject::new();
        schema.insert("type".to_owned(), "object".into());
        schema.insert("anyOf".to_owned(), answers.into());
        schema.insert("$defs".to_owned(), Value::Object(definitions));
        schema
    }

    /// Its answer to the arguments.
    ///
    /// # Errors
    /// The text says what is wrong with the arguments, or why the command has no answer.
    pub(super) fn answer(&self, context: &Context, given: &JsonObject) -> Result<Answer, String> {
        let matches = self.arguments().matches(given)?;
        let (answer, _) = (self.run)(context, &matches)
            .map_err(|e| crate::cli::shared::output::error_text(&e))?;
        Ok(answer)
    }
}
