//! `mlxplan predict`: one prediction in full.

use super::args::{PredictArgs, RunArgs};
use super::explain;
use super::subjects::kv_quantisation;
use super::tables::changes_table;
use super::timed::Timing;
use super::words::{context_text, parts_text, wired_notes};
use super::{Context, Verdict};
use crate::estimate::memory::{self, Memory};
use crate::estimate::speed::{AtDepth, Decode, Engine};
use crate::estimate::{Prediction, Request, Settings};
use crate::hardware::machine::Machine;
use crate::report::{Answer, Column, Document, Table};
use crate::roofline::Coefficients;
use crate::units::{Bytes, Seconds, TokensPerSecond};
use anyhow::{Result, anyhow, bail};
use serde_json::json;

pub(super) fn run(context: &Context, args: &PredictArgs) -> Result<(Answer, Verdict)> {
    Coefficients::prepare();
    let engine: Engine = args.engine.parse().map_err(|e: String| anyhow!("--engine: {e}"))?;
    let (machine, models) = rayon::join(|| context.machine(&args.machine), || context.models());
    if !args.machine.is_here() {
        // A wrong name is said before the model is read.
        machine.as_ref().map_err(|e| anyhow!("{e:#}"))?;
    }
    models?;
    let subject = context.one_model(&args.model, args.quant.as_deref(), args.assume.as_deref())?;
    let settings = Settings { depths: args.depths.clone(), ..settings(&args.run, engine)? };
    let timing = Timing::of(context, args, &subject, &settings)?;
    let machine = match (machine, &timing) {
        (Ok(machine), _) => machine,
        (Err(_), Some(timing)) => return Ok((timing.alone(&subject, &settings), Verdict::Ok)),
        (Err(e), None) => return Err(e),
    };
    let coefficients = Coefficients::embedded()?;
    let mut prediction = Prediction::of(coefficients, &subject, &machine, &settings)?;
    if let Some(timing) = &timing {
        timing.apply(&mut prediction);
    }
    let changes = match (&prediction.memory, prediction.max_context) {
        (Some(m), Some(c)) if args.explain || m.judgement.verdict > memory::Verdict::Tight => {
            memory::advise(&subject, &machine, &settings.request, settings.reserve, (m, c))
        }
        _ => Vec::new(),
    };
    let mut document = document(&prediction);
    if !changes.is_empty() {
        document.text("Changes that help, the cheapest first:");
        document.table(changes_table(&changes));
        document.notes(wired_notes(&changes));
    }
    let mut json = prediction.json();
    json["memory"]["changes"] = serde_json::to_value(&changes)?;
    if let Some(timing) = &timing {
        timing.cite(&mut json);
    }
    if args.explain {
        json["explain"] = explain::add(&mut document, &prediction, &subject)?;
    }
    let too_big = prediction.at_least.is_some_and(|a| a.exceeds(&machine));
    let verdict = if too_big { Verdict::No } else { verdict(prediction.memory.as_ref()) };
    Ok((Answer::untyped(json, document), verdict))
}

/// The settings of a run from the arguments.
pub(super) fn settings(run: &RunArgs, engine: Engine) -> Result<Settings> {
    let reserve = match run.reserve {
        Some(gb) if !gb.is_finite() || gb < 0.0 => {
            bail!("--reserve {gb}: a number of GB of at least 0")
        }
        gb => gb.map(Bytes::from_gb),
    };
    let request = Request {
        context_tokens: run.context,
        generate_tokens: run.generate,
        batch: run.batch,
        prefill_step: run.prefill_step,
        kv: kv_quantisation(run.kv_bits)?,
    };
    Ok(Settings { request, engine, reserve, depths: Vec::new() })
}

/// The exit code of a memory verdict.
pub(super) fn verdict(memory: Option<&Memory>) -> Verdict {
    match memory.map(|m| m.judgement.verdict) {
        Some(memory::Verdict::No) => Verdict::No,
        Some(memory::Verdict::Uncertain) => Verdict::Uncertain,
        _ => Verdict::Ok,
    }
}

fn document(p: &Prediction) -> Document {
    let mut d = Document::default();
    d.heading(format!("{}  {}  on  {}", p.model, p.quant, p.machine.name));
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, text: String| pairs.push((name.to_owned(), text));
    let r = p.settings.request;
    let kv = r.kv.map_or(String::new(), |q| format!(", {}-bit KV cache", q.packing.bits));
    let batch =
        if r.batch > 1 { format!(", {} sequences at once", r.batch) } else { String::new() };
    add(
        "run",
        format!(
            "{}-token prompt, {} tokens generated{batch}{kv}, engine {}",
            r.context_tokens, r.generate_tokens, p.settings.engine
        ),
    );
    add("decode", speed_text(&p.decode));
    add("", bound_text(&p.decode));
    let pf = &p.prefill;
    add(
        "prefill",
        format!(
            "{} tok/s, 90 % {}–{}",
            TokensPerSecond(pf.tokens_per_s),
            TokensPerSecond(pf.interval_90[0]),
            TokensPerSecond(pf.interval_90[1])
        ),
    );
    let [soon, late] = p.ttft_interval_90_s();
    add(
        "first token",
        format!("after {}, 90 % {}–{}", Seconds(pf.ttft_s), Seconds(soon), Seconds(late)),
    );
    if let Some(m) = &p.memory {
        memory_pairs(&mut add, m, &p.machine);
    }
    if let Some(a) = p.at_least {
        let [weights, kv] = [a.weights_bytes, a.kv_bytes].map(Bytes);
        add("memory", format!("at least {}: weights {weights} + cache {kv}", weights + kv));
        let fits = if a.exceeds(&p.machine) { "does not fit" } else { "buffers not counted" };
        add("GPU limit", format!("{}; {fits}", p.machine.gpu_limit.bytes));
    }
    if let Some(c) = p.max_context {
        add("max context", context_text(c));
    }
    add(
        "basis",
        format!(
            "{}: decode {}; prefill {}",
            p.fidelity.name(),
            p.decode.evidence.text,
            pf.evidence.text
        ),
    );
    d.pairs(pairs);
    if !p.at_depth.is_empty() {
        d.table(depths(&p.at_depth));
    }
    d.notes(p.warnings.clone());
    d
}

fn depths(all: &[AtDepth]) -> Table {
    let mut table =
        Table::new(vec![Column::number("tokens in the cache"), Column::number("decode tok/s")]);
    for at in all {
        table.row([at.context_tokens.to_string(), TokensPerSecond(at.tokens_per_s).to_string()]);
    }
    table.bars(all.iter().map(|at| Some(at.tokens_per_s)).collect(), 0);
    table
}

fn speed_text(d: &Decode) -> String {
    let r = TokensPerSecond;
    format!(
        "{} tok/s, 80 % {}–{}, 90 % {}–{}",
        r(d.tokens_per_s),
        r(d.interval_80[0]),
        r(d.interval_80[1]),
        r(d.interval_90[0]),
        r(d.interval_90[1])
    )
}

fn bound_text(d: &Decode) -> String {
    format!(
        "{} a token, bound by {}: {} read, {} kernels launched",
        Seconds(d.seconds_per_token),
        d.bound.name(),
        Bytes(d.bytes_per_token),
        d.dispatches_per_token
    )
}

fn memory_pairs(add: &mut impl FnMut(&str, String), m: &Memory, machine: &Machine) {
    let [low, high] = m.peak_interval_90;
    add(
        "peak memory",
        format!("{} (MLX), 90 % {low}–{high}; {}", Bytes(m.peak.peak_bytes), parts_text(&m.peak)),
    );
    let [low, high] = m.process.footprint_bytes.map(Bytes);
    add("footprint", format!("{low}–{high} of the process as macOS shows it, with Python"));
    let limit = &machine.gpu_limit;
    let range = if limit.range[0] == limit.range[1] {
        String::new()
    } else {
        format!(" ({}–{} by macOS version)", limit.range[0], limit.range[1])
    };
    add("GPU limit", format!("{}{range}; fits: {}", limit.bytes, m.judgement.verdict));
    for l in m.judgement.limits.iter().filter(|l| l.verdict > memory::Verdict::Yes) {
        add(
            "",
            format!(
                "{} {}: {} needed, {} allowed",
                l.kind.name(),
                l.verdict,
                l.need_bytes,
                l.limit_bytes
            ),
        );
    }
    if let Some(swap) = m.judgement.swap {
        add(
            "",
            format!(
                "macOS would swap {}: {:.0} to {:.0} times slower",
                swap.excess_bytes, swap.slowdown[0], swap.slowdown[1]
            ),
        );
    }
}

/// The schema of a list of predictions.
pub(super) fn request_json(settings: &Settings) -> serde_json::Value {
    let r = settings.request;
    json!({
        "context_tokens": r.context_tokens, "generate_tokens": r.generate_tokens, "batch": r.batch,
        "kv_bits": r.kv.map(|q| q.packing.bits), "prefill_step": r.prefill_step, "engine": settings.engine,
    })
}
