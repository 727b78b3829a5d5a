//! `mlxplan bench --engine mlx-lm`: what `mlx_lm.benchmark` measures.

use super::args::BenchArgs;
use super::watch::Watch;
use crate::bench::Trial;
use crate::bench::mlx_lm::Benchmark;
use crate::bench::record::{EngineRecord, Record};
use crate::bench::run::LABELS;
use crate::bench::scenario::Scenario;
use crate::bench::trial::case_name;
use anyhow::{Result, anyhow, ensure};
use std::time::Duration;

/// Measures with `mlx_lm.benchmark`: every prompt length with every batch.
pub(super) fn run(args: &BenchArgs, watch: &Watch, record: &mut Record) -> Result<()> {
    let command = shlex::split(&args.load.mlx_lm).filter(|c| !c.is_empty()).ok_or_else(|| {
        anyhow!("--mlx-lm '{}': quotes do not match, or it is empty", args.load.mlx_lm)
    })?;
    ensure!(
        matches!(record.scenario, Scenario::Decode | Scenario::Depth),
        "mlx-lm measures decode and prefill at chosen prompt lengths (--depths) and batches (--batches); for the \
         scenario {} start mlx_lm.server and give its address with --server",
        record.scenario.name()
    );
    let model = args.model.clone().unwrap_or_default();
    let lengths =
        if args.protocol.depths.is_empty() { vec![512] } else { args.protocol.depths.clone() };
    let runs = lengths.len() * args.load.batches.len();
    let observe = watch.observer(Some(runs * args.protocol.trials as usize));
    'cases: for &prompt_tokens in &lengths {
        for &batch in &args.load.batches {
            if watch.stop.requested() {
                break 'cases;
            }
            let benchmark = Benchmark {
                command: command.clone(),
                model: model.clone(),
                prompt_tokens,
                generate_tokens: args.protocol.generate,
                batch,
                trials: args.protocol.trials,
                delay_s: record.protocol.cool_down_s.round() as u32,
            };
            let case = case_name(prompt_tokens, batch);
            let trials = match benchmark.run(Duration::from_secs(args.connection.timeout)) {
                // The signal that ends the run ended the program, too.
                Err(_) if watch.stop.requested() => break 'cases,
                trials => trials?,
            };
            for (round, trial) in trials.into_iter().enumerate() {
                let trial = Trial {
                    engine: LABELS[0].to_owned(),
                    index: record.trials.len() as u32,
                    case: case.clone(),
                    round: round as u32,
                    ..trial
                };
                observe(&trial);
                record.trials.push(trial);
            }
        }
    }
    record.engines.push(EngineRecord {
        label: LABELS[0].to_owned(),
        via: "mlx-lm".to_owned(),
        at: format!("{} --model {model}", command.join(" ")),
        server: None,
        model: Some(model),
        tokenizer: None,
    });
    record.notes.push(
        "mlx_lm.benchmark counts n tokens over n − 1 intervals; the decode rate of single sequences is corrected, and \
         the printed one is own_decode_tokens_per_s"
            .to_owned(),
    );
    Ok(())
}
