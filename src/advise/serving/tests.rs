use super::load::{SeenByUsers, arrivals, burst};
use super::*;
use crate::estimate::Estimator;
use crate::graph::Graph;
use crate::hardware::machine::Machine;
use crate::hardware::{Macs, spec};
use crate::model::Scheme;
use crate::model::catalog::Models;
use crate::roofline::Coefficients;
use crate::run::{EngineName, Program, Run};
use proptest::prelude::*;

/// A second of reading for 1000 tokens, 20 ms a step and 1 ms a sequence.
struct Plain;

impl TurnCosts for Plain {
    fn step(&self, sequences: u32, _: u32) -> f64 {
        0.020 + 0.001 * f64::from(sequences)
    }

    fn chunk(&self, prompts: u32, _: u32, tokens: u32) -> f64 {
        0.001 * f64::from(prompts * tokens)
    }
}

const SERVER: Scheduler =
    Scheduler { generating: 32, reading: 8, chunk: 2048, looks_every_s: 0.5, one_at_a_time: None };

fn ttfts(scheduler: &Scheduler, (users, prompt): (u32, u32)) -> Vec<f64> {
    let served = serve(scheduler, &Plain, &burst(users, prompt, 100));
    served.demands.iter().map(ServedDemand::ttft_s).collect()
}

/// mlx_lm.server takes the first request, generates for half a second, and only then sees those that came with it.
#[test]
fn a_burst_waits_for_the_second_look() {
    let waits = ttfts(&SERVER, (3, 100));
    assert!((waits[0] - (0.1 + 0.021)).abs() < 1e-9, "{waits:?}");
    // The others are read together: two prompts of a tenth of a second each.
    assert!(waits[1] > 0.7 && waits[1] < 0.8 && waits[1] == waits[2], "{waits:?}");
}

/// A prompt that takes longer than that has the others beside it before its first token comes back.
#[test]
fn a_first_token_comes_a_turn_later() {
    let waits = ttfts(&SERVER, (3, 1000));
    assert!((waits[0] - (1.0 + 2.0 + 0.021)).abs() < 1e-9, "{waits:?}");
}

/// oMLX reads one prompt after another, so that first tokens are staggered by a prompt each.
#[test]
fn prompts_one_after_another_are_staggered() {
    let omlx = Scheduler { reading: 1, looks_every_s: 0.0, ..SERVER };
    let waits = ttfts(&omlx, (3, 1000));
    assert!(waits[0] < 1.1 && waits[1] > 2.0 && waits[2] > 3.0, "{waits:?}");
    assert!(waits.windows(2).all(|w| w[1] - w[0] > 0.9), "{waits:?}");
}

/// While a prompt is read, others get one token for every chunk.
#[test]
fn a_chunk_delays_everybody() {
    let late = Demand { arrival_s: 0.5, prompt: 4096, cached: 0, output: 1 };
    let demands = [Demand { arrival_s: 0.0, prompt: 10, output: 100, ..late }, late];
    let served = serve(&Scheduler { looks_every_s: 0.0, ..SERVER }, &Plain, &demands);
    assert!(served.reading_s > 4.0, "{served:?}");
    let alone = serve(&SERVER, &Plain, &demands[..1]);
    assert!(served.demands[0].end_s > alone.demands[0].end_s + 4.0 * 0.9, "{served:?}");
}

#[test]
fn one_at_a_time_is_a_queue() {
    let single = Scheduler { generating: 1, reading: 1, looks_every_s: 0.0, ..SERVER };
    let served = serve(&single, &Plain, &burst(3, 1000, 10));
    let each = 1.0 + 10.0 * 0.021;
    for (i, d) in served.demands.iter().enumerate() {
        assert!((d.end_s - each * (i + 1) as f64).abs() < 1e-9, "{served:?}");
    }
}

#[test]
fn the_same_load_is_served_the_same_way() {
    let load = || serve(&SERVER, &Plain, &arrivals(0.3, 1000, 100));
    assert_eq!(load(), load());
    let mean = |f: fn(&Demand) -> f64| {
        let all = arrivals(2.0, 1000, 300);
        all.iter().map(f).sum::<f64>() / all.len() as f64
    };
    assert!((mean(|d| f64::from(d.prompt)) / 1000.0 - 1.0).abs() < 0.1);
    assert!((mean(|d| f64::from(d.output)) / 300.0 - 1.0).abs() < 0.1);
}

proptest! {
    /// Whatever arrives is served once, after it arrived and in no time, and never before those before it are looked at.
    #[test]
    fn everything_is_served(
        seed in prop::collection::vec((0.0..20.0f64, 1u32..6000, 1u32..80), 1..40),
        generating in 1u32..40,
        reading in 1u32..10,
        looks in prop::sample::select(vec![0.0, 0.5]),
    ) {
        let mut demands: Vec<Demand> = seed
            .into_iter()
            .map(|(arrival_s, prompt, output)| Demand { arrival_s, prompt, cached: 0, output })
            .collect();
        demands.sort_by(|a, b| a.arrival_s.total_cmp(&b.arrival_s));
        let scheduler = Scheduler { generating, reading: reading.min(generating), looks_every_s: looks, ..SERVER };
        let served = serve(&scheduler, &Plain, &demands);
        for (asked, done) in demands.iter().zip(&served.demands) {
            prop_assert!(done.first_s > asked.arrival_s);
            prop_assert!(done.end_s >= done.first_s && done.end_s <= served.end_s + 1e-9);
        }
        let busy = served.reading_s + served.generating_s;
        prop_assert!(busy <= served.end_s + 1e-6);
    }
}

fn graph(id: &str) -> Graph {
    in_format(id, Scheme::DEFAULT)
}

fn in_format(id: &str, scheme: Scheme) -> Graph {
    let models = Models::built_in().expect("built in");
    let entry = models.get(id).expect("known").entry().expect("readable");
    Graph::quantized(&entry.config, scheme).expect("a known family")
}

fn machine(spec: &str) -> Machine {
    spec::resolve(spec, &Macs::embedded()).expect("a Mac")
}

fn run_of(program: Program) -> Run {
    let engine = EngineName { program, version: None };
    let asked = crate::engine::programs::AskedEngine { engine: Some(engine), ..Default::default() };
    Run::default()
        .with_engine(asked.setup().expect("embedded"))
        .with_context(2000)
        .with_generated(300)
}

/// One user gets what `predict` says of one sequence; with more, nobody gets more or sooner.
#[test]
fn one_user_is_a_single_run_and_more_are_never_faster_each() {
    let coefficients = Coefficients::embedded().expect("built in");
    for (id, program) in [
        ("Qwen/Qwen3-8B", Program::MlxServer),
        ("Qwen/Qwen3-30B-A3B", Program::VllmMlx),
        ("Qwen/Qwen3-8B", Program::LmStudio),
    ] {
        let graph = graph(id);
        for mac in ["m1max-32/64", "m5max-40/128"] {
            let (machine, run) = (machine(mac), run_of(program));
            let estimator = Estimator::of_graph(coefficients, &graph, run);
            let on = UsersOn::new(&estimator, &machine).expect("runs");
            let (decode, prefill) = estimator.speeds(&machine).expect("runs");
            let one = on.row(1).expect("runs").expect("a row");
            assert_eq!(one.total_tokens_per_s, decode.tokens_per_s);
            assert_eq!(one.interval_90, decode.interval_90);
            assert!((one.ttft_median_s / prefill.ttft_s - 1.0).abs() < 1e-3, "{id} {mac}: {one:?}");
            let mut before = one;
            for users in [2, 4, 8, 16] {
                let row = on.row(users).expect("runs").expect("a row");
                assert!(
                    row.per_user_tokens_per_s <= before.per_user_tokens_per_s,
                    "{id} {mac} {users}"
                );
                assert!(row.ttft_p90_s >= before.ttft_p90_s * 0.999, "{id} {mac} {users}: {row:?}");
                assert!(row.peak_bytes >= before.peak_bytes, "{id} {mac} {users}");
                before = row;
            }
        }
    }
}

/// Qwen3.6-35B-A3B at 8 bits on the M5 Max behind mlx_lm.server, a warm prefix of 8k and 256 tokens: 81, 136 and 174
/// tok/s in total for 1, 3 and 5 streams (jundot/omlx 3348).
#[test]
fn the_published_burst_of_mlx_lm_server_is_met() {
    let eight = Scheme::Affine { bits: 8, group: 64 };
    let graph = in_format("Qwen/Qwen3.6-35B-A3B", eight);
    let run = run_of(Program::MlxServer).with_context(8000).with_generated(256);
    let estimator = Estimator::of_graph(Coefficients::embedded().expect("built in"), &graph, run);
    let machine = machine("m5max-40/128");
    let costs = EstimatedCosts::of(&estimator, &machine).expect("runs");
    for (streams, measured) in [(1, 81.0), (3, 136.0), (5, 173.6)] {
        let demand = Demand { arrival_s: 0.0, prompt: 100, cached: 8000, output: 256 };
        let load = serve(&SERVER, &costs, &vec![demand; streams]);
        let total = SeenByUsers::of(&load).expect("requests").total_tokens_per_s;
        assert!((total / measured - 1.0).abs() < 0.25, "{streams}: {total} of {measured}");
    }
}

/// By memory users end where their caches do; a quantized cache is served one at a time.
#[test]
fn memory_and_settings_limit_users() {
    let graph = graph("Qwen/Qwen3-8B");
    let coefficients = Coefficients::embedded().expect("built in");
    let question = UsersQuestion { users: 8, rate: None, min_tok_s: Some(15.0), max_ttft_s: None };
    let run = run_of(Program::MlxServer).with_context(4000);
    let estimator = Estimator::of_graph(coefficients, &graph, run);
    let fit = |mac: &str| {
        let machine = machine(mac);
        UsersOn::new(&estimator, &machine).expect("runs").fit(&question).expect("runs")
    };
    let (small, large) = (fit("m4-10/16"), fit("m4max-40/128"));
    assert!(small.by_memory < large.by_memory, "{small:?} {large:?}");
    assert!(small.by_memory_safe <= small.by_memory && small.safe <= small.users);
    assert_eq!(large.by_engine, 32);
    let kv = run.with_kv(Some(crate::graph::cache::KvQuantization::bits(8)));
    let quantized = Scheduler::of(&kv, true);
    assert_eq!(quantized.one_at_a_time, Some(OneAtATime::QuantizedCache));
    assert_eq!(quantized.generating, 1);
    assert_eq!(Scheduler::of(&run_of(Program::OllamaMlx), true).generating, 1);
    assert_eq!(Scheduler::of(&run_of(Program::LmStudio), true).generating, 4);
    assert_eq!(Scheduler::of(&run_of(Program::Omlx), true).reading, 1);
    assert_eq!(Scheduler::of(&run_of(Program::VllmMlx), true).generating, 32);
}
