//! Predictions against published measurements (`data/measurements.csv`).

mod peaks;
