//! The run that arguments describe: the one conversion of what was typed.

use super::args::{EngineArgs, Nax, RunArgs};
use crate::engine::programs::AskedEngine;
use crate::graph::cache::KvQuantisation;
use crate::run::{MatrixUnits, Run};
use crate::units::Bytes;
use anyhow::{Result, bail};

impl RunArgs {
    /// The run.
    pub(super) fn run(&self) -> Result<Run> {
        let reserve = match self.reserve {
            Some(gb) if !gb.is_finite() || gb < 0.0 => {
                bail!("--reserve {gb}: a number of GB of at least 0")
            }
            gb => gb.map(Bytes::from_gb),
        };
        Ok(Run::default()
            .with_engine(self.asked_engine().setup()?)
            .with_context(self.context)
            .with_generated(self.generate)
            .with_batch(self.batch)
            .with_kv(kv_quantisation(self.kv_bits)?)
            .with_reserve(reserve))
    }

    /// The engine as it was asked for.
    fn asked_engine(&self) -> AskedEngine {
        let EngineArgs { engine, mlx, macos, nax } = self.engine;
        let matrix_units = match nax {
            Nax::Auto => MatrixUnits::Auto,
            Nax::On => MatrixUnits::On,
            Nax::Off => MatrixUnits::Off,
        };
        AskedEngine { engine, mlx, macos, matrix_units, prefill_step: self.prefill_step }
    }
}

/// The `--kv-bits` option.
pub(super) fn kv_quantisation(bits: Option<u32>) -> Result<Option<KvQuantisation>> {
    match bits {
        None => Ok(None),
        Some(bits @ (2 | 3 | 4 | 5 | 6 | 8)) => Ok(Some(KvQuantisation::bits(bits))),
        Some(other) => bail!("--kv-bits {other}: MLX quantises to 2, 3, 4, 5, 6 or 8 bits"),
    }
}
