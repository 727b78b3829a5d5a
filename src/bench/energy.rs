//! Power during a trial, read through macmon on a Mac; absent elsewhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Power over a trial.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Power {
    /// Mean power of the GPU, watts.
    pub gpu_w: f64,
    /// Mean power of CPU, GPU and neural engine, watts. Other work of the machine is in it.
    pub package_w: f64,
    /// `package_w` over the whole request, joules for each generated token; the prompt's energy is in it.
    pub joules_per_token: Option<f64>,
}

/// One reading: the mean over the interval that ends at `at`.
#[derive(Clone, Copy, Debug)]
struct Sample {
    from: Instant,
    at: Instant,
    gpu_w: f64,
    package_w: f64,
}

/// Reads power in the background until it is dropped.
#[derive(Debug)]
pub struct Meter {
    samples: Arc<Mutex<Vec<Sample>>>,
    over: Arc<AtomicBool>,
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Meter {
    /// Begins to read; `None` where power cannot be read.
    #[cfg(target_os = "macos")]
    #[must_use]
    pub fn start() -> Option<Self> {
        /// Length of one reading.
        const INTERVAL_MS: u32 = 200;
        let meter = Self { samples: Arc::default(), over: Arc::default() };
        let (samples, over) = (meter.samples.clone(), meter.over.clone());
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let sampler = macmon::Sampler::new();
            let _ = tell.send(sampler.is_ok());
            let Ok(mut sampler) = sampler else { return };
            while !over.load(Ordering::Relaxed) {
                let from = Instant::now();
                let Ok(metrics) = sampler.get_metrics(INTERVAL_MS) else { return };
                let sample = Sample {
                    from,
                    at: Instant::now(),
                    gpu_w: f64::from(metrics.gpu_power),
                    package_w: f64::from(metrics.all_power),
                };
                let Ok(mut samples) = samples.lock() else { return };
                samples.push(sample);
            }
        });
        told.recv().unwrap_or(false).then_some(meter)
    }

    /// Only macOS tells its power without special rights.
    #[cfg(not(target_os = "macos"))]
    #[must_use]
    pub fn start() -> Option<Self> {
        None
    }

    /// Mean power between two moments, of the readings that lie within them; `None` when there are none.
    #[must_use]
    pub fn between(&self, from: Instant, to: Instant, tokens: Option<u32>) -> Option<Power> {
        let samples = self.samples.lock().ok()?;
        let within: Vec<&Sample> =
            samples.iter().filter(|s| s.from >= from && s.at <= to).collect();
        let seconds: f64 = within.iter().map(|s| (s.at - s.from).as_secs_f64()).sum();
        if seconds <= 0.0 {
            return None;
        }
        let mean = |of: fn(&Sample) -> f64| {
            within.iter().map(|s| of(s) * (s.at - s.from).as_secs_f64()).sum::<f64>() / seconds
        };
        let package_w = mean(|s| s.package_w);
        let joules = package_w * (to - from).as_secs_f64();
        Some(Power {
            gpu_w: mean(|s| s.gpu_w),
            package_w,
            joules_per_token: tokens.filter(|n| *n > 0).map(|n| joules / f64::from(n)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn power_is_the_mean_of_the_readings_within_the_trial() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let sample = |from: u64, gpu_w: f64| Sample {
            from: at(from),
            at: at(from + 200),
            gpu_w,
            package_w: gpu_w + 5.0,
        };
        let samples = vec![sample(0, 1.0), sample(200, 30.0), sample(400, 20.0), sample(600, 2.0)];
        let meter = Meter { samples: Arc::new(Mutex::new(samples)), over: Arc::default() };
        let power = meter.between(at(150), at(650), Some(10)).unwrap();
        assert!((power.gpu_w - 25.0).abs() < 1e-9 && (power.package_w - 30.0).abs() < 1e-9);
        assert!((power.joules_per_token.unwrap() - 1.5).abs() < 1e-9);
        assert_eq!(meter.between(at(50), at(100), Some(10)), None);
    }
}
