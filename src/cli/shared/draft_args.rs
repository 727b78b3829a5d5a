//! Speculative decoding, as it is asked for on the command line.

use crate::run::{Acceptance, Draft, DraftTokens, Drafter, Run};
use clap::Args;

/// Speculative decoding.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Drafts")]
pub struct DraftArgs {
    /// What drafts tokens that the model verifies (speculative decoding): a smaller model; auto for those of the catalog
    /// that share the tokenizer; mtp for the model's own prediction heads
    #[arg(long, value_name = "MODEL|auto|mtp")]
    pub draft: Option<String>,

    /// Probability that a draft is right, or a range of it: 0.7, 0.6..0.8 [default: assumed ranges for prose and code]
    #[arg(long, value_name = "P[..Q]", requires = "draft")]
    pub acceptance: Option<Acceptance>,

    /// Drafts a round, or auto for the fastest number [default: the engine's; 3 for mlx-lm]
    #[arg(long, value_name = "N|auto", requires = "draft")]
    pub draft_tokens: Option<DraftTokens>,
}

impl DraftArgs {
    /// Whether the model's own heads are asked for.
    pub(in crate::cli) fn asks_for_heads(&self) -> bool {
        self.draft.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("mtp"))
    }

    /// Whether whatever could draft is asked for.
    pub(in crate::cli) fn asks_for_any(&self) -> bool {
        self.draft.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("auto"))
    }

    /// The same run with the drafts that are asked for.
    pub(in crate::cli) fn on(&self, run: Run) -> Run {
        let by = if self.asks_for_heads() { Drafter::Heads } else { Drafter::Model };
        run.with_draft(self.draft.is_some().then_some(Draft {
            by,
            tokens: self.draft_tokens.unwrap_or_default(),
            acceptance: self.acceptance,
        }))
    }
}
