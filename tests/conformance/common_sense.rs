//! What everybody expects of every model: a longer prompt takes longer and no less memory, fewer bits take no more, a
//! better chip is not slower. Where an answer goes against that, it is named here with its reason and its size: either MLX
//! does it, or the coefficients are known to be off. Anything else, or more of it, fails.
//!
//! A sample of the catalog by default; `cargo xtask full` takes all of it (`MLXPLAN_WHOLE_CATALOGUE=1`).

use mlxplan::estimate::Estimator;
use mlxplan::graph::cache::KvQuantization;
use mlxplan::hardware::Chip;
use mlxplan::ledger::peak::{full, peak};
use mlxplan::ledger::replay::{ArchClass, Gpu};
use mlxplan::model::catalog::Models;
use mlxplan::roofline::Silicon;
use mlxplan::{Coefficients, Graph, Macs, Run, Scheme};
use rayon::prelude::*;

/// Models of different kinds: dense, with experts, with windows, with latent attention, with states.
const SAMPLE: [&str; 6] = [
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-30B-A3B",
    "google/gemma-3-12b-it",
    "deepseek-ai/DeepSeek-V2-Lite",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "HuggingFaceTB/SmolLM2-135M-Instruct",
];

fn graphs() -> Vec<(String, Graph)> {
    let catalog = Models::built_in().expect("built in");
    let whole = std::env::var_os("MLXPLAN_WHOLE_CATALOGUE").is_some();
    let chosen = catalog
        .models()
        .par_iter()
        .filter(|m| m.mlx_lm_supported && (whole || SAMPLE.contains(&m.id.as_str())));
    let graph = |m: &mlxplan::model::Summary| {
        let config = m.entry().expect("readable").config;
        Some((m.id.clone(), Graph::quantized(&config, Scheme::DEFAULT).ok()?))
    };
    let found: Vec<(String, Graph)> = chosen.filter_map(graph).collect();
    assert!(found.len() >= SAMPLE.len() - 1, "{}", found.len());
    found
}

/// The most by which one answer may go against common sense, and why it does.
struct Allowed {
    /// As a part of the better value.
    most: f64,
    #[allow(dead_code, reason = "for readers")]
    why: &'static str,
}

fn fail_on(found: Vec<String>) {
    assert!(found.is_empty(), "{} against common sense:\n{}", found.len(), found.join("\n"));
}

const GPU: Gpu = Gpu::new(ArchClass::Max, 16, false);

/// MLX commits what it has encoded when a command buffer is full, by kernels or by bytes. A few tokens more can fill one
/// sooner, so that less waits for the GPU at once.
const DIP: Allowed = Allowed { most: 0.06, why: "MLX commits earlier" };

#[test]
fn a_longer_prompt_takes_no_less_memory_but_where_mlx_commits_earlier() {
    let lengths = [1, 256, 2048, 2049, 2100, 4096, 4097, 4200, 6145];
    let of = |(id, graph): &(String, Graph)| -> Vec<String> {
        let run = |tokens| Run::default().with_context(tokens).with_generated(2);
        let at = |tokens| Some(peak(graph, &run(tokens), GPU).ok()?.peak_bytes as f64);
        let peaks: Option<Vec<f64>> = lengths.iter().map(|&n| at(n)).collect();
        let Some(peaks) = peaks else { return Vec::new() };
        let mut found = Vec::new();
        for (pair, tokens) in peaks.windows(2).zip(&lengths[1..]) {
            let dip = 1.0 - pair[1] / pair[0];
            if dip <= 0.0 {
                continue;
            }
            // Nothing is left out of this one: the dip is in the rules and not in what is sampled.
            let whole = full(graph, &run(*tokens), GPU).expect("runs").peak_bytes as f64;
            if dip > DIP.most || (whole / pair[1] - 1.0).abs() > 0.002 {
                found.push(format!("{id}: {tokens} tokens take {:.1} % less", 100.0 * dip));
            }
        }
        found
    };
    fail_on(graphs().par_iter().flat_map_iter(of).collect());
}

/// mlx-lm's attention over a packed cache is not fused: it builds the matrix of scores, which 16 bits do without. Among
/// packed ones fewer bits take no more.
#[test]
fn a_cache_of_fewer_bits_takes_no_more_memory_among_packed_ones() {
    let of = |(id, graph): &(String, Graph)| -> Option<String> {
        let run =
            |bits| Run::default().with_context(9000).with_kv(Some(KvQuantization::bits(bits)));
        let at = |bits| Some(peak(graph, &run(bits), GPU).ok()?.peak_bytes);
        let (four, eight) = (at(4)?, at(8)?);
        (four > eight).then(|| format!("{id}: {four} bytes with 4 bits, {eight} with 8"))
    };
    fail_on(graphs().par_iter().filter_map(of).collect());
}

/// Decode and first token on a chip, in seconds.
fn times(graph: &Graph, chip: &Chip, tokens: u32) -> Option<[f64; 2]> {
    let coefficients = Coefficients::embedded().expect("built in");
    let run = Run::default().with_context(tokens);
    let estimator = Estimator::of_graph(coefficients, graph, run);
    let memory = chip.memory_gib.iter().max().copied();
    let (decode, prefill) = estimator.rates(&Silicon::of_chip(chip, memory)).ok()?;
    Some([1.0 / decode.tokens_per_s, prefill.ttft_s])
}

#[test]
fn a_longer_context_is_never_faster() {
    let macs = Macs::embedded();
    let chips: Vec<&Chip> = macs.chips().expect("built in").iter().step_by(5).collect();
    let of = |(id, graph): &(String, Graph)| -> Vec<String> {
        let mut found = Vec::new();
        for chip in &chips {
            let all: Vec<[f64; 2]> =
                [512, 4096, 32_768].iter().filter_map(|&n| times(graph, chip, n)).collect();
            for pair in all.windows(2) {
                if pair[1][0] < pair[0][0] || pair[1][1] < pair[0][1] {
                    found.push(format!("{id} on {}: {all:?}", chip.id));
                }
            }
        }
        found
    };
    fail_on(graphs().par_iter().flat_map_iter(of).collect());
}

/// By how much a chip that is better in all that counts may come out slower, at decode or at the first token: launches cost
/// the same on every tier and M2's cores are tied to M1's, so that what is left is the spread of the bus's use.
const BETTER: Allowed = Allowed { most: 0.01, why: "factors of bandwidth by generation" };

#[test]
fn a_better_chip_is_not_slower_beyond_what_the_coefficients_are_known_to_be_off() {
    let macs = Macs::embedded();
    let chips = macs.chips().expect("built in");
    let better = |a: &Chip, b: &Chip| {
        a.id != b.id
            && a.generation <= b.generation
            && a.gpu_cores <= b.gpu_cores
            && a.bandwidth_gbs <= b.bandwidth_gbs
            && a.gpu_clock_mhz <= b.gpu_clock_mhz
            && a.matrix_units <= b.matrix_units
    };
    let of = |(id, graph): &(String, Graph)| -> Vec<String> {
        let mut found = Vec::new();
        for tokens in [1, 4096] {
            let all: Vec<(&Chip, [f64; 2])> =
                chips.iter().filter_map(|c| Some((c, times(graph, c, tokens)?))).collect();
            for (a, of_a) in &all {
                for (b, of_b) in all.iter().filter(|(b, _)| better(a, b)) {
                    for i in 0..2 {
                        let slower = of_b[i] / of_a[i] - 1.0;
                        if slower > BETTER.most {
                            let what = ["decode", "first token"][i];
                            let percent = 100.0 * slower;
                            found.push(format!(
                                "{id}, {tokens} tokens, {what}: {} is {percent:.0} % slower than {}",
                                b.id, a.id
                            ));
                        }
                    }
                }
            }
        }
        found
    };
    fail_on(graphs().par_iter().flat_map_iter(of).collect());
}
