//! Parameters of the decode law, with the priors that hold for MLX and for llama.cpp.

use crate::roofline::parameters::Spec;

macro_rules! parameters {
    ($($id:ident $name:literal [$mlx:literal $mlx_sd:literal] [$gguf:literal $gguf_sd:literal] $low:literal $high:literal
       $meaning:literal;)*) => {
        /// A parameter of the decode law.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum P { $($id,)* }

        /// The parameters for MLX, in their order.
        pub const MLX: &[Spec] = &[$(Spec {
            name: $name,
            prior: $mlx,
            prior_sd: $mlx_sd,
            low: $low,
            high: $high,
            meaning: $meaning,
        },)*];

        /// The parameters for llama.cpp and Ollama, in the same order. Where the chip and not the program decides, the fit
        /// of MLX takes the place of the prior ([`shared`]).
        pub const GGUF: &[Spec] = &[$(Spec {
            name: $name,
            prior: $gguf,
            prior_sd: $gguf_sd,
            low: $low,
            high: $high,
            meaning: $meaning,
        },)*];
    };
}

// A standard deviation of 0 means that the parameter is not fitted.
parameters! {
    Launch "launch_us" [3.0 0.5] [3.0 0.3] 0.5 12.0 "time per kernel launch on a base chip between the generations, µs";
    Trend "launch.trend" [0.8 0.15] [0.8 0.02] 0.6 1.1 "factor per generation on the time of a launch";
    LaunchM1 "launch.m1" [1.0 0.05] [1.0 0.02] 0.6 1.6 "deviation of M1 from the trend";
    LaunchM2 "launch.m2" [1.0 0.05] [1.0 0.02] 0.6 1.6 "deviation of M2";
    LaunchM3 "launch.m3" [1.0 0.05] [1.0 0.02] 0.6 1.6 "deviation of M3";
    LaunchM4 "launch.m4" [1.0 0.05] [1.0 0.02] 0.6 1.6 "deviation of M4";
    LaunchM5 "launch.m5" [1.0 0.05] [1.0 0.02] 0.6 1.6 "deviation of M5 and later";
    LaunchPro "launch.pro" [1.7 0.1] [1.5 0.02] 0.7 3.0 "factor of Pro chips on the time of a launch";
    LaunchMax "launch.max" [1.4 0.1] [1.35 0.02] 0.7 3.0 "factor of Max chips";
    LaunchUltra "launch.ultra" [1.4 0.1] [1.4 0.02] 0.7 3.0 "factor of Ultra chips";
    Stream "stream" [0.82 0.1] [0.8 0.03] 0.5 1.0 "fraction of the bus at which a base chip streams weights";
    StreamM1 "stream.m1" [1.0 0.01] [1.0 0.01] 0.85 1.15 "factor of M1";
    StreamM2 "stream.m2" [1.0 0.01] [1.0 0.01] 0.85 1.15 "factor of M2";
    StreamM3 "stream.m3" [1.0 0.01] [1.0 0.01] 0.85 1.15 "factor of M3";
    StreamM4 "stream.m4" [1.0 0.01] [1.0 0.01] 0.85 1.15 "factor of M4";
    StreamM5 "stream.m5" [1.0 0.01] [1.0 0.01] 0.85 1.15 "factor of M5 and later";
    StreamPro "stream.pro" [1.03 0.02] [1.03 0.01] 0.85 1.25 "factor of Pro chips";
    StreamMax "stream.max" [1.06 0.02] [1.06 0.01] 0.85 1.25 "factor of Max chips";
    StreamUltra "stream.ultra" [0.97 0.02] [0.97 0.01] 0.8 1.2 "factor of Ultra chips";
    DecodeM1 "unpack.m1" [14.0 0.3] [7.7 0.05] 4.0 60.0 "quantised weights unpacked per core and clock on M1, 10^9/s per GHz";
    DecodeM2 "unpack.m2" [12.0 0.3] [7.2 0.05] 4.0 60.0 "the same on M2";
    DecodeM3 "unpack.m3" [42.0 0.3] [8.5 0.05] 4.0 90.0 "the same on M3";
    DecodeM4 "unpack.m4" [42.0 0.3] [10.2 0.05] 4.0 90.0 "the same on M4";
    DecodeM5 "unpack.m5" [42.0 0.3] [10.6 0.05] 4.0 90.0 "the same on M5 and later";
    DecodeFp16 "unpack.fp16" [1.3 0.2] [1.0 0.0] 0.9 2.0 "factor with fp16 activations on M1 and M2, which have no bfloat16";
        DecodeSize "unpack.size" [0.4 0.4] [0.4 0.5] 0.0 1.2 "power of 32 / cores: larger GPUs unpack less per core";
    DecodeSimple "unpack.simple" [1.0 0.0] [1.2 0.15] 0.8 2.0 "factor for blocks of 32 weights with one scale (Q4_0, Q8_0, IQ4_NL, MXFP4)";
    Kv "kv" [1.25 0.3] [1.5 0.3] 0.8 4.0 "cost of a byte of keys and values in units of a byte of weights";
    KvLatent "kv.latent" [6.0 0.4] [8.0 0.4] 1.0 40.0 "cost of a byte of a compressed latent in units of a byte at bus speed";
    KvRate "kv_rate" [30.0 0.7] [30.0 0.7] 3.0 200.0 "elements of keys and values that query heads take in, 10^9/s per core and GHz";
    KvWide "kv_rate.wide" [0.5 0.5] [0.5 0.5] 0.05 1.5 "factor for heads of 256 features and more";
    KvNarrow "kv_rate.narrow" [0.5 0.5] [0.5 0.5] 0.05 1.5 "factor for heads of at most 64 features";
    KvUnfused "kv_rate.unfused" [0.7 0.5] [0.7 0.5] 0.1 3.0 "factor where attention is not one kernel";
    Matrix "matrix_launch" [1.0 0.3] [1.0 0.3] 0.2 3.0 "latency of a matrix kernel in launch times; it hides behind the streaming";
    Expert "expert_launch" [3.6 0.4] [2.4 0.4] 0.2 10.0 "further launch times per product with 8 chosen experts";
    ExpertChosen "expert_launch.chosen" [0.3 0.5] [0.36 0.1] 0.0 1.0 "power of chosen experts / 8 in that cost";
    GatedDelta "launch.gated_delta" [0.9 0.2] [1.0 0.2] 0.4 1.6 "factor on launches of gated-delta models";
    Recurrent "launch.recurrent" [0.88 0.2] [1.0 0.2] 0.4 1.6 "factor on launches of other recurrent models";
    States "states" [1.0 0.4] [1.5 0.4] 0.1 10.0 "cost of reading and writing a byte of recurrent state in units of two bytes of weights";
    Swift "launch.swift" [1.3 0.2] [1.0 0.0] 0.7 2.5 "factor on launches of programs on MLX Swift";
    ServerMs "server_ms" [0.15 1.0] [0.15 0.0] 0.005 3.0 "time per token behind an HTTP server, ms";
    Fanless "fanless" [1.4 0.05] [1.35 0.05] 1.0 2.2 "slow-down of a Mac without a fan in a long generation";
    FanlessSeconds "fanless_s" [7.0 0.3] [7.7 0.1] 1.0 60.0 "seconds of generation after which half of it has set in";
    Ollama "ollama" [1.0 0.0] [1.0 0.06] 0.9 1.2 "factor of Ollama on llama.cpp's time";
    OllamaMs "ollama_ms" [0.5 0.0] [0.5 0.5] 0.05 3.0 "time per token that Ollama adds, ms";
    OldLaunch "old.launch" [1.0 0.0] [1.2 0.15] 0.7 2.5 "factor on launches of llama.cpp builds of 2023 and 2024";
    OldDecode "old.unpack" [1.0 0.0] [0.9 0.15] 0.4 1.3 "factor on their unpacking";
}

/// The priors for GGUF with the parameters that the chip decides centred on the fit of MLX.
#[must_use]
pub fn shared(mlx: &[f64]) -> Vec<Spec> {
    let chip = P::Trend as usize..=P::StreamUltra as usize;
    let mut specs = GGUF.to_vec();
    for (i, (spec, &value)) in specs.iter_mut().zip(mlx).enumerate() {
        if chip.contains(&i) {
            spec.prior = value;
        }
    }
    specs
}
