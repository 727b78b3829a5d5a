//! What was measured: given, in a result of `bench`, or of a server now.

use super::args::WhyArgs;
use crate::bench::Trial;
use crate::bench::http::{Address, ApiKey, Limits, Server, ServerInfo};
use crate::bench::local::Watched;
use crate::bench::prompts::{PromptKind, Prompts};
use crate::bench::record::{self, Record};
use crate::bench::run::{BenchRun, Contender, LABELS, Protocol};
use crate::bench::scenario::{self, PromptWork};
use crate::bench::summary::{CaseSummary, TrialMetric, summarize};
use crate::cli::shared::context::Context;
use crate::cli::shared::evidence::HostKeys;
use crate::cli::shared::progress::Progress;
use crate::cli::shared::signals;
use crate::files;
use crate::run::{EngineName, Program};
use crate::validation::Measurement;
use crate::validation::import::import;
use crate::validation::measurement::RateKind;
use anyhow::{Context as _, Result, anyhow, bail, ensure};

/// Figures of a run, and what is known of it.
#[derive(Clone, Debug, Default)]
pub(super) struct MeasuredFigures {
    /// Tokens per second.
    pub decode: Option<f64>,
    /// Seconds to the first token.
    pub ttft_s: Option<f64>,
    /// Tokens of the prompt.
    pub context: Option<u32>,
    /// Tokens generated.
    pub generate: Option<u32>,
    /// The model that was served.
    pub model: Option<String>,
    /// Its format.
    pub quant: Option<String>,
    /// The program.
    pub engine: Option<EngineName>,
    /// The Mac that a result is of.
    pub mac: Option<String>,
    /// Where the figures come from.
    pub from: String,
}

/// Longest file of results that is read, bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Environment variable with the key of a server.
const KEY: &str = "MLXPLAN_API_KEY";

impl MeasuredFigures {
    /// What the arguments name.
    pub fn of(context: &Context, args: &WhyArgs) -> Result<Self> {
        if let Some(path) = &args.bench {
            let shown = path.display().to_string();
            let text =
                files::text(path, MAX_BYTES).with_context(|| format!("cannot read {shown}"))?;
            let (models, macs) = (context.catalogs.models()?, &context.catalogs.macs);
            if let Some(found) = import(&shown, &text, models, macs)? {
                return Self::of_rows(&found.rows, &shown);
            }
            let record = record::parse(&text)
                .map_err(|e| anyhow!("{shown}: no result of mlxplan bench ({e})"))?;
            return Self::of_record(&record, &shown);
        }
        if let Some(url) = &args.server {
            return Self::of_server(context, args, url);
        }
        let from = "given".to_owned();
        Ok(Self { decode: args.measured, ttft_s: args.ttft, from, ..Self::default() })
    }

    /// The case of a result that tells most: the one with both speeds and the longest prompt.
    fn of_record(record: &Record, from: &str) -> Result<Self> {
        let median = |s: &CaseSummary, m| s.metric(m).map(|v| v.median);
        let useful = |s: &&CaseSummary| {
            s.users <= 1 && median(s, TrialMetric::DecodeTokensPerS).is_some_and(|v| v > 0.0)
        };
        let prompt =
            |s: &CaseSummary| median(s, TrialMetric::PromptTokens).unwrap_or(0.0).round() as u32;
        let case =
            record.summary.iter().filter(useful).max_by_key(|s| prompt(s)).ok_or_else(|| {
                anyhow!("{from}: no case with a decode rate of one request at a time")
            })?;
        let engine = record
            .engines
            .iter()
            .find(|e| e.label == case.engine)
            .ok_or_else(|| anyhow!("{from}: engine {} is not described", case.engine))?;
        let mut figures = match &engine.server {
            Some(server) => Self::of_info(server),
            None => Self { model: engine.model.clone(), ..Self::default() },
        };
        figures.fill(case);
        let HostKeys { chip, memory_bytes, .. } = HostKeys::of(record);
        figures.mac = chip.zip(memory_bytes).map(|(chip, b)| format!("{chip}/{}", b >> 30));
        figures.from = format!("{from}: {} of engine {}", case.case, case.engine);
        Ok(figures)
    }

    /// The run of another program's results that tells most: a plain one with a decode rate and the longest prompt. Rates over
    /// whole requests are none of decoding, and a first token says something only beside the length of its prompt.
    fn of_rows(rows: &[Measurement], from: &str) -> Result<Self> {
        let useful = |r: &&Measurement| {
            let decoding = r.rate_kind != RateKind::EndToEnd && r.decode_tok_s.is_some();
            r.batch == 1 && r.not_plain().is_none() && decoding
        };
        let depth = |r: &Measurement| r.context_tokens.or(r.prompt_tokens);
        let run = rows
            .iter()
            .filter(useful)
            .max_by_key(|r| depth(r))
            .ok_or_else(|| {
                anyhow!(
                    "{from}: no decode rate of one plain request at a time (rates over whole requests say nothing of \
                     decoding alone)"
                )
            })?;
        let setup = run.engine_setup();
        let chip = match run.chips.as_slice() {
            [chip] => Some(chip),
            _ => None,
        };
        let gguf = |q: &str| q.strip_prefix("gguf-").map(str::to_uppercase);
        Ok(Self {
            decode: run.decode_tok_s,
            ttft_s: run.ttft_s.filter(|_| run.prompt_tokens.is_some() && !run.paused),
            context: depth(run),
            generate: run.gen_tokens,
            model: Some(run.model_published.clone()).filter(|m| !m.is_empty()),
            quant: Some(gguf(&run.quant).unwrap_or_else(|| run.quant.clone()))
                .filter(|q| q != "unknown"),
            engine: Some(EngineName { program: setup.program, version: setup.version }),
            mac: chip.zip(run.memory_gib).map(|(chip, gib)| format!("{chip}/{gib}")),
            from: format!("{from}: {}", run.id),
        })
    }

    fn of_info(info: &ServerInfo) -> Self {
        let version = info.version.as_deref().and_then(|v| v.parse().ok());
        let engine = info.engine().map(|program| EngineName { program, version });
        let model = Some(info.model.id.clone()).filter(|id| !id.is_empty());
        Self { model, quant: info.model.quant.clone(), engine, ..Self::default() }
    }

    fn fill(&mut self, case: &CaseSummary) {
        let median = |m| case.metric(m).map(|v| v.median);
        let count = |m| median(m).map(|v: f64| v.round() as u32);
        self.decode = median(TrialMetric::DecodeTokensPerS);
        self.ttft_s = median(TrialMetric::TtftS);
        self.context = count(TrialMetric::PromptTokens);
        self.generate = count(TrialMetric::GeneratedTokens);
    }

    /// Measures a server: three answers after one that warms up.
    fn of_server(context: &Context, args: &WhyArgs, url: &str) -> Result<Self> {
        let address = Address::parse(url, false)?;
        let server = Server::connect(&address, None, ApiKey::from_env(KEY), Limits::default())?;
        let watched = Watched::new(server, None);
        let wanted = args.run.context.then_some(args.run.args.context);
        let protocol = Protocol { trials: 3, ..Protocol::default() };
        let progress = Progress::steps(context.printer.quiet, "trials", 4);
        let observe = |_: &Trial| progress.step();
        let contender = Contender { label: LABELS[0].to_owned(), generator: &watched };
        let stop = signals::stop(context.printer.quiet)?;
        let mut run = BenchRun::new(vec![contender], protocol, Prompts::unique(), &observe, stop);
        match wanted {
            Some(tokens) => scenario::depth(&mut run, &[tokens])?,
            None => scenario::decode(&mut run, &[PromptWork::Kind(PromptKind::ALL[0])]),
        }
        let summary = summarize(&run.trials);
        let Some(case) = summary.first() else { bail!("{url}: no answer could be measured") };
        let mut figures = Self::of_info(watched.server.info());
        figures.fill(case);
        ensure!(figures.decode.is_some(), "{url}: the answers' arrival times support no rate");
        figures.from = format!(
            "{url}, {} answers",
            case.metric(TrialMetric::DecodeTokensPerS).map_or(0, |v| v.n)
        );
        Ok(figures)
    }

    /// The program, where it is known.
    pub fn program(&self) -> Option<Program> {
        self.engine.map(|e| e.program)
    }
}
