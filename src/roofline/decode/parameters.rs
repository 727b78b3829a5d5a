//! Parameters of the decode law, with the priors that hold for MLX and for llama.cpp.

use crate::roofline::parameters::{ByGeneration, ByTier, LawFit, Spec};

/// What a parameter of the decode law is before any measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeSpec {
    /// For MLX.
    pub mlx: Spec,
    /// For llama.cpp and Ollama.
    pub gguf: Spec,
    /// Whether the chip and not the program decides: then the fit of MLX takes the place of the prior for GGUF.
    pub of_chip: bool,
}

/// Takes the declaration of a parameter and gives its value.
type Declare<'a> = dyn FnMut(DecodeSpec) -> f64 + 'a;

/// A parameter that hangs on the program: priors (median and standard deviation of the logarithm) for MLX and for GGUF,
/// and the plausible range.
const fn of_program(
    name: &'static str,
    mlx: [f64; 2],
    gguf: [f64; 2],
    range: [f64; 2],
) -> DecodeSpec {
    let (mlx, gguf) = (Spec::new(name, mlx, range), Spec::new(name, gguf, range));
    DecodeSpec { mlx, gguf, of_chip: false }
}

/// A parameter that hangs on the chip.
const fn of_chip(name: &'static str, mlx: [f64; 2], gguf: [f64; 2], range: [f64; 2]) -> DecodeSpec {
    DecodeSpec { of_chip: true, ..of_program(name, mlx, gguf, range) }
}

/// The parameters of the decode law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeParameters {
    /// Time of a kernel launch.
    pub launch: Launch,
    /// Streaming of weights.
    pub stream: Stream,
    /// Unpacking of quantized weights.
    pub unpack: Unpack,
    /// Keys and values.
    pub kv: KeysAndValues,
    /// Latency of a matrix kernel in launch times; it hides behind the streaming.
    pub matrix_launch: f64,
    /// Further launch times per product with 8 chosen experts.
    pub expert_launch: f64,
    /// Power of chosen experts / 8 in that cost.
    pub expert_chosen: f64,
    /// Factor on launches of gated-delta models.
    pub gated_delta: f64,
    /// Factor on launches of other recurrent models.
    pub recurrent: f64,
    /// Cost of reading and writing a byte of recurrent state in units of two bytes of weights.
    pub states: f64,
    /// Factor on launches of programs on MLX Swift.
    pub swift: f64,
    /// Time per token behind an HTTP server, ms.
    pub server_ms: f64,
    /// Slow-down of a Mac without a fan in a long generation.
    pub fanless: f64,
    /// Seconds of generation after which half of it has set in.
    pub fanless_seconds: f64,
    /// Factor of Ollama on llama.cpp's time.
    pub ollama: f64,
    /// Time per token that Ollama adds, ms.
    pub ollama_ms: f64,
    /// Factor on launches of llama.cpp builds of 2023 and 2024.
    pub old_launch: f64,
    /// Factor on their unpacking.
    pub old_unpack: f64,
}

/// Time of a kernel launch, which is the same on every tier: the published rows do not tell tiers apart once configurations
/// count alike, and a factor for each made small models slower on larger chips.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Launch {
    /// Time per kernel launch between the generations, µs.
    pub base_us: f64,
    /// Factor per generation.
    pub trend: f64,
    /// Deviation of a generation from the trend.
    pub by_generation: ByGeneration,
}

/// Streaming of weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stream {
    /// Fraction of the bus at which a base chip streams weights.
    pub base: f64,
    /// Factor of a generation.
    pub by_generation: ByGeneration,
    /// Factor of a tier.
    pub by_tier: ByTier,
}

/// Unpacking of quantized weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unpack {
    /// Weights unpacked per core and clock, 10^9/s per GHz.
    pub by_generation: ByGeneration,
    /// Factor with fp16 activations on M1 and M2, which have no bfloat16.
    pub fp16: f64,
    /// Power of 32 / cores: larger GPUs unpack less per core.
    pub size: f64,
    /// Factor for blocks of 32 weights with one scale (Q4_0, Q8_0, IQ4_NL, MXFP4).
    pub simple: f64,
}

/// Cost of keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeysAndValues {
    /// Cost of a byte in units of a byte of weights.
    pub byte: f64,
    /// Cost of a byte of a compressed latent in units of a byte at bus speed.
    pub latent: f64,
    /// Elements that query heads take in, 10^9/s per core and GHz.
    pub rate: f64,
    /// Factor on that rate for heads of 256 features and more.
    pub wide: f64,
    /// Factor on it for heads of at most 64 features.
    pub narrow: f64,
    /// Factor on it where attention is not one kernel.
    pub unfused: f64,
    /// Factor on the time of keys and values in llama.cpp without flash attention.
    pub no_flash: f64,
}

impl DecodeParameters {
    /// Declares the parameters in the order of the file; `at` gives the value of each.
    fn declared(at: &mut Declare<'_>) -> Self {
        Self {
            launch: Launch::declared(at),
            stream: Stream::declared(at),
            unpack: Unpack::declared(at),
            kv: KeysAndValues::declared(at),
            matrix_launch: at(of_program("matrix_launch", [1.0, 0.3], [1.0, 0.3], [0.2, 3.0])),
            expert_launch: at(of_program("expert_launch", [3.6, 0.4], [2.4, 0.4], [0.2, 10.0])),
            expert_chosen: at(of_program(
                "expert_launch.chosen",
                [0.3, 0.5],
                [0.36, 0.1],
                [0.0, 1.0],
            )),
            gated_delta: at(of_program("launch.gated_delta", [0.9, 0.2], [1.0, 0.2], [0.4, 1.6])),
            recurrent: at(of_program("launch.recurrent", [0.88, 0.2], [1.0, 0.2], [0.4, 1.6])),
            states: at(of_program("states", [1.0, 0.4], [1.5, 0.4], [0.1, 10.0])),
            swift: at(of_program("launch.swift", [1.3, 0.2], [1.0, 0.0], [0.7, 2.5])),
            server_ms: at(of_program("server_ms", [0.15, 1.0], [0.15, 0.0], [0.005, 3.0])),
            fanless: at(of_program("fanless", [1.4, 0.05], [1.35, 0.05], [1.0, 2.2])),
            fanless_seconds: at(of_program("fanless_s", [7.0, 0.3], [7.7, 0.1], [1.0, 60.0])),
            ollama: at(of_program("ollama", [1.0, 0.0], [1.0, 0.06], [0.9, 1.2])),
            ollama_ms: at(of_program("ollama_ms", [0.5, 0.0], [0.5, 0.5], [0.05, 3.0])),
            old_launch: at(of_program("old.launch", [1.0, 0.0], [1.2, 0.15], [0.7, 2.5])),
            old_unpack: at(of_program("old.unpack", [1.0, 0.0], [0.9, 0.15], [0.4, 1.3])),
        }
    }

    /// The parameters with these values, in the order of [`specs`]; `None` unless there are as many.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut rest = values.iter();
        let mut missing = false;
        let parameters = Self::declared(&mut |_| {
            let value = rest.next().copied();
            missing |= value.is_none();
            value.unwrap_or(f64::NAN)
        });
        (!missing && rest.next().is_none()).then_some(parameters)
    }
}

/// What the parameters are, in the order of the file.
#[must_use]
pub fn specs() -> Vec<DecodeSpec> {
    let mut specs = Vec::new();
    DecodeParameters::declared(&mut |spec| {
        specs.push(spec);
        spec.mlx.prior
    });
    specs
}

/// The priors for MLX.
#[must_use]
pub fn mlx() -> Vec<Spec> {
    specs().into_iter().map(|s| s.mlx).collect()
}

/// The priors for GGUF. Those of the parameters that the chip decides are centered on the fit of MLX, where there is one.
#[must_use]
pub fn gguf(fit_of_mlx: Option<&LawFit>) -> Vec<Spec> {
    let prior = |s: DecodeSpec| {
        let fitted = fit_of_mlx.filter(|_| s.of_chip).and_then(|fit| fit.value_of(s.gguf.name));
        Spec { prior: fitted.unwrap_or(s.gguf.prior), ..s.gguf }
    };
    specs().into_iter().map(prior).collect()
}

impl Launch {
    fn declared(at: &mut Declare<'_>) -> Self {
        let base_us = at(of_program("launch_us", [3.0, 0.5], [3.0, 0.3], [0.5, 12.0]));
        let trend = at(of_chip("launch.trend", [0.8, 0.15], [0.8, 0.02], [0.6, 1.1]));
        let mut deviation = |name| at(of_chip(name, [1.0, 0.05], [1.0, 0.02], [0.6, 1.6]));
        let by_generation = ByGeneration {
            m1: deviation("launch.m1"),
            m2: deviation("launch.m2"),
            m3: deviation("launch.m3"),
            m4: deviation("launch.m4"),
            m5: deviation("launch.m5"),
        };
        Self { base_us, trend, by_generation }
    }
}

impl Stream {
    fn declared(at: &mut Declare<'_>) -> Self {
        let base = at(of_chip("stream", [0.82, 0.1], [0.8, 0.03], [0.5, 1.0]));
        let mut factor = |name| at(of_chip(name, [1.0, 0.01], [1.0, 0.01], [0.85, 1.15]));
        let by_generation = ByGeneration {
            m1: factor("stream.m1"),
            m2: factor("stream.m2"),
            m3: factor("stream.m3"),
            m4: factor("stream.m4"),
            m5: factor("stream.m5"),
        };
        let by_tier = ByTier {
            pro: at(of_chip("stream.pro", [1.03, 0.02], [1.03, 0.01], [0.85, 1.25])),
            max: at(of_chip("stream.max", [1.06, 0.02], [1.06, 0.01], [0.85, 1.25])),
            ultra: at(of_chip("stream.ultra", [0.97, 0.02], [0.97, 0.01], [0.8, 1.2])),
        };
        Self { base, by_generation, by_tier }
    }
}

impl Unpack {
    fn declared(at: &mut Declare<'_>) -> Self {
        let m1 = at(of_program("unpack.m1", [14.0, 0.3], [7.7, 0.05], [4.0, 60.0]));
        let by_generation = ByGeneration {
            m1,
            m2: m1 * at(of_program("unpack.m2_to_m1", [0.95, 0.03], [0.86, 0.05], [0.7, 1.3])),
            m3: at(of_program("unpack.m3", [42.0, 0.3], [8.5, 0.05], [4.0, 90.0])),
            m4: at(of_program("unpack.m4", [42.0, 0.3], [10.2, 0.05], [4.0, 90.0])),
            m5: at(of_program("unpack.m5", [42.0, 0.3], [10.6, 0.05], [4.0, 90.0])),
        };
        Self {
            by_generation,
            fp16: at(of_program("unpack.fp16", [1.3, 0.2], [1.0, 0.0], [0.9, 2.0])),
            size: at(of_program("unpack.size", [0.4, 0.4], [0.4, 0.5], [0.0, 1.2])),
            simple: at(of_program("unpack.simple", [1.0, 0.0], [1.2, 0.15], [0.8, 2.0])),
        }
    }
}

impl KeysAndValues {
    fn declared(at: &mut Declare<'_>) -> Self {
        Self {
            byte: at(of_program("kv", [1.25, 0.3], [1.5, 0.3], [0.8, 4.0])),
            latent: at(of_program("kv.latent", [6.0, 0.4], [8.0, 0.4], [1.0, 40.0])),
            rate: at(of_program("kv_rate", [30.0, 0.7], [30.0, 0.7], [3.0, 200.0])),
            wide: at(of_program("kv_rate.wide", [0.5, 0.5], [0.5, 0.5], [0.05, 1.5])),
            narrow: at(of_program("kv_rate.narrow", [0.5, 0.5], [0.5, 0.5], [0.05, 1.5])),
            unfused: at(of_program("kv_rate.unfused", [0.7, 0.5], [0.7, 0.5], [0.1, 3.0])),
            no_flash: at(of_program("kv.no_flash", [1.0, 0.0], [3.0, 0.5], [1.0, 20.0])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values reach the fields whose names they stand beside.
    #[test]
    fn values_are_taken_in_the_order_of_the_file() {
        let numbered: Vec<f64> = (0..specs().len()).map(|i| i as f64).collect();
        let p = DecodeParameters::of(&numbered).expect("as many as declared");
        let at = |name| specs().iter().position(|s| s.mlx.name == name).expect("declared") as f64;
        assert_eq!(p.launch.by_generation.m4, at("launch.m4"));
        assert_eq!(p.stream.by_tier.max, at("stream.max"));
        assert_eq!(p.unpack.by_generation.of(9), at("unpack.m5"));
        assert_eq!(p.old_unpack, at("old.unpack"));
        assert_eq!(DecodeParameters::of(&numbered[1..]), None);
        assert_eq!(DecodeParameters::of(&[&numbered[..], &[1.0]].concat()), None);
    }
}
