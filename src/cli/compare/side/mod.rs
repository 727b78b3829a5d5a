//! Models side by side on several Macs.

pub(in crate::cli) mod answer;

use super::{Asked, doubts, faster, mac, new_models_text};
use crate::advise::upgrade::{Faster, NewModel};
use crate::advise::{Formats, Largest, Offer, largest, offer_for};
use crate::cli::compare::args::CompareArgs;
use crate::cli::shared::context::Context;
use crate::cli::shared::exit::ExitStatus;
use crate::estimate::memory::{Fit, Fits, MaxContext};
use crate::estimate::{Estimator, Figures};
use crate::hardware::catalog::AS_OF;
use crate::hardware::machine::Machine;
use crate::model::Scheme;
use crate::report::Answer;
use crate::roofline::Coefficients;
use answer::SideBySide;
use anyhow::Result;
use rayon::prelude::*;

/// One model on one Mac.
struct Pair<'a> {
    model: usize,
    mac: &'a Target,
    figures: Figures,
    context: MaxContext,
    largest: Largest,
    faster: Option<Faster>,
}

/// A Mac with its price.
struct Target {
    machine: Machine,
    offer: Option<Offer>,
}

pub(super) fn run(
    context: &Context,
    args: &CompareArgs,
    asked: &Asked,
) -> Result<(Answer, ExitStatus)> {
    let coefficients = Coefficients::embedded()?;
    let targets = targets(context, args)?;
    let estimators = asked.estimators(coefficients);
    let before = asked.before(&estimators)?;
    let formats: Vec<Formats> = asked.subjects.par_iter().map(Formats::of).collect();
    let ladders: Vec<Vec<(Scheme, Estimator<'_>)>> =
        formats.iter().map(|f| f.estimators(coefficients, asked.run)).collect();
    let cells: Vec<(usize, &Target)> =
        (0..estimators.len()).flat_map(|m| targets.iter().map(move |t| (m, t))).collect();
    let pairs: Vec<Pair<'_>> = cells
        .into_par_iter()
        .filter_map(|(model, mac)| Some((model, mac, estimators.get(model)?, ladders.get(model)?)))
        .map(|(model, mac, estimator, ladder)| {
            let figures = estimator.on(&mac.machine)?;
            let old = before.as_ref().and_then(|b| b.get(model));
            Ok(Pair {
                model,
                mac,
                context: estimator.max_context(&mac.machine)?,
                largest: largest(ladder, &mac.machine)?,
                faster: old.map(|old| faster(old, &figures)),
                figures,
            })
        })
        .collect::<Result<_>>()?;
    let new: Vec<(&Target, Vec<NewModel>)> = targets
        .iter()
        .map(|t| Ok((t, asked.new_models(context, &t.machine)?)))
        .collect::<Result<_>>()?;
    let notes = notes((asked, &estimators), &pairs, &new);
    let worst = pairs.iter().map(|p| match p.figures.memory.judgment.verdict {
        Fit::No => ExitStatus::No,
        Fit::Uncertain => ExitStatus::Uncertain,
        _ => ExitStatus::Ok,
    });
    // As `recommend`: there is an answer as soon as something fits.
    let best = worst.min_by_key(|v| match v {
        ExitStatus::Ok => 0,
        ExitStatus::Uncertain => 1,
        ExitStatus::No | ExitStatus::Interrupted => 2,
    });
    let best = best.unwrap_or(ExitStatus::Ok);
    Ok((Answer::of(SideBySide::of((asked, &estimators), &pairs, new, notes)), best))
}

fn targets(context: &Context, args: &CompareArgs) -> Result<Vec<Target>> {
    let target = |spec: &String| {
        let machine = mac(context, spec)?;
        Ok(Target { offer: offer_for(&context.catalogs.macs, &machine)?, machine })
    };
    args.mac.iter().map(target).collect()
}

fn notes(
    (asked, estimators): (&Asked, &[Estimator<'_>]),
    pairs: &[Pair<'_>],
    new: &[(&Target, Vec<NewModel>)],
) -> Vec<String> {
    let mut notes = asked.notes.clone();
    if pairs.iter().any(|p| p.figures.memory.judgment.fits == Fits::No) {
        notes.push(
            "the speed of what does not fit is what it would be with enough memory".to_owned(),
        );
    }
    notes.push("context: the longest that fits; * ended by memory, others by the model".to_owned());
    let mut products: Vec<String> = Vec::new();
    for p in pairs {
        if let Some(o) = p.mac.offer.as_ref().filter(|_| p.model == 0) {
            let confidence =
                o.price_confidence.map(|c| format!(", confidence {c}")).unwrap_or_default();
            let launch = o.usd_launch.map(|l| format!(", {l} at launch")).unwrap_or_default();
            let now = o.usd_now.map_or("price now unknown".to_owned(), |n| format!("{n} USD"));
            products.push(format!(
                "{}: {}, {} GB storage, {}, {now}{launch}{confidence}",
                p.mac.machine.id, o.name, o.ssd_gb, o.status
            ));
        }
    }
    notes.extend(products);
    notes.push(format!("US list prices, state {AS_OF}; prices.toml in --data-dir overrides them"));
    if asked.from.is_some() {
        notes.push("times: predicted rate over the present Mac's, with the 90 % interval of the ratio as if both errors were independent".to_owned());
    }
    notes.extend(
        new.iter().filter(|(_, m)| !m.is_empty()).map(|(t, m)| new_models_text(m, &t.machine)),
    );
    notes.extend(doubts(estimators, pairs.iter().map(|p| &p.figures)));
    notes
}
