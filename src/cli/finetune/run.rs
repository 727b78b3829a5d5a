//! The run that flags, a configuration file and the defaults of `mlx_lm.lora` make together.

use super::args::FinetuneArgs;
use crate::cli::shared::training_args::LoraSettings;
use crate::engine::lora::config::{LoraConfig, SampleFields};
use crate::graph::training::FineTuning;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// The run as it will be asked of `mlx_lm.lora`.
#[derive(Clone, Debug)]
pub(super) struct FinetuneRun {
    /// The base as it was named.
    pub model: String,
    /// What decides memory and time; its tokens are those of the longest batch.
    pub options: FineTuning,
    /// Longest sample in tokens; longer ones are cut.
    pub max_seq_length: u32,
    /// Iterations.
    pub iters: u32,
    /// Whether prompts are left out of the loss.
    pub mask_prompt: bool,
    /// Factor on what adapters add.
    pub scale: f64,
    /// Share of activations that adapters drop.
    pub dropout: f64,
    /// Share of a batch that counts in the reported tokens.
    pub fill: f64,
    /// Whether the length of the longest sample is known.
    pub length_known: bool,
    /// The folder with the data.
    pub data: Option<PathBuf>,
    /// Names of the fields of a sample.
    pub fields: SampleFields,
    /// The configuration file, where there is one.
    pub config: Option<PathBuf>,
    /// Whether it names the data that are trained on.
    pub names_data: bool,
    /// What it and the defaults say without flags.
    pub without_flags: LoraSettings,
    /// What is to be said of the configuration file.
    pub notes: Vec<String>,
}

/// `lora_parameters.scale` of `mlx_lm.lora`, where the file does not say.
const SCALE: f64 = 20.0;

impl FinetuneRun {
    /// Reads the configuration file, if one is named, and puts the flags over it.
    pub(super) fn of(args: &FinetuneArgs) -> Result<Self> {
        let told = &args.training;
        let fill = told.fill.unwrap_or(1.0);
        let file = args.config.as_deref().map(LoraConfig::read).transpose()?.unwrap_or_default();
        let Some(model) = args.model.clone().or_else(|| file.model.clone()) else {
            bail!("no model: name it with --model, or in the configuration file (model:)");
        };
        let LoraSettings { options, max_seq_length, iters, mask_prompt } =
            LoraSettings::of(Some(told), &file);
        let notes = notes(&file, args);
        let without_flags = LoraSettings::of(None, &file);
        let names_data = args.data.is_none() && (file.data.is_some() || file.hf_dataset);
        let measured = told.longest.is_none() && told.fill.is_none() && !file.hf_dataset;
        let of_file = file.data.map(PathBuf::from).filter(|path| path.is_dir() && measured);
        let adapters = file.lora_parameters;
        Ok(Self {
            model,
            options,
            max_seq_length,
            iters,
            mask_prompt,
            scale: adapters.as_ref().map_or(SCALE, |a| a.scale),
            dropout: adapters.map_or(0.0, |a| a.dropout),
            fill,
            length_known: told.longest.is_some(),
            data: args.data.clone().or(of_file),
            fields: file.features,
            config: args.config.clone(),
            names_data,
            without_flags,
            notes,
        })
    }
}

/// Traps of the configuration file.
fn notes(config: &LoraConfig, args: &FinetuneArgs) -> Vec<String> {
    let mut notes = Vec::new();
    if !config.unknown.is_empty() {
        notes.push(format!(
            "mlx_lm.lora ignores what it does not know, here {}: is it spelled as its LORA.md has it?",
            config.unknown.join(", ")
        ));
    }
    if let Some(data) = &config.data
        && args.data.is_none()
        && !config.hf_dataset
        && !PathBuf::from(data).is_dir()
    {
        notes.push(format!(
            "'{data}' is no folder here, so mlx_lm.lora would load it from the hub: its lengths are not known"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::FinetuneRun;
    use crate::cli::finetune::args::FinetuneArgs;
    use crate::graph::training::{FineTuneType, Optimizer};
    use clap::{Args as _, Command, FromArgMatches as _};

    fn run(words: &[&str]) -> FinetuneRun {
        let command = FinetuneArgs::augment_args(Command::new("finetune"));
        let matches = command.get_matches_from([&["finetune"], words].concat());
        FinetuneRun::of(&FinetuneArgs::from_arg_matches(&matches).expect("flags")).expect("a run")
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_defaults() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.yaml");
        let text = "model: qwen3-4b-4bit\nfine_tune_type: dora\nbatch_size: 2\nnum_layers: -1\niters: 600\n\
                    max_seq_length: 1024\ngrad_checkpoint: true\nlora_parameters: {rank: 16, scale: 20.0, dropout: 0.1}\n";
        std::fs::write(&path, text).expect("written");
        let config = path.to_str().expect("a name");
        let run = run(&["-c", config, "--batch-size", "3", "--optimizer", "muon"]);
        assert_eq!(
            (run.model.as_str(), run.iters, run.max_seq_length),
            ("qwen3-4b-4bit", 600, 1024)
        );
        let o = &run.options;
        assert_eq!((o.kind, o.optimizer, o.layers), (FineTuneType::Dora, Optimizer::Muon, None));
        assert_eq!((o.batch, o.rank, o.accumulation, o.tokens), (3, 16, 1, 1023));
        assert!(o.checkpoint && run.dropout == 0.1);
    }

    #[test]
    fn nothing_said_is_what_mlx_lm_does() {
        let run = run(&["--model", "qwen3-4b-4bit"]);
        assert_eq!(run.options, crate::graph::training::FineTuning::default());
        assert_eq!((run.iters, run.max_seq_length, run.data), (1000, 2048, None));
    }
}
