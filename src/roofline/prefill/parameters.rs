//! Parameters of the prefill law, with their priors.

use crate::roofline::parameters::{ByGeneration, ByTier, Spec};

/// A value for GPUs without matrix units and one for GPUs with them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByUnit {
    /// Without: the shaders multiply.
    pub shader: f64,
    /// With matrix units.
    pub matrix: f64,
}

/// Rate of a dense product of many rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DenseRate {
    /// Quantized dense product on a base chip, GFLOP/s per core and GHz; for M5 and later that of the matrix units.
    pub by_generation: ByGeneration,
    /// Factor of a tier.
    pub by_tier: ByTier,
    /// Factor with fp16 activations on M1 and M2.
    pub fp16: f64,
    /// Factor with 16-bit weights.
    pub plain: f64,
}

/// The parameters of the prefill law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefillParameters {
    /// Rate of a dense product.
    pub gflops: DenseRate,
    /// Rate of expert products in units of dense ones.
    pub experts: ByUnit,
    /// Fraction of the bus at which the chosen experts of a chunk are read.
    pub expert_bytes: ByUnit,
    /// Work of a recurrent layer per token, in MFLOP of a dense product.
    pub recurrent_mflop: ByUnit,
    /// Rate of attention in units of dense products.
    pub attention: f64,
    /// Tokens whose dense work a chunk takes on top of its own.
    pub fixed_tokens: ByUnit,
    /// Time per launch of a chunk, µs.
    pub launch_us: f64,
    /// Time before the first chunk, ms.
    pub start_ms: f64,
    /// Factor on the time of programs on MLX Swift.
    pub swift: f64,
    /// Time per prompt that programs on MLX Swift add, ms.
    pub swift_ms: f64,
    /// Time that an HTTP server adds, ms.
    pub server_ms: f64,
    /// Factor of a Mac without a fan in a long prompt. Matrix units turn more power into heat than shaders do.
    pub fanless: ByUnit,
    /// Seconds of prefill after which half of it has set in.
    pub fanless_seconds: f64,
    /// Rate at which macOS makes weights resident again after a pause without GPU work, GB/s.
    pub resident_gbs: f64,
}

/// Takes a parameter's name, prior (median and standard deviation of the logarithm) and range, and gives its value.
type Declare<'a> = dyn FnMut(&'static str, [f64; 2], [f64; 2]) -> f64 + 'a;

impl DenseRate {
    fn declared(at: &mut Declare<'_>) -> Self {
        let m1 = at("gflops.m1", [104.0, 0.3], [20.0, 256.0]);
        Self {
            by_generation: ByGeneration {
                m1,
                m2: m1 * at("gflops.m2_to_m1", [1.0, 0.05], [0.8, 1.3]),
                m3: at("gflops.m3", [183.0, 0.3], [20.0, 256.0]),
                m4: at("gflops.m4", [180.0, 0.3], [20.0, 256.0]),
                m5: at("gflops.m5", [789.0, 0.4], [100.0, 1024.0]),
            },
            by_tier: ByTier {
                pro: at("gflops.pro", [1.1, 0.15], [0.6, 1.8]),
                max: at("gflops.max", [1.1, 0.15], [0.6, 1.8]),
                ultra: at("gflops.ultra", [1.0, 0.15], [0.5, 1.8]),
            },
            fp16: at("gflops.fp16", [1.38, 0.2], [0.9, 2.0]),
            plain: at("gflops.plain", [1.17, 0.2], [0.8, 1.8]),
        }
    }
}

impl PrefillParameters {
    /// Declares the parameters in the order of the file; `at` gives the value of each.
    fn declared(at: &mut Declare<'_>) -> Self {
        Self {
            gflops: DenseRate::declared(at),
            experts: ByUnit {
                shader: at("experts", [0.7, 0.3], [0.2, 1.2]),
                matrix: at("experts.matrix", [0.62, 0.3], [0.1, 1.2]),
            },
            expert_bytes: ByUnit {
                shader: at("expert_bytes", [0.3, 0.5], [0.05, 1.0]),
                matrix: at("expert_bytes.matrix", [0.5, 0.5], [0.05, 1.0]),
            },
            recurrent_mflop: ByUnit {
                shader: at("recurrent_mflop", [26.0, 0.5], [1.0, 200.0]),
                matrix: at("recurrent_mflop.matrix", [120.0, 0.5], [5.0, 800.0]),
            },
            attention: at("attention", [0.85, 0.3], [0.2, 2.0]),
            fixed_tokens: ByUnit {
                shader: at("fixed_tokens", [19.0, 0.5], [1.0, 200.0]),
                // Half a tile of 64 rows.
                matrix: at("fixed_tokens.matrix", [32.0, 0.5], [1.0, 800.0]),
            },
            launch_us: at("launch_us", [20.0, 0.5], [1.0, 100.0]),
            start_ms: at("start_ms", [2.0, 1.0], [0.1, 60.0]),
            swift: at("swift", [1.05, 0.15], [0.7, 1.6]),
            swift_ms: at("swift_ms", [5.0, 1.0], [0.1, 60.0]),
            server_ms: at("server_ms", [5.0, 1.0], [0.2, 60.0]),
            fanless: ByUnit {
                shader: at("fanless", [1.4, 0.3], [1.0, 3.0]),
                matrix: at("fanless.matrix", [1.8, 0.4], [1.0, 4.0]),
            },
            fanless_seconds: at("fanless_s", [1.0, 0.8], [0.05, 60.0]),
            resident_gbs: at("resident_gbs", [100.0, 0.3], [20.0, 400.0]),
        }
    }

    /// The parameters with these values, in the order of [`specs`]; `None` unless there are as many.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut rest = values.iter();
        let mut missing = false;
        let parameters = Self::declared(&mut |_, _, _| {
            let value = rest.next().copied();
            missing |= value.is_none();
            value.unwrap_or(f64::NAN)
        });
        (!missing && rest.next().is_none()).then_some(parameters)
    }
}

/// The parameters' priors and ranges, in the order of the file.
#[must_use]
pub fn specs() -> Vec<Spec> {
    let mut specs = Vec::new();
    PrefillParameters::declared(&mut |name, prior, range| {
        specs.push(Spec::new(name, prior, range));
        prior[0]
    });
    specs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values reach the fields whose names they stand beside.
    #[test]
    fn values_are_taken_in_the_order_of_the_file() {
        let numbered: Vec<f64> = (0..specs().len()).map(|i| i as f64).collect();
        let p = PrefillParameters::of(&numbered).expect("as many as declared");
        let at = |name| specs().iter().position(|s| s.name == name).expect("declared") as f64;
        assert_eq!(p.gflops.by_generation.m3, at("gflops.m3"));
        assert_eq!(p.recurrent_mflop.matrix, at("recurrent_mflop.matrix"));
        assert_eq!(p.fanless.matrix, at("fanless.matrix"));
        assert_eq!(PrefillParameters::of(&numbered[1..]), None);
    }
}
