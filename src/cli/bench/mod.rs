//! `mlxplan bench`: measures engines.

pub mod args;
mod cells;
mod document;
mod engines;
mod expected;
mod in_process;
mod mlx_lm;
mod sections;
mod watch;

use super::shared::context::Context;
use super::shared::exit::ExitStatus;
use super::shared::output::{Picture, error_text};
use crate::bench::export;
use crate::bench::plots::Encoding;
use crate::bench::prompts::Prompts;
use crate::bench::record::{self, EngineRecord, Record};
use crate::bench::run::{BenchRun, Contender, LABELS, Protocol};
use crate::bench::scenario::{self, Launcher, Length, Promise, PromptWork, Scenario};
use crate::bench::summary::{compare, summarize};
use crate::bench::{Trial, plots};
use crate::files;
use crate::hardware::probe;
use crate::report::Answer;
use anyhow::{Context as _, Result, anyhow, ensure};
use args::{BenchArgs, EngineArg, PlotFormat, ProtocolArgs};
use engines::Connected;
use std::path::Path;
use std::time::{Duration, SystemTime};
use watch::Watch;

/// Longest prompt file, bytes.
const MAX_PROMPT_BYTES: u64 = 16 << 20;

/// Measures, prints and stores; the trials stay on disk until their result stands somewhere else.
pub(super) fn run(context: &Context, args: &BenchArgs) -> Result<ExitStatus> {
    let started = SystemTime::now();
    let mut record = begin(context, args, started)?;
    let watch = Watch::begin(context, args, &record)?;
    if let Err(e) = measure(context, args, &watch, &mut record) {
        watch.failed(context);
        return Err(e);
    }
    record.duration_s = started.elapsed().unwrap_or_default().as_secs_f64();
    record.incomplete = watch.stop.requested();
    if record.incomplete {
        record.notes.push(
            "incomplete: a signal ended the run before everything was measured; figures are of the trials until then"
                .to_owned(),
        );
    }
    let known = expected::models(context, args, &mut record);
    expected::bound(&known, &mut record.trials);
    record.summary = summarize(&record.trials);
    if let [a, b] = record.engines.as_slice() {
        record.comparison = compare(&record.trials, &a.label, &b.label);
    }
    record.predicted = expected::predict(&known, &record.summary);
    store(context, args, &record)?;
    // A run in which nothing succeeded answers nothing.
    let useful = record.trials.iter().any(Trial::counts);
    let status = match (record.incomplete, useful) {
        (true, _) => ExitStatus::Interrupted,
        (false, true) => ExitStatus::Ok,
        (false, false) => ExitStatus::No,
    };
    let status = context.printer.answer((Answer::of(record), status))?;
    watch.done();
    Ok(status)
}

/// A record without trials.
fn begin(context: &Context, args: &BenchArgs, started: SystemTime) -> Result<Record> {
    let scenario = Scenario::from(args.scenario);
    Ok(Record {
        mlxplan: env!("CARGO_PKG_VERSION").to_owned(),
        scenario,
        started: record::utc(started),
        duration_s: 0.0,
        machine: serde_json::to_value(probe::probe(&context.catalogs.macs)?)?,
        engines: Vec::new(),
        protocol: protocol_of(&args.protocol, scenario),
        trials: Vec::new(),
        summary: Vec::new(),
        comparison: Vec::new(),
        predicted: Vec::new(),
        load: Vec::new(),
        soak: Vec::new(),
        resume: Vec::new(),
        cold: Vec::new(),
        incomplete: false,
        notes: Vec::new(),
    })
}

/// Fills the record with trials.
fn measure(context: &Context, args: &BenchArgs, watch: &Watch, record: &mut Record) -> Result<()> {
    let scenario = record.scenario;
    match args.engine {
        // Prompts of random tokens, as mlx_lm.benchmark makes them; other scenarios ask in words.
        Some(EngineArg::Mlx) if matches!(scenario, Scenario::Decode | Scenario::Depth) => {
            in_process::run(context, args, watch, record)
        }
        Some(EngineArg::Mlx) => {
            ensure!(
                scenario == Scenario::Soak && !args.random_weights,
                "in process, decode and prefill are measured at chosen prompt lengths (--depths) and batches \
                 (--batches), and, with a model's own weights, a soak; for the scenario {} start a server",
                scenario.name()
            );
            servers(context, args, watch, record)
        }
        Some(EngineArg::MlxLm) => mlx_lm::run(args, watch, record),
        None => servers(context, args, watch, record),
    }
}

/// Writes the files that were asked for.
fn store(context: &Context, args: &BenchArgs, record: &Record) -> Result<()> {
    if let Some(folder) = &args.results {
        let path = record::store(folder, record)?;
        context.printer.hint(&format!("stored as {}", path.display()));
    }
    if let Some(path) = &args.export {
        export::export(path, record)?;
        context.printer.hint(&format!("to share: {}", path.display()));
    }
    if let Some(folder) = &args.plots {
        let (extension, picture) = match args.plot_format {
            PlotFormat::Svg => ("svg", Picture::Svg),
            PlotFormat::Png => ("png", Picture::Png),
        };
        let encode = |svg: &str| picture.encode(svg).map_err(|e| error_text(&e));
        for path in plots::write(folder, record, &Encoding { extension, encode: &encode })? {
            context.printer.hint(&format!("drawn as {}", path.display()));
        }
    }
    Ok(())
}

/// Trials of a scenario, warm-ups included; `None` for one that ends by the clock.
fn trials(args: &BenchArgs, scenario: Scenario, engines: usize, depths: usize) -> Option<usize> {
    let (rounds, warm_up) = (args.protocol.trials as usize, args.protocol.warm_up as usize);
    let works = match args.protocol.prompt_file.len() {
        0 => args.protocol.kinds().map_or(0, |k| k.len()),
        given => given,
    };
    Some(match scenario {
        Scenario::Decode => engines * (warm_up + works * rounds),
        // Two short prompts tell how long the filler is.
        Scenario::Depth => 2 + engines * (warm_up + depths * rounds),
        Scenario::Resume => 2 + engines * 2 * depths * rounds,
        Scenario::Cold => 2 * rounds,
        Scenario::Concurrency => {
            let users: u32 = args.load.users.iter().sum();
            engines * (warm_up + (users * args.load.requests) as usize)
        }
        Scenario::Soak if args.load.minutes.is_some() => return None,
        Scenario::Soak => engines * args.load.turns as usize,
    })
}

/// Measures one or two servers.
fn servers(context: &Context, args: &BenchArgs, watch: &Watch, record: &mut Record) -> Result<()> {
    if record.scenario == Scenario::Cold && args.load.launch.is_some() {
        return launched(args, watch, record);
    }
    let engines = engines::connect(context, args)?;
    let contenders = engines
        .iter()
        .zip(LABELS)
        .map(|(e, label)| Contender { label: label.to_owned(), generator: e.generator() });
    let depths = depths(args, &engines);
    let observe = watch.observer(trials(args, record.scenario, engines.len(), depths.len()));
    if matches!(record.scenario, Scenario::Depth | Scenario::Resume) {
        // The chat template, a second turn and the answer come on top.
        let longest = depths.iter().copied().max().unwrap_or_default();
        let room = (longest / 8).max(512).saturating_add(args.protocol.generate);
        record.protocol.context_tokens = Some(longest.saturating_add(room));
    }
    let mut run = BenchRun::new(
        contenders.collect(),
        record.protocol.clone(),
        Prompts::unique(),
        &observe,
        watch.stop.clone(),
    );
    match record.scenario {
        Scenario::Decode => scenario::decode(&mut run, &work(&args.protocol)?),
        Scenario::Depth => scenario::depth(&mut run, &depths)?,
        Scenario::Resume => record.resume = scenario::resume(&mut run, &depths)?,
        Scenario::Concurrency => {
            let l = &args.load;
            let promise = Promise { ttft_s: l.max_ttft, decode_tokens_per_s: l.min_rate };
            record.load = scenario::concurrency(&mut run, &l.users, l.requests, promise);
        }
        Scenario::Soak => record.soak = scenario::soak(&mut run, length(args)),
        Scenario::Cold => {
            ensure!(engines.len() == 1, "a cold start is measured for one engine at a time");
            record.cold.push(scenario::cold(&mut run, None)?);
        }
    }
    record.trials = run.trials;
    record.engines = engines.iter().zip(LABELS).map(|(e, label)| e.record(label)).collect();
    for e in &record.engines {
        if let Some(folder) = &e.tokenizer {
            record.notes.push(format!(
                "{} gives no token counts: the tokenizer in {folder} counted its texts afterwards. It may split a text \
                 otherwise than it was generated, and cannot tell whether the prompt was cut off or cached",
                e.label
            ));
        }
    }
    Ok(())
}

/// Starts and ends the server for every trial.
fn launched(args: &BenchArgs, watch: &Watch, record: &mut Record) -> Result<()> {
    let command = args.load.launch.as_deref().unwrap_or_default();
    let command = shlex::split(command)
        .filter(|c| !c.is_empty())
        .ok_or_else(|| anyhow!("--launch '{command}': quotes do not match, or it is empty"))?;
    ensure!(args.compare.is_empty(), "a cold start is measured for one engine at a time");
    let late = engines::Late::new(args)?;
    let launcher = Launcher {
        command: command.clone(),
        ready: &|| late.answers(),
        patience: Duration::from_secs(args.connection.stall_timeout),
    };
    let observe = watch.observer(trials(args, record.scenario, 1, 0));
    let contender = Contender { label: LABELS[0].to_owned(), generator: &late };
    let mut run = BenchRun::new(
        vec![contender],
        record.protocol.clone(),
        Prompts::unique(),
        &observe,
        watch.stop.clone(),
    );
    record.cold.push(scenario::cold(&mut run, Some(&launcher))?);
    record.trials = run.trials;
    record.engines.push(EngineRecord {
        label: LABELS[0].to_owned(),
        via: "http".to_owned(),
        at: command.join(" "),
        server: late.info(),
        model: None,
        tokenizer: None,
    });
    Ok(())
}

fn protocol_of(args: &ProtocolArgs, scenario: Scenario) -> Protocol {
    let usual = if scenario == Scenario::Soak { 0.0 } else { 1.0 };
    let cool_down_s = args.cool_down.unwrap_or(usual);
    Protocol {
        trials: args.trials,
        warm_up: args.warm_up,
        cool_down_s,
        max_tokens: args.generate,
        temperature: args.temperature,
        stream: !args.no_stream,
        context_tokens: None,
    }
}

fn length(args: &BenchArgs) -> Length {
    match args.load.minutes {
        None => Length::Turns(args.load.turns),
        Some(m) => Length::Time(Duration::from_secs_f64(m * 60.0)),
    }
}

fn work(args: &ProtocolArgs) -> Result<Vec<PromptWork>> {
    if args.prompt_file.is_empty() {
        return Ok(args
            .kinds()
            .map_err(|e| anyhow!(e))?
            .into_iter()
            .map(PromptWork::Kind)
            .collect());
    }
    args.prompt_file.iter().map(|path| given(path)).collect()
}

fn given(path: &Path) -> Result<PromptWork> {
    let text = files::text(path, MAX_PROMPT_BYTES)
        .with_context(|| format!("cannot read the prompt {}", path.display()))?;
    ensure!(!text.trim().is_empty(), "{} is empty", path.display());
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(PromptWork::Given(name, text))
}

/// The depths that were asked for, or all that the smaller context holds.
fn depths(args: &BenchArgs, engines: &[Connected]) -> Vec<u32> {
    if !args.protocol.depths.is_empty() {
        return args.protocol.depths.clone();
    }
    let contexts = engines.iter().filter_map(Connected::context_tokens);
    let limit = contexts.min().unwrap_or(8192).saturating_sub(args.protocol.generate);
    let depths = scenario::doubling(limit);
    if depths.is_empty() { vec![limit.max(64)] } else { depths }
}
