//! MLX in this process: `mlxplan bench --engine mlx`, and `mlx:MODEL` in `--compare`.

use super::args::BenchArgs;
use super::watch::Watch;
use crate::bench::record::Record;
use crate::cli::shared::context::Context;
use anyhow::Result;

/// The program with MLX does it.
#[cfg(not(mlx))]
pub(super) fn run(_: &Context, _: &BenchArgs, _: &Watch, _: &mut Record) -> Result<()> {
    match crate::cli::shared::with_mlx::needed()? {}
}

/// The program with MLX does it.
#[cfg(not(mlx))]
pub(super) fn load(_: &Context, _: &str) -> Result<Box<dyn crate::bench::Generator>> {
    match crate::cli::shared::with_mlx::needed()? {}
}

#[cfg(mlx)]
pub(super) use in_this_process::{load, run};

#[cfg(mlx)]
mod in_this_process {
    use super::super::args::ProtocolArgs;
    use super::{BenchArgs, Context, Record, Result, Watch};
    use crate::bench::Generator;
    use crate::bench::in_process::{Loads, sweep};
    use crate::bench::record::EngineRecord;
    use crate::bench::resident::Resident;
    use crate::bench::run::LABELS;
    use crate::cli::shared::caches::cached;
    use crate::cli::shared::with_mlx;
    use crate::engine::mlx::{LoadedWeights, Model};
    use anyhow::{Context as _, anyhow, ensure};
    use std::path::{Path, PathBuf};

    /// The folder with the weights of a model: itself a folder, or one that is in the caches of this machine.
    fn folder(name: &str) -> Result<PathBuf> {
        if Path::new(name).is_dir() {
            return Ok(name.into());
        }
        let cached = cached();
        let found = cached.find(name).into_iter().find(|m| m.path.is_dir());
        found.map(|m| m.path.clone()).ok_or_else(|| {
            anyhow!(
                "'{name}' is no folder with weights, and no model in the caches of this machine (mlxplan models \
                 --local); give a folder, or measure --engine mlx with --random-weights"
            )
        })
    }

    /// A model that answers prompts in this process.
    pub fn load(context: &Context, name: &str) -> Result<Box<dyn Generator>> {
        with_mlx::needed()?;
        let folder = folder(name)?;
        let text = folder.to_string_lossy().into_owned();
        let subject = context.one_model(&text, None, None)?;
        let resident = Resident::load(subject.graph, &folder).with_context(|| text.clone())?;
        Ok(Box::new(resident))
    }

    /// Measures every prompt length with every batch.
    pub fn run(
        context: &Context,
        args: &BenchArgs,
        watch: &Watch,
        record: &mut Record,
    ) -> Result<()> {
        with_mlx::needed()?;
        let name = args.model.clone().unwrap_or_default();
        let loads = Loads { lengths: &lengths(&args.protocol), batches: &args.load.batches };
        ensure!(
            loads.batches == [1] || record.protocol.temperature == 0.0,
            "--batches: several sequences are sampled greedily in process; leave --temperature at 0"
        );
        let (spec, weights) = match args.random_weights {
            true => (name.clone(), None),
            false => {
                let folder = folder(&name)?;
                (folder.to_string_lossy().into_owned(), Some(folder))
            }
        };
        let subject = context.one_model(&spec, None, None)?;
        // With random weights the type of the activations is free: the one that predictions for this backend assume.
        let graph = match &weights {
            None => crate::cli::shared::here::runnable(&subject)?,
            Some(_) => subject.graph,
        };
        let weights = match &weights {
            None => LoadedWeights::random(graph.params(), 0)?,
            Some(folder) => LoadedWeights::load(graph.params(), folder)?,
        };
        let model = Model::new(&graph, weights)?;
        let warm_up = record.protocol.warm_up.saturating_add(record.protocol.trials) as usize;
        let total = loads.lengths.len() * loads.batches.len() * warm_up;
        let observe = watch.observer(Some(total));
        record.trials = sweep(&model, LABELS[0], loads, &record.protocol, &observe, &watch.stop);
        record.engines.push(EngineRecord {
            label: LABELS[0].to_owned(),
            via: "mlx".to_owned(),
            at: spec.clone(),
            server: None,
            model: Some(spec),
            tokenizer: None,
        });
        if args.random_weights {
            record.notes.push(
                "weights are random: speeds are those of the model, texts are not".to_owned(),
            );
        }
        if loads.batches.iter().any(|b| *b > 1) {
            record.notes.push(
                "× n: n sequences together; rates are those of all, counts those of each"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn lengths(args: &ProtocolArgs) -> Vec<u32> {
        if args.depths.is_empty() { vec![512] } else { args.depths.clone() }
    }
}
