//! Rows of measurements as cases for the auditor.

use super::context::Context;
use crate::audit::{self, AuditCase, Claim, Facts, Hardware, Known};
use crate::hardware::{Chip, spec};
use crate::model::names::key;
use crate::run::Program;
use crate::validation::Measurement;
use crate::validation::join::weights;
use anyhow::Result;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Models that were opened, so that each is read once.
#[derive(Default)]
pub(in crate::cli) struct OpenedModels {
    opened: BTreeMap<(String, String, Program), Result<Rc<Known>, String>>,
}

/// A row of a measurement file, with its model and the bins it may be from.
pub(in crate::cli) fn row_case(
    context: &Context,
    row: &Measurement,
    mac: Option<&str>,
    models: &mut OpenedModels,
) -> Result<AuditCase> {
    let claim = audit::rows::claim(row);
    let model = match weights(&row.quant) {
        None => Err(format!("the weight format '{}' does not tell the size", row.quant)),
        Some(_) if row.model_id.is_empty() => Err("the model is not in the catalog".to_owned()),
        Some(_) => known(context, &claim, models),
    };
    let chips = context.catalogs.macs.chips()?;
    let find = |id: &String| chips.iter().find(|c| c.id == *id);
    let of = |c: &Chip| Hardware::of_chip(c, row.memory_gib);
    let found: Vec<Hardware> = row.chips.iter().filter_map(find).map(of).collect();
    let machines = match (found.is_empty(), mac) {
        (false, _) => Ok(found),
        (true, Some(text)) => {
            let machine = spec::resolve(text, &context.catalogs.macs)?;
            Ok(machine.possible_bins().iter().map(Hardware::of).collect())
        }
        (true, None) => Err("the chip is not known".to_owned()),
    };
    Ok(AuditCase { claim, facts: Facts { model, machines, catalog: everything(context)? } })
}

/// Every bin of the catalog.
pub(in crate::cli) fn everything(context: &Context) -> Result<Vec<Hardware>> {
    Ok(context.catalogs.macs.chips()?.iter().map(|c| Hardware::of_chip(c, None)).collect())
}

/// The model of a claim, at its quantization; a reason where that is not known.
pub(in crate::cli) fn known(
    context: &Context,
    claim: &Claim,
    models: &mut OpenedModels,
) -> Result<Rc<Known>, String> {
    let name = claim.model.as_deref().ok_or("the model is not stated")?;
    let engine = claim.engine.unwrap_or(Program::MlxLm);
    let quant = claim.quant.as_deref();
    let id = (key(name), quant.unwrap_or_default().to_owned(), engine);
    let open = || context.known(name, quant, engine).map(Rc::new);
    models.opened.entry(id).or_insert_with(open).clone()
}
