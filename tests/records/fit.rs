//! The committed fit is what `cargo xtask fit` makes of the committed measurements.

use mlxplan::hardware::Catalogue as Chips;
use mlxplan::model::catalogue::Catalogue;
use mlxplan::roofline::Coefficients;
use mlxplan::roofline::parameters::LawFit;
use mlxplan::validation::dataset::Dataset;
use mlxplan::validation::evaluate::held_out_rates;
use mlxplan::validation::fitting::{self, LawKind, Problem};
use mlxplan::validation::read;

const MEASUREMENTS: &str = include_str!("../../data/measurements.csv");
const HELD_OUT: &str = include_str!("../../data/cross_validation.csv");

fn values(fit: &LawFit) -> Vec<f64> {
    fit.parameters.iter().map(|p| p.value).collect()
}

/// Repeats the fits of all rows. `cargo xtask test` repeats everything, cross-validation and text of the files
/// included, optimised (`cargo xtask fit --check`).
#[test]
fn committed_coefficients_are_the_fit_of_the_committed_rows() {
    let file = Coefficients::embedded().expect("built in").file();
    let stale = "data/measurements.csv has changed since the fit; run cargo xtask fit";
    assert_eq!(file.measurements_hash, fitting::hash(MEASUREMENTS), "{stale}");
    let rows = read("measurements.csv", MEASUREMENTS).expect("a good file");
    let models = Catalogue::built_in().expect("a good catalogue");
    let chips = Chips::embedded();
    let data = Dataset::build(&rows, &models, chips.chips().expect("chips"));
    let held_out = held_out_rates(HELD_OUT);
    let mut predicted = 0;
    for which in LawKind::ALL {
        let fit = match which {
            LawKind::Mlx => &file.decode_mlx,
            LawKind::Gguf => &file.decode_gguf,
            LawKind::Prefill => &file.prefill_mlx,
        };
        let mlx = values(&file.decode_mlx);
        let problem = Problem::new(&data, which, Some(&mlx));
        assert_eq!(fit.rows as usize, problem.rows.len(), "{}", which.name());
        let solution = problem.regression().solve(&problem.observations);
        for (parameter, value) in fit.parameters.iter().zip(&solution.values) {
            let same = (parameter.value - value).abs() <= 1e-3 * value.abs();
            assert!(
                same,
                "{} of {} is {}, and the fit of the committed rows gives {value}; run cargo xtask fit",
                parameter.name,
                which.name(),
                parameter.value
            );
        }
        for row in &problem.rows {
            assert!(held_out.contains_key(&(row.row.id.clone(), which.name())), "{}", row.row.id);
            predicted += 1;
        }
    }
    assert_eq!(held_out.len(), predicted, "cross_validation.csv holds other rows");
}

/// Every joined row is either predicted or skipped with a reason, and most are predicted.
#[test]
fn rows_join_or_say_why() {
    let rows = read("measurements.csv", MEASUREMENTS).expect("a good file");
    let models = Catalogue::built_in().expect("a good catalogue");
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
