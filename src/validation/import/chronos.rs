//! mlx-chronos: a server's answers as its client sees them. Files before version 0.4 have only the rate over the whole
//! request.

use super::{FoundRun, positive};
use crate::run::Program;
use crate::validation::measurement::RateKind;
use serde::Deserialize;

#[derive(Deserialize)]
struct Benchmark {
    hardware: Hardware,
    engine: Engine,
    model: Model,
    metrics: Metrics,
    trials: Trials,
    #[serde(default)]
    meta: Meta,
}

#[derive(Deserialize)]
struct Hardware {
    chip: String,
    #[serde(default)]
    machine_model: Option<String>,
    memory_gb: f64,
    #[serde(default)]
    macos_version: Option<String>,
    #[serde(default)]
    low_power_mode: Option<String>,
}

#[derive(Deserialize)]
struct Engine {
    name: String,
    #[serde(default)]
    version: Option<String>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    #[serde(default)]
    quantization: Option<String>,
}

#[derive(Deserialize)]
struct Metrics {
    ttft_cold: Option<Figure>,
    tokens_per_second: Figure,
    decode_tokens_per_second: Option<Figure>,
}

#[derive(Clone, Copy, Deserialize)]
struct Figure {
    mean: f64,
}

#[derive(Deserialize)]
struct Trials {
    count: u32,
    #[serde(default)]
    completion_tokens_raw: Option<Vec<f64>>,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default)]
    thermal_monitor: Option<Thermal>,
    #[serde(default)]
    sustained_throttling_warning: Option<bool>,
}

#[derive(Deserialize)]
struct Thermal {
    #[serde(default)]
    non_nominal_observed: bool,
}

/// Tokens of an answer where the file does not say: what its throughput phase asks for.
const ASKED: u32 = 100;

pub(super) fn is(text: &str) -> bool {
    text.trim_start().starts_with('{')
        && text.contains("\"ttft_cold\"")
        && text.contains("\"tokens_per_second\"")
}

pub(super) fn runs(text: &str) -> Result<Vec<FoundRun>, serde_json::Error> {
    Ok(vec![serde_json::from_str::<Benchmark>(text)?.run()])
}

impl Benchmark {
    fn run(self) -> FoundRun {
        let (rate, kind) = match self.metrics.decode_tokens_per_second {
            Some(decode) => (decode.mean, RateKind::Served),
            None => (self.metrics.tokens_per_second.mean, RateKind::EndToEnd),
        };
        let heat = self.meta.sustained_throttling_warning == Some(true)
            || self.meta.thermal_monitor.is_some_and(|t| t.non_nominal_observed)
            || self.hardware.low_power_mode.as_deref() == Some("on");
        let apple = self.hardware.chip.starts_with("Apple ");
        let tokens = self.trials.completion_tokens_raw.as_deref().and_then(crate::stats::median);
        let name = self.engine.name.replace('_', "-").to_lowercase();
        FoundRun {
            why_not: (!apple).then(|| "not an Apple chip".to_owned()),
            brand: Some(self.hardware.chip),
            memory_gib: positive(self.hardware.memory_gb).map(|gb| gb.round() as u64),
            machine: self.hardware.machine_model.unwrap_or_default(),
            macos: self.hardware.macos_version.map_or_else(String::new, |v| format!("macOS {v}")),
            engine_version: format!("{name} {}", self.engine.version.unwrap_or_default()),
            model: self.model.name.clone(),
            format: self.model.quantization,
            gen_tokens: Some(tokens.map_or(ASKED, |n| n.round() as u32)),
            decode: positive(rate),
            ttft_s: self.metrics.ttft_cold.and_then(|t| positive(t.mean)),
            flags: if heat { vec!["thermal".to_owned()] } else { Vec::new() },
            kind,
            notes: format!("mean of {} trials", self.trials.count),
            ..FoundRun::new(format!("{name} {}", self.model.name), served_by(&name))
        }
    }
}

/// The program behind the requests, in the words of measurement files: mlx-lm is asked through its server.
fn served_by(name: &str) -> Program {
    match name {
        "ollama" => Program::Ollama,
        "llama.cpp" | "llama-cpp" | "llama-server" => Program::LlamaCpp,
        "lm-studio" | "lmstudio" => Program::LmStudio,
        _ => Program::MlxServer,
    }
}
