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

/// Models of a file that are opened at most, each in any format by any program.
const MODELS: usize = 2000;
/// Names of a file that are looked up in vain at most: similar names are sought for each.
const UNKNOWN: usize = 500;

/// Models that were opened, so that each is read once.
#[derive(Default)]
pub(in crate::cli) struct OpenedModels {
    opened: BTreeMap<(String, String, Program), Result<Rc<Known>, String>>,
    /// How many of them could not be.
    unknown: usize,
}

impl OpenedModels {
    /// The model of that key, opened where it is the first time.
    fn get(
        &mut self,
        key: (String, String, Program),
        open: impl FnOnce() -> Result<Known, String>,
    ) -> Result<Rc<Known>, String> {
        if let Some(known) = self.opened.get(&key) {
            return known.clone();
        }
        if self.unknown >= UNKNOWN {
            return Err(format!("not looked up: {UNKNOWN} models of the file are not known"));
        }
        if self.opened.len() >= MODELS {
            return Err(format!("not looked up: the file names more than {MODELS} models"));
        }
        let found = open().map(Rc::new);
        self.unknown += usize::from(found.is_err());
        self.opened.insert(key, found.clone());
        found
    }
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
    models.get(id, || context.known(name, quant, engine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_known_are_sought_so_many_times_and_no_more() {
        let mut models = OpenedModels::default();
        let mut sought = 0;
        for i in 0..2 * UNKNOWN {
            let id = (format!("name {i}"), String::new(), Program::MlxLm);
            let found = models.get(id, || {
                sought += 1;
                Err("unknown".to_owned())
            });
            assert!(found.is_err_and(|why| why.contains("not looked up") == (i >= UNKNOWN)));
        }
        assert_eq!(sought, UNKNOWN);
    }
}
