//! `mlxplan bench --engine mlx`: MLX in this process.

use super::args::BenchArgs;
use crate::bench::record::Record;
use crate::cli::Context;
use anyhow::{Result, bail};

/// This build cannot.
#[cfg(not(mlx))]
pub(super) fn run(_: &Context, _: &BenchArgs, _: &mut Record) -> Result<()> {
    bail!(
        "this mlxplan was built without MLX; in the sources, 'cargo xtask run -- bench …' builds it with MLX. \
         --engine mlx-lm and --server need no such build"
    )
}

/// Measures every prompt length.
#[cfg(mlx)]
pub(super) fn run(context: &Context, args: &BenchArgs, record: &mut Record) -> Result<()> {
    use super::engines::LABELS;
    use crate::bench::in_process::sweep;
    use crate::bench::record::EngineRecord;
    use crate::bench::scenario::Scenario;
    use crate::engine::mlx::{Model, Weights};

    if !matches!(record.scenario, Scenario::Decode | Scenario::Depth) {
        bail!("in process, decode and prefill are measured at chosen prompt lengths (--depths)");
    }
    let name = args.model.clone().unwrap_or_default();
    let subject = context.one_model(&name, None, None)?;
    let folder = std::path::Path::new(&name);
    let weights = match args.random_weights {
        true => Weights::random(subject.graph.params(), 0)?,
        false if folder.is_dir() => Weights::load(subject.graph.params(), folder)?,
        false => bail!("'{name}' is no folder with weights; give one, or add --random-weights"),
    };
    let model = Model::new(&subject.graph, weights)?;
    let lengths = match args.protocol.depths.as_slice() {
        [] => vec![512],
        given => given.to_vec(),
    };
    let observe = super::observer(context);
    record.trials = sweep(&model, LABELS[0], &lengths, &record.protocol, &observe);
    record.engines.push(EngineRecord {
        label: LABELS[0].to_owned(),
        via: "mlx".to_owned(),
        at: name,
        server: None,
    });
    if args.random_weights {
        record
            .notes
            .push("weights are random: speeds are those of the model, texts are not".to_owned());
    }
    Ok(())
}
