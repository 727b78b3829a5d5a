//! Fits the speed laws on `data/measurements.csv`: `cargo xtask fit [--check]`.
//!
//! Writes `data/coefficients.json` and `data/cross_validation.csv`, or says whether they are what it would write.

use mlxplan::hardware::Macs;
use mlxplan::validation::dataset::Dataset;
use mlxplan::validation::fitting::{self, fit_all};
use mlxplan::validation::held_out;
use mlxplan::validation::read;
use std::collections::BTreeMap;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let check = std::env::args().any(|a| a == "--check");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let text = std::fs::read_to_string(data.join("measurements.csv"))?;
    let rows = read("data/measurements.csv", &text)?;
    let models = mlxplan::model::catalog::Models::built_in()?;
    let hardware = Macs::embedded();
    let started = std::time::Instant::now();
    let dataset = Dataset::build(&rows, &models, hardware.chips()?);
    eprintln!(
        "features of {} rows in {:.1} s",
        dataset.rows.len(),
        started.elapsed().as_secs_f64()
    );
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, reason) in &dataset.skipped {
        *reasons.entry(reason).or_default() += 1;
    }
    eprintln!("{} of {} rows are usable; the others:", dataset.rows.len(), rows.len());
    for (reason, n) in reasons {
        eprintln!("{n:6}  {reason}");
    }
    let started = std::time::Instant::now();
    let (file, held_out) = fit_all(&dataset, fitting::hash(&text));
    eprintln!("fits in {:.1} s", started.elapsed().as_secs_f64());
    let files = [
        ("coefficients.json", fitting::coefficients_text(&file)?.into_bytes()),
        ("cross_validation.csv", held_out::text(&held_out)?),
    ];
    let mut same = true;
    for (name, text) in files {
        let path = data.join(name);
        if check {
            let old = std::fs::read(&path).unwrap_or_default();
            if old != text {
                same = false;
                eprintln!("{name} is not what this program writes; run cargo xtask fit");
            }
        } else {
            std::fs::write(&path, text)?;
        }
    }
    if same { Ok(()) } else { Err("the committed fit is out of date".into()) }
}
