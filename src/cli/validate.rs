//! `mlxplan validate`: predictions against runs.

use super::args::ValidateArgs;
use super::{Context, Verdict};
use crate::report::Answer;
use anyhow::{Result, bail};

pub(super) fn run(context: &Context, args: &ValidateArgs) -> Result<(Answer, Verdict)> {
    if args.live.suite || args.live.model.is_some() {
        return live(context, args);
    }
    bail!("name what to run: --model MODEL --random-weights, or --suite")
}

#[cfg(not(mlx))]
fn live(_: &Context, _: &ValidateArgs) -> Result<(Answer, Verdict)> {
    bail!("{}", super::NO_MLX)
}

#[cfg(mlx)]
fn live(context: &Context, args: &ValidateArgs) -> Result<(Answer, Verdict)> {
    super::local::validate(context, &args.live)
}
