//! Predictions from timings on this machine: of kernels, in a stored profile, or of the model's own layers, now.

use super::Context;
use super::args::{MachineArgs, PredictArgs};
use crate::calibration::profile::{self, Host, KernelEstimate, Profile};
use crate::calibration::transfer::Bin;
use crate::calibration::{decode_work, prefill_work};
use crate::estimate::speed::Engine;
use crate::estimate::{Fidelity, Prediction, Settings, Subject};
use crate::hardware::probe::{Probe, probe};
use crate::report::{Answer, Document};
use crate::roofline::Silicon;
use crate::units::{Seconds, TokensPerSecond};
use crate::validation::evidence::{self, Metric, Predicted, Quality};
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

/// A time and how well it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    /// Seconds.
    pub seconds: f64,
    /// Standard deviation of its logarithm.
    pub log_error: f64,
}

impl Timed {
    /// `tokens` per second, with intervals.
    fn rates(self, tokens: f64) -> Predicted {
        Predicted::new(tokens / self.seconds, self.log_error)
    }

    fn of(e: &KernelEstimate, added: f64) -> Self {
        Self { seconds: e.seconds, log_error: e.log_error.hypot(added) }
    }
}

/// The times of a prompt: of all its tokens but the last, and of the step that reads that one.
#[derive(Clone, Copy, Debug)]
struct PromptTime {
    prompt: Timed,
    first_step: Timed,
    tokens: u32,
}

impl PromptTime {
    fn rates(self) -> Predicted {
        self.prompt.rates(f64::from(self.tokens))
    }

    /// Seconds to the first token: middle, and the ends of the 90 % interval.
    fn ttft(self) -> (f64, [f64; 2]) {
        let rates = self.rates();
        let at = |rate: f64| f64::from(self.tokens) / rate + self.first_step.seconds;
        let [slow, fast] = rates.interval_90;
        (at(rates.rate), [at(fast), at(slow)])
    }
}

/// Times of a model on this machine.
pub(super) struct Timing {
    fidelity: Fidelity,
    decode: Timed,
    at_depth: Vec<(u32, Timed)>,
    prompt: Option<PromptTime>,
    basis: String,
    /// What the prompt's time rests on.
    prompt_basis: String,
    /// How good such predictions were on this machine.
    quality: Option<Quality>,
    prompt_quality: Option<Quality>,
}

/// This machine as profiles name it.
pub(super) fn machine(probe: &Probe, backend: &str) -> Host {
    Host {
        system: std::env::consts::OS.to_owned(),
        chip: probe.brand.clone().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        gpu_cores: probe.gpu_cores,
        cpu_cores: probe.cpu_cores,
        memory_bytes: probe.memory_bytes.map(|b| b.0),
        backend: backend.to_owned(),
    }
}

impl Context {
    /// The probe of this machine.
    pub(super) fn here(&self) -> Result<Probe> {
        Ok(probe(&self.catalogue)?)
    }

    /// The profile of `--profile`, or the newest one of this machine.
    pub(super) fn profile(&self, probe: &Probe) -> Result<Option<Profile>> {
        if let Some(path) = &self.global.profile {
            return Ok(Some(Profile::read(path)?));
        }
        let Some(folder) = profile::folder() else { return Ok(None) };
        let (stored, _) = profile::list(&folder);
        let fits = |p: &Profile| p.machine == machine(probe, &p.machine.backend);
        Ok(stored.into_iter().map(|(_, p)| p).find(fits))
    }

    /// The profile to predict with on this machine, or `elsewhere` (with `--profile` alone): scaled when it was made on
    /// another bin, with the error that this adds and a remark.
    fn profile_for(
        &self,
        elsewhere: Option<&MachineArgs>,
    ) -> Result<Option<(Profile, f64, String)>> {
        if elsewhere.is_some() && self.global.profile.is_none() {
            return Ok(None);
        }
        let probe = self.here()?;
        let Some(profile) = self.profile(&probe)? else { return Ok(None) };
        if elsewhere.is_none() && profile.machine == machine(&probe, &profile.machine.backend) {
            return Ok(Some((profile, 0.0, String::new())));
        }
        let target = self.machine(elsewhere.unwrap_or(&MachineArgs::default()));
        let made_on = &profile.machine;
        let [from, to] = [self.bin_of(made_on), target.as_ref().ok().map(bin)];
        let (Some(from), Some(to)) = (from, to) else {
            bail!(
                "the profile was made on {} ({}), which is not this machine, and only profiles of Apple chips can be scaled",
                made_on.chip,
                made_on.backend
            );
        };
        if from == to {
            return Ok(Some((profile, 0.0, String::new())));
        }
        let chip = made_on.chip.clone();
        match profile.transferred(from, to) {
            Some((scaled, added)) => {
                let cores = made_on.gpu_cores.unwrap_or(0);
                Ok(Some((scaled, added, format!(" ({cores} GPU cores), scaled to this bin"))))
            }
            None => bail!(
                "the profile was made on {chip}, another generation; calibrate a Mac of the same generation, or leave \
                 --profile out"
            ),
        }
    }

    /// The bin that a profile was made on.
    fn bin_of(&self, made_on: &Host) -> Option<Bin> {
        let chip = made_on.chip.strip_prefix("Apple ")?.to_lowercase().replace(' ', "");
        let cores = made_on.gpu_cores?;
        let memory = made_on.memory_bytes? >> 30;
        let spec = format!("{chip}-{cores}/{memory}");
        Some(bin(&crate::hardware::spec::resolve(&spec, &self.catalogue).ok()?))
    }
}

fn bin(machine: &crate::hardware::Machine) -> Bin {
    let t = Silicon::of(machine);
    Bin { generation: t.generation, bandwidth: t.bandwidth, arithmetic: t.cores * t.ghz }
}

impl Timing {
    /// The best timing at hand of the model on the machine; `None` when there is none, or another engine is asked for.
    pub fn of(
        context: &Context,
        args: &PredictArgs,
        subject: &Subject,
        settings: &Settings,
    ) -> Result<Option<Self>> {
        let here = args.machine.is_here() && settings.engine == Engine::Mlx;
        let single = settings.request.batch == 1;
        let timing = if args.time_layers {
            ensure!(here, "--time-layers times MLX on this machine; leave --mac and --engine out");
            ensure!(single, "--time-layers times single sequences; leave --batch out");
            Some(layers(context, args.force, subject, settings)?)
        } else {
            None
        };
        if settings.engine != Engine::Mlx || !single {
            return Ok(timing);
        }
        let elsewhere = (!args.machine.is_here()).then_some(&args.machine);
        let Some((profile, added, note)) = context.profile_for(elsewhere)? else {
            return Ok(timing);
        };
        let kernels = Self::kernels(&profile, (added, &note), subject, settings)?;
        Ok(match (timing, kernels) {
            // Layers are timed for decode alone.
            (Some(timing), Some(kernels)) => Some(Self {
                prompt: kernels.prompt,
                prompt_basis: kernels.prompt_basis,
                prompt_quality: kernels.prompt_quality,
                ..timing
            }),
            (Some(timing), None) => Some(timing),
            (None, kernels) => kernels,
        })
    }

    /// From the kernel times of a profile; `None` when it lacks a class that the model needs.
    fn kernels(
        profile: &Profile,
        (added, note): (f64, &str),
        subject: &Subject,
        settings: &Settings,
    ) -> Result<Option<Self>> {
        let cpu = profile.machine.backend == "cpu";
        let graph = if cpu { super::subjects::in_float32(subject)? } else { None };
        let graph = graph.as_ref().unwrap_or(&subject.graph);
        let r = settings.request;
        let at = |depth: u32| -> Result<Option<Timed>> {
            let work = decode_work(graph, depth, r.kv)?;
            Ok(profile.time(&work).ok().map(|e| Timed::of(&e, added)))
        };
        let Some(decode) = at(middle(settings))? else { return Ok(None) };
        let mut at_depth = Vec::new();
        for &depth in &settings.depths {
            at_depth.extend(at(depth)?.map(|t| (depth, t)));
        }
        let prompt = if r.context_tokens > 1 {
            let work = prefill_work(graph, r.context_tokens, r.prefill_step, r.kv)?;
            let first_step = at(r.context_tokens)?;
            let prompt = profile.prompt_time(&work).ok().map(|e| Timed::of(&e, added));
            prompt.zip(first_step).map(|(prompt, first_step)| PromptTime {
                prompt,
                first_step,
                tokens: r.context_tokens,
            })
        } else {
            None
        };
        let (classes, chip) = (profile.classes.len(), &profile.machine.chip);
        let basis = format!("{classes} classes of kernels timed on {chip}{note}");
        let quality = |metric| evidence::here(&profile.machine, Fidelity::Calibrated, metric);
        Ok(Some(Self {
            fidelity: Fidelity::Calibrated,
            decode,
            at_depth,
            prompt,
            prompt_basis: basis.clone(),
            basis,
            quality: quality(Metric::Decode),
            prompt_quality: quality(Metric::Prefill),
        }))
    }

    /// What the decode speed rests on, in words.
    fn decode_text(&self) -> String {
        with_quality(&self.basis, self.quality.as_ref())
    }

    /// What the prefill speed rests on, in words.
    fn prompt_text(&self) -> String {
        with_quality(&self.prompt_basis, self.prompt_quality.as_ref())
    }

    /// Puts the times into a prediction.
    pub fn apply(&self, prediction: &mut Prediction) {
        let rates = self.decode.rates(1.0);
        let decode = &mut prediction.decode;
        decode.tokens_per_s = rates.rate;
        decode.interval_80 = rates.interval_80;
        decode.interval_90 = rates.interval_90;
        decode.seconds_per_token = self.decode.seconds;
        decode.evidence.text = self.decode_text();
        for at in &mut prediction.at_depth {
            if let Some((_, t)) = self.at_depth.iter().find(|(d, _)| *d == at.context_tokens) {
                at.tokens_per_s = t.rates(1.0).rate;
            }
        }
        if let Some(prompt) = self.prompt {
            let rates = prompt.rates();
            let prefill = &mut prediction.prefill;
            prefill.tokens_per_s = rates.rate;
            prefill.interval_80 = rates.interval_80;
            prefill.interval_90 = rates.interval_90;
            prefill.ttft_s = prompt.ttft().0;
            prefill.evidence.text = self.prompt_text();
        }
        prediction.fidelity = self.fidelity;
    }

    /// Adds to a prediction's JSON how good such predictions were here.
    pub fn cite(&self, json: &mut Value) {
        json["decode"]["runs_here"] = json!(self.quality);
        if self.prompt.is_some() {
            json["prefill"]["runs_here"] = json!(self.prompt_quality);
            json["prefill"]["fidelity"] = json!(Fidelity::Calibrated);
        }
    }

    /// What can be said of a machine that is no Mac: speeds alone.
    pub fn alone(&self, subject: &Subject, settings: &Settings) -> Answer {
        let rates = self.decode.rates(1.0);
        let weights = crate::ledger::weights::Weights::of(&subject.graph);
        let at_depth: Vec<Value> = self
            .at_depth
            .iter()
            .map(|(d, t)| {
                let r = t.rates(1.0);
                json!({
                    "context_tokens": d, "tokens_per_s": r.rate, "interval_90": r.interval_90,
                })
            })
            .collect();
        let prefill = self.prompt.map(|p| {
            let (r, (ttft_s, ttft_interval_90_s)) = (p.rates(), p.ttft());
            json!({
                "tokens_per_s": r.rate, "interval_80": r.interval_80, "interval_90": r.interval_90,
                "ttft_s": ttft_s, "ttft_interval_90_s": ttft_interval_90_s,
            })
        });
        let mut provenance = vec![json!({ "input": "decode", "from": self.decode_text() })];
        provenance
            .extend(self.prompt.map(|_| json!({ "input": "prefill", "from": self.prompt_text() })));
        let r = settings.request;
        let mut json = json!({
            "schema": "mlxplan.prediction/1",
            "model": {
                "id": subject.id, "family": subject.graph.model_type(), "quant": subject.quant,
                "parameters": weights.parameters, "active_parameters": weights.active_parameters,
            },
            "machine": null,
            "request": {
                "context_tokens": r.context_tokens, "generate_tokens": r.generate_tokens,
                "batch": r.batch, "kv_bits": r.kv.map(|q| q.packing.bits),
                "prefill_step": r.prefill_step, "engine": settings.engine,
            },
            "memory": { "weights_bytes": weights.bytes },
            "decode": {
                "tokens_per_s": rates.rate, "interval_80": rates.interval_80,
                "interval_90": rates.interval_90, "seconds_per_token": self.decode.seconds,
                "bound": null, "at_depth": at_depth,
            },
            "prefill": prefill,
            "fidelity": self.fidelity,
            "provenance": provenance,
            "warnings": subject.warnings,
        });
        self.cite(&mut json);
        let mut d = Document::default();
        d.heading(format!("{}  {}  on  this machine", subject.id, subject.quant));
        let speed = |p: Predicted| {
            let (r, [low, high]) = (TokensPerSecond, p.interval_90);
            format!("{} tok/s, 90 % {}–{}", r(p.rate), r(low), r(high))
        };
        let mut pairs = vec![
            ("decode".to_owned(), speed(rates)),
            (String::new(), format!("{} a token", Seconds(self.decode.seconds))),
        ];
        for (depth, t) in &self.at_depth {
            pairs.push((String::new(), format!("{} at {depth} tokens", speed(t.rates(1.0)))));
        }
        if let Some(p) = self.prompt {
            let (ttft, [soon, late]) = p.ttft();
            let [ttft, soon, late] = [ttft, soon, late].map(Seconds);
            pairs.push(("prefill".to_owned(), speed(p.rates())));
            pairs.push(("first token".to_owned(), format!("after {ttft}, 90 % {soon}–{late}")));
        }
        let mut basis = format!("{}: decode {}", self.fidelity.name(), self.decode_text());
        if self.prompt.is_some() {
            basis = format!("{basis}; prefill {}", self.prompt_text());
        }
        pairs.push(("basis".to_owned(), basis));
        d.pairs(pairs);
        let missing = if self.prompt.is_some() { "limits are" } else { "limits and prefill are" };
        d.notes(vec![format!("no Apple Silicon Mac, so memory {missing} not predicted")]);
        Answer::untyped(json, d)
    }
}

fn with_quality(basis: &str, quality: Option<&Quality>) -> String {
    match quality {
        Some(q) => format!("{basis}; {}", q.text()),
        None => basis.to_owned(),
    }
}

/// Tokens in the cache in the middle of the generation.
fn middle(settings: &Settings) -> u32 {
    settings.request.context_tokens.saturating_add(settings.request.generate_tokens / 2)
}

#[cfg(not(mlx))]
fn layers(_: &Context, _: bool, _: &Subject, _: &Settings) -> Result<Timing> {
    anyhow::bail!("{}", super::NO_MLX)
}

/// Times the model's own layers.
#[cfg(mlx)]
fn layers(
    context: &Context,
    force: bool,
    subject: &Subject,
    settings: &Settings,
) -> Result<Timing> {
    use super::local::{allowed, runnable};
    use crate::calibration::widths;
    use crate::engine::mlx::LayerTimer;
    use std::time::Instant;

    /// Seconds per depth, and the relative error at which less time is enough.
    const LIMIT_S: f64 = 8.0;
    const TIGHT: f64 = 0.01;

    let limit = allowed(&context.here()?, force)?;
    let graph = runnable(subject)?;
    let mut kinds = 0;
    let mut at = |depth: u32| -> Result<Timed> {
        context.hint(&format!("timing layers at {depth} tokens"));
        let start = Instant::now();
        let mut timer = LayerTimer::new(&graph, depth, settings.request.kv, limit)?;
        loop {
            timer.round(3)?;
            let Some(e) = timer.estimate() else { continue };
            let spent = start.elapsed().as_secs_f64() > LIMIT_S;
            if e.rounds >= 3 && (spent || (e.rounds >= 5 && e.log_error < TIGHT)) {
                kinds = e.layers.len();
                // The run will be later than the timing.
                let log_error = e.log_error.hypot(widths::LAYERS).hypot(widths::PACE);
                return Ok(Timed { seconds: e.seconds_per_token, log_error });
            }
        }
    };
    let decode = at(middle(settings))?;
    let mut at_depth = Vec::new();
    for &depth in &settings.depths {
        at_depth.push((depth, at(depth)?));
    }
    let basis = format!("{kinds} kinds of this model's layers timed here with random weights");
    let machine = machine(&context.here()?, crate::engine::mlx::backend());
    let quality = evidence::here(&machine, Fidelity::LayerTimed, Metric::Decode);
    Ok(Timing {
        fidelity: Fidelity::LayerTimed,
        decode,
        at_depth,
        prompt: None,
        basis,
        prompt_basis: String::new(),
        quality,
        prompt_quality: None,
    })
}
