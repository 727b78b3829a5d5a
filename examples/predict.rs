//! A prediction from the library: which formats of a model fit a Mac, and how fast they are.
//!
//! `cargo run --example predict -- qwen3-32b m4max-40/64`

use mlxplan::estimate::{Basis, Estimator, Opened, OpenedModel, Run, Sources};
use mlxplan::hardware::{self, spec};
use mlxplan::model::catalog::Models;
use mlxplan::model::source::hub::HubOptions;
use mlxplan::roofline::Coefficients;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "qwen3-32b".to_owned());
    let mac = arguments.next().unwrap_or_else(|| "m4max-40/64".to_owned());

    let catalog = Models::built_in()?;
    let hub = HubOptions::from_env(&|name| std::env::var_os(name), None);
    let sources = Sources {
        catalog: &catalog,
        hub,
        progress: &|_| (),
        assume: None,
        program: mlxplan::run::Program::MlxLm,
    };
    let machine = spec::resolve(&mac, &hardware::Macs::embedded())?;
    let coefficients = Coefficients::embedded()?;
    println!("{model} on {}", machine.name);
    for quant in ["bf16", "8bit", "6bit", "4bit", "3bit"] {
        let Opened::Model(opened) = OpenedModel::open(&model, Some(quant), &sources)? else {
            return Err(format!("{model} is a size class; name one model").into());
        };
        let p = Estimator::new(coefficients, &opened, Run::default(), Basis::Spec).at(&machine)?;
        let Some(memory) = &p.memory else { continue };
        let [low, high] = p.decode.interval_90;
        println!(
            "{quant:>6}  fits {:<9}  {:5.1} tok/s (90 %: {low:.1} to {high:.1})  peak {:6.2} GB",
            memory.judgment.verdict,
            p.decode.tokens_per_s,
            memory.peak.peak_bytes as f64 / 1e9,
        );
    }
    Ok(())
}
