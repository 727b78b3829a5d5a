//! `mlxplan bench`: measures engines.

pub mod args;
mod document;
mod engines;
mod in_process;
mod sections;

use super::output::{Picture, error_text};
use super::progress::Progress;
use super::{Context, Verdict};
use crate::bench::mlx_lm::Benchmark;
use crate::bench::plots::Encoding;
use crate::bench::prompts::Prompts;
use crate::bench::record::{self, EngineRecord, Record, SCHEMA};
use crate::bench::run::{Contender, Protocol, Run};
use crate::bench::scenario::{self, Launcher, Length, Promise, Scenario, Work};
use crate::bench::summary::{compare, summarise};
use crate::bench::trial::case_name;
use crate::bench::{Trial, plots, predicted};
use crate::estimate::Engine;
use crate::hardware::{probe, spec};
use crate::report::Answer;
use crate::roofline::{Coefficients, Silicon as Hardware};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use args::{BenchArgs, EngineArg, PlotFormat, ProtocolArgs};
use engines::{Connected, LABELS};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Longest prompt file, bytes.
const MAX_PROMPT_BYTES: u64 = 16 << 20;

pub(super) fn run(context: &Context, args: &BenchArgs) -> Result<(Answer, Verdict)> {
    let scenario = Scenario::from(args.scenario);
    let started = SystemTime::now();
    let mut record = Record {
        schema: SCHEMA.to_owned(),
        mlxplan: env!("CARGO_PKG_VERSION").to_owned(),
        scenario,
        started: record::utc(started),
        duration_s: 0.0,
        machine: serde_json::to_value(probe::probe(&context.catalogue)?)?,
        engines: Vec::new(),
        protocol: protocol_of(&args.protocol, scenario)?,
        trials: Vec::new(),
        summary: Vec::new(),
        comparison: Vec::new(),
        predicted: Vec::new(),
        load: Vec::new(),
        soak: Vec::new(),
        resume: Vec::new(),
        cold: Vec::new(),
        notes: Vec::new(),
    };
    match args.engine {
        // Prompts of random tokens, as mlx_lm.benchmark makes them; other scenarios ask in words.
        Some(EngineArg::Mlx) if matches!(scenario, Scenario::Decode | Scenario::Depth) => {
            in_process::run(context, args, &mut record)?;
        }
        Some(EngineArg::Mlx) => {
            ensure!(
                scenario == Scenario::Soak && !args.random_weights,
                "in process, decode and prefill are measured at chosen prompt lengths (--depths) and batches \
                 (--batches), and, with a model's own weights, a soak; for the scenario {} start a server",
                scenario.name()
            );
            servers(context, args, &mut record)?;
        }
        Some(EngineArg::MlxLm) => mlx_lm(context, args, &mut record)?,
        None => servers(context, args, &mut record)?,
    }
    record.duration_s = started.elapsed().unwrap_or_default().as_secs_f64();
    record.summary = summarise(&record.trials);
    if let [a, b] = record.engines.as_slice() {
        record.comparison = compare(&record.trials, &a.label, &b.label);
    }
    predict(context, args, &mut record);
    if let Some(folder) = &args.results {
        let path = record::store(folder, &record)?;
        context.hint(&format!("stored as {}", path.display()));
    }
    if let Some(folder) = &args.plots {
        let (extension, picture) = match args.plot_format {
            PlotFormat::Svg => ("svg", Picture::Svg),
            PlotFormat::Png => ("png", Picture::Png),
        };
        let encode = |svg: &str| picture.encode(svg).map_err(|e| error_text(&e));
        for path in plots::write(folder, &record, &Encoding { extension, encode: &encode })? {
            context.hint(&format!("drawn as {}", path.display()));
        }
    }
    // A run in which nothing succeeded answers nothing.
    let useful = record.trials.iter().any(Trial::counts);
    let verdict = if useful { Verdict::Ok } else { Verdict::No };
    let answer = Answer::untyped(serde_json::to_value(&record)?, document::document(&record));
    Ok((answer, verdict))
}

/// Tells about every trial on standard error; on a terminal with a bar towards `total` trials, where that is known.
fn observer(context: &Context, total: Option<usize>) -> impl Fn(&Trial) + use<> {
    let quiet = context.global.quiet;
    let progress = match total {
        Some(n) => Progress::steps(quiet, "trials", n as u64),
        None => Progress::unknown(quiet, "trials"),
    };
    move |t: &Trial| {
        if !quiet {
            progress.line(&document::progress(t));
        }
        progress.step();
    }
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
fn servers(context: &Context, args: &BenchArgs, record: &mut Record) -> Result<()> {
    if record.scenario == Scenario::Cold && args.load.launch.is_some() {
        return launched(context, args, record);
    }
    let engines = engines::connect(context, args)?;
    let contenders = engines
        .iter()
        .zip(LABELS)
        .map(|(e, label)| Contender { label: label.to_owned(), target: e.target() });
    let depths = depths(args, &engines);
    let observe = observer(context, trials(args, record.scenario, engines.len(), depths.len()));
    if matches!(record.scenario, Scenario::Depth | Scenario::Resume) {
        // The chat template, a second turn and the answer come on top.
        let longest = depths.iter().copied().max().unwrap_or_default();
        let room = (longest / 8).max(512).saturating_add(args.protocol.generate);
        record.protocol.context_tokens = Some(longest.saturating_add(room));
    }
    let mut run =
        Run::new(contenders.collect(), record.protocol.clone(), Prompts::unique(), &observe);
    match record.scenario {
        Scenario::Decode => scenario::decode(&mut run, &work(&args.protocol)?),
        Scenario::Depth => scenario::depth(&mut run, &depths)?,
        Scenario::Resume => record.resume = scenario::resume(&mut run, &depths)?,
        Scenario::Concurrency => {
            let l = &args.load;
            let promise = Promise { ttft_s: l.max_ttft, decode_tokens_per_s: l.min_rate };
            record.load = scenario::concurrency(&mut run, &l.users, l.requests, promise);
        }
        Scenario::Soak => record.soak = scenario::soak(&mut run, length(args)?),
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
fn launched(context: &Context, args: &BenchArgs, record: &mut Record) -> Result<()> {
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
    let observe = observer(context, trials(args, record.scenario, 1, 0));
    let contender = Contender { label: LABELS[0].to_owned(), target: &late };
    let mut run = Run::new(vec![contender], record.protocol.clone(), Prompts::unique(), &observe);
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

/// Measures with `mlx_lm.benchmark`: every prompt length with every batch.
fn mlx_lm(context: &Context, args: &BenchArgs, record: &mut Record) -> Result<()> {
    let command = shlex::split(&args.load.mlx_lm).filter(|c| !c.is_empty()).ok_or_else(|| {
        anyhow!("--mlx-lm '{}': quotes do not match, or it is empty", args.load.mlx_lm)
    })?;
    ensure!(
        matches!(record.scenario, Scenario::Decode | Scenario::Depth),
        "mlx-lm measures decode and prefill at chosen prompt lengths (--depths) and batches (--batches); for the \
         scenario {} start mlx_lm.server and give its address with --server",
        record.scenario.name()
    );
    let model = args.model.clone().unwrap_or_default();
    let lengths =
        if args.protocol.depths.is_empty() { vec![512] } else { args.protocol.depths.clone() };
    let runs = lengths.len() * args.load.batches.len();
    let observe = observer(context, Some(runs * args.protocol.trials as usize));
    for &prompt_tokens in &lengths {
        for &batch in &args.load.batches {
            let benchmark = Benchmark {
                command: command.clone(),
                model: model.clone(),
                prompt_tokens,
                generate_tokens: args.protocol.generate,
                batch,
                trials: args.protocol.trials,
                delay_s: record.protocol.cool_down_s.round() as u32,
            };
            let case = case_name(prompt_tokens, batch);
            let trials = benchmark.run(Duration::from_secs(args.connection.timeout))?;
            for (round, trial) in trials.into_iter().enumerate() {
                let trial = Trial {
                    engine: LABELS[0].to_owned(),
                    index: record.trials.len() as u32,
                    case: case.clone(),
                    round: round as u32,
                    ..trial
                };
                observe(&trial);
                record.trials.push(trial);
            }
        }
    }
    record.engines.push(EngineRecord {
        label: LABELS[0].to_owned(),
        via: "mlx-lm".to_owned(),
        at: format!("{} --model {model}", command.join(" ")),
        server: None,
        model: Some(model),
        tokenizer: None,
    });
    record.notes.push(
        "mlx_lm.benchmark counts n tokens over n − 1 intervals; the decode rate of single sequences is corrected, and \
         the printed one is own_decode_tokens_per_s"
            .to_owned(),
    );
    Ok(())
}

/// Adds predictions, or a note that says why there are none.
fn predict(context: &Context, args: &BenchArgs, record: &mut Record) {
    let machine = match spec::resolve(args.mac.as_deref().unwrap_or("this"), &context.catalogue) {
        Ok(machine) => machine,
        Err(e) => {
            let hint = if args.mac.is_none() {
                "; --mac names the Mac that the engine runs on"
            } else {
                ""
            };
            return record.notes.push(format!("no predictions: {e}{hint}"));
        }
    };
    let coefficients = match Coefficients::embedded() {
        Ok(coefficients) => coefficients,
        Err(e) => return record.notes.push(format!("no predictions: {e}")),
    };
    let target = Hardware::of(&machine);
    for e in &record.engines {
        let server = e.server.as_ref();
        let engine = server.and_then(|s| s.engine()).unwrap_or(Engine::Mlx);
        let named = server.map(|s| s.model.id.as_str()).or(e.model.as_deref());
        let Some(name) = args.model_as.as_deref().or(named).filter(|n| !n.is_empty()) else {
            record.notes.push(format!(
                "no predictions for {}: its model is not known; --as names it",
                e.label
            ));
            continue;
        };
        // A name given with --as says how the model is quantised; GGUF formats come from the server.
        let quant = server.and_then(|s| s.model.quant.as_deref());
        let quant = quant.filter(|_| args.model_as.is_none() || engine.program().runs_gguf());
        match context.known(name, quant, engine) {
            Ok(known) => record.predicted.extend(predicted::predict(
                &record.summary,
                &e.label,
                &known.speed,
                engine,
                coefficients,
                &target,
            )),
            Err(reason) => record.notes.push(format!(
                "no predictions for {}: {reason}; --as names the model (qwen3-8b-4bit)",
                e.label
            )),
        }
    }
}

fn protocol_of(args: &ProtocolArgs, scenario: Scenario) -> Result<Protocol> {
    let usual = if scenario == Scenario::Soak { 0.0 } else { 1.0 };
    let cool_down_s = args.cool_down.unwrap_or(usual);
    ensure!(
        (0.0..=3600.0).contains(&cool_down_s),
        "--cool-down {cool_down_s}: from 0 to 3600 seconds"
    );
    ensure!(
        (0.0..=2.0).contains(&args.temperature),
        "--temperature {}: from 0 to 2",
        args.temperature
    );
    Ok(Protocol {
        trials: args.trials,
        warm_up: args.warm_up,
        cool_down_s,
        max_tokens: args.generate,
        temperature: args.temperature,
        stream: !args.no_stream,
        context_tokens: None,
    })
}

fn length(args: &BenchArgs) -> Result<Length> {
    match args.load.minutes {
        None => Ok(Length::Turns(args.load.turns)),
        Some(m) if m > 0.0 && m <= 10_000.0 => Ok(Length::Time(Duration::from_secs_f64(m * 60.0))),
        Some(m) => bail!("--minutes {m}: more than 0 and at most 10,000"),
    }
}

fn work(args: &ProtocolArgs) -> Result<Vec<Work>> {
    if args.prompt_file.is_empty() {
        return Ok(args.kinds().map_err(|e| anyhow!(e))?.into_iter().map(Work::Kind).collect());
    }
    args.prompt_file.iter().map(|path| given(path)).collect()
}

fn given(path: &Path) -> Result<Work> {
    let context = || format!("cannot read the prompt {}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(context)?;
    file.take(MAX_PROMPT_BYTES + 1).read_to_string(&mut text).with_context(context)?;
    ensure!(text.len() as u64 <= MAX_PROMPT_BYTES, "{} is longer than 16 MiB", path.display());
    ensure!(!text.trim().is_empty(), "{} is empty", path.display());
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Work::Given(name, text))
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
