//! The run that arguments describe: the one conversion of what was typed.

use super::args::RunArgs;
use crate::graph::cache::KvQuantisation;
use crate::run::{Program, Run};
use crate::units::Bytes;
use anyhow::{Result, bail};

impl RunArgs {
    /// The run of a program.
    pub(super) fn run(&self, program: Program) -> Result<Run> {
        let reserve = match self.reserve {
            Some(gb) if !gb.is_finite() || gb < 0.0 => {
                bail!("--reserve {gb}: a number of GB of at least 0")
            }
            gb => gb.map(Bytes::from_gb),
        };
        Ok(Run::default()
            .with_program(program)
            .with_context(self.context)
            .with_generated(self.generate)
            .with_batch(self.batch)
            .with_prefill_step(self.prefill_step)
            .with_kv(kv_quantisation(self.kv_bits)?)
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

/// The `--kv-bits` option.
pub(super) fn kv_quantisation(bits: Option<u32>) -> Result<Option<KvQuantisation>> {
    match bits {
        None => Ok(None),
        Some(bits @ (2 | 3 | 4 | 5 | 6 | 8)) => Ok(Some(KvQuantisation::bits(bits))),
        Some(other) => bail!("--kv-bits {other}: MLX quantises to 2, 3, 4, 5, 6 or 8 bits"),
    }
}
