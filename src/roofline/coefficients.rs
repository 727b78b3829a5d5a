//! The fitted coefficients (`data/coefficients.json`, written by `cargo xtask fit`).

use super::Silicon;
use super::decode::DecodeLaw;
use super::decode::parameters;
use super::interval::{Band, ClassBand, IntervalClass};
use super::law::{LawKind, PerLaw};
use super::parameters::{LawFit, Spec};
use super::prefill::{self, PrefillLaw};
use crate::hardware::Tier;
use crate::run::Program;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use thiserror::Error;

/// A coefficients file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("coefficients.json: {0}")]
pub struct CoefficientsError(String);

/// Measurements of one chip family with one kind of engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipEvidence {
    /// The law of the rows.
    pub law: LawKind,
    /// Family number.
    pub generation: u32,
    /// Tier.
    pub tier: Tier,
    /// Rows.
    pub rows: u32,
    /// Configurations: owner, chip, model, format.
    pub configurations: u32,
    /// Classes of predictions among them.
    pub classes: Vec<IntervalClass>,
}

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoefficientsFile {
    /// Where the file comes from and how to read it.
    pub about: Vec<String>,
    /// Hash of `measurements.csv`.
    pub measurements_hash: String,
    /// Deepest context among the decode rows, in tokens.
    pub deepest_tokens: u32,
    /// Longest prompt among the prefill rows, in tokens.
    pub longest_prompt: u32,
    /// Model types among the rows.
    pub architectures: Vec<String>,
    /// Factors on the logarithmic width of intervals for a chip without rows.
    pub unseen_chip: PerLaw<f64>,
    /// Rows by chip.
    pub chips: Vec<ChipEvidence>,
    /// Intervals of decode, by class.
    pub decode_bands: Vec<ClassBand>,
    /// Intervals of prefill, by class.
    pub prefill_bands: Vec<ClassBand>,
    /// Decode with MLX.
    pub decode_mlx: LawFit,
    /// Decode of GGUF files.
    pub decode_gguf: LawFit,
    /// Prefill with MLX.
    pub prefill_mlx: LawFit,
}

/// The fitted coefficients, ready to predict with.
#[derive(Clone, Debug)]
pub struct Coefficients {
    file: CoefficientsFile,
    mlx: DecodeLaw,
    gguf: DecodeLaw,
    prefill: PrefillLaw,
}

/// The file that is built in.
const EMBEDDED: &str = include_str!("../../data/coefficients.json");

impl Coefficients {
    /// The coefficients that are built in.
    ///
    /// # Errors
    /// When the built-in file is broken, which a test rules out.
    pub fn embedded() -> Result<&'static Self, CoefficientsError> {
        static PARSED: LazyLock<Result<Coefficients, CoefficientsError>> =
            LazyLock::new(|| Coefficients::parse(EMBEDDED));
        PARSED.as_ref().map_err(Clone::clone)
    }

    /// Starts to read the built-in coefficients on another core, for [`Coefficients::embedded`] to find them ready.
    pub fn prepare() {
        rayon::spawn(|| drop(Self::embedded()));
    }

    /// Reads a coefficients file.
    ///
    /// # Errors
    /// When it is no JSON, lacks a key, or a parameter is implausible.
    pub fn parse(text: &str) -> Result<Self, CoefficientsError> {
        let file: CoefficientsFile =
            serde_json::from_str(text).map_err(|e| CoefficientsError(e.to_string()))?;
        Self::new(file)
    }

    /// Coefficients from the contents of a file.
    ///
    /// # Errors
    /// When a parameter is missing or implausible.
    pub fn new(file: CoefficientsFile) -> Result<Self, CoefficientsError> {
        let wrong =
            |law: &str| CoefficientsError(format!("{law} has a wrong number of parameters"));
        let values =
            |law, fit: &LawFit, specs: &[Spec]| fit.values(law, specs).map_err(CoefficientsError);
        let mlx = DecodeLaw::new(&values("decode_mlx", &file.decode_mlx, &parameters::mlx())?)
            .ok_or_else(|| wrong("decode_mlx"))?;
        let gguf =
            DecodeLaw::new(&values("decode_gguf", &file.decode_gguf, &parameters::gguf(None))?)
                .ok_or_else(|| wrong("decode_gguf"))?;
        let prefill =
            PrefillLaw::new(&values("prefill_mlx", &file.prefill_mlx, &prefill::specs())?)
                .ok_or_else(|| wrong("prefill_mlx"))?;
        Ok(Self { file, mlx, gguf, prefill })
    }

    /// What the file says.
    #[must_use]
    pub fn file(&self) -> &CoefficientsFile {
        &self.file
    }

    /// The decode law of a program.
    #[must_use]
    pub fn decode_law(&self, program: Program) -> &DecodeLaw {
        if program.runs_gguf() { &self.gguf } else { &self.mlx }
    }

    /// The prefill law.
    #[must_use]
    pub fn prefill_law(&self) -> &PrefillLaw {
        &self.prefill
    }

    /// Rows and configurations on chips of a generation and tier.
    #[must_use]
    pub fn evidence(&self, law: LawKind, silicon: &Silicon) -> Option<&ChipEvidence> {
        self.file
            .chips
            .iter()
            .find(|c| c.law == law && c.generation == silicon.generation && c.tier == silicon.tier)
    }

    /// Factor on the logarithmic width of an interval for a chip: 1 where predictions of this class were measured on it.
    #[must_use]
    pub fn chip_width(&self, law: LawKind, silicon: &Silicon, class: IntervalClass) -> f64 {
        let seen = self.evidence(law, silicon).is_some_and(|c| c.classes.contains(&class));
        if seen { 1.0 } else { *self.file.unseen_chip.of(law) }
    }

    /// The same for a context of `tokens` tokens: 1 where contexts were measured.
    #[must_use]
    pub fn depth_width(&self, tokens: f64) -> f64 {
        beyond(tokens, self.file.deepest_tokens)
    }

    /// The same for a prompt of `tokens` tokens.
    #[must_use]
    pub fn prompt_width(&self, tokens: f64) -> f64 {
        beyond(tokens, self.file.longest_prompt)
    }

    /// The same for a model type: 1 where it was measured.
    #[must_use]
    pub fn architecture_width(&self, model_type: &str) -> f64 {
        let known = self.file.architectures.iter().any(|a| a == model_type);
        if known { 1.0 } else { UNSEEN_ARCHITECTURE }
    }

    /// The band of a class.
    #[must_use]
    pub fn decode_band(&self, class: IntervalClass) -> Band {
        band(&self.file.decode_bands, class)
    }

    /// The band of a class of prefill.
    #[must_use]
    pub fn prefill_band(&self, class: IntervalClass) -> Band {
        band(&self.file.prefill_bands, class)
    }
}

/// Factor on the logarithmic width of an interval for a model type without rows. The bytes and launches of such a model
/// are exact all the same.
const UNSEEN_ARCHITECTURE: f64 = 1.2;

/// Grows by half of the logarithm of how far `tokens` lies beyond what was measured.
fn beyond(tokens: f64, measured: u32) -> f64 {
    1.0 + 0.5 * (tokens / f64::from(measured.max(1))).ln().max(0.0)
}

fn band(bands: &[ClassBand], class: IntervalClass) -> Band {
    // A class without a band of its own gets the widest one.
    let own = bands.iter().find(|b| b.class == class);
    let widest = || bands.iter().max_by(|a, b| a.band.p90[1].total_cmp(&b.band.p90[1]));
    own.or_else(widest).map_or(Band { p80: [0.5, 2.0], p90: [0.4, 2.5] }, |b| b.band)
}
