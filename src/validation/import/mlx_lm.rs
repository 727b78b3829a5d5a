//! The output of `mlx_lm.benchmark`. It names neither the Mac nor the model; the command in front of it does, where it was
//! copied too.

use super::{FoundRun, positive};
use crate::run::Program;
use crate::stats::median;
use crate::validation::measurement::RateKind;

const BEGIN: &str = "Timing with prompt_tokens=";

pub(super) fn is(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with(BEGIN))
        && text.contains("generation_tps=")
}

pub(super) fn runs(text: &str) -> Vec<FoundRun> {
    let (mut runs, mut command) = (Vec::new(), Command::default());
    let mut trials: Option<Trials> = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(found) = Command::read(line) {
            command = found;
        } else if let Some(rest) = line.strip_prefix(BEGIN) {
            runs.extend(trials.take().map(|t| t.run(runs.len())));
            trials = Trials::begin(rest, &command);
        } else if let Some(t) = &mut trials
            && line.starts_with("Trial ")
        {
            t.add(line);
        }
    }
    runs.extend(trials.map(|t| t.run(runs.len())));
    runs
}

/// The command that was run.
#[derive(Clone, Debug, Default)]
struct Command {
    model: String,
    paused: bool,
}

impl Command {
    fn read(line: &str) -> Option<Self> {
        let named = ["mlx_lm.benchmark", "mlx_lm benchmark"].iter().any(|name| line.contains(name));
        let words: Vec<&str> = line.split(['`', ' ', '\t']).filter(|w| !w.is_empty()).collect();
        let option = |name: &str| {
            let at = words.iter().position(|w| *w == name)?;
            words.get(at + 1).copied()
        };
        let model = named.then(|| option("--model"))??;
        let delay = option("--delay").and_then(|s| s.parse::<f64>().ok());
        Some(Self { model: model.to_owned(), paused: delay.is_some_and(|s| s > 1.0) })
    }
}

/// Trials of one length.
#[derive(Clone, Debug)]
struct Trials {
    command: Command,
    prompt: u32,
    generated: u32,
    batch: u32,
    prefill: Vec<f64>,
    decode: Vec<f64>,
    peak_gb: Vec<f64>,
}

impl Trials {
    /// From what follows [`BEGIN`]: `512, generation_tokens=128, batch_size=1.`
    fn begin(rest: &str, command: &Command) -> Option<Self> {
        let (prompt, rest) = rest.split_once(',')?;
        let count = |name: &str| {
            let (_, text) = rest.split_once(name)?;
            let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<u32>().ok()
        };
        Some(Self {
            command: command.clone(),
            prompt: prompt.trim().parse().ok()?,
            generated: count("generation_tokens=")?,
            batch: count("batch_size=").unwrap_or(1),
            prefill: Vec::new(),
            decode: Vec::new(),
            peak_gb: Vec::new(),
        })
    }

    fn add(&mut self, line: &str) {
        let figure = |name: &str| {
            let (_, text) = line.split_once(name)?;
            positive(text.split(',').next()?.trim().parse().ok()?)
        };
        self.prefill.extend(figure("prompt_tps="));
        self.decode.extend(figure("generation_tps="));
        self.peak_gb.extend(figure("peak_memory="));
    }

    fn run(self, index: usize) -> FoundRun {
        let folder = self.command.model.starts_with(['/', '.', '~']);
        let last = self.command.model.rsplit('/').next().unwrap_or_default().to_owned();
        let id = format!("{} {} tokens", index + 1, self.prompt);
        FoundRun {
            why_not: self.prefill.is_empty().then(|| "no trial".to_owned()),
            engine_version: "mlx-lm".to_owned(),
            model: if folder { last } else { self.command.model },
            prompt_tokens: Some(self.prompt),
            context_tokens: Some(self.prompt),
            gen_tokens: Some(self.generated),
            prefill: median(&self.prefill),
            decode: median(&self.decode),
            peak_memory_gb: median(&self.peak_gb),
            batch: self.batch.max(1),
            kind: RateKind::Kernel,
            paused: self.command.paused,
            notes: format!("median of {} trials", self.prefill.len()),
            ..FoundRun::new(id, Program::MlxLm)
        }
    }
}
