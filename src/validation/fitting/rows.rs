//! The rows of one law: their fit, and each predicted from a fit that has not seen it.

use crate::hardware::Tier;
use crate::roofline::coefficients::ChipEvidence;
use crate::roofline::decode::{DecodeLaw, parameters};
use crate::roofline::fit::{Law, Observation, Regression, Solution};
use crate::roofline::parameters::{LawFit, Parameter, Spec};
use crate::roofline::prefill::{self, PrefillLaw};
use crate::roofline::{IntervalClass, LawKind};
use crate::validation::dataset::{Dataset, Observed};
use crate::validation::held_out::HeldOut;
use crate::validation::score::balance;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Scale of the residuals of the logarithm. Rows of one owner and chip share errors of about this size, so that the
/// data bind the parameters less than their number suggests.
const SIGMA: f64 = 0.15;

/// The rows of one law.
pub struct LawRows<'d, 'a> {
    data: &'d Dataset<'a>,
    law: LawKind,
    /// Rows of the data set, in its order.
    pub rows: Vec<&'d Observed<'a>>,
    /// Measured times and weights.
    pub observations: Vec<Observation>,
    specs: Vec<Spec>,
}

impl Law for LawRows<'_, '_> {
    fn log_times(&self, values: &[f64], rows: &[usize]) -> Vec<f64> {
        let observed = rows.iter().map(|&i| (self.rows[i], self.data.features_of(self.rows[i])));
        match self.law {
            LawKind::Prefill => {
                let law = PrefillLaw::new(values);
                let time = |(row, f): (&Observed<'_>, _)| row.log_prefill(law.as_ref()?, f);
                observed.map(|row| time(row).unwrap_or(f64::NAN)).collect()
            }
            LawKind::Mlx | LawKind::Gguf => {
                let law = DecodeLaw::new(values);
                let time = |(row, f): (&Observed<'_>, _)| Some(row.log_step(law.as_ref()?, f));
                observed.map(|row| time(row).unwrap_or(f64::NAN)).collect()
            }
        }
    }
}

impl<'d, 'a> LawRows<'d, 'a> {
    /// The rows that a law is fitted on. `mlx` is the fit of MLX decode, which the law of GGUF decode builds on.
    #[must_use]
    pub fn new(data: &'d Dataset<'a>, law: LawKind, mlx: Option<&LawFit>) -> Self {
        let rate = |row: &Observed<'_>| match law {
            LawKind::Prefill => row.prefill_rate(),
            LawKind::Mlx | LawKind::Gguf => row
                .decode_rate()
                .filter(|_| row.times_decoding() && LawKind::of_decode(row.program) == law),
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
        let specs = match law {
            LawKind::Prefill => prefill::specs(),
            LawKind::Gguf => parameters::gguf(mlx),
            LawKind::Mlx => parameters::mlx(),
        };
        Self { data, law, rows, observations, specs }
    }

    /// The regression of these rows.
    #[must_use]
    pub fn regression(&self) -> Regression<'_> {
        Regression { specs: &self.specs, law: self, sigma: SIGMA }
    }

    /// Rates of the rows of each group, predicted from the other groups.
    fn left_out(&self, group: impl Fn(&Observed<'_>) -> String) -> Vec<f64> {
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, row) in self.rows.iter().enumerate() {
            groups.entry(group(row)).or_default().push(i);
        }
        let predicted: Vec<(usize, f64)> = groups
            .into_par_iter()
            .flat_map_iter(|(_, held)| {
                let mut observations = self.observations.clone();
                held.iter().for_each(|&i| observations[i].weight = 0.0);
                // From the priors: a start at the fit of all rows would tell of the rows that are held out.
                let values = self.regression().solve(&observations).values;
                let times = self.log_times(&values, &held);
                held.into_iter().zip(times.into_iter().map(|t| (-t).exp()))
            })
            .collect();
        let mut rates = vec![0.0; self.rows.len()];
        predicted.into_iter().for_each(|(i, rate)| rates[i] = rate);
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
                law: self.law,
                owner_out,
                chip_out,
            })
            .collect()
    }

    /// A solution as `coefficients.json` holds it.
    pub(super) fn described(&self, solution: &Solution) -> LawFit {
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

    /// Rows and classes by chip.
    pub(super) fn evidence(&self) -> Vec<ChipEvidence> {
        let mut chips: BTreeMap<(u32, Tier), Vec<&Observed<'_>>> = BTreeMap::new();
        for row in &self.rows {
            if let Some(silicon) = row.targets.first() {
                chips.entry((silicon.generation, silicon.tier)).or_default().push(row);
            }
        }
        chips
            .into_iter()
            .map(|((generation, tier), rows)| {
                let configurations: BTreeSet<&str> =
                    rows.iter().map(|r| r.configuration.as_str()).collect();
                let classes: BTreeSet<IntervalClass> = rows.iter().map(|r| self.class(r)).collect();
                ChipEvidence {
                    law: self.law,
                    generation,
                    tier,
                    rows: rows.len() as u32,
                    configurations: configurations.len() as u32,
                    classes: classes.into_iter().collect(),
                }
            })
            .collect()
    }

    /// Class of the interval of a row.
    pub(super) fn class(&self, row: &Observed<'_>) -> IntervalClass {
        let f = self.data.features_of(row);
        match self.law {
            LawKind::Prefill => {
                IntervalClass::of_prefill(row.targets.iter().any(|t| t.matrix_units))
            }
            LawKind::Mlx | LawKind::Gguf => {
                let bytes = f.weight_bytes_per_step();
                IntervalClass::of_decode(row.interval_program(), bytes, f.has_experts())
            }
        }
    }

    /// Deepest context, or longest prompt, among the rows, in tokens.
    pub(super) fn most_tokens(&self) -> u32 {
        let tokens = |row: &&Observed<'_>| match self.law {
            LawKind::Prefill => row.prompt().map_or(0, |p| p.tokens as u32),
            LawKind::Mlx | LawKind::Gguf => row.step().tokens as u32,
        };
        self.rows.iter().map(tokens).max().unwrap_or(0)
    }
}

/// Five significant digits: what the file holds, and far more than the data can tell.
pub(super) fn rounded(x: f64) -> f64 {
    digits(x, 4)
}

/// `x` with so many digits after the first.
fn digits(x: f64, after: usize) -> f64 {
    format!("{x:.after$e}").parse().unwrap_or(x)
}
