//! `mlxplan predict`: one prediction in full.

mod alone;
pub(super) mod args;
mod basis;
mod explain;
mod prompt;
pub(super) mod session;
mod session_charts;
mod streaming;

use super::shared::context::Context;
use super::shared::drafts::{Drafts, status_with};
use super::shared::exit::ExitStatus;
use super::shared::opening::About;
use super::shared::speculation;
use super::shared::tables::changes_table;
use super::shared::words::{
    contexts_text, limit_texts, loss_notes, parts_text, predicted_engine_text, status, wired_notes,
};
use crate::estimate::memory::{Fit, HostPrompts, LlamaMemory, Memory};
use crate::estimate::speed::{AtDepth, Decode};
use crate::estimate::{
    Energy, Estimator, Explanation, PowerRange, PowerSpeeds, Prediction, TimedAlone,
};
use crate::hardware::machine::Machine;
use crate::hardware::power::RangeBasis;
use crate::report::{Answer, Column, Document, Present, Table};
use crate::roofline::Coefficients;
use crate::units::{Bytes, Seconds, TokensPerSecond};
use anyhow::{Result, anyhow};
use args::PredictArgs;

pub(super) fn run(context: &Context, args: &PredictArgs) -> Result<(Answer, ExitStatus)> {
    Coefficients::prepare();
    let (machine, models) =
        rayon::join(|| context.machine(&args.machine), || context.catalogs.models());
    if !args.machine.is_here() {
        // A wrong name is said before the model is read.
        machine.as_ref().map_err(|e| anyhow!("{e:#}"))?;
    }
    models?;
    let conversation = session::asked(args)?;
    let run = args.drafts.on(args.run.run_on(args.machine.is_here())?);
    let program = run.engine.program;
    let (quant, assume) = (args.quant.as_deref(), args.assume.as_deref());
    let model = context.any_model_for(program, &args.model, quant, assume)?.loaded_by(program)?;
    let drafts = Drafts::open(context, &args.drafts, &model, program)?;
    let basis = basis::best(context, args, &model, (&run, machine.as_ref().ok()))?;
    let mut estimator =
        Estimator::new(Coefficients::embedded()?, &model, run, basis).with_depths(&args.depths);
    if let Some(drafts) = &drafts {
        estimator = drafts.beside(estimator)?;
    }
    let machine = match machine {
        Ok(machine) => machine,
        Err(e) if drafts.is_some() => return Err(e.context("--draft")),
        Err(e) => return Ok((Answer::of(estimator.alone()?.ok_or(e)?), ExitStatus::Ok)),
    };
    if let Some(asked) = &conversation {
        return session::run((&estimator, &model), &machine, asked);
    }
    let mut prediction = estimator.at(&machine).about(&model)?;
    let fit = prediction.memory.as_ref().map(|m| m.judgment.verdict);
    if args.explain || fit > Some(Fit::Tight) {
        prediction.look_for_changes(&estimator);
    }
    if args.explain {
        let p = &prediction;
        let explanation = Explanation::of(&model, &p.machine, &p.run, p.memory.as_ref())?;
        prediction.explanation = Some(explanation);
    }
    if let Some(drafts) = &drafts {
        prediction.speculation = Some(drafts.speculation(&estimator, &machine)?);
    }
    let memory = status(prediction.memory.as_ref());
    let verdict = status_with(prediction.speculation.as_ref(), memory);
    Ok((Answer::of(prediction), verdict))
}

/// Name of the object that a prediction is.
const SCHEMA: &str = "mlxplan.prediction/2";

impl Present for Prediction {
    const SCHEMA: &'static str = SCHEMA;

    fn document(&self) -> Document {
        let mut d = document(self);
        if let Some(found) = &self.speculation {
            d.heading("With drafts (speculative decoding)");
            speculation::add(&mut d, found);
        }
        if !self.changes.is_empty() {
            d.text("Changes that help, by what they lose and then by what they gain:");
            d.table(changes_table(&self.changes));
        }
        let mut notes = wired_notes(&self.changes);
        notes.extend(loss_notes(&self.changes, &self.withheld));
        d.notes(notes);
        if let Some(explanation) = &self.explanation {
            explain::add(&mut d, self, explanation);
        }
        d.not_modeled(&self.not_modeled());
        d
    }
}

impl Present for TimedAlone {
    const SCHEMA: &'static str = SCHEMA;

    fn document(&self) -> Document {
        alone::document(self)
    }
}

fn document(p: &Prediction) -> Document {
    let mut d = Document::default();
    d.heading(format!("{}  {}  on  {}", p.model.id, p.model.quant, p.machine.name));
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, text: String| pairs.push((name.to_owned(), text));
    let (work, engine) = (p.run.work, p.run.engine);
    let kv = engine.kv.map_or(String::new(), |q| format!(", {}-bit KV cache", q.packing.bits));
    let batch =
        if work.batch > 1 { format!(", {} sequences at once", work.batch) } else { String::new() };
    let images = work.images.map_or(String::new(), |images| format!(" with {images}"));
    let generated = match p.generates() {
        true => format!(", {} tokens generated", work.generate_tokens),
        false => String::new(),
    };
    add("run", format!("{}-token prompt{images}{generated}{batch}{kv}", work.context_tokens));
    add("engine", predicted_engine_text(p));
    if p.generates() {
        add("decode", speed_text(&p.decode));
        add("", bound_text(&p.decode));
    } else {
        add("decode", "none: the model generates no text".to_owned());
    }
    let pf = &p.prefill;
    prompt::add(&mut add, pf, &work);
    if let Some(power) = &p.power {
        let [mode, lasting] = power_texts(power);
        add("power", mode);
        add("sustained", lasting);
        if let Some(energy) = &power.energy {
            add("energy", energy_text(energy));
        }
    }
    if let Some(m) = &p.memory {
        memory_pairs(&mut add, m, &p.machine);
    }
    if let Some(streamed) = &p.streamed {
        streaming::add(&mut add, streamed);
    }
    if let Some(c) = p.context {
        add("max context", contexts_text(c));
    }
    let of_decode = match p.generates() {
        true => format!("decode {}; ", p.decode.evidence.text),
        false => String::new(),
    };
    add("basis", format!("{}: {of_decode}prefill {}", p.fidelity.name(), pf.evidence.text));
    for (name, rate) in
        p.own_runs.iter().flat_map(|own| [("decode", own.decode), ("prefill", own.prefill)])
    {
        if let Some(rate) = rate {
            let r = TokensPerSecond;
            let [low, high] = rate.interval_90.map(r);
            add("without it", format!("{name} {} tok/s, 90 % {low}–{high}", r(rate.rate)));
        }
    }
    d.pairs(pairs);
    if !p.at_depth.is_empty() && p.generates() {
        d.table(depths(&p.at_depth));
    }
    d.notes(p.warnings.iter().map(ToString::to_string).collect());
    d
}

/// The mode, and what it and heat leave of the decode speed, or of that of prompts where nothing is generated.
fn power_texts(p: &PowerSpeeds) -> [String; 2] {
    let said = if p.stated { "" } else { " (assumed; --power names another)" };
    let range = |r: &PowerRange| {
        let speeds = r.decode_tokens_per_s.unwrap_or(r.prefill_tokens_per_s);
        let [low, middle, high] = speeds.map(TokensPerSecond);
        let how = match r.basis {
            RangeBasis::Measured => "published",
            RangeBasis::Assumed => "an assumption",
        };
        format!("{middle} tok/s, {low}–{high} ({how})")
    };
    [
        format!("{} mode{said}: at first {}", p.mode, range(&p.burst)),
        format!("after {} minutes of work {}", p.minutes, range(&p.sustained)),
    ]
}

/// Joules of a token and what they are of a battery; every figure is an assumption.
pub(super) fn energy_text(e: &Energy) -> String {
    let [low, middle, high] = e.joules_per_token.map(three);
    let [least, usual, most] = e.wh_per_1000_tokens.map(three);
    let battery = e.battery_share_per_1000_tokens.map_or(String::new(), |share| {
        let [low, middle, high] = share.map(|s| three(100.0 * s));
        format!(", {middle} % of the battery ({low}–{high})")
    });
    let [small, watts, large] = e.watts;
    format!(
        "{middle} J a token ({low}–{high}), {usual} Wh per 1000 tokens ({least}–{most}){battery}: an assumption, {watts} W \
         ({small}–{large}) while it generates"
    )
}

/// Two or three digits.
fn three(x: f64) -> String {
    match x {
        _ if x >= 99.5 => format!("{x:.0}"),
        _ if x >= 9.95 => format!("{x:.1}"),
        _ if x >= 0.095 => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
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
    if let Some(llama) = m.llama {
        llama_pairs(add, m, &llama);
    } else {
        add(
            "peak memory",
            format!(
                "{} (MLX), 90 % {low}–{high}; {}{}",
                Bytes(m.peak.peak_bytes),
                parts_text(&m.peak),
                draft_text(m)
            ),
        );
        let [low, high] = m.process.footprint_bytes.map(Bytes);
        add("footprint", format!("{low}–{high} of the process as macOS shows it, with Python"));
    }
    let limit = &machine.gpu_limit;
    let range = if limit.range[0] == limit.range[1] {
        String::new()
    } else {
        format!(" ({}–{} by macOS version)", limit.range[0], limit.range[1])
    };
    add("GPU limit", format!("{}{range}; fits: {}", limit.bytes, m.judgment.verdict));
    limit_texts(&m.judgment.limits).for_each(|text| add("", text));
    if let Some(swap) = m.judgment.swap {
        add(
            "",
            format!(
                "macOS would swap {}: {:.0} to {:.0} times slower",
                swap.excess_bytes, swap.slowdown[0], swap.slowdown[1]
            ),
        );
    }
}

/// What a draft model adds, where there is one.
fn draft_text(m: &Memory) -> String {
    if m.draft == Bytes::ZERO { String::new() } else { format!(" + draft model {}", m.draft) }
}

/// What llama.cpp allocates, and for what.
fn llama_pairs(add: &mut impl FnMut(&str, String), m: &Memory, llama: &LlamaMemory) {
    let (s, b) = (llama.settings, llama.buffers);
    let states = if b.state_bytes > 0 {
        format!(" + states {}", Bytes(b.state_bytes))
    } else {
        String::new()
    };
    let [low, high] = m.peak_interval_90;
    add(
        "memory",
        format!(
            "{}, 90 % {low}–{high}; weights {} + cache {}{states} + buffers {}{}",
            Bytes(b.total()) + m.draft,
            Bytes(b.weights_bytes),
            Bytes(b.kv_bytes),
            Bytes(b.beyond()),
            draft_text(m)
        ),
    );
    let [low, high] = m.process.footprint_bytes.map(Bytes);
    let kept = match llama.host {
        HostPrompts::Default(Bytes::ZERO) => String::new(),
        HostPrompts::Default(most) => format!(
            "; the upper end with up to {most} of earlier prompts, which the server comes to keep (--prompt-cache SIZE, 0 for \
             none)"
        ),
        HostPrompts::Given(bytes) => format!("; with {bytes} of earlier prompts"),
    };
    add("footprint", format!("{low}–{high} of the process as macOS shows it{kept}"));
    let shared = if s.unified { "one cache for all" } else { "a cache each" };
    let flash = if s.flash { "on" } else { "off" };
    add(
        "allocated for",
        format!(
            "{} tokens declared, {} slots with {shared}, batches of {}, flash attention {flash}, cache {}",
            s.context, s.slots, s.micro_batch, s.kv[0]
        ),
    );
}
