//! The command line of `mlx_lm.lora` for a run.

use super::run::FinetuneRun;

/// A word of a command line for a shell.
fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), |quoted| quoted.into_owned())
}

/// What to run: the command, with the options that its configuration file does not have; and what that file needs for what
/// has no option.
pub(super) fn lines(run: &FinetuneRun, base: &str) -> Vec<String> {
    let (options, file) = (&run.options, &run.without_flags);
    let plain = &file.options;
    let mut words = vec!["mlx_lm.lora".to_owned(), format!("--model {}", quoted(base))];
    words.push("--train".to_owned());
    let mut add = |given: bool, text: String| {
        if given {
            words.push(text);
        }
    };
    let data = run.data.as_ref().map_or_else(|| "FOLDER".to_owned(), |d| d.display().to_string());
    add(!run.names_data, format!("--data {}", quoted(&data)));
    let in_file = options.rank != plain.rank || options.keys != plain.keys;
    let config = run.config.as_ref().map(|path| path.display().to_string());
    let name = config.clone().unwrap_or_else(|| "config.yaml".to_owned());
    add(in_file || config.is_some(), format!("-c {}", quoted(&name)));
    let kind = options.kind.name();
    add(options.kind != plain.kind, format!("--fine-tune-type {kind}"));
    let optimizer = options.optimizer.name();
    add(options.optimizer != plain.optimizer, format!("--optimizer {optimizer}"));
    let layers = options.layers.map_or(-1, i64::from);
    add(options.layers != plain.layers, format!("--num-layers {layers}"));
    add(options.batch != plain.batch, format!("--batch-size {}", options.batch));
    let longest = run.max_seq_length;
    add(longest != file.max_seq_length, format!("--max-seq-length {longest}"));
    add(options.checkpoint && !plain.checkpoint, "--grad-checkpoint".to_owned());
    let steps = options.accumulation;
    add(steps != plain.accumulation, format!("--grad-accumulation-steps {steps}"));
    add(run.iters != file.iters, format!("--iters {}", run.iters));
    add(run.mask_prompt && !file.mask_prompt, "--mask-prompt".to_owned());
    let mut lines = vec![words.join(" ")];
    if in_file {
        lines.push(match config {
            Some(name) => format!("# in {name}, in place of its lora_parameters"),
            None => "# config.yaml".to_owned(),
        });
        lines.push("lora_parameters:".to_owned());
        lines.push(format!("  rank: {}", options.rank));
        lines.push(format!("  scale: {:?}", run.scale));
        lines.push(format!("  dropout: {:?}", run.dropout));
        if let Some(keys) = &options.keys {
            lines.push(format!("  keys: [{}]", keys.join(", ")));
        }
    }
    lines
}
