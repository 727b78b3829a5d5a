//! Laws of any model: more work takes no less time or memory, a better machine takes no longer. Models and requests are
//! random and small.

use mlxplan::estimate::Estimator;
use mlxplan::estimate::speed::Term;
use mlxplan::ledger::peak::peak;
use mlxplan::ledger::replay::{ArchClass, Gpu};
use mlxplan::model::Config;
use mlxplan::roofline::Silicon;
use mlxplan::run::Program;
use mlxplan::{Coefficients, Graph, Macs, Run, Scheme};
use proptest::prelude::*;

const GPU: Gpu = Gpu::new(ArchClass::Max, 16, false);

/// What MLX's earlier commits may take off a peak where the last chunk grows.
const DIP: f64 = 0.06;

/// A dense model, one with experts or one with windows.
fn graph(kind: usize, layers: u32, width: u32, kv_heads: u32) -> Graph {
    let special = [
        r#""model_type":"qwen3""#,
        r#""model_type":"qwen3_moe","num_experts":16,"num_experts_per_tok":4,"moe_intermediate_size":128,
           "decoder_sparse_step":1,"norm_topk_prob":true,"mlp_only_layers":[]"#,
        r#""model_type":"gemma3_text","sliding_window":512,"sliding_window_pattern":2,"query_pre_attn_scalar":64,
           "rope_local_base_freq":10000.0"#,
    ][kind];
    let text = format!(
        r#"{{{special},"hidden_size":{},"num_hidden_layers":{layers},"num_attention_heads":8,
            "num_key_value_heads":{kv_heads},"head_dim":64,"intermediate_size":{},"vocab_size":2048,
            "rms_norm_eps":1e-6,"rope_theta":1e6,"max_position_embeddings":131072,"tie_word_embeddings":true}}"#,
        64 * width,
        128 * width
    );
    let config = Config::parse(&text).expect("a configuration");
    Graph::quantized(&config, Scheme::DEFAULT).expect("a known family")
}

prop_compose! {
    fn any_graph()(kind in 0usize..3, layers in 1u32..7, width in 2u32..17, kv in 0u32..4) -> Graph {
        graph(kind, layers, width, 1 << kv)
    }
}

fn silicon(mac: &str) -> Silicon {
    Silicon::of(&mlxplan::resolve_mac(mac, &Macs::embedded()).expect("a Mac"))
}

/// Seconds of a token and of the first one, where the program runs the model.
fn times(graph: &Graph, run: Run, silicon: &Silicon) -> Option<[f64; 2]> {
    let coefficients = Coefficients::embedded().expect("built in");
    let (decode, prefill) = Estimator::of_graph(coefficients, graph, run).rates(silicon).ok()?;
    Some([decode.seconds_per_token, prefill.ttft_s])
}

/// Whether nothing of `more` is quicker than in `less`, but for rounding.
fn no_quicker(less: Option<[f64; 2]>, more: Option<[f64; 2]>) -> bool {
    let pair = less.zip(more);
    pair.is_none_or(|(less, more)| less.iter().zip(&more).all(|(a, b)| *b >= a * (1.0 - 1e-9)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn more_work_takes_no_less_memory(
        graph in any_graph(), context in 1u32..6000, more in 1u32..3000, batch in 1u32..5, generate in 1u32..300,
    ) {
        let run = Run::default().with_context(context).with_batch(batch).with_generated(generate);
        let at = |run: Run| peak(&graph, &run, GPU).expect("runs").peak_bytes as f64;
        let now = at(run);
        prop_assert!(at(run.with_context(context + more)) >= (1.0 - DIP) * now);
        prop_assert!(at(run.with_batch(batch + 1)) >= (1.0 - DIP) * now);
        prop_assert!(at(run.with_generated(generate + more)) >= now);
    }

    #[test]
    fn more_work_takes_no_less_time(
        graph in any_graph(), context in 1u32..20_000, more in 1u32..9000, batch in 1u32..9, program in 0usize..Program::ALL.len(),
    ) {
        let run = Run::default().with_program(Program::ALL[program]).with_context(context).with_batch(batch);
        let here = silicon("m4pro-20/24");
        let now = times(&graph, run, &here);
        prop_assert!(no_quicker(now, times(&graph, run.with_context(context + more), &here)));
        prop_assert!(no_quicker(now, times(&graph, run.with_batch(batch + 1), &here)));
    }

    #[test]
    fn parts_add_up_to_the_whole(
        graph in any_graph(), context in 1u32..20_000, batch in 1u32..9, program in 0usize..Program::ALL.len(), mac in 0usize..4,
    ) {
        let run = Run::default().with_program(Program::ALL[program]).with_context(context).with_batch(batch);
        let here = silicon(["m1-8/16", "m2pro-19/32", "m3max-40/64", "m5max-40/128"][mac]);
        let coefficients = Coefficients::embedded().expect("built in");
        if let Ok((decode, prefill)) = Estimator::of_graph(coefficients, &graph, run).rates(&here) {
            let sum = |terms: &[Term]| terms.iter().map(|t| t.seconds).sum::<f64>();
            let same = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
            prop_assert!(same(sum(&decode.terms), decode.seconds_per_token), "{decode:?}");
            let prompt = f64::from(context) * f64::from(batch) / prefill.tokens_per_s;
            prop_assert!(same(sum(&prefill.terms), prompt), "{prefill:?}");
            prop_assert!(prefill.ttft_s > prompt, "{prefill:?}");
        }
        if let Ok(p) = peak(&graph, &run, GPU) {
            let beside = p.peak_bytes.checked_sub(p.weights_bytes + p.kept_bytes);
            prop_assert!(beside.is_some(), "{p:?}");
        }
    }

    #[test]
    fn a_better_machine_takes_no_longer(
        graph in any_graph(), context in 1u32..20_000, batch in 1u32..9, factor in 1.0f64..3.0,
        program in 0usize..Program::ALL.len(), mac in 0usize..4,
    ) {
        let run = Run::default().with_program(Program::ALL[program]).with_context(context).with_batch(batch);
        let here = silicon(["m1-8/16", "m2pro-19/32", "m3max-40/64", "m5max-40/128"][mac]);
        let now = times(&graph, run, &here);
        for better in [
            Silicon { bandwidth: here.bandwidth * factor, ..here },
            Silicon { cores: here.cores * factor, ..here },
            Silicon { ghz: here.ghz * factor, ..here },
        ] {
            prop_assert!(no_quicker(times(&graph, run, &better), now), "{better:?}");
        }
    }
}
