//! `mlxplan audit`: judges claimed measurements.

use super::shared::context::Context;
use super::shared::exit::ExitStatus;
use super::shared::names;
use super::shared::row_cases::{OpenedModels, everything, known, row_case};
use crate::audit::{
    self, AuditCase, AuditRule, Claim, ExplainedFigure, Facts, Finding, Hardware, Skipped,
};
use crate::bench::record;
use crate::files;
use crate::hardware::spec;
use crate::report::{Answer, Column, Document, Present, Table};
use crate::validation::import::{ResultFormat, import};
use crate::validation::read;
use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// A claims file (.toml, see examples/), a result of mlxplan bench (.json), measurements with the columns of
    /// data/measurements.csv (.csv), or results of llama-bench (-o json or jsonl), llmfit, mlx-chronos, mlx_lm.benchmark or
    /// oMLX
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The machine of claims that name none
    #[arg(add = ArgValueCompleter::new(names::macs), long, value_name = "MAC")]
    pub mac: Option<String>,
}

/// Longest file that is read, bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Findings in the table at most; JSON has them all.
const SHOWN: usize = 60;

pub(super) fn run(context: &Context, args: &AuditArgs) -> Result<(Answer, ExitStatus)> {
    let path = &args.file;
    let name = path.display().to_string();
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    let text = text(path)?;
    let kind = match extension.as_str() {
        "csv" => ClaimsKind::Rows,
        "toml" => ClaimsKind::Claims,
        _ if ResultFormat::of(&text).is_some() => ClaimsKind::Results,
        "json" => ClaimsKind::BenchResult,
        _ => bail!(
            "{name}: expected claims (.toml), a result of mlxplan bench (.json), measurements (.csv), or results of \
             llama-bench, llmfit, mlx-chronos, mlx_lm.benchmark or oMLX"
        ),
    };
    audited(context, (&name, kind, &text), args.mac.as_deref())
}

/// The same of a file's text, which messages call `name`.
#[cfg(feature = "mcp")]
pub(super) fn judged(
    context: &Context,
    (name, text): (&str, &str),
    mac: Option<&str>,
) -> Result<(Answer, ExitStatus)> {
    audited(context, (name, ClaimsKind::of_text(text), text), mac)
}

fn audited(
    context: &Context,
    file: (&str, ClaimsKind, &str),
    mac: Option<&str>,
) -> Result<(Answer, ExitStatus)> {
    let (cases, left_out) = cases(context, file, mac)?;
    let judged = audit::judge(&cases);
    let verdict = match (judged.impossible(), judged.findings.is_empty()) {
        (true, _) => ExitStatus::No,
        (false, true) => ExitStatus::Ok,
        (false, false) => ExitStatus::Uncertain,
    };
    let passed = judged.passed.into_iter().map(|(claim, rule)| Passed { claim, rule });
    let answer = AuditAnswer {
        file: file.0.to_owned(),
        claims: cases.len(),
        left_out,
        findings: judged.findings,
        skipped: judged.skipped,
        explained: judged.explained,
        passed: passed.collect(),
        verbose: context.printer.verbose,
    };
    Ok((Answer::of(answer), verdict))
}

/// What a file of claims is.
#[derive(Clone, Copy)]
enum ClaimsKind {
    /// TOML with tables `claim`.
    Claims,
    /// A result of `mlxplan bench`.
    BenchResult,
    /// Rows with the columns of `data/measurements.csv`.
    Rows,
    /// Results of another program.
    Results,
}

impl ClaimsKind {
    /// What a text without a name is, by its first line: an object, a header, or tables and keys.
    #[cfg(feature = "mcp")]
    fn of_text(text: &str) -> Self {
        if ResultFormat::of(text).is_some() {
            return Self::Results;
        }
        let lines = text.lines().map(str::trim);
        match lines.into_iter().find(|l| !l.is_empty() && !l.starts_with('#')) {
            Some(first) if first.starts_with('{') => Self::BenchResult,
            Some(first) if first.contains(',') && !first.contains(['=', '[']) => Self::Rows,
            _ => Self::Claims,
        }
    }
}

/// The object `mlxplan.audit/1`.
#[derive(Serialize, JsonSchema)]
pub(super) struct AuditAnswer {
    /// The file.
    file: String,
    /// Claims in it.
    claims: usize,
    /// Runs of a file of results that are no claims, with the reason.
    left_out: Vec<String>,
    /// What is wrong, worst first.
    findings: Vec<Finding>,
    /// Rules that could not be applied although a claim has figures for them.
    skipped: Vec<Skipped>,
    /// Figures that are reproduced, and what they are.
    explained: Vec<ExplainedFigure>,
    /// Rules that held.
    passed: Vec<Passed>,
    /// Whether people are told which rules were skipped.
    #[serde(skip)]
    verbose: bool,
}

/// A rule that a claim keeps.
#[derive(Serialize, JsonSchema)]
struct Passed {
    /// Id of the claim.
    claim: String,
    /// The rule.
    rule: AuditRule,
}

/// Reads the text, by its kind; and what of it is no claim, with the reason.
fn cases(
    context: &Context,
    (name, kind, text): (&str, ClaimsKind, &str),
    mac: Option<&str>,
) -> Result<(Vec<AuditCase>, Vec<String>)> {
    let mut models = OpenedModels::default();
    let mut left_out = Vec::new();
    let cases: Result<Vec<AuditCase>> = match kind {
        ClaimsKind::Rows => {
            let rows = read(name, text)?;
            rows.iter().map(|row| row_case(context, row, mac, &mut models)).collect()
        }
        ClaimsKind::Results => {
            let found = import(name, text, context.catalogs.models()?, &context.catalogs.macs)?;
            let (rows, none) = found.map(|f| (f.rows, f.left_out)).unwrap_or_default();
            left_out = none.into_iter().map(|(id, why)| format!("{id}: {why}")).collect();
            rows.iter().map(|row| row_case(context, row, mac, &mut models)).collect()
        }
        ClaimsKind::BenchResult => {
            let record = record::parse(text)
                .map_err(|e| anyhow!("{name}: no result of mlxplan bench ({e})"))?;
            let claims = audit::results::claims(&record);
            claims.into_iter().map(|c| case(context, c, mac, &mut models)).collect()
        }
        ClaimsKind::Claims => {
            let claims = audit::claim::parse(name, text)?;
            claims.into_iter().map(|c| case(context, c, mac, &mut models)).collect()
        }
    };
    Ok((cases?, left_out))
}

fn text(path: &Path) -> Result<String> {
    files::text(path, MAX_FILE_BYTES).with_context(|| format!("cannot read {}", path.display()))
}

/// A claim of a file, with its model and machine.
fn case(
    context: &Context,
    claim: Claim,
    mac: Option<&str>,
    models: &mut OpenedModels,
) -> Result<AuditCase> {
    let model = known(context, &claim, models);
    let catalog = everything(context)?;
    let machines = match claim.machine.as_deref().or(mac) {
        None => Err("the machine is not stated".to_owned()),
        Some(text) => match spec::resolve(text, &context.catalogs.macs) {
            Ok(machine) => Ok(machine.possible_bins().iter().map(Hardware::of).collect()),
            Err(e) => return Err(anyhow!(e).context(format!("claim '{}'", claim.id))),
        },
    };
    Ok(AuditCase { claim, facts: Facts { model, machines, catalog } })
}

impl Present for AuditAnswer {
    const SCHEMA: &'static str = "mlxplan.audit/1";
    const NOT_MODELED: &'static [&'static str] =
        &["how a claim was measured beyond what it says of itself"];

    fn document(&self) -> Document {
        let mut d = Document::default();
        d.heading(format!("Audit of {}", self.file));
        let broken: BTreeSet<&str> = self.findings.iter().map(|f| f.claim.as_str()).collect();
        let pair = |name: &str, n: usize| (name.to_owned(), n.to_string());
        d.pairs(vec![
            pair("claims", self.claims),
            pair("with findings", broken.len()),
            pair("rules that held", self.passed.len()),
            pair("rules that could not be applied", self.skipped.len()),
        ]);
        if !self.findings.is_empty() {
            d.main_table(findings_table(&self.findings));
            let detail =
                |f: &Finding| format!("{}: {}. Likely cause: {}", f.claim, f.numbers, f.cause);
            d.notes(self.findings.iter().take(SHOWN).map(detail).collect());
        }
        d.notes(self.notes());
        d
    }
}

fn findings_table(findings: &[Finding]) -> Table {
    let mut table = Table::new(vec![
        Column::text("claim"),
        Column::text("verdict"),
        Column::text("rule"),
        // In a terminal they stand below the table, in full.
        Column::text("numbers").droppable(1),
        Column::text("likely cause").droppable(2),
    ]);
    for f in findings.iter().take(SHOWN) {
        table.row([&f.claim, f.severity.name(), f.rule.name(), &f.numbers, &f.cause]);
    }
    table
}

impl AuditAnswer {
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.findings.is_empty() {
            notes.push("nothing is wrong as far as the claims say enough to be checked".to_owned());
        }
        notes.extend(self.explained.iter().map(|e| format!("{}: {}", e.claim, e.text)));
        notes.extend(self.left_out.iter().take(SHOWN).map(|what| format!("not judged: {what}")));
        if self.findings.len() > SHOWN {
            let more = self.findings.len() - SHOWN;
            notes.push(format!("{more} more findings are in the JSON output"));
        }
        if self.verbose {
            let skipped =
                |s: &Skipped| format!("{}: {} not applied: {}", s.claim, s.rule.name(), s.reason);
            notes.extend(self.skipped.iter().map(skipped));
        } else if !self.skipped.is_empty() {
            notes.push("-v tells which rules could not be applied, and why".to_owned());
        }
        notes
    }
}
