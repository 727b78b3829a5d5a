//! llmfit's community files (`llmfit-core/data/community/schema.json`): one machine, and for each model the mean of a few short
//! questions. Ollama states its own rate; of other servers llmfit times the whole request.

use super::{FoundRun, positive};
use crate::run::Program;
use crate::validation::measurement::RateKind;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Submission {
    hardware: Hardware,
    results: Vec<Answered>,
    tool: Tool,
}

#[derive(Deserialize)]
struct Tool {
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hardware {
    cpu: String,
    hardware_name: Option<String>,
    mem_tier_gb: Option<u64>,
    os: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    model: String,
    provider: String,
    num_runs: u32,
    avg_tps: f64,
    min_tps: f64,
    max_tps: f64,
    avg_ttft_ms: Option<f64>,
    avg_output_tokens: f64,
}

pub(super) fn is(text: &str) -> bool {
    text.trim_start().starts_with('{')
        && text.contains("\"schemaVersion\"")
        && text.contains("\"avgTps\"")
}

pub(super) fn runs(text: &str) -> Result<Vec<FoundRun>, serde_json::Error> {
    let all: Submission = serde_json::from_str(text)?;
    Ok(all.results.iter().map(|r| r.run(&all)).collect())
}

impl Answered {
    fn run(&self, of: &Submission) -> FoundRun {
        let (engine, kind) = match self.provider.as_str() {
            "ollama" => (Program::Ollama, RateKind::Client),
            "lmstudio" => (Program::LmStudio, RateKind::EndToEnd),
            "llamacpp" => (Program::LlamaCpp, RateKind::EndToEnd),
            _ => (Program::MlxServer, RateKind::EndToEnd),
        };
        let brand = of.hardware.hardware_name.as_ref().unwrap_or(&of.hardware.cpu);
        let apple = brand.starts_with("Apple ") && of.hardware.os == "macos";
        let why_not = if !apple {
            Some("not an Apple chip".to_owned())
        } else if !matches!(self.provider.as_str(), "ollama" | "lmstudio" | "llamacpp" | "mlx") {
            Some(format!("the provider '{}' is not known", self.provider))
        } else {
            None
        };
        let [low, high] = [self.min_tps, self.max_tps];
        FoundRun {
            why_not,
            brand: Some(brand.clone()),
            memory_gib: of.hardware.mem_tier_gb,
            // The version is llmfit's; that of the program is not stated.
            engine_version: format!("llmfit {}", of.tool.version),
            model: self.model.clone(),
            gen_tokens: positive(self.avg_output_tokens).map(|n| n.round() as u32),
            decode: positive(self.avg_tps),
            ttft_s: self.avg_ttft_ms.and_then(positive).map(|ms| ms / 1e3),
            kind,
            notes: format!("mean of {} runs, {low} to {high}", self.num_runs),
            ..FoundRun::new(format!("{} {}", self.provider, self.model), engine)
        }
    }
}
