//! The committed fit is what `cargo xtask fit` makes of the committed measurements.

use mlxplan::hardware::Macs as Chips;
use mlxplan::model::catalog::Models;
use mlxplan::roofline::coefficients::CoefficientsFile;
use mlxplan::roofline::{Coefficients, LawKind};
use mlxplan::validation::dataset::Dataset;
use mlxplan::validation::fitting::{self, fit_all};
use mlxplan::validation::held_out::{self, HeldOutRates};
use mlxplan::validation::read;

const COEFFICIENTS: &str = include_str!("../../data/coefficients.json");
const MEASUREMENTS: &str = include_str!("../../data/measurements.csv");
const HELD_OUT: &str = include_str!("../../data/cross_validation.csv");

/// Repeats all fits and the cross-validation, and compares the text of both files.
#[test]
fn committed_coefficients_are_the_fit_of_the_committed_rows() {
    let file = Coefficients::embedded().expect("built in").file();
    let stale = "data/measurements.csv has changed since the fit; run cargo xtask fit";
    assert_eq!(file.measurements_hash, fitting::hash(MEASUREMENTS), "{stale}");
    let rows = read("measurements.csv", MEASUREMENTS).expect("a good file");
    let models = Models::built_in().expect("a good catalog");
    let chips = Chips::embedded();
    let data = Dataset::build(&rows, &models, chips.chips().expect("chips"));
    let (fitted, held_out) = fit_all(&data, fitting::hash(MEASUREMENTS));
    for law in LawKind::ALL {
        let fit = |file: &CoefficientsFile| match law {
            LawKind::Mlx => file.decode_mlx.clone(),
            LawKind::Gguf => file.decode_gguf.clone(),
            LawKind::Prefill => file.prefill_mlx.clone(),
        };
        for (old, new) in fit(file).parameters.iter().zip(&fit(&fitted).parameters) {
            let same = (old.value - new.value).abs() <= 1e-3 * new.value.abs();
            assert!(
                same && old.name == new.name,
                "{} of {} is {}, and the fit of the committed rows gives {}; run cargo xtask fit",
                old.name,
                law.name(),
                old.value,
                new.value
            );
        }
    }
    let other = "is not what the committed rows give; run cargo xtask fit";
    let text = fitting::coefficients_text(&fitted).expect("JSON");
    assert!(text == COEFFICIENTS, "data/coefficients.json {other}");
    let text = held_out::text(&held_out).expect("CSV");
    assert!(text == HELD_OUT.as_bytes(), "data/cross_validation.csv {other}");
    assert_eq!(HeldOutRates::read(HELD_OUT).expect("rates").len(), held_out.len());
}

/// Every joined row is either predicted or skipped with a reason, and most are predicted.
#[test]
fn rows_join_or_say_why() {
    let rows = read("measurements.csv", MEASUREMENTS).expect("a good file");
    let models = Models::built_in().expect("a good catalog");
    let chips = Chips::embedded();
    let data = Dataset::build(&rows, &models, chips.chips().expect("chips"));
    assert_eq!(data.rows.len() + data.skipped.len(), rows.len());
    assert!(data.skipped.iter().all(|(_, reason)| !reason.is_empty()));
    let plain = rows.iter().filter(|r| r.is_plain()).count();
    assert!(
        data.rows.len() >= 780 && data.rows.len() * 4 >= plain * 3,
        "{} of {plain}",
        data.rows.len()
    );
}
