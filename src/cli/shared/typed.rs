//! Arguments as they would be typed: the command line that means the same again.

use super::draft_args::DraftArgs;
use super::engine_args::{EngineArgs, NaxArg};
use super::limit_args::LimitArgs;
use super::machine_args::MachineArgs;
use super::run_args::RunArgs;
use crate::run::{Acceptance, DraftTokens};
use crate::units::{Bytes, GIB};
use clap::ValueEnum;

/// The words of a command line, each argument apart.
#[derive(Debug, Default)]
pub(in crate::cli) struct CommandWords(Vec<String>);

impl CommandWords {
    /// A command.
    pub fn of_command(name: &str) -> Self {
        Self(vec!["mlxplan".to_owned(), name.to_owned()])
    }

    /// A flag with its value, where there is one.
    pub fn flag(&mut self, flag: &str, value: Option<impl ToString>) {
        self.0.extend(value.into_iter().flat_map(|v| [flag.to_owned(), v.to_string()]));
    }

    /// A flag with its value, where that is not the one that is meant without it.
    pub fn unless<T: PartialEq + ToString>(&mut self, flag: &str, value: T, default: &T) {
        self.flag(flag, (value != *default).then_some(value));
    }

    /// The machine.
    pub fn machine(&mut self, args: &MachineArgs) {
        let MachineArgs { mac, bandwidth, gpu_cores, memory } = args;
        self.flag("--mac", mac.as_ref());
        self.flag("--bandwidth", *bandwidth);
        self.flag("--gpu-cores", *gpu_cores);
        self.flag("--memory", *memory);
    }

    /// The run. Every argument is named here, so that a new one is not forgotten.
    pub fn run(&mut self, args: &RunArgs) {
        let default = RunArgs::default();
        let RunArgs {
            context,
            generate,
            batch,
            images,
            kv_bits,
            kv_type,
            prompt_cache,
            parallel,
            prefill_step,
            limits,
            evidence,
            power,
            sustained,
            idle,
            engine,
        } = args;
        self.unless("--context", *context, &default.context);
        self.unless("--generate", *generate, &default.generate);
        self.unless("--batch", *batch, &default.batch);
        self.flag("--images", images.map(|i| format!("{}@{}x{}", i.count, i.width, i.height)));
        self.flag("--kv-bits", *kv_bits);
        self.flag("--kv-type", *kv_type);
        self.flag("--prompt-cache", prompt_cache.map(size));
        self.flag("--parallel", *parallel);
        self.flag("--prefill-step", *prefill_step);
        self.limits(limits);
        self.flag("--evidence", evidence.as_ref().map(|path| path.display()));
        self.flag("--power", power.and_then(value));
        self.flag("--sustained", *sustained);
        self.flag("--idle", *idle);
        self.engine(engine);
    }

    fn limits(&mut self, args: &LimitArgs) {
        let LimitArgs { reserve, gpu_limit, budget_memory } = args;
        self.flag("--reserve", *reserve);
        self.flag("--gpu-limit", gpu_limit.map(size));
        self.flag("--budget-memory", budget_memory.map(size));
    }

    fn engine(&mut self, args: &EngineArgs) {
        let EngineArgs { engine, mlx, macos, nax } = args;
        self.flag("--engine", engine.map(|e| e.to_string()));
        self.flag("--mlx", *mlx);
        self.flag("--macos", *macos);
        self.flag("--nax", (*nax != NaxArg::Auto).then(|| value(*nax)).flatten());
    }

    /// What drafts tokens.
    pub fn drafts(&mut self, args: &DraftArgs) {
        let DraftArgs { draft, acceptance, draft_tokens } = args;
        self.flag("--draft", draft.as_ref());
        self.flag("--acceptance", acceptance.map(probability));
        self.flag("--draft-tokens", draft_tokens.and_then(drafts_a_round));
    }

    /// The words as a shell takes them.
    #[must_use]
    pub fn joined(&self) -> String {
        // A word with a zero byte cannot be typed; it cannot have been, either.
        shlex::try_join(self.0.iter().map(String::as_str)).unwrap_or_else(|_| self.0.join(" "))
    }
}

/// The command of this process, as a shell takes it.
pub(in crate::cli) fn typed() -> String {
    let arguments = std::env::args_os().skip(1);
    let mut words = vec!["mlxplan".to_owned()];
    words.extend(arguments.map(|word| word.to_string_lossy().into_owned()));
    CommandWords(words).joined()
}

/// A value as it is typed.
fn value(value: impl ValueEnum) -> Option<String> {
    value.to_possible_value().map(|v| v.get_name().to_owned())
}

/// A probability without rounding, or a range of it.
fn probability(acceptance: Acceptance) -> String {
    let [low, high] = acceptance.ends();
    if acceptance.is_exact() { low.to_string() } else { format!("{low}..{high}") }
}

fn drafts_a_round(tokens: DraftTokens) -> Option<String> {
    match tokens {
        DraftTokens::Default => None,
        DraftTokens::Best => Some("auto".to_owned()),
        DraftTokens::Stated(n) => Some(n.to_string()),
    }
}

/// A size without rounding, in the largest unit that allows it.
fn size(bytes: Bytes) -> String {
    let units =
        [("GB", 1_000_000_000), ("GiB", GIB), ("MB", 1_000_000), ("MiB", 1 << 20), ("B", 1)];
    let whole = units.into_iter().find(|(_, unit)| bytes.0.is_multiple_of(*unit));
    let (name, unit) = whole.unwrap_or(("B", 1));
    format!("{}{name}", bytes.0 / unit)
}
