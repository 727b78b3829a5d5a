//! The text that oMLX's benchmark is copied as. It names the model and not the Mac; what it calls peak memory is not MLX's
//! own count and is not taken.

use super::{FoundRun, positive};
use crate::run::Program;
use crate::validation::measurement::RateKind;

const MODEL: &str = "Benchmark Model:";

pub(super) fn is(text: &str) -> bool {
    text.contains(MODEL) && text.contains("TTFT(ms)") && text.contains("tg TPS")
}

pub(super) fn runs(text: &str) -> Vec<FoundRun> {
    let (mut runs, mut model, mut single) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix(MODEL) {
            (model, single) = (name.trim().to_owned(), false);
        } else if line == "Single Request Results" {
            single = true;
        } else if line.starts_with("Continuous Batching") {
            single = false;
        } else if let Some(run) = row(line, &model).filter(|_| single) {
            runs.push(run);
        } else if let Some(batch) = batched(line).filter(|_| !single) {
            let id = format!("{model} {batch}");
            let why_not = Some("several requests at once".to_owned());
            runs.push(FoundRun { why_not, ..FoundRun::new(id, Program::MlxServer) });
        }
    }
    runs
}

/// `pp1024/tg128  5093.5  45.03  201.0 tok/s  22.4 tok/s  …`
fn row(line: &str, model: &str) -> Option<FoundRun> {
    let words: Vec<&str> = line.split_whitespace().filter(|w| *w != "tok/s").collect();
    let (test, figures) = words.split_first()?;
    let (prompt, generated) = test.strip_prefix("pp")?.split_once("/tg")?;
    let (prompt, generated) = (prompt.parse().ok()?, generated.parse().ok()?);
    let at = |i: usize| figures.get(i)?.replace(',', "").parse::<f64>().ok().and_then(positive);
    let (prefill, decode) = (at(2), at(3));
    let none = prefill.is_none() && decode.is_none();
    Some(FoundRun {
        why_not: none.then(|| "no rate".to_owned()),
        engine_version: "oMLX".to_owned(),
        model: model.to_owned(),
        prompt_tokens: Some(prompt),
        context_tokens: Some(prompt),
        gen_tokens: Some(generated),
        prefill,
        decode,
        ttft_s: at(0).map(|ms| ms / 1e3),
        kind: RateKind::Client,
        ..FoundRun::new(format!("{model} {test}"), Program::MlxServer)
    })
}

/// The number of requests of a row such as `4x  23.9 tok/s  1.07x  …`.
fn batched(line: &str) -> Option<&str> {
    let first = line.split_whitespace().next()?;
    let digits = first.strip_suffix('x')?;
    (digits.parse::<u32>().is_ok() && line.contains("tok/s")).then_some(first)
}
