//! The published measurements that are shipped, against what a fit without their owner says of them.

use super::context::Context;
use crate::chart::{Axis, Chart, ChartPoints, ChartShape, Corner, Mark};
use crate::roofline::Coefficients;
use crate::validation::beyond::{BeyondRow, SHIPPED_BEYOND, read_beyond};
use crate::validation::evaluate::{FitBasis, MeasuredMetric};
use crate::validation::held_out::HeldOutRates;
use crate::validation::training::{SHIPPED_TRAINING, read_training};
use crate::validation::{Tools, Validation, read};
use anyhow::Result;
use std::collections::BTreeMap;

/// The file that the measurements are from.
pub(in crate::cli) const FILE: &str = "data/measurements.csv";
/// The file of rows beyond one stream.
const BEYOND: &str = "data/beyond.csv";
/// The file of fine-tuning runs.
const TRAINING: &str = "data/training.csv";
const SHIPPED: &str = include_str!("../../../data/measurements.csv");
const HELD_OUT: &str = include_str!("../../../data/cross_validation.csv");

impl Context {
    /// The shipped measurements in cross-validation.
    pub(in crate::cli) fn shipped(&self, basis: FitBasis) -> Result<Validation> {
        let tools = self.tools()?;
        let mut measurements = read(FILE, SHIPPED)?;
        let beyond = beyond()?;
        let several = beyond.iter().map(|row| &row.measured).filter(|m| m.batch > 1);
        measurements.extend(several.cloned());
        let held_out = HeldOutRates::read(HELD_OUT)?;
        let validation = Validation::of(&measurements, &tools, basis, &held_out)?;
        let validation =
            validation.with_users(&measurements, &tools)?.with_clusters(&beyond, &tools);
        Ok(validation.with_training(&read_training(TRAINING, SHIPPED_TRAINING)?, &tools))
    }

    /// Its decode rates alone, by fits that have not seen the owner of a row.
    pub(in crate::cli) fn shipped_decode(&self) -> Result<Validation> {
        let mut measurements = read(FILE, SHIPPED)?;
        measurements.retain(|m| m.decode_tok_s.is_some());
        for m in &mut measurements {
            (m.peak_memory_gb, m.prefill_tok_s) = (None, None);
        }
        let held_out = HeldOutRates::read(HELD_OUT)?;
        Ok(Validation::of(&measurements, &self.tools()?, FitBasis::OwnerLeftOut, &held_out)?)
    }

    /// What measurements are judged with.
    pub(in crate::cli) fn tools(&self) -> Result<Tools<'_>> {
        let coefficients = Coefficients::embedded()?;
        Ok(Tools { models: self.catalogs.models()?, hardware: &self.catalogs.macs, coefficients })
    }
}

/// The shipped rows beyond one stream.
pub(in crate::cli) fn beyond() -> Result<Vec<BeyondRow>> {
    Ok(read_beyond(BEYOND, SHIPPED_BEYOND)?)
}

/// Predicted against measured decode rates, one color for each engine.
pub(in crate::cli) fn scatter(v: &Validation) -> Chart {
    let mut engines: BTreeMap<&str, ChartPoints> = BTreeMap::new();
    for r in v.rows.iter().filter(|r| r.metric == MeasuredMetric::Decode) {
        engines.entry(r.engine).or_default().push((r.measured, r.predicted, None));
    }
    let points = |(name, points): (&str, _)| Mark {
        name: name.to_owned(),
        shape: ChartShape::Points(points),
    };
    let mut marks: Vec<Mark> = engines.into_iter().map(points).collect();
    if !marks.is_empty() {
        marks.push(Mark { name: String::new(), shape: ChartShape::Diagonal });
    }
    Chart {
        title: "Decode speed".to_owned(),
        description: "Predicted against measured tokens per second".to_owned(),
        x: Axis::log("measured, tok/s"),
        y: Axis::log("predicted, tok/s"),
        legend: Corner::LowerRight,
        marks,
    }
}
