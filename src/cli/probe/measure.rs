//! A second of arithmetic, and what it tells of the matrix units.

use crate::hardware::probe::Probe;
use crate::roofline::Silicon;
use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

/// How far above the peak of the shaders a rate shows that matrix units are at work: clocks and counts are exact, times are
/// not.
const ABOVE_SHADERS: f64 = 1.1;

/// What a product of matrices showed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MeasuredProduct {
    /// Rows and columns of the matrices, in bfloat16.
    side: u32,
    /// 10^12 operations per second: the median.
    tflops: f64,
    /// What the shaders of the GPU could do at most, 10^12 operations per second; `null` where the GPU is not known.
    shader_peak_tflops: Option<f64>,
    /// Whether MLX uses the matrix units: `on`, `off`, `none` where the GPU has none, `unknown` where it is not known.
    nax: &'static str,
    /// Version of MLX.
    mlx: String,
}

/// Times it.
#[cfg(mlx)]
pub(super) fn product(probe: &Probe) -> Result<MeasuredProduct> {
    use crate::engine::mlx;
    use std::time::Duration;

    crate::cli::shared::with_mlx::needed()?;
    let timed = mlx::time_product(Duration::from_secs(1))?;
    let peak = shader_peak(probe).filter(|_| mlx::backend() == "metal");
    Ok(MeasuredProduct::of((timed.side, timed.flops), peak, probe.matrix_units, mlx::version()))
}

#[cfg(not(mlx))]
pub(super) fn product(_: &Probe) -> Result<MeasuredProduct> {
    match crate::cli::shared::with_mlx::needed()? {}
}

/// Operations per second that the shaders of the GPU can do at most.
#[cfg_attr(not(mlx), expect(dead_code, reason = "only MLX measures"))]
fn shader_peak(probe: &Probe) -> Option<f64> {
    let (cores, mhz) = (probe.gpu_cores?, probe.gpu_clock_mhz?);
    let ghz = f64::from(mhz) / 1e3;
    Some(Silicon::shaders(f64::from(cores), ghz).peak_flops())
}

#[cfg_attr(not(any(mlx, test)), expect(dead_code, reason = "only MLX measures"))]
impl MeasuredProduct {
    /// What a rate shows on a GPU whose shaders reach `peak` at most.
    fn of((side, flops): (u32, f64), peak: Option<f64>, units: Option<bool>, mlx: String) -> Self {
        let nax = match (peak, units) {
            (Some(_), Some(false)) => "none",
            (Some(peak), _) if flops > ABOVE_SHADERS * peak => "on",
            (Some(_), Some(true)) => "off",
            _ => "unknown",
        };
        let tera = |x: f64| x / 1e12;
        Self { side, tflops: tera(flops), shader_peak_tflops: peak.map(tera), nax, mlx }
    }
}

impl MeasuredProduct {
    /// What it showed, in words.
    pub fn text(&self) -> String {
        let Self { side, tflops, mlx, .. } = self;
        let rate = format!("MLX {mlx} multiplies matrices of {side} rows at {tflops:.2} TFLOP/s");
        let most = self.shader_peak_tflops.map_or(String::new(), |peak| {
            format!("; the shaders of this GPU reach {peak:.1} at most")
        });
        match self.nax {
            "on" => format!("{rate}{most}: it uses the matrix units (predict with --nax on)"),
            "off" => format!(
                "{rate}{most}: it does not use the matrix units (predict with --nax off); a wheel of MLX made for macOS 26, on \
                 macOS 26.2 or later, does"
            ),
            "none" => format!("{rate}{most}"),
            _ => format!("{rate}; the GPU is not known, so this tells nothing of matrix units"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MeasuredProduct;

    #[test]
    fn what_no_shader_can_do_is_done_by_matrix_units() {
        let of = |flops, peak, units| {
            let found = MeasuredProduct::of((4096, flops), peak, units, "0.32.4".to_owned());
            (found.nax, found.text())
        };
        let m5_max = Some(16.6e12);
        assert_eq!(of(52e12, m5_max, Some(true)).0, "on");
        let (off, text) = of(14e12, m5_max, Some(true));
        assert!(off == "off" && text.contains("--nax off"), "{text}");
        assert_eq!(of(14e12, m5_max, Some(false)).0, "none");
        assert_eq!(of(1e11, None, None).0, "unknown");
    }
}
