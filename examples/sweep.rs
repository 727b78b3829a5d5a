//! Every model in eight formats on every configuration at six contexts: how long it takes, and what comes out.

use mlxplan::advise::sweep::{Sweep, SweepAxes, SweepFit, supported};
use mlxplan::hardware::Macs;
use mlxplan::model::Models;
use mlxplan::roofline::Coefficients;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let axes = SweepAxes::usual();
    let catalog = Models::built_in()?;
    let sweep =
        Sweep::run(&supported(&catalog), &Macs::embedded(), Coefficients::embedded()?, &axes)?;
    let computed = start.elapsed();
    let mut fits = [0_usize; 3];
    let mut fastest: Option<(f32, String)> = None;
    for model in 0..sweep.models.len() {
        for scheme in 0..sweep.schemes.len() {
            for config in 0..sweep.configs.len() {
                for context in 0..sweep.contexts.len() {
                    let Some(a) = sweep.get(model, scheme, config, context) else { continue };
                    fits[a.fit as usize] += 1;
                    let tok_s = a.speeds.tok_s;
                    if a.fit == SweepFit::Yes
                        && fastest.as_ref().is_none_or(|(best, _)| tok_s > *best)
                    {
                        let text =
                            format!("{} {}", sweep.models[model], sweep.configs[config].0.mac);
                        fastest = Some((tok_s, text));
                    }
                }
            }
        }
    }
    let (kinds, targets) = sweep.distinct();
    println!("{} predictions, {kinds} distinct models, {targets} distinct GPUs", sweep.len());
    println!("fit {}, close {}, do not fit {}", fits[0], fits[1], fits[2]);
    println!("fastest that fits: {fastest:?}");
    println!("{computed:.2?} to compute, {:.2?} with every prediction read", start.elapsed());
    Ok(())
}
