//! Counted growth against traced growth.

use super::{Cache, CacheKind};
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

/// Counting the growth of caches gives the shapes that the traced calls give, in every type of the catalog's models.
#[test]
fn counted_growth_is_traced_growth_in_every_type() {
    let catalog = crate::model::catalog::Models::built_in().expect("built in");
    let mut seen: Vec<Vec<CacheKind>> = Vec::new();
    for model in catalog.models() {
        let entry = model.entry().expect("readable");
        let Ok(graph) = Graph::new(&entry.config, DType::BF16) else { continue };
        let mut kinds: Vec<CacheKind> = Vec::new();
        for kind in graph.cache_kinds() {
            if !kinds.contains(kind) {
                kinds.push(kind.clone());
            }
        }
        // Two that differ in sizes alone are alike.
        let known = |other: &Vec<CacheKind>| {
            format!("{other:?}").replace(char::is_numeric, "")
                == format!("{kinds:?}").replace(char::is_numeric, "")
        };
        if kinds == [CacheKind::Kv] || seen.iter().any(known) {
            continue;
        }
        let skipped = graph.skipped_for_counts().expect("runs");
        let mut traced = graph.make_cache();
        let mut counted = None;
        // Past the lengths up to which some keep what others do not, then a short call and single tokens.
        for tokens in [512, 20_000, 20_000, 300, 3, 1, 1] {
            let call = Call { skipped: skipped.clone(), ..Call::prefill(tokens) };
            graph.trace(&mut traced, call, Routing::default()).expect("runs");
            let counted = counted.get_or_insert_with(|| traced.clone());
            if tokens != 512 {
                crate::ledger::cache::advance(counted, &[tokens], None);
            }
            let shown: Vec<_> = (0..traced.len()).filter(|i| !skipped.skips_cache(*i)).collect();
            for i in shown {
                let of = |caches: &[Cache]| shapes(&caches[i..=i]);
                assert_eq!(of(counted), of(&traced), "{}, cache {i}, {tokens} tokens", model.id);
            }
        }
        seen.push(kinds);
    }
    assert!(seen.len() > 8, "{seen:?}");
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
