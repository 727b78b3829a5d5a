//! Predictions from timings on this machine: of kernels, in a stored profile, or of the model's own layers, now.

use super::Context;
use super::args::PredictArgs;
use crate::calibration::decode_work;
use crate::calibration::profile::{self, Machine, Profile};
use crate::hardware::probe::{Probe, probe};
use crate::predict::speed::Engine;
use crate::predict::{Fidelity, Prediction, Settings, Subject};
use crate::report::{Answer, Document};
use crate::units::{Seconds, TokensPerSecond};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// Standard deviation of the logarithm that extrapolating from layers adds to that of the timing: an assumption, wide
/// enough for the six comparisons made so far (SmolLM2-135M on the CPU of a busy machine, errors of -2.5 to +8.9 %).
#[cfg(mlx)]
pub(super) const LAYER_ERROR: f64 = 0.05;

/// The time of a decode step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    /// Seconds.
    pub seconds: f64,
    /// Standard deviation of its logarithm.
    pub log_error: f64,
}

impl Timed {
    /// Tokens per second: middle, 80 % and 90 % interval.
    fn rates(self) -> (f64, [f64; 2], [f64; 2]) {
        let rate = 1.0 / self.seconds;
        let around =
            |z: f64| [rate * (-z * self.log_error).exp(), rate * (z * self.log_error).exp()];
        (rate, around(1.282), around(1.645))
    }
}

/// Decode times of a model on this machine.
pub(super) struct Timing {
    fidelity: Fidelity,
    decode: Timed,
    at_depth: Vec<(u32, Timed)>,
    basis: String,
}

/// This machine as profiles name it.
pub(super) fn machine(probe: &Probe, backend: &str) -> Machine {
    Machine {
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
}

impl Timing {
    /// The best timing at hand of the model on this machine; `None` when there is none, or another machine or engine is
    /// asked for.
    pub fn of(
        context: &Context,
        args: &PredictArgs,
        subject: &Subject,
        settings: &Settings,
    ) -> Result<Option<Self>> {
        let here = args.machine.is_here() && settings.engine == Engine::Mlx;
        let single = settings.request.batch == 1;
        if args.time_layers {
            ensure!(here, "--time-layers times MLX on this machine; leave --mac and --engine out");
            ensure!(single, "--time-layers times single sequences; leave --batch out");
            return layers(context, args.force, subject, settings).map(Some);
        }
        if !here || !single {
            return Ok(None);
        }
        let Some(profile) = context.profile(&context.here()?)? else { return Ok(None) };
        Self::kernels(&profile, subject, settings)
    }

    /// From the kernel times of a profile; `None` when it lacks a class that the model needs.
    fn kernels(profile: &Profile, subject: &Subject, settings: &Settings) -> Result<Option<Self>> {
        let cpu = profile.machine.backend == "cpu";
        let graph = if cpu { super::subjects::in_float32(subject)? } else { None };
        let graph = graph.as_ref().unwrap_or(&subject.graph);
        let at = |depth: u32| -> Result<Option<Timed>> {
            let work = decode_work(graph, depth, settings.request.kv, cpu)?;
            Ok(profile
                .time(&work)
                .ok()
                .map(|e| Timed { seconds: e.seconds_per_token, log_error: e.log_error }))
        };
        let Some(decode) = at(middle(settings))? else { return Ok(None) };
        let mut at_depth = Vec::new();
        for &depth in &settings.depths {
            at_depth.extend(at(depth)?.map(|t| (depth, t)));
        }
        let basis = format!(
            "{} classes of kernels timed here, {}",
            profile.classes.len(),
            profile.machine.chip
        );
        Ok(Some(Self { fidelity: Fidelity::Calibrated, decode, at_depth, basis }))
    }

    /// Puts the decode times into a prediction.
    pub fn apply(&self, prediction: &mut Prediction) {
        let (rate, interval_80, interval_90) = self.decode.rates();
        let decode = &mut prediction.decode;
        decode.tokens_per_s = rate;
        decode.interval_80 = interval_80;
        decode.interval_90 = interval_90;
        decode.seconds_per_token = self.decode.seconds;
        decode.evidence.text.clone_from(&self.basis);
        for at in &mut prediction.at_depth {
            if let Some((_, t)) = self.at_depth.iter().find(|(d, _)| *d == at.context_tokens) {
                at.tokens_per_s = t.rates().0;
            }
        }
        prediction.fidelity = self.fidelity;
    }

    /// What can be said of a machine that is no Mac: decode alone.
    pub fn alone(&self, subject: &Subject, settings: &Settings) -> Answer {
        let (rate, interval_80, interval_90) = self.decode.rates();
        let weights = crate::ledger::weights::Weights::of(&subject.graph);
        let at_depth: Vec<Value> = self
            .at_depth
            .iter()
            .map(|(d, t)| json!({ "context_tokens": d, "tokens_per_s": t.rates().0 }))
            .collect();
        let r = settings.request;
        let json = json!({
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
                "tokens_per_s": rate, "interval_80": interval_80, "interval_90": interval_90,
                "seconds_per_token": self.decode.seconds, "bound": null, "at_depth": at_depth,
            },
            "prefill": null,
            "fidelity": self.fidelity,
            "provenance": [{ "input": "decode", "from": self.basis }],
            "warnings": subject.warnings,
        });
        let mut d = Document::default();
        d.heading(format!("{}  {}  on  this machine", subject.id, subject.quant));
        let speed = |t: Timed| {
            let (rate, _, [low, high]) = t.rates();
            let r = TokensPerSecond;
            format!("{} tok/s, 90 % {}–{}", r(rate), r(low), r(high))
        };
        let mut pairs = vec![
            ("decode".to_owned(), speed(self.decode)),
            (String::new(), format!("{} a token", Seconds(self.decode.seconds))),
        ];
        for (depth, t) in &self.at_depth {
            pairs.push((String::new(), format!("{} at {depth} tokens", speed(*t))));
        }
        pairs.push(("basis".to_owned(), format!("{}: {}", self.fidelity.name(), self.basis)));
        d.pairs(pairs);
        d.notes(vec![
            "no Apple Silicon Mac, so memory limits and prefill are not predicted".to_owned(),
        ]);
        Answer { json, document: d }
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
                let log_error = e.log_error.hypot(LAYER_ERROR);
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
    Ok(Timing { fidelity: Fidelity::LayerTimed, decode, at_depth, basis })
}
