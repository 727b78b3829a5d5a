//! `mlxplan validate`: predictions against runs.

pub(super) mod args;
#[cfg(mlx)]
mod live;
pub(super) mod live_answer;
pub(super) mod published;
mod published_document;

use super::shared::context::Context;
use super::shared::exit::ExitStatus;
use super::shared::with_mlx;
use crate::report::Answer;
use anyhow::Result;
use args::ValidateArgs;

pub(super) fn run(context: &Context, args: &ValidateArgs) -> Result<(Answer, ExitStatus)> {
    if args.live.suite || args.live.model.is_some() {
        return live(context, args);
    }
    published::run(context, args)
}

#[cfg(not(mlx))]
fn live(_: &Context, _: &ValidateArgs) -> Result<(Answer, ExitStatus)> {
    match with_mlx::needed()? {}
}

#[cfg(mlx)]
fn live(context: &Context, args: &ValidateArgs) -> Result<(Answer, ExitStatus)> {
    with_mlx::needed()?;
    live::validate(context, &args.live)
}
