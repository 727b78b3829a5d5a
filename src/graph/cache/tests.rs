//! Counted growth against traced growth.

use super::Cache;
use crate::graph::tape::Routing;
use crate::graph::{Call, Graph};
use crate::model::{Config, DType};

const V41: &str = r#"{"model_type": "deepseek_v41", "vocab_size": 100, "hidden_size": 64,
    "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 32, "q_lora_rank": 32, "qk_rope_head_dim": 16,
    "o_groups": 2, "o_lora_rank": 16, "moe_intermediate_size": 32, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "sliding_window": 24, "compress_ratios": [0, 4, 1],
    "kv_source_layer_ids": [1, 2], "index_source_layer_ids": [1], "index_n_heads": 2, "index_head_dim": 32,
    "index_topk": 8}"#;
const V4: &str = r#"{"model_type": "deepseek_v4", "vocab_size": 100, "hidden_size": 64,
    "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 32, "q_lora_rank": 32, "qk_rope_head_dim": 16,
    "o_groups": 2, "o_lora_rank": 16, "moe_intermediate_size": 32, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "sliding_window": 24, "compress_ratios": [0, 4, 128], "num_hash_layers": 1,
    "index_n_heads": 2, "index_head_dim": 32, "index_topk": 8}"#;

fn shapes(caches: &[Cache]) -> Vec<Option<(Vec<u32>, DType)>> {
    let slots = caches.iter().flat_map(|c| c.slots());
    slots.map(|s| s.map(|s| (s.shape.dims().to_vec(), s.dtype))).collect()
}

/// Counting the growth of caches gives the shapes that the traced calls give.
#[test]
fn counted_growth_is_traced_growth() {
    for config in [V41, V4] {
        let config = Config::parse(config).expect("valid JSON");
        let graph = Graph::new(&config, DType::BF16).expect("a small valid model");
        for first in [1, 3, 9, 130] {
            let trace = |caches: &mut Vec<Cache>, n| {
                let call = Call::prefill(n);
                graph.trace(caches, call, Routing::default()).expect("a model that runs");
            };
            let mut traced = graph.make_cache();
            trace(&mut traced, first);
            let mut counted = traced.clone();
            for n in [1, 2, 1, 5, 300, 1, 1, 1] {
                trace(&mut traced, n);
                counted.iter_mut().for_each(|c| c.advance(n));
                assert_eq!(shapes(&counted), shapes(&traced), "{first} tokens, then {n}");
            }
        }
    }
}
