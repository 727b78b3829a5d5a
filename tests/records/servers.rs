//! Memory of servers that users published: footprints of living processes, caches of earlier prompts, prompts read at once,
//! each with the published value and the interval.

use crate::field::{asked, graph, mac};
use mlxplan::estimate::memory::{Fit, LimitKind};
use mlxplan::estimate::{Estimator, Memory};
use mlxplan::graph::Graph;
use mlxplan::graph::towers::Loader;
use mlxplan::model::Scheme;
use mlxplan::model::catalog::Models;
use mlxplan::roofline::Coefficients;
use mlxplan::run::Run;
use mlxplan::units::Bytes;

const GIB: f64 = 1_073_741_824.0;

/// A model as mlx-vlm loads it: with its towers.
fn with_towers(model: &str, quant: &str) -> Graph {
    let models = Models::built_in().expect("a good catalog");
    let entry = models.get(model).expect("in the catalog").entry().expect("a good entry");
    let scheme: Scheme = quant.parse().expect("a scheme");
    Graph::converted(&entry.config, scheme, Loader::MlxVlm).expect("a graph")
}

fn memory(graph: &Graph, on: &str, run: Run) -> Memory {
    let coefficients = Coefficients::embedded().expect("built in");
    Estimator::of_graph(coefficients, graph, run).memory(&mac(on)).expect("runs")
}

/// raullenchai/Rapid-MLX, docs/benchmarks/model-recommendation-measurements.json: the highest footprint that macOS showed
/// of a server after a short prompt and one of 8112 tokens, without caches of earlier prompts, in GiB; from 10 GiB on in
/// whole ones. The Gemmas were started with --no-mllm, and the last file has no tower. M2 Pro with 32 GB, Rapid-MLX
/// 0.12.7; the last on an M3 Ultra.
#[test]
fn footprints_of_a_server_are_within_the_interval() {
    let m2 = "m2pro-16/32";
    let cases: [(Graph, &str, f64); 9] = [
        (graph("LiquidAI/LFM2.5-1.2B-Instruct", "4bit"), m2, 1.866),
        (graph("LiquidAI/LFM2.5-8B-A1B", "4bit"), m2, 5.897),
        (with_towers("Qwen/Qwen3.5-4B", "4bit"), m2, 5.977),
        (with_towers("Qwen/Qwen3.5-9B", "4bit"), m2, 8.718),
        (graph("google/gemma-4-12B-it", "4bit"), m2, 11.0),
        (graph("google/gemma-4-26B-A4B-it", "4bit"), m2, 17.0),
        (with_towers("Qwen/Qwen3.5-35B-A3B", "4bit"), m2, 22.0),
        (with_towers("Qwen/Qwen3.6-27B", "4bit"), m2, 21.0),
        (graph("Qwen/Qwen3.8-27B", "4bit"), "m3ultra-80/256", 20.0),
    ];
    let mut wrong = Vec::new();
    for (graph, on, published) in &cases {
        let run = asked("rapid-mlx@0.12.7", 8112, 96).with_prompt_cache(Some(Bytes::ZERO));
        let memory = memory(graph, on, run);
        let [low, high] = memory.process.footprint_bytes.map(|b| b as f64 / GIB);
        let peak = memory.peak.peak_bytes as f64 / GIB;
        let line = format!(
            "{} published {published} GiB, footprint [{low:.2}, {high:.2}] over a peak of {peak:.2}",
            graph.model_type()
        );
        println!("{line}");
        if !(low..=high).contains(published) {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The same file: MLX's own peak of Qwen3.8-27B in 4 bits after 8112 tokens was 19.08 GB, with 15.13 GB of weights.
#[test]
fn a_peak_of_a_server_is_within_the_interval() {
    let model = graph("Qwen/Qwen3.8-27B", "4bit");
    let run = asked("rapid-mlx@0.12.15", 8112, 56).with_prompt_cache(Some(Bytes::ZERO));
    let memory = memory(&model, "m3ultra-80/256", run);
    let [low, high] = memory.peak_interval_90.map(Bytes::gb);
    assert!((low..=high).contains(&19.08), "[{low:.2}, {high:.2}]");
    assert!((Bytes(memory.peak.weights_bytes).gb() - 15.13).abs() < 0.01);
}

/// ml-explore/mlx-lm#1390: on a Mac of 48 GB the caches of earlier prompts of `mlx_lm.server` grew to 23.35 and 26.28 GB
/// with Qwen3.5-4B in 8 bits, and then memory was out. Ten entries are kept; so much is ten of about 80 000 tokens.
#[test]
fn caches_of_earlier_prompts_grow_within_the_interval() {
    let model = graph("Qwen/Qwen3.5-4B", "8bit");
    let run = asked("mlx-lm-server@0.32.2", 80_000, 500);
    let grown = memory(&model, "m4pro-16/48", run);
    let alone = memory(&model, "m4pro-16/48", run.with_prompt_cache(Some(Bytes::ZERO)));
    let [_, high] = grown.peak_interval_90.map(Bytes::gb);
    let kept = high - alone.peak_interval_90[1].gb();
    println!("{kept:.2} GB are kept at most, beside a peak of {}", Bytes(alone.peak.peak_bytes));
    assert!((26.28..30.0).contains(&kept), "{kept}");
    assert_eq!(alone.judgment.verdict, Fit::Yes);
    assert!(grown.judgment.verdict >= Fit::Tight, "{:?}", grown.judgment.verdict);
    // What is given to them is all that they take.
    let given = memory(&model, "m4pro-16/48", run.with_prompt_cache(Some(Bytes::from_gb(8.0))));
    let more = given.peak.peak_bytes - alone.peak.peak_bytes;
    assert_eq!((more, given.peak.kept_bytes), (8_000_000_000, 8_000_000_000));
}

/// 0xSero/local-ai-registry#43: `mlx_lm.server` with Qwen3.5-9B in 4 bits on an M1 Max with 32 GB answered 64 022 tokens and
/// failed at 128 022, for want of one buffer of 22.01 GB where 20.10 are allowed.
///
/// That buffer is the scores of four prompts: the server takes waiting requests into the batch that it reads, at any chunk,
/// and pads them to the longest (`BatchGenerator._next`, `BatchKVCache.extend`), so that a client that gives up and asks
/// again adds a sequence: 4 x 16 heads x 2048 rows x 83 968 keys x 2 bytes, the 41st chunk. No chunk of one prompt ends
/// there: 8192 rows would be 10.25 chunks.
#[test]
fn four_prompts_at_once_need_the_buffer_that_failed() {
    let model = graph("Qwen/Qwen3.5-9B", "4bit");
    let engine = "mlx-lm-server@0.31.3 mlx=0.32.1";
    let keys = 41 * 2048;
    let at = |context: u32, prompts: u32| {
        let run = asked(engine, context, 128).with_prompt_cache(Some(Bytes::ZERO));
        memory(&model, "m1max-32/32", run.with_parallel(Some(prompts)))
    };
    let four = at(keys + 1, 4);
    assert_eq!(four.peak.largest_buffer_bytes, 4 * 16 * 2048 * u64::from(keys) * 2);
    assert!((Bytes(four.peak.largest_buffer_bytes).gb() - 22.01).abs() < 0.005);
    let buffer = |m: &Memory| {
        let found = m.judgment.limits.iter().find(|l| l.kind == LimitKind::LargestBuffer);
        found.map(|l| (l.verdict, l.limit_bytes.gb()))
    };
    let (verdict, limit) = buffer(&four).expect("a limit");
    assert!(verdict == Fit::No && (limit - 20.10).abs() < 0.01, "{verdict} {limit}");
    // One prompt of 64 022 tokens passed, and one of 128 022 has no such buffer.
    assert_ne!(at(64_022, 1).judgment.verdict, Fit::No);
    assert_ne!(buffer(&at(128_022, 1)).expect("a limit").0, Fit::No);
}

/// Beyond the prompts that are read at once, sequences only generate: each adds its cache, twice while another joins, since
/// `BatchKVCache.extend` copies the caches of all, and no scores.
#[test]
fn sequences_that_generate_add_their_caches() {
    let model = graph("Qwen/Qwen3-4B", "4bit");
    let peak = |sequences: u32| {
        let run = asked("mlx-lm-server", 4096, 64).with_parallel(Some(sequences));
        memory(&model, "m4max-40/128", run.with_prompt_cache(Some(Bytes::ZERO))).peak
    };
    let (eight, twelve) = (peak(8), peak(12));
    let each = 36 * 2 * 8 * 128 * 2 * 4352;
    assert_eq!(twelve.peak_bytes - eight.peak_bytes, 2 * 4 * each);
}

/// jundot/omlx#2321: oMLX 0.5.2 refused 66 461 tokens of Qwen3.6-35B-A3B in 4 bits, because 25.53 GiB would be needed where
/// 25.27 are allowed, 90 % of the GPU limit of 28.08 GiB. Whether attention is cut into tiles there hangs on what is free.
#[test]
fn a_prompt_that_omlx_refused_is_uncertain() {
    let model = with_towers("Qwen/Qwen3.6-35B-A3B", "4bit");
    let limit = Bytes((28.08 * GIB) as u64);
    let run = asked("omlx@0.5.2", 66_461, 32).with_gpu_limit(Some(limit));
    let memory = memory(&model, "m4max-32/36", run);
    let cap = memory.judgment.limits.iter().find(|l| l.kind == LimitKind::EngineCap);
    let cap = cap.expect("oMLX has a limit of its own");
    let [low, high] = cap.need_range_bytes.map(|b| b.gib());
    println!("needs {low:.2} to {high:.2} of {:.2} GiB", cap.limit_bytes.gib());
    assert!((cap.limit_bytes.gib() - 25.27).abs() < 0.01, "{}", cap.limit_bytes);
    assert!((low..=high).contains(&25.53), "[{low:.2}, {high:.2}]");
    assert_eq!(cap.verdict, Fit::Uncertain);
}

/// jundot/omlx#3241: MLX's peaks with attention in tiles and without, in GiB, which oMLX prints as GB. Neither model nor format
/// are named where they were read, but with tiles a token takes 64 KiB, what a 27B of Qwen3.6 caches, and prompts are read at
/// the pace of one; so the growth is compared, which hangs on no format: 8.93 from 8192 to 65 536 tokens without tiles, though
/// the program switched to them before the end, and 3.13 from 16 384 on with them.
#[test]
fn peaks_of_omlx_with_and_without_tiles() {
    let model = with_towers("Qwen/Qwen3.6-27B", "4bit");
    let at = |engine: &str, context: u32| {
        let run = asked(engine, context, 128);
        Bytes(memory(&model, "m3ultra-80/256", run).peak.peak_bytes).gib()
    };
    let grown = |engine: &str, from: u32, to: u32| at(engine, to) - at(engine, from);
    let mut wrong = Vec::new();
    for (engine, [from, to], published, near) in [
        ("omlx@0.4.5", [8192, 32_768], 3.87, 0.03),
        ("omlx@0.4.5", [8192, 65_536], 8.93, 0.03),
        ("omlx@0.6.4", [16_384, 65_536], 3.13, 0.03),
    ] {
        let grown = grown(engine, from, to);
        let line = format!("{engine}, {from} to {to}: published {published}, {grown:.2}");
        println!("{line}");
        if (grown / published - 1.0).abs() > near {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// jundot/omlx#3381 and PR 1523: near its own limit oMLX makes chunks smaller before it refuses, so that the peak lies between
/// that of its smallest chunk and that of 2048.
#[test]
fn chunks_shrink_near_the_limit_of_omlx() {
    let model = with_towers("Qwen/Qwen3.6-35B-A3B", "4bit");
    let at = |gib: f64| {
        let limit = Bytes((gib * GIB) as u64);
        let run = asked("omlx@0.5.2", 66_461, 32).with_gpu_limit(Some(limit));
        memory(&model, "m4max-32/36", run)
    };
    let (near, clear) = (at(28.08), at(34.0));
    let [low, _] = near.peak_interval_90;
    assert!(low < clear.peak_interval_90[0], "{low} {}", clear.peak_interval_90[0]);
    assert_eq!(near.peak.peak_bytes, clear.peak.peak_bytes);
}

/// vllm-metal takes its share of the GPU limit when it starts, whatever the prompt.
#[test]
fn a_pool_is_reserved_whatever_the_prompt() {
    let model = graph("Qwen/Qwen3-4B", "4bit");
    let at = |context: u32| memory(&model, "m4max-40/64", asked("vllm-metal", context, 64)).process;
    let [short, long] = [512, 16_384].map(at);
    assert_eq!(short.footprint_bytes[0], long.footprint_bytes[0]);
    let limit = mac("m4max-40/64").gpu_limit.range[0].gb();
    assert!(Bytes(short.footprint_bytes[0]).gb() > 0.92 * limit);
}
