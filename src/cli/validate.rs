//! `mlxplan validate`: predictions against runs.

use super::args::ValidateArgs;
use super::{Context, Verdict};
use crate::report::Answer;
use anyhow::Result;

pub(super) fn run(context: &Context, args: &ValidateArgs) -> Result<(Answer, Verdict)> {
    if args.live.suite || args.live.model.is_some() {
        return live(context, args);
    }
    super::published::run(context, args)
}

#[cfg(not(mlx))]
fn live(_: &Context, _: &ValidateArgs) -> Result<(Answer, Verdict)> {
    anyhow::bail!("{}", super::NO_MLX)
}

#[cfg(mlx)]
fn live(context: &Context, args: &ValidateArgs) -> Result<(Answer, Verdict)> {
    super::local::validate(context, &args.live)
}
