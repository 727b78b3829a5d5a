//! The widths of live intervals follow from the stored runs.

use mlxplan::calibration::evidence::{
    EvidenceMetric, LiveComparison, PredictedRate, Quality, parse, unexplained,
};
use mlxplan::calibration::widths;
use mlxplan::estimate::Fidelity;

fn rows() -> Vec<LiveComparison> {
    let (rows, damaged) = parse(include_str!("../../data/live_runs.jsonl"));
    assert_eq!(damaged, 0);
    rows
}

/// Rows of a ladder; the same measured again says nothing of models, so there both ladders count.
fn of(
    rows: &[LiveComparison],
    set: &str,
    fidelity: Fidelity,
    metric: EvidenceMetric,
) -> Vec<LiveComparison> {
    let counts = |r: &&LiveComparison| {
        (r.set == set || fidelity == Fidelity::Measured)
            && (r.fidelity, r.metric) == (fidelity, metric)
    };
    rows.iter().filter(counts).cloned().collect()
}

const WIDTHS: [(Fidelity, EvidenceMetric, f64); 4] = [
    (Fidelity::Calibrated, EvidenceMetric::Decode, widths::DECODE_LAW),
    (Fidelity::Calibrated, EvidenceMetric::Prefill, widths::PROMPT_LAW),
    (Fidelity::LayerTimed, EvidenceMetric::Decode, widths::LAYERS),
    (Fidelity::Measured, EvidenceMetric::Decode, widths::PACE),
];

#[test]
fn widths_are_those_of_the_runs_they_were_fitted_on() {
    for (fidelity, metric, width) in WIDTHS {
        let rows = of(&rows(), "fitted_on", fidelity, metric);
        let needed = unexplained(&rows.iter().collect::<Vec<_>>()).expect("runs");
        let rounded = (needed * 1000.0).ceil() / 1000.0;
        println!("{fidelity:?} {metric:?}: {} runs need {needed:.4}", rows.len());
        assert!((rounded - width).abs() < 1e-9, "{fidelity:?} {metric:?}: {rounded}, not {width}");
    }
}

/// How good predictions of the ladder held out are at least: runs, median and 90th percentile of the absolute errors.
const HELD_OUT: [(usize, f64, f64); 4] =
    [(12, 0.06, 0.15), (5, 0.06, 0.08), (12, 0.03, 0.08), (9, 0.03, 0.08)];

#[test]
fn intervals_hold_the_runs_held_out() {
    for ((fidelity, metric, width), (least, median, p90)) in WIDTHS.into_iter().zip(HELD_OUT) {
        let mut rows = of(&rows(), "held_out", fidelity, metric);
        for row in &mut rows {
            let p = PredictedRate::new(row.predicted, row.timing_log_error.hypot(width));
            row.interval_80 = p.interval_80;
            row.interval_90 = p.interval_90;
        }
        let quality = Quality::of(&rows.iter().collect::<Vec<_>>()).expect("runs");
        println!("{fidelity:?} {metric:?}: {quality:#?}");
        assert!(quality.n >= least, "{fidelity:?} {metric:?}: {quality:?}");
        // Of five runs an interval of 90 % holds all or misses one.
        let most = if quality.n < 10 { 1.0 } else { 0.98 };
        assert!(
            (0.8..=most).contains(&quality.coverage_90),
            "{fidelity:?} {metric:?}: {quality:?}"
        );
        assert!(quality.median_abs_error <= median, "{fidelity:?} {metric:?}: {quality:?}");
        assert!(quality.p90_abs_error <= p90, "{fidelity:?} {metric:?}: {quality:?}");
    }
}
