//! The machine that arguments describe.

use super::names;
use super::numbers::{number, whole};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

/// The machine to plan for.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineArgs {
    /// A Mac: "this", a chip bin and memory (m4max-40/128, "M4 Max 40-core 128GB"), a product id or a model identifier
    #[arg(add = ArgValueCompleter::new(names::macs), long, value_name = "MAC", conflicts_with_all = ["bandwidth", "gpu_cores", "memory"])]
    pub mac: Option<String>,

    /// Memory bandwidth in GB/s of a machine that is not in the catalog
    #[arg(long, value_name = "GB/S", requires_all = ["gpu_cores", "memory"], value_parser = |s: &str| number(s, 1.0, 1e5))]
    pub bandwidth: Option<f64>,

    /// GPU cores of that machine
    #[arg(long, value_name = "N", requires = "bandwidth", value_parser = |s: &str| whole::<u32>(s, 1..=1024))]
    pub gpu_cores: Option<u32>,

    /// Memory of that machine in GiB
    #[arg(long, value_name = "GIB", requires = "bandwidth", value_parser = |s: &str| whole::<u64>(s, 1..=65_536))]
    pub memory: Option<u64>,
}

impl MachineArgs {
    /// Whether the machine that mlxplan runs on is meant.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.bandwidth.is_none()
            && self.mac.as_deref().is_none_or(|m| m.eq_ignore_ascii_case("this"))
    }
}
