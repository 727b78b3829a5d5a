//! Decode steps that are left out change no peak.

use super::{full, peak};
use crate::graph::Graph;
use crate::graph::cache::KvQuantization;
use crate::ledger::replay::{ArchClass, Gpu};
use crate::model::{Config, Scheme};
use crate::run::Run;

const GPU: Gpu = Gpu::new(ArchClass::Max, 16, false);

/// A small model whose caches are large beside what a step computes.
fn graph() -> Graph {
    let config = Config::parse(
        r#"{"model_type":"qwen3","hidden_size":128,"num_hidden_layers":6,"num_attention_heads":8,
            "num_key_value_heads":8,"head_dim":128,"intermediate_size":128,"vocab_size":512,"rms_norm_eps":1e-6,
            "rope_theta":1e6,"max_position_embeddings":131072,"tie_word_embeddings":true}"#,
    );
    Graph::quantized(&config.expect("valid JSON"), Scheme::DEFAULT).expect("a known family")
}

/// The peak, which is the same whether all first steps are replayed or only those that may take more.
fn same_peak(graph: &Graph, run: Run) -> u64 {
    let [whole, sampled] = [full, peak].map(|of| of(graph, &run, GPU).expect("runs").peak_bytes);
    assert_eq!(sampled, whole, "{run:?}");
    whole
}

/// Prompts that end before, at and behind the end of a full cache: it grows in one of the first steps, or in none.
#[test]
fn first_steps_are_replayed_where_they_may_take_more() {
    let graph = graph();
    for (prompt, step) in [509, 510, 511, 512, 513].into_iter().flat_map(|n| [(n, 64), (n, 2048)]) {
        for batch in [1, 4, 8] {
            let run = Run::default().with_context(prompt).with_prefill_step(step).with_batch(batch);
            for generate in [1, 2, 3, 300] {
                same_peak(&graph, run.with_generated(generate));
            }
        }
    }
}

/// Caches that are packed while tokens are generated are largest before.
#[test]
fn more_tokens_take_no_less_memory_where_caches_are_packed() {
    let graph = graph();
    for (bits, start) in [4, 8].into_iter().flat_map(|n| [301, 302, 400, 600].map(|at| (n, at))) {
        let kv = KvQuantization { start, ..KvQuantization::bits(bits) };
        let run = Run::default().with_context(300).with_prefill_step(64).with_kv(Some(kv));
        let mut before = 0;
        for generate in [1, 2, 3, 50, 110, 400, 800, 2000] {
            let now = same_peak(&graph, run.with_batch(4).with_generated(generate));
            assert!(now >= before, "{kv:?}: {generate} tokens take {now} after {before}");
            before = now;
        }
    }
}
