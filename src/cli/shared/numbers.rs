//! Numbers as arguments, within bounds.

/// A number from `least` to `most`.
///
/// # Errors
/// Says the bounds.
pub(in crate::cli) fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if (least..=most).contains(&x) => Ok(x),
        _ => Err(format!("a number from {least} to {most}")),
    }
}
