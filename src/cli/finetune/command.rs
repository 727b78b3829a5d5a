//! The command line of `mlx_lm.lora` for a run.

use super::run::FinetuneRun;
use crate::graph::training::{FineTuneType, FineTuning, Optimizer};

const fn type_name(kind: FineTuneType) -> &'static str {
    match kind {
        FineTuneType::Lora => "lora",
        FineTuneType::Dora => "dora",
        FineTuneType::Full => "full",
    }
}

pub(super) const fn optimizer_name(optimizer: Optimizer) -> &'static str {
    match optimizer {
        Optimizer::Adam => "adam",
        Optimizer::AdamW => "adamw",
        Optimizer::Muon => "muon",
        Optimizer::Sgd => "sgd",
        Optimizer::Adafactor => "adafactor",
    }
}

/// What to run: the command, and the file that it needs for what has no option.
pub(super) fn lines(run: &FinetuneRun, base: &str) -> Vec<String> {
    let options = &run.options;
    let data = run.data.as_ref().map_or_else(|| "FOLDER".to_owned(), |d| d.display().to_string());
    let data = shlex::try_quote(&data).map_or_else(|_| "FOLDER".to_owned(), |d| d.into_owned());
    let mut words = vec![
        "mlx_lm.lora".to_owned(),
        format!("--model {base}"),
        "--train".to_owned(),
        format!("--data {data}"),
    ];
    let plain = FineTuning::default();
    let mut add = |given: bool, text: String| {
        if given {
            words.push(text);
        }
    };
    let needs_file = options.rank != plain.rank || options.keys.is_some() || run.dropout > 0.0;
    add(needs_file, "-c config.yaml".to_owned());
    let kind = type_name(options.kind);
    add(options.kind != plain.kind, format!("--fine-tune-type {kind}"));
    let optimizer = optimizer_name(options.optimizer);
    add(options.optimizer != plain.optimizer, format!("--optimizer {optimizer}"));
    let layers = options.layers.map_or(-1, i64::from);
    add(options.layers != plain.layers, format!("--num-layers {layers}"));
    add(options.batch != plain.batch, format!("--batch-size {}", options.batch));
    add(run.max_seq_length != 2048, format!("--max-seq-length {}", run.max_seq_length));
    add(options.checkpoint, "--grad-checkpoint".to_owned());
    let steps = options.accumulation;
    add(steps != 1, format!("--grad-accumulation-steps {steps}"));
    add(run.iters != 1000, format!("--iters {}", run.iters));
    add(run.mask_prompt, "--mask-prompt".to_owned());
    let mut lines = vec![words.join(" ")];
    if needs_file {
        lines.push("# config.yaml".to_owned());
        lines.push("lora_parameters:".to_owned());
        lines.push(format!("  rank: {}", options.rank));
        lines.push("  scale: 20.0".to_owned());
        lines.push(format!("  dropout: {:?}", run.dropout));
        if let Some(keys) = &options.keys {
            lines.push(format!("  keys: [{}]", keys.join(", ")));
        }
    }
    lines
}
