//! How much memory a run may take, as it is typed.

use super::numbers::number;
use crate::run::Run;
use crate::units::Bytes;
use anyhow::{Result, bail};
use clap::Args;

/// Memory that a run may take.
#[derive(Clone, Debug, Default, Args)]
pub struct LimitArgs {
    /// Memory kept for macOS and other programs, in GB (default: 8 GiB or 1/16 of the memory, whichever is more, and
    /// no more than a quarter)
    #[arg(long, value_name = "GB", value_parser = |s: &str| number(s, 0.0, 1e5))]
    pub reserve: Option<f64>,

    /// A GPU memory limit that was set: 60GB, 58GiB, 49152MiB (default: the one of the Mac; this Mac's is read)
    #[arg(long, value_name = "SIZE")]
    pub gpu_limit: Option<Bytes>,

    /// Memory meant for this, of all that the Mac has: 24GB
    #[arg(long, value_name = "SIZE")]
    pub budget_memory: Option<Bytes>,
}

impl LimitArgs {
    /// A run within these limits.
    ///
    /// # Errors
    /// When a limit cannot be.
    pub(in crate::cli) fn applied(&self, run: Run) -> Result<Run> {
        let reserve = match self.reserve {
            Some(gb) if !(0.0..=100_000.0).contains(&gb) => {
                bail!("--reserve {gb}: a number of GB from 0 to 100000")
            }
            gb => gb.map(Bytes::from_gb),
        };
        Ok(run
            .with_reserve(reserve)
            .with_gpu_limit(above_zero("--gpu-limit", self.gpu_limit)?)
            .with_budget(above_zero("--budget-memory", self.budget_memory)?))
    }
}

/// A size that is not nothing.
fn above_zero(flag: &str, size: Option<Bytes>) -> Result<Option<Bytes>> {
    if size == Some(Bytes::ZERO) {
        bail!("{flag} 0: leave it out for the default");
    }
    Ok(size)
}
