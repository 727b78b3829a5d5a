//! The JSON schemas of all answers, for `docs/schema`.

use super::{
    audit, calibrate, check, compare, doctor, finetune, inspect, macs, models, probe, recommend,
    update, validate, welcome, why,
};
use crate::advise::serving::Serving;
use crate::bench::record::Record;
use crate::estimate::{Prediction, Speculation};
use crate::report::{Present, schema_of};
use schemars::Schema;

fn of<T: Present>() -> (&'static str, Schema) {
    (T::SCHEMA, schema_of::<T>())
}

/// Every schema with its name, `mlxplan.check/1`, by name.
#[must_use]
pub fn all() -> Vec<(&'static str, Schema)> {
    let mut all = vec![
        of::<audit::AuditAnswer>(),
        of::<Record>(),
        of::<calibrate::answer::ProfileAnswer>(),
        of::<calibrate::answer::ProfileComparison>(),
        of::<calibrate::answer::Profiles>(),
        of::<check::answer::CheckAnswer>(),
        of::<compare::buy::answer::PurchaseAnswer>(),
        of::<compare::engines::Variants>(),
        of::<compare::side::answer::SideBySide>(),
        of::<doctor::Doctor>(),
        of::<finetune::answer::FinetuneAnswer>(),
        of::<inspect::answer::InspectAnswer>(),
        of::<Prediction>(),
        of::<validate::live_answer::LiveValidation>(),
        of::<validate::published::ValidationAnswer>(),
        of::<recommend::answer::Recommendation>(),
        of::<recommend::which_mac::WhichMac>(),
        of::<Serving>(),
        of::<Speculation>(),
        of::<macs::ChipsAnswer>(),
        of::<macs::MacsAnswer>(),
        of::<models::FamiliesAnswer>(),
        of::<models::ModelsAnswer>(),
        of::<probe::ProbeAnswer>(),
        of::<update::UpdateAnswer>(),
        of::<welcome::Welcome>(),
        of::<why::answer::WhyAnswer>(),
    ];
    all.sort_by_key(|(name, _)| *name);
    all
}

/// The name of a schema's file in `docs/schema`: `check-1.json` of `mlxplan.check/1`.
#[must_use]
pub fn file_name(schema: &str) -> String {
    format!("{}.json", schema.trim_start_matches("mlxplan.").replace('/', "-"))
}

/// The text of a schema's file.
#[must_use]
pub fn text(schema: &Schema) -> String {
    format!("{:#}\n", schema.as_value())
}
