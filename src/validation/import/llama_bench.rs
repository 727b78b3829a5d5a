//! llama-bench: an object a line (`-o jsonl`) or an array of them (`-o json`). Its prompts and its tokens are timed apart, at a
//! depth of the cache.

use super::{FoundRun, positive};
use crate::run::Program;
use crate::stats::median;
use crate::validation::measurement::RateKind;
use serde::Deserialize;

/// A timed case.
#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    build_number: u64,
    #[serde(default)]
    cpu_info: String,
    #[serde(default)]
    gpu_info: String,
    #[serde(default)]
    backends: String,
    #[serde(default)]
    model_filename: String,
    #[serde(default)]
    model_type: String,
    #[serde(default)]
    model_size: f64,
    n_gpu_layers: Option<i64>,
    #[serde(default)]
    type_k: String,
    n_prompt: u32,
    n_gen: u32,
    #[serde(default)]
    n_depth: u32,
    #[serde(default)]
    test_time: String,
    avg_ts: f64,
    #[serde(default)]
    samples_ts: Vec<f64>,
}

pub(super) fn is(text: &str) -> bool {
    text.contains("\"n_prompt\"") && text.contains("\"avg_ts\"")
}

pub(super) fn runs(text: &str) -> Result<Vec<FoundRun>, serde_json::Error> {
    let cases: Vec<Case> = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text)?,
        // What the program says beside its results is no object.
        false => {
            let objects = text.lines().map(str::trim).filter(|l| l.starts_with('{'));
            objects
                .map(|l| serde_json::from_str(l.trim_end_matches(',')))
                .collect::<Result<_, _>>()?
        }
    };
    Ok(cases.iter().enumerate().map(|(i, case)| case.run(i)).collect())
}

impl Case {
    fn run(&self, index: usize) -> FoundRun {
        let what = match (self.n_prompt, self.n_gen) {
            (n, 0) => format!("pp{n}"),
            (0, n) => format!("tg{n}"),
            (p, g) => format!("pp{p}+tg{g}"),
        };
        let id = format!("{} {what}@d{}", index + 1, self.n_depth);
        let rate = positive(median(&self.samples_ts).unwrap_or(self.avg_ts));
        let (prompt, decode) = (self.n_gen == 0, self.n_prompt == 0);
        let file = self.model_filename.rsplit(['/', '\\']).next().unwrap_or_default();
        let brand = [&self.gpu_info, &self.cpu_info].into_iter().find_map(|s| apple(s));
        FoundRun {
            why_not: self.why_not(brand.is_some(), rate.is_some()),
            brand,
            engine_version: format!("llama.cpp b{}", self.build_number),
            model: file.trim_end_matches(".gguf").to_owned(),
            format: file_type(&self.model_type),
            prompt_tokens: prompt.then_some(self.n_prompt),
            context_tokens: Some(self.n_depth).filter(|_| decode),
            gen_tokens: decode.then_some(self.n_gen),
            prefill: rate.filter(|_| prompt),
            decode: rate.filter(|_| decode),
            weights_gb: positive(self.model_size / 1e9),
            kv_quant: match self.type_k.as_str() {
                "" | "f16" | "bf16" => String::new(),
                packed => packed.to_owned(),
            },
            kind: RateKind::Kernel,
            notes: self.test_time.clone(),
            ..FoundRun::new(id, Program::LlamaCpp)
        }
    }

    fn why_not(&self, apple: bool, rated: bool) -> Option<String> {
        let backends = self.backends.to_lowercase();
        let metal = backends.is_empty() || backends.contains("mtl") || backends.contains("metal");
        if !apple || !metal {
            return Some("not on the GPU of an Apple chip".to_owned());
        }
        if self.n_gpu_layers == Some(0) {
            return Some("no layer on the GPU (n_gpu_layers 0)".to_owned());
        }
        if !rated {
            return Some("no rate".to_owned());
        }
        match (self.n_prompt, self.n_gen) {
            (0, 0) => Some("neither prompt nor output".to_owned()),
            (1.., 1..) => Some("one rate over prompt and output together".to_owned()),
            (1.., 0) if self.n_depth > 0 => Some("a prompt behind a filled cache".to_owned()),
            _ => None,
        }
    }
}

/// The Apple chip of a text such as `Accelerate, Apple M1 Ultra`; none of a virtual machine.
fn apple(text: &str) -> Option<String> {
    let of = |part: &str| part.trim().starts_with("Apple M").then(|| part.trim().to_owned());
    text.split(',').find_map(of).filter(|_| !text.contains("irtual"))
}

/// The file type of `qwen3 8B Q4_K - Medium`.
fn file_type(model_type: &str) -> Option<String> {
    let words: Vec<&str> = model_type.split_whitespace().collect();
    let kind = |w: &&str| {
        let w = w.to_uppercase();
        ["Q", "IQ", "F16", "BF16", "MXFP4", "TQ"].iter().any(|s| w.starts_with(s))
            && (w.contains('_') || w.ends_with("16") || w == "MXFP4")
    };
    let at = words.iter().rposition(kind)?;
    Some(words[at..].join(" "))
}
