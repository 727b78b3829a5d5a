use super::*;
use crate::hardware::spec::resolve;
use crate::hardware::{CustomMachine, Macs};
use crate::model::Scheme;
use crate::roofline::Coefficients;

fn coefficients() -> &'static Coefficients {
    Coefficients::embedded().expect("built in")
}

fn graph(id: &str, scheme: &str) -> Graph {
    let models = crate::model::catalog::Models::built_in().expect("the built-in catalog");
    let entry = models.get(id).expect("in the catalog").entry().expect("readable");
    let scheme: Scheme = scheme.parse().expect("a scheme");
    Graph::quantized(&entry.config, scheme).expect("a known family")
}

fn speed(id: &str, scheme: &str) -> Speed {
    Speed::of(&graph(id, scheme), &Run::default()).expect("runs")
}

fn target(spec: &str) -> Silicon {
    Silicon::of(&resolve(spec, &Macs::embedded()).expect("a Mac"))
}

const DENSE: &str = "Qwen/Qwen2.5-7B-Instruct";
const EXPERTS: &str = "Qwen/Qwen3-30B-A3B";
const HYBRID: &str = "Qwen/Qwen3.5-4B";
const WINDOWS: &str = "google/gemma-3-4b-it";
const MODELS: [&str; 4] = [DENSE, EXPERTS, HYBRID, WINDOWS];

/// A field report of December 2025: Qwen2.5 4-bit on the 40-core M4 Max with mlx-lm. It does not say how long contexts
/// were, so the default request stands in.
#[test]
fn the_field_report_of_m4_max_lies_within_their_intervals() {
    let m4_max = target("m4max-40/128");
    let request = Run::default();
    let mut outside = Vec::new();
    for (id, measured) in [
        ("Qwen/Qwen2.5-0.5B-Instruct", 385.0),
        ("Qwen/Qwen2.5-3B-Instruct", 156.0),
        (DENSE, 94.0),
        ("Qwen/Qwen2.5-14B-Instruct", 50.0),
    ] {
        let d = speed(id, "4bit").decode(coefficients(), &m4_max, &request);
        let [low, high] = d.interval_90;
        if measured < low || measured > high {
            outside
                .push(format!("{id}: {measured} of {:.1} in {low:.1}..{high:.1}", d.tokens_per_s));
        }
    }
    assert!(outside.is_empty(), "{outside:?}");
}

#[test]
fn decode_is_never_faster_than_the_bus() {
    let catalog = Macs::embedded();
    for id in MODELS {
        let s = speed(id, "4bit");
        for chip in catalog.chips().expect("chips") {
            let t = Silicon::of_chip(chip, None);
            for context_tokens in [0, 4096, 131_072] {
                let request = Run::default().with_context(context_tokens);
                let time = s.decode_seconds(coefficients(), &t, &request).total();
                let f = s.features();
                let bytes = f.weight_bytes_per_step() + f.kv_bytes(f64::from(context_tokens));
                assert!(time >= bytes / t.bandwidth, "{id} on {}: {time} s for {bytes} B", chip.id);
            }
        }
    }
}

#[test]
fn prefill_never_exceeds_the_arithmetic_peak() {
    let catalog = Macs::embedded();
    for id in MODELS {
        let s = speed(id, "4bit");
        for chip in catalog.chips().expect("chips") {
            let t = Silicon::of_chip(chip, None);
            for context_tokens in [64, 2048, 32_768] {
                let request = Run::default().with_context(context_tokens);
                let time = s.prefill_seconds(coefficients(), &t, &request).total();
                let p = &s.features().prefill;
                let n = f64::from(context_tokens);
                let work =
                    2.0 * n * (p.dense_weights + p.expert_weights) + n * n * p.full_attention;
                assert!(time >= work / t.peak_flops(), "{id} on {}", chip.id);
            }
        }
    }
}

#[test]
fn more_bandwidth_fewer_bytes_and_a_shorter_context_are_never_slower() {
    let t = target("m3max-40/64");
    let request = Run::default();
    let time = |s: &Speed, t: &Silicon, r: &Run| s.decode_seconds(coefficients(), t, r).total();
    for id in MODELS {
        let s = speed(id, "4bit");
        let mut before = f64::INFINITY;
        for gbs in [50.0, 100.0, 200.0, 400.0, 800.0, 1600.0] {
            let now = time(&s, &Silicon { bandwidth: gbs * 1e9, ..t }, &request);
            assert!(now <= before, "{id} at {gbs} GB/s");
            before = now;
        }
        let mut before = 0.0;
        for context_tokens in (0..40).map(|i| 1 << (i / 2) | (i % 2) << (i / 2) >> 1) {
            let now = time(&s, &t, &request.with_context(context_tokens));
            assert!(now >= before, "{id} at {context_tokens} tokens");
            before = f64::max(before, now);
        }
        let mut before = 0.0;
        for scheme in ["2bit", "3bit", "4bit", "6bit", "8bit", "bf16"] {
            let now = time(&speed(id, scheme), &t, &request);
            // From 8 to 16 bits nothing is unpacked any more, but twice the bytes are read.
            assert!(now >= before, "{id} with {scheme}");
            before = now;
        }
    }
}

#[test]
fn a_larger_batch_takes_longer_and_yields_more() {
    for spec in ["m1max-32/64", "m4pro-20/48", "m3ultra-80/512", "m5max-40/128"] {
        let t = target(spec);
        for id in MODELS {
            let s = speed(id, "4bit");
            let (mut step, mut rate) = (0.0, 0.0);
            for batch in [1, 2, 3, 4, 8, 16, 32, 64] {
                let request = Run::default().with_batch(batch).with_context(512);
                let seconds = s.decode_seconds(coefficients(), &t, &request).total();
                let total = f64::from(batch) / seconds;
                assert!(seconds >= step, "{id} on {spec}, batch {batch}: {seconds} s");
                assert!(total >= rate * 0.999, "{id} on {spec}, batch {batch}: {total} tok/s");
                (step, rate) = (seconds, total);
            }
        }
    }
}

#[test]
fn doubts_are_said_and_widen_the_interval() {
    let s = speed(DENSE, "4bit");
    let known = target("m4max-40/128");
    let width = |d: &Decode| (d.interval_90[1] / d.interval_90[0]).ln();
    let plain = s.decode(coefficients(), &known, &Run::default());
    assert!(plain.warnings.is_empty(), "{:?}", plain.warnings);
    assert!(plain.evidence.text.contains("configurations on M4 Max"), "{}", plain.evidence.text);
    let new = CustomMachine {
        bandwidth_gbs: 700.0,
        gpu_cores: 44,
        memory_gib: 128,
        generation: Some(6),
        tier: Some(crate::hardware::Tier::Max),
    };
    let unseen = match new.resolve(&Macs::embedded()) {
        Ok(machine) => Silicon::of(&machine),
        Err(_) => Silicon { generation: 6, ..known },
    };
    let unseen = s.decode(coefficients(), &unseen, &Run::default());
    assert!(width(&unseen) > width(&plain));
    assert!(unseen.warnings.iter().any(|w| w.to_string().contains("no measurement on M6 Max")));
    let deep = Run::default().with_context(1_000_000);
    let deep = s.decode(coefficients(), &known, &deep);
    assert!(width(&deep) > width(&plain));
    assert!(deep.warnings.iter().any(|w| w.to_string().contains("deepest")), "{:?}", deep.warnings);
}

#[test]
fn terms_add_up_to_the_step() {
    for id in MODELS {
        let d = speed(id, "4bit").decode(coefficients(), &target("m2max-38/96"), &Run::default());
        let sum: f64 = d.terms.iter().map(|t| t.seconds).sum();
        assert!((sum - d.seconds_per_token).abs() < 1e-12, "{id}: {:?}", d.terms);
        assert!((d.tokens_per_s * d.seconds_per_token - 1.0).abs() < 1e-9);
        assert!(d.interval_90[0] <= d.interval_80[0] && d.interval_80[1] <= d.interval_90[1]);
        let launches = d.terms.iter().find(|t| t.name == "launches").expect("launches");
        assert_eq!(launches.bound, Bound::Overhead);
    }
}

/// Every parameter lies in its plausible range, and none at its end unless the data do not bind it.
#[test]
fn parameters_are_plausible() {
    use crate::roofline::decode::parameters;
    use crate::roofline::prefill;
    let file = coefficients().file();
    let laws = [
        (&file.decode_mlx, parameters::mlx()),
        (&file.decode_gguf, parameters::gguf(None)),
        (&file.prefill_mlx, prefill::specs()),
    ];
    for (fit, specs) in laws {
        for (p, spec) in fit.parameters.iter().zip(&specs) {
            assert_eq!(p.name, spec.name);
            assert!(spec.low <= p.value && p.value <= spec.high, "{} = {}", p.name, p.value);
            assert!(p.sd >= 0.0 && p.sd < 1.5, "{}: sd {}", p.name, p.sd);
            assert!(p.sd == 0.0 || p.clusters <= p.rows, "{}", p.name);
        }
        for (i, row) in fit.covariance.iter().enumerate() {
            assert_eq!(row.len(), i + 1);
            let sd = fit.parameters[i].sd;
            assert!(
                (row[i] - sd * sd).abs() <= 0.02 * sd * sd + 1e-12,
                "{}",
                fit.parameters[i].name
            );
        }
    }
}

#[test]
fn engines_differ_and_take_gguf_formats() {
    let graph = graph(DENSE, "4bit");
    let t = target("m2max-38/96");
    let rate = |engine| {
        let request = Run::default().with_program(engine);
        Speed::of(&graph, &request).expect("runs").decode(coefficients(), &t, &request)
    };
    let (mlx, llama, ollama) =
        (rate(Program::MlxLm), rate(Program::LlamaCpp), rate(Program::Ollama));
    assert!(mlx.tokens_per_s > llama.tokens_per_s);
    assert!((ollama.tokens_per_s / llama.tokens_per_s - 1.0).abs() < 0.15);
    assert!(
        llama.warnings.iter().any(|w| w.to_string().contains("q4_k_m")),
        "{:?}",
        llama.warnings
    );
}
