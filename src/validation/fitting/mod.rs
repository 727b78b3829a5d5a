//! Fitting the laws on measured rows, and predicting every row from a fit that has not seen its owner or its chip.

mod bands;
mod file;
mod rows;

pub use file::{coefficients_text, hash};
pub use rows::LawRows;

use super::dataset::Dataset;
use super::held_out::HeldOut;
use crate::roofline::coefficients::{ChipEvidence, CoefficientsFile};
use crate::roofline::interval::ClassBand;
use crate::roofline::parameters::LawFit;
use crate::roofline::{LawKind, PerLaw};
use std::collections::BTreeSet;

/// What the rows of one law give.
struct Fitted {
    fit: LawFit,
    held_out: Vec<HeldOut>,
    chips: Vec<ChipEvidence>,
    bands: Vec<ClassBand>,
    /// Factor on the logarithmic width of intervals for a chip without rows.
    unseen_chip: f64,
    /// Deepest context or longest prompt among the rows, in tokens.
    most_tokens: u32,
    architectures: BTreeSet<String>,
}

impl Fitted {
    /// Fits the rows of a law. `mlx` is the fit of MLX decode, for the law that builds on it.
    fn of(data: &Dataset<'_>, law: LawKind, mlx: Option<&LawFit>) -> Self {
        let rows = LawRows::new(data, law, mlx);
        let solution = rows.regression().solve(&rows.observations);
        let held_out = rows.cross_validate();
        let bands = rows.bands(&held_out);
        Self {
            fit: rows.described(&solution),
            chips: rows.evidence(),
            unseen_chip: rows.unseen_chip(&held_out, &bands),
            most_tokens: rows.most_tokens(),
            architectures: rows.rows.iter().map(|r| r.architecture.clone()).collect(),
            held_out,
            bands,
        }
    }
}

/// Fits everything. Returns the contents of `coefficients.json` and the held-out predictions.
#[must_use]
pub fn fit_all(data: &Dataset<'_>, measurements_hash: String) -> (CoefficientsFile, Vec<HeldOut>) {
    let mlx = Fitted::of(data, LawKind::Mlx, None);
    // It builds on what the file holds, which is rounded.
    let gguf = Fitted::of(data, LawKind::Gguf, Some(&mlx.fit));
    let prefill = Fitted::of(data, LawKind::Prefill, None);
    let architectures: BTreeSet<String> =
        [mlx.architectures, gguf.architectures, prefill.architectures]
            .into_iter()
            .flatten()
            .collect();
    let file = CoefficientsFile {
        about: file::ABOUT.map(str::to_owned).to_vec(),
        measurements_hash,
        deepest_tokens: mlx.most_tokens.max(gguf.most_tokens),
        longest_prompt: prefill.most_tokens,
        architectures: architectures.into_iter().collect(),
        unseen_chip: PerLaw {
            mlx: mlx.unseen_chip,
            gguf: gguf.unseen_chip,
            prefill: prefill.unseen_chip,
        },
        chips: [mlx.chips, gguf.chips, prefill.chips].concat(),
        decode_bands: [mlx.bands, gguf.bands].concat(),
        prefill_bands: prefill.bands,
        decode_mlx: mlx.fit,
        decode_gguf: gguf.fit,
        prefill_mlx: prefill.fit,
    };
    (file, [mlx.held_out, gguf.held_out, prefill.held_out].concat())
}
