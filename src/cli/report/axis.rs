//! Axes of charts.

use crate::report::Axis;

/// An axis with its label.
pub(super) fn axis(label: &str, log: bool) -> Axis {
    Axis { label: label.to_owned(), log }
}
