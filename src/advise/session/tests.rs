use super::*;
use crate::estimate::Program;
use crate::graph::Graph;
use crate::hardware::{Macs, spec as mac_spec};
use crate::model::{Config, Scheme};
use crate::roofline::Coefficients;
use crate::validation::beyond::{BeyondRow, SHIPPED_BEYOND, Topic, read_beyond};
use proptest::prelude::*;

const DENSE: &str = r#""model_type":"qwen3""#;
const HYBRID: &str = r#""model_type":"qwen3_next","linear_num_key_heads":4,"linear_num_value_heads":8,
    "linear_key_head_dim":64,"linear_value_head_dim":64,"linear_conv_kernel_dim":4,"full_attention_interval":2,
    "num_experts":16,"num_experts_per_tok":4,"moe_intermediate_size":128,"shared_expert_intermediate_size":128,
    "decoder_sparse_step":1,"norm_topk_prob":true,"mlp_only_layers":[],"partial_rotary_factor":0.25"#;
const WINDOWS: &str = r#""model_type":"gemma3_text","sliding_window":512,"sliding_window_pattern":2,
    "query_pre_attn_scalar":64,"rope_local_base_freq":10000.0"#;

fn graph(special: &str) -> Graph {
    let text = format!(
        r#"{{{special},"hidden_size":512,"num_hidden_layers":4,"num_attention_heads":8,"num_key_value_heads":2,
            "head_dim":64,"intermediate_size":1024,"vocab_size":2048,"rms_norm_eps":1e-6,"rope_theta":1e6,
            "max_position_embeddings":16384,"tie_word_embeddings":true}}"#
    );
    Graph::quantized(&Config::parse(&text).expect("a configuration"), Scheme::DEFAULT)
        .expect("a family")
}

fn machine(text: &str) -> Machine {
    mac_spec::resolve(text, &Macs::embedded()).expect("a Mac")
}

fn run_with(engine: &str) -> Run {
    let asked = crate::engine::programs::AskedEngine {
        engine: Some(engine.parse().expect("a program")),
        ..Default::default()
    };
    Run::default().with_engine(asked.setup().expect("built in"))
}

fn plan(special: &str, engine: &str, text: &str) -> SessionPlan {
    let graph = graph(special);
    let coefficients = Coefficients::embedded().expect("built in");
    let estimator = Estimator::of_graph(coefficients, &graph, run_with(engine));
    let asked = Conversation::Session(text.parse().expect("a session"));
    SessionPlan::of(&estimator, &machine("m4max-40/128"), &asked).expect("runs")
}

fn turn(special: &str, engine: &str, [prompt, cached, output]: [u32; 3]) -> Turn {
    let graph = graph(special);
    let coefficients = Coefficients::embedded().expect("built in");
    let run = run_with(engine).with_context(prompt).with_cached(cached).with_generated(output);
    Estimator::of_graph(coefficients, &graph, run)
        .turn(&machine("m4max-40/128"), 1.5)
        .expect("runs")
}

#[test]
fn the_parts_of_a_turn_add_up() {
    for engine in ["mlx-lm", "mlx-lm-server", "vllm-mlx", "lm-studio", "omlx"] {
        let t = turn(DENSE, engine, [8000, 6000, 400]);
        for times in [t.warm, t.cold] {
            let parts = [times.server, times.kept, times.prefill, times.output, times.tools];
            let sum: f64 = parts.iter().map(|p| p.seconds).sum();
            assert!((sum / times.total.seconds - 1.0).abs() < 1e-9, "{engine}: {times:?}");
            for part in parts.iter().chain([&times.first_token, &times.total]) {
                let [low, high] = part.interval_90_s;
                assert!(low <= part.seconds && part.seconds <= high, "{engine}: {part:?}");
            }
        }
        // Blocks from an SSD may take longer than a small model needs to read the prompt again.
        let blocks = engine == "omlx";
        let sooner = t.warm.first_token.seconds < t.cold.first_token.seconds;
        assert!(blocks || sooner, "{engine}: {:?} {:?}", t.warm, t.cold);
        assert!(blocks || t.warm.prefill.seconds < 0.6 * t.cold.prefill.seconds, "{engine}");
        assert_eq!(t.warm.output, t.cold.output);
    }
}

#[test]
fn without_a_kept_cache_a_turn_is_cold() {
    let t = turn(WINDOWS, "mlx-lm-server", [8000, 0, 400]);
    assert_eq!(t.warm, t.cold);
}

/// A field report: Gemma-3-12B read 219 tokens a second, and the rest of a turn took 1.9 s. A kept cache of 67, 2000 and
/// 20000 tokens, loaded in a millisecond, then saves 14, 83 and 98 % of the time.
#[test]
fn a_kept_cache_saves_what_the_field_report_says() {
    let (rate, rest) = (219.0, TimeRange::known(1.9));
    for (tokens, saved) in [(67.0, 0.14), (2000.0, 0.83), (20_000.0, 0.98)] {
        let read = TimeRange::of_tokens(tokens, rate, [rate; 2]);
        let cold = TimeRange::sum(&[read, rest]);
        let warm = TimeRange::sum(&[TimeRange::known(0.001), rest]);
        let share = 1.0 - warm.seconds / cold.seconds;
        assert!((share - saved).abs() < 0.005, "{tokens} tokens: {share}");
    }
}

#[test]
fn a_session_ends_where_the_model_does() {
    let found =
        plan(DENSE, "mlx-lm-server", "turns=40,system=6000,prompt=300,output=500,tool=1500");
    let end = found.ends.expect("16384 tokens are few");
    // 6300 + 500 at first, 2300 more every turn: the fifth ends at 16000, the sixth would at 18300.
    assert_eq!((end.turn, end.reason), (6, EndReason::ModelContext));
    assert_eq!((found.turns.len(), found.needed_context_tokens), (6, 16_000));
    assert_eq!(found.declared_context_tokens, 16_384);
    let done = plan(DENSE, "mlx-lm-server", "turns=3,system=6000,prompt=300,output=500,tool=1500");
    assert_eq!(done.ends, None);
    assert_eq!(done.would_end.map(|e| (e.turn, e.reason)), Some((6, EndReason::ModelContext)));
    let waits = done.turns[0].ttft_warm_s.midpoint(done.turns[1].ttft_warm_s);
    let text = format!("turns=3,system=6000,prompt=300,output=500,tool=1500,max_ttft={waits}");
    let late = plan(DENSE, "mlx-lm-server", &text).ends.expect("the first turn is cold");
    assert_eq!((late.turn, late.reason), (1, EndReason::Ttft));
}

#[test]
fn thinking_that_is_removed_makes_turns_longer_and_is_said() {
    let keys = "turns=4,system=3000,prompt=100,output=800,tool=200";
    let all = plan(HYBRID, "mlx-lm-server", keys);
    let thinks = plan(HYBRID, "mlx-lm-server", &format!("{keys},thinking=600"));
    let read = |p: &SessionPlan| p.turns[1].depth_tokens - p.turns[1].cached_tokens;
    assert_eq!((read(&all), read(&thinks)), (300, 500));
    assert!(thinks.notes.iter().any(|n| n.contains("removes thinking text")), "{:?}", thinks.notes);
    assert!(all.notes.iter().any(|n| n.contains("only whole, at a boundary")), "{:?}", all.notes);
    assert_eq!(all.reuse, PrefixReuse::StoredBoundaries);
    assert_eq!(plan(DENSE, "mlx-lm", keys).reuse, PrefixReuse::AnyPrefix);
}

/// What a kept cache takes is in the peak of a server, and not in that of a program that reads it from a file.
#[test]
fn a_server_holds_the_kept_cache_beside_the_running_one() {
    let keys = "turns=2,system=12000,prompt=300,output=500,tool=1500";
    let [server, file] = ["mlx-lm-server", "mlx-lm"].map(|engine| plan(DENSE, engine, keys));
    let kept = |p: &SessionPlan| p.last.memory.as_ref().map_or(0, |m| m.peak.kept_bytes);
    assert!(kept(&server) > 0 && kept(&file) == 0);
    assert!(server.sessions.safe > 1 && server.sessions.at_most >= server.sessions.safe);
    assert!(server.commands[0].contains("--prompt-cache-bytes"), "{:?}", server.commands);
}

/// Rows of one model with and without a server: what the server adds explains the ratio.
#[test]
fn what_servers_add_explains_published_rows() {
    let rows = read_beyond("beyond.csv", SHIPPED_BEYOND).expect("readable");
    let models = crate::model::catalog::Models::built_in().expect("the built-in catalog");
    let entry = models.get("Qwen/Qwen3.5-35B-A3B").expect("known").entry().expect("readable");
    let graph = Graph::quantized(&entry.config, Scheme::DEFAULT).expect("a known family");
    let coefficients = Coefficients::embedded().expect("built in");
    let silicon = crate::roofline::Silicon::of(&machine("m3ultra-60/96"));
    let mut seen = 0;
    let of_servers = rows.iter().filter(|r| r.beyond.topic == Topic::Server);
    for row in of_servers.filter(|r| r.measured.chips == ["m3ultra-60"]) {
        let BeyondRow { measured: row, beyond } = row;
        let engine = match row.server.as_str() {
            "mlx_lm.server 0.31.2" => "mlx-lm-server@0.31.2",
            "vllm-mlx 0.2.6" => "vllm-mlx@0.2.6",
            _ => continue,
        };
        let (Some(measured), Some(alone), Some(tokens), Some(output)) =
            (row.decode_tok_s, beyond.baseline_tok_s, row.context_tokens, row.gen_tokens)
        else {
            continue;
        };
        let speed = |engine: &str| {
            let run = run_with(engine).with_context(tokens).with_generated(output);
            Estimator::of_graph(coefficients, &graph, run).rates(&silicon).expect("runs").0
        };
        let (with, without) = (speed(engine), speed("mlx-lm"));
        // The same milliseconds on top of the measured step.
        let added = with.seconds_per_token - without.seconds_per_token;
        let expected = 1.0 / (1.0 / alone + added);
        assert!((expected / measured - 1.0).abs() < 0.06, "{}: {expected} of {measured}", row.id);
        assert!(with.widenings.iter().any(|w| w.cause.to_string().contains("adds to every token")));
        seen += 1;
    }
    assert!(seen >= 12, "{seen} rows");
    assert_eq!(run_with("mlx-lm-server@0.28.3").engine.server, None);
    assert_eq!(run_with("mlx-lm-server").with_program(Program::Omlx).engine.server, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The more of a prompt is kept, the sooner its first token comes.
    #[test]
    fn more_cached_is_never_slower(
        kind in 0usize..3,
        prompt in 2u32..20_000,
        shares in (0.0f64..1.0, 0.0f64..1.0),
        mac in 0usize..3,
    ) {
        let graph = graph([DENSE, HYBRID, WINDOWS][kind]);
        let coefficients = Coefficients::embedded().expect("built in");
        let mac = machine(["m1-8/16", "m4max-40/128", "m5max-40/128"][mac]);
        let silicon = crate::roofline::Silicon::of(&mac);
        let (a, b) = (shares.0.min(shares.1), shares.0.max(shares.1));
        let estimator = Estimator::of_graph(coefficients, &graph, Run::default());
        let ttft = |share: f64| {
            let cached = ((f64::from(prompt) * share) as u32).min(prompt - 1);
            let run = Run::default().with_context(prompt).with_cached(cached);
            estimator.with_run(run).rates(&silicon).expect("runs").1.ttft_s
        };
        prop_assert!(ttft(b) <= ttft(a) * (1.0 + 1e-9), "{} then {}", ttft(a), ttft(b));
    }
}

#[test]
fn more_turns_are_never_less_memory_or_time() {
    for (special, engine) in [(DENSE, "mlx-lm-server"), (HYBRID, "mlx-lm"), (WINDOWS, "vllm-mlx")] {
        let mut before = (0, 0.0, 0);
        for turns in [1, 2, 5] {
            let keys = format!("turns={turns},system=2000,prompt=200,output=300,tool=700");
            let found = plan(special, engine, &keys);
            let peaks: Vec<u64> = found.turns.iter().map(|t| t.peak_bytes).collect();
            assert!(peaks.is_sorted(), "{engine}: {peaks:?}");
            let last = found.turns.last().expect("a turn");
            let now = (last.peak_bytes, found.total.seconds, last.cache_bytes);
            assert!(now.0 >= before.0 && now.1 > before.1 && now.2 >= before.2, "{engine} {turns}");
            assert!(found.total.seconds <= found.total_without_cache.seconds);
            before = now;
        }
    }
}
