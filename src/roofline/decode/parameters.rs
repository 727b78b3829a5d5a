//! Parameters of the decode law.

use crate::roofline::parameters::Spec;

macro_rules! parameters {
    ($($id:ident $name:literal $prior:literal $sd:literal $low:literal $high:literal $meaning:literal;)*) => {
        /// A parameter of the decode law.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum P { $($id,)* }

        /// What the parameters are, in their order.
        pub const SPECS: &[Spec] = &[$(Spec {
            name: $name,
            prior: $prior,
            prior_sd: $sd,
            low: $low,
            high: $high,
            meaning: $meaning,
        },)*];
    };
}

parameters! {
    Launch "launch_us" 3.5 0.5 0.5 12.0 "time per kernel launch on a base chip of an average generation, µs";
    LaunchM1 "launch.m1" 1.0 0.3 0.4 2.5 "factor of M1";
    LaunchM2 "launch.m2" 1.0 0.3 0.4 2.5 "factor of M2";
    LaunchM3 "launch.m3" 1.0 0.3 0.4 2.5 "factor of M3";
    LaunchM4 "launch.m4" 1.0 0.3 0.4 2.5 "factor of M4";
    LaunchM5 "launch.m5" 1.0 0.3 0.4 2.5 "factor of M5 and later";
    LaunchPro "launch.pro" 1.2 0.3 0.5 2.5 "factor of Pro chips";
    LaunchMax "launch.max" 1.2 0.3 0.5 2.5 "factor of Max chips";
    LaunchUltra "launch.ultra" 1.2 0.3 0.5 3.0 "factor of Ultra chips";
    Stream "stream" 0.82 0.1 0.5 1.0 "fraction of the bus bandwidth that weights stream at on a base chip";
    StreamM1 "stream.m1" 1.0 0.07 0.7 1.3 "factor of M1";
    StreamM2 "stream.m2" 1.0 0.07 0.7 1.3 "factor of M2";
    StreamM3 "stream.m3" 1.0 0.07 0.7 1.3 "factor of M3";
    StreamM4 "stream.m4" 1.0 0.07 0.7 1.3 "factor of M4";
    StreamM5 "stream.m5" 1.0 0.07 0.7 1.3 "factor of M5 and later";
    StreamPro "stream.pro" 1.0 0.07 0.7 1.3 "factor of Pro chips";
    StreamMax "stream.max" 1.0 0.07 0.7 1.3 "factor of Max chips";
    StreamUltra "stream.ultra" 1.0 0.07 0.6 1.3 "factor of Ultra chips";
    DecodeM1 "decode_weights.m1" 14.0 0.2 4.0 40.0 "quantised weights decoded per core and clock on M1, 10^9/s per GHz";
    DecodeM2 "decode_weights.m2" 12.0 0.2 4.0 40.0 "the same on M2";
    DecodeM3 "decode_weights.m3" 42.0 0.3 8.0 100.0 "the same on M3 and later";
    DecodeFp16 "decode_weights.fp16" 1.34 0.15 0.9 2.0 "factor with fp16 activations on M1 and M2";
    DecodeUltra "decode_weights.ultra" 0.72 0.15 0.4 1.2 "factor of Ultra chips";
    Kv "kv" 1.25 0.2 0.9 3.0 "cost of a byte of keys and values in units of a byte at bus speed, at least";
    KvGroup "kv.group" 0.22 0.2 0.05 0.6 "the same per query head that shares a key head";
    KvLatent "kv.latent" 11.5 0.3 2.0 40.0 "factor for a compressed latent";
    KvWide "kv.wide" 3.1 0.2 1.0 8.0 "factor for heads of 256 features and more";
    KvNarrow "kv.narrow" 2.8 0.2 0.7 8.0 "factor for heads of at most 64 features";
    KvWindow "kv.window" 2.4 0.3 0.9 8.0 "cost of a byte within a sliding window";
    Expert "expert_launch" 3.6 0.3 0.3 12.0 "further launch times per product with routed experts";
    GatedDelta "launch.gated_delta" 0.84 0.15 0.4 1.5 "factor on launches of gated-delta models";
    Swift "launch.swift" 1.39 0.2 0.8 2.5 "factor on launches of programs on MLX Swift";
    ServerMs "server_ms" 0.13 1.0 0.01 3.0 "time per token behind an HTTP server, ms";
}
