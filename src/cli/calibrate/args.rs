//! Arguments of `calibrate`.

use clap::Args;
use std::path::PathBuf;

/// Arguments of `calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Take at most 20 seconds instead of 60, with fewer formats of weights
    #[arg(long)]
    pub quick: bool,

    /// List the stored profiles instead of timing
    #[arg(long, conflicts_with_all = ["quick", "compare"])]
    pub list: bool,

    /// Compare two stored profiles instead of timing
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    pub compare: Option<Vec<PathBuf>>,

    /// Write the profile to this folder instead of the user's
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,

    /// Also write the profile to a file to share, with the day instead of the time and without the battery's charge; with
    /// --profile that one, without timing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "compare"])]
    pub export: Option<PathBuf>,
}
