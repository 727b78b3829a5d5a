//! Fitting the laws on measured rows, and predicting every row from a fit that has not seen its owner or its chip.

use super::dataset::{Dataset, Observed};
use super::score::balance;
use crate::hardware::Tier;
use crate::roofline::coefficients::{ChipEvidence, CoefficientsFile, PerLaw};
use crate::roofline::decode::{self, DecodeLaw};
use crate::roofline::fit::{Law, Observation, Regression, Solution};
use crate::roofline::interval::{Band, ClassBand, decode_class, prefill_class};
use crate::roofline::parameters::{LawFit, Parameter, Spec};
use crate::roofline::prefill::{self, PrefillLaw};
use crate::stats::{few_clusters, weighted_quantile};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Scale of the residuals of the logarithm. Rows of one owner and chip share errors of about this size, so that the
/// data bind the parameters less than their number suggests.
const SIGMA: f64 = 0.15;

/// Which law a row is fitted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LawKind {
    /// Decode with MLX.
    Mlx,
    /// Decode of GGUF files.
    Gguf,
    /// Prefill with MLX.
    Prefill,
}

impl LawKind {
    /// All laws.
    pub const ALL: [Self; 3] = [Self::Mlx, Self::Gguf, Self::Prefill];

    /// Name in `coefficients.json` and in evidence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mlx => "mlx",
            Self::Gguf => "gguf",
            Self::Prefill => "prefill",
        }
    }
}

/// A row predicted from fits that have not seen it.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldOut {
    /// Id of the row.
    pub id: String,
    /// The law.
    pub which: LawKind,
    /// Rate predicted without the rows of the same owner.
    pub owner_out: f64,
    /// Rate predicted without the rows of the same chip.
    pub chip_out: f64,
}

/// The rows of one law.
pub struct Problem<'d, 'a> {
    data: &'d Dataset<'a>,
    which: LawKind,
    /// Rows of the data set, in its order.
    pub rows: Vec<&'d Observed<'a>>,
    /// Measured times and weights.
    pub observations: Vec<Observation>,
    specs: Vec<Spec>,
}

impl Law for Problem<'_, '_> {
    fn log_times(&self, values: &[f64], rows: &[usize]) -> Vec<f64> {
        let predict: Box<dyn Fn(usize) -> f64> = match self.which {
            LawKind::Prefill => match PrefillLaw::new(values.to_vec()) {
                Some(law) => Box::new(move |i| {
                    let row = self.rows[i];
                    row.log_prefill(&law, self.data.features_of(row)).unwrap_or(f64::NAN)
                }),
                None => Box::new(|_| f64::NAN),
            },
            LawKind::Mlx | LawKind::Gguf => match DecodeLaw::new(values.to_vec()) {
                Some(law) => Box::new(move |i| {
                    let row = self.rows[i];
                    row.log_step(&law, self.data.features_of(row))
                }),
                None => Box::new(|_| f64::NAN),
            },
        };
        rows.iter().map(|&i| predict(i)).collect()
    }
}

impl<'d, 'a> Problem<'d, 'a> {
    /// The rows that a law is fitted on. `mlx` is the fit of MLX decode, which the law of GGUF decode builds on.
    #[must_use]
    pub fn new(data: &'d Dataset<'a>, which: LawKind, mlx: Option<&[f64]>) -> Self {
        let rate = |row: &Observed<'_>| match which {
            LawKind::Prefill => row.prefill_rate(),
            LawKind::Mlx => row.decode_rate().filter(|_| !row.program.runs_gguf()),
            LawKind::Gguf => row.decode_rate().filter(|_| row.program.runs_gguf()),
        };
        let rated: Vec<(&Observed<'_>, f64)> =
            data.rows.iter().filter_map(|row| Some((row, rate(row)?))).collect();
        let rows: Vec<&Observed<'_>> = rated.iter().map(|(row, _)| *row).collect();
        let shares = balance(rows.iter().map(|r| r.configuration.as_str()));
        let observations = rated
            .iter()
            .zip(shares)
            .map(|((_, rate), share)| Observation { log_time: -rate.ln(), weight: share })
            .collect();
        let specs = match (which, mlx) {
            (LawKind::Prefill, _) => prefill::SPECS.to_vec(),
            (LawKind::Gguf, Some(mlx)) => decode::shared(mlx),
            (LawKind::Gguf, None) => decode::GGUF.to_vec(),
            (LawKind::Mlx, _) => decode::MLX.to_vec(),
        };
        Self { data, which, rows, observations, specs }
    }

    /// The regression of these rows.
    #[must_use]
    pub fn regression(&self) -> Regression<'_> {
        Regression { specs: &self.specs, law: self, sigma: SIGMA }
    }

    /// Rates of the rows of each group, predicted from the other groups.
    fn left_out(&self, group: impl Fn(&Observed<'_>) -> String) -> Vec<f64> {
        let groups: Vec<String> = self.rows.iter().map(|r| group(r)).collect();
        let names: BTreeSet<&String> = groups.iter().collect();
        let mut rates = vec![0.0; self.rows.len()];
        for name in names {
            let held: Vec<usize> = (0..groups.len()).filter(|&i| groups[i] == *name).collect();
            let mut observations = self.observations.clone();
            held.iter().for_each(|&i| observations[i].weight = 0.0);
            // From the priors: a start at the fit of all rows would tell of the rows that are held out.
            let values = self.regression().solve(&observations).values;
            for (&i, t) in held.iter().zip(self.log_times(&values, &held)) {
                rates[i] = (-t).exp();
            }
        }
        rates
    }

    /// Every row predicted from fits without its owner and without its chip.
    #[must_use]
    pub fn cross_validate(&self) -> Vec<HeldOut> {
        let owner = self.left_out(|r| r.row.owner().to_owned());
        let chip = self.left_out(|r| r.chip.clone());
        let rates = owner.into_iter().zip(chip);
        self.rows
            .iter()
            .zip(rates)
            .map(|(row, (owner_out, chip_out))| HeldOut {
                id: row.row.id.clone(),
                which: self.which,
                owner_out,
                chip_out,
            })
            .collect()
    }

    fn described(&self, solution: &Solution) -> LawFit {
        let clusters = |rows: &[usize]| {
            let names = rows.iter().map(|&i| (self.rows[i].row.owner(), &self.rows[i].chip));
            names.collect::<BTreeSet<_>>().len() as u32
        };
        let parameters = self
            .specs
            .iter()
            .enumerate()
            .map(|(i, spec)| Parameter {
                name: spec.name.to_owned(),
                value: rounded(solution.values[i]),
                sd: rounded(solution.covariance[(i, i)].sqrt()),
                rows: solution.informed_by[i].len() as u32,
                clusters: clusters(&solution.informed_by[i]),
            })
            .collect();
        let distinct = |name: &dyn Fn(&Observed<'_>) -> String| {
            self.rows.iter().map(|r| name(r)).collect::<BTreeSet<_>>().len() as u32
        };
        LawFit {
            rows: self.rows.len() as u32,
            configurations: distinct(&|r| r.configuration.clone()),
            owners: distinct(&|r| r.row.owner().to_owned()),
            parameters,
            covariance: (0..self.specs.len())
                .map(|i| (0..=i).map(|j| digits(solution.covariance[(i, j)], 2)).collect())
                .collect(),
        }
    }

    fn evidence(&self) -> Vec<ChipEvidence> {
        let mut chips: BTreeMap<(u32, Tier), Vec<&Observed<'_>>> = BTreeMap::new();
        for row in &self.rows {
            if let Some(target) = row.targets.first() {
                chips.entry((target.generation, target.tier)).or_default().push(row);
            }
        }
        chips
            .into_iter()
            .map(|((generation, tier), rows)| {
                let configurations: BTreeSet<&str> =
                    rows.iter().map(|r| r.configuration.as_str()).collect();
                let classes: BTreeSet<&str> = rows.iter().map(|r| self.class(r)).collect();
                ChipEvidence {
                    law: self.which.name().to_owned(),
                    generation,
                    tier,
                    rows: rows.len() as u32,
                    configurations: configurations.len() as u32,
                    classes: classes.into_iter().map(str::to_owned).collect(),
                }
            })
            .collect()
    }

    /// Class of the interval of a row.
    fn class(&self, row: &Observed<'_>) -> &'static str {
        let f = self.data.features_of(row);
        match self.which {
            LawKind::Prefill => {
                let matrix_units = row.targets.iter().any(|t| t.matrix_units);
                prefill_class(matrix_units)
            }
            _ => decode_class(row.program, f.weight_bytes_per_step(), f.has_experts()),
        }
    }

    /// The smallest factor on the width of the bands with which they hold what they promise on chips left out.
    fn unseen_chip(&self, held: &[HeldOut], bands: &[ClassBand]) -> f64 {
        let weights = balance(self.rows.iter().map(|r| r.configuration.as_str()));
        let total: f64 = weights.iter().sum();
        let covered = |width: f64| {
            let mut inside = [0.0, 0.0];
            for (((row, o), h), w) in
                self.rows.iter().zip(&self.observations).zip(held).zip(&weights)
            {
                let class = self.class(row);
                let Some(band) = bands.iter().find(|b| b.class == class) else { continue };
                let ends = band.band.widened(width);
                let ratio = (-o.log_time).exp() / h.chip_out;
                for (sum, [low, high]) in inside.iter_mut().zip([ends.p80, ends.p90]) {
                    if (low..=high).contains(&ratio) {
                        *sum += w / total;
                    }
                }
            }
            inside[0] >= 0.8 && inside[1] >= 0.9
        };
        let widths = UNSEEN_WIDTHS.map(|percent| f64::from(percent) / 100.0);
        widths.clone().find(|&w| covered(w)).unwrap_or(f64::from(*UNSEEN_WIDTHS.end()) / 100.0)
    }

    /// Bands of the ratio of measured to predicted, by class, from the rows predicted without their owner.
    fn bands(&self, held: &[HeldOut]) -> Vec<ClassBand> {
        let mut classes: BTreeMap<&str, Vec<(f64, &Observed<'_>)>> = BTreeMap::new();
        for ((row, o), h) in self.rows.iter().zip(&self.observations).zip(held) {
            let ratio = -o.log_time - h.owner_out.ln();
            classes.entry(self.class(row)).or_default().push((ratio, row));
        }
        classes
            .into_iter()
            .map(|(class, ratios)| {
                let weights = balance(ratios.iter().map(|(_, r)| r.configuration.as_str()));
                let configurations = weights.iter().sum::<f64>().round() as u32;
                let sample: Vec<(f64, f64)> =
                    ratios.iter().zip(weights).map(|((r, _), w)| (*r, w)).collect();
                let clusters: BTreeSet<(&str, &str)> =
                    ratios.iter().map(|(_, r)| (r.row.owner(), r.chip.as_str())).collect();
                let at = |q: f64, z: f64| {
                    let wide = weighted_quantile(&sample, q) * few_clusters(z, clusters.len());
                    rounded(wide.exp())
                };
                let p80 = [at(0.1, Z_80).min(1.0), at(0.9, Z_80).max(1.0)];
                let p90 = [at(0.05, Z_90).min(p80[0]), at(0.95, Z_90).max(p80[1])];
                ClassBand { class: class.to_owned(), configurations, band: Band { p80, p90 } }
            })
            .collect()
    }
}

/// Quantiles of the normal distribution at the upper ends of 80 % and 90 % intervals.
const Z_80: f64 = 1.2816;
const Z_90: f64 = 1.6449;

/// Factors that are tried on the width of intervals for a chip without rows, in hundredths.
const UNSEEN_WIDTHS: std::ops::RangeInclusive<u32> = 110..=300;

/// Five significant digits: what the file holds, and far more than the data can tell.
fn rounded(x: f64) -> f64 {
    digits(x, 4)
}

/// `x` with so many digits after the first.
fn digits(x: f64, after: usize) -> f64 {
    format!("{x:.after$e}").parse().unwrap_or(x)
}

/// Fits everything. Returns the contents of `coefficients.json` and the held-out predictions.
#[must_use]
pub fn fit_all(data: &Dataset<'_>, measurements_hash: String) -> (CoefficientsFile, Vec<HeldOut>) {
    let mut fits = Vec::new();
    let mut held_out = Vec::new();
    let (mut chips, mut bands, mut unseen) = (Vec::new(), Vec::new(), Vec::new());
    let mut mlx: Option<Vec<f64>> = None;
    let mut architectures: BTreeSet<String> = BTreeSet::new();
    let (mut deepest, mut longest) = (0, 0);
    for which in LawKind::ALL {
        let problem = Problem::new(data, which, mlx.as_deref());
        let solution = problem.regression().solve(&problem.observations);
        let held = problem.cross_validate();
        chips.extend(problem.evidence());
        let own = problem.bands(&held);
        unseen.push(problem.unseen_chip(&held, &own));
        bands.push(own);
        fits.push(problem.described(&solution));
        for row in &problem.rows {
            architectures.insert(row.architecture.clone());
            match which {
                LawKind::Prefill => {
                    longest = longest.max(row.prompt().map_or(0, |p| p.tokens as u32))
                }
                _ => deepest = deepest.max(row.step().tokens as u32),
            }
        }
        held_out.extend(held);
        if which == LawKind::Mlx {
            // Later fits build on what the file holds.
            mlx = fits.last().map(|f| f.parameters.iter().map(|p| p.value).collect());
        }
    }
    let mut fits = fits.into_iter();
    let mut next = || fits.next().unwrap_or_else(|| unreachable!("one fit per law"));
    let (decode_mlx, decode_gguf, prefill_mlx) = (next(), next(), next());
    let prefill_bands = bands.pop().unwrap_or_default();
    let file = CoefficientsFile {
        about: ABOUT.map(str::to_owned).to_vec(),
        measurements_hash,
        deepest_tokens: deepest,
        longest_prompt: longest,
        architectures: architectures.into_iter().collect(),
        unseen_chip: PerLaw { mlx: unseen[0], gguf: unseen[1], prefill: unseen[2] },
        chips,
        decode_bands: bands.into_iter().flatten().collect(),
        prefill_bands,
        decode_mlx,
        decode_gguf,
        prefill_mlx,
    };
    (file, held_out)
}

/// SHA-256 of a text, in hexadecimal digits.
#[must_use]
pub fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `coefficients.json` says of itself.
const ABOUT: [&str; 3] = [
    "Written by `cargo xtask fit` from data/measurements.csv; do not edit.",
    "Parameters: src/roofline/decode/parameters.rs and src/roofline/prefill.rs say what each means.",
    "`sd` and `covariance` are of logarithms; a parameter with sd 0 is not fitted.",
];

/// The text of `coefficients.json`: what holds nothing nested stands on one line.
///
/// # Errors
/// When JSON cannot express a value, which does not happen with finite numbers.
pub fn coefficients_text(file: &CoefficientsFile) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    outline(&serde_json::to_value(file)?, 0, &mut text);
    text.push('\n');
    Ok(text)
}

/// Writes a value over several lines, down to the parts without containers of containers.
fn outline(value: &Value, depth: usize, text: &mut String) {
    let nested = |v: &Value| v.is_array() || v.is_object();
    let (brackets, parts): (_, Vec<(Option<&String>, &Value)>) = match value {
        Value::Array(a) if a.iter().any(nested) => {
            (['[', ']'], a.iter().map(|v| (None, v)).collect())
        }
        Value::Object(o) if o.values().any(nested) => {
            (['{', '}'], o.iter().map(|(k, v)| (Some(k), v)).collect())
        }
        flat => return text.push_str(&flat.to_string()),
    };
    text.push(brackets[0]);
    for (i, (key, part)) in parts.into_iter().enumerate() {
        text.push_str(if i == 0 { "\n" } else { ",\n" });
        text.push_str(&"  ".repeat(depth + 1));
        if let Some(key) = key {
            text.push_str(&format!("{}: ", json!(key)));
        }
        outline(part, depth + 1, text);
    }
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
    text.push(brackets[1]);
}

/// The text of `cross_validation.csv`.
#[must_use]
pub fn held_out_text(rows: &[HeldOut]) -> String {
    let mut text = String::from("id,law,owner_out_tok_s,chip_out_tok_s\n");
    for r in rows {
        let line = format!("{},{},{:.4},{:.4}\n", r.id, r.which.name(), r.owner_out, r.chip_out);
        text.push_str(&line);
    }
    text
}
