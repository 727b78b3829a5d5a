//! Models of the catalog, written as llama.cpp's converter writes their metadata, come back as the same graph.

use super::super::GgufInfo;
use super::super::testing::Builder;
use super::MAPPINGS;
use crate::graph::Graph;
use crate::ledger::cache;
use crate::ledger::weights::Weights;
use crate::model::catalog::Models;
use crate::model::{Config, DType};
use serde_json::{Value, json};

/// A file under construction for one architecture.
struct Written {
    architecture: &'static str,
    file: Builder,
    config: Value,
}

impl Written {
    /// The keys that all architectures have, from a model of the catalog.
    fn of(id: &str, architecture: &'static str) -> Self {
        let catalog = Models::built_in().expect("built in");
        let entry = catalog.get(id).unwrap_or_else(|| panic!("{id}")).entry().expect("readable");
        let top = Value::Object(entry.config.values().clone());
        let config = if top["text_config"].is_object() { top["text_config"].clone() } else { top };
        let file = Builder::new().text("general.architecture", architecture);
        let written = Self { architecture, file, config };
        let written = written.keys(&[
            ("block_count", "num_hidden_layers"),
            ("context_length", "max_position_embeddings"),
            ("embedding_length", "hidden_size"),
            ("attention.head_count", "num_attention_heads"),
            ("attention.key_length", "head_dim"),
        ]);
        let (width, rows) = (written.number("hidden_size"), written.number("vocab_size"));
        let embedding = |w: Self, name| w.tensor(name, &[width, rows]);
        let written = embedding(written, "token_embd.weight");
        let tied = written.config["tie_word_embeddings"] == json!(true);
        if tied { written } else { embedding(written, "output.weight") }
    }

    fn number(&self, key: &str) -> u64 {
        self.config[key].as_u64().unwrap_or_else(|| panic!("{key}"))
    }

    fn set(mut self, key: &str, value: u64) -> Self {
        self.file = self.file.number(&format!("{}.{key}", self.architecture), value as u32);
        self
    }

    fn keys(self, pairs: &[(&str, &str)]) -> Self {
        pairs.iter().fold(self, |written, (key, from)| match written.config[*from].as_u64() {
            Some(n) => written.set(key, n),
            None => written,
        })
    }

    fn list(mut self, key: &str, values: &[u64]) -> Self {
        let mut bytes = 4_u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|n| bytes.extend((*n as u32).to_le_bytes()));
        self.file = self.file.raw(&format!("{}.{key}", self.architecture), 9, &bytes);
        self
    }

    fn tensor(mut self, name: &str, dims: &[u64]) -> Self {
        let bytes = dims.iter().product::<u64>() * 2;
        self.file = self.file.tensor(name, dims, 1, bytes);
        self
    }

    /// Key heads by layer: 0 where the layer has no attention.
    fn attention(self, has: impl Fn(usize) -> bool) -> Self {
        let kv = self.number("num_key_value_heads");
        let layers = self.number("num_hidden_layers") as usize;
        let list: Vec<u64> = (0..layers).map(|i| if has(i) { kv } else { 0 }).collect();
        self.list("attention.head_count_kv", &list)
    }

    /// Compares the graph of the mapped file with that of the model.
    fn same(self, id: &str) {
        let catalog = Models::built_in().expect("built in");
        let entry = catalog.get(id).expect("known").entry().expect("readable");
        let header = self.file.header();
        let info = GgufInfo::parse_header(header.as_slice(), None).expect("a header");
        let mapped = info.to_config().unwrap_or_else(|e| panic!("{id}: {e}"));
        assert_eq!(sizes(&mapped, id), sizes(&entry.config, id), "{id}");
    }
}

/// Parameters, those that a token uses, and bytes of the cache after 5000 tokens.
fn sizes(config: &Config, id: &str) -> (u64, u64, u64) {
    let graph = Graph::new(config, DType::BF16).unwrap_or_else(|e| panic!("{id}: {e}"));
    let weights = Weights::of(&graph);
    let caches = cache::after_prompt(&graph, 5000, 2048, 1, None).expect("a cache");
    (weights.parameters, weights.active_parameters, cache::bytes(&caches))
}

const EXPERTS: [(&str, &str); 4] = [
    ("expert_count", "num_experts"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
    ("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
];

#[test]
fn at_least_sixty_architectures_are_mapped() {
    assert!(MAPPINGS.len() >= 60, "{}", MAPPINGS.len());
    for (i, mapping) in MAPPINGS.iter().enumerate() {
        let again = MAPPINGS.iter().skip(i + 1).any(|m| m.architecture == mapping.architecture);
        assert!(!again, "{} twice", mapping.architecture);
    }
}

#[test]
fn gated_delta_layers_come_back() {
    for (id, architecture) in [
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", "qwen3next"),
        ("Qwen/Qwen3.6-27B", "qwen35"),
        ("Qwen/Qwen3.6-35B-A3B", "qwen35moe"),
    ] {
        let w = Written::of(id, architecture).keys(&EXPERTS).keys(&[
            ("feed_forward_length", "intermediate_size"),
            ("attention.head_count_kv", "num_key_value_heads"),
            ("ssm.group_count", "linear_num_key_heads"),
            ("ssm.state_size", "linear_key_head_dim"),
            ("ssm.time_step_rank", "linear_num_value_heads"),
            ("ssm.conv_kernel", "linear_conv_kernel_dim"),
            ("full_attention_interval", "full_attention_interval"),
        ]);
        let inner = w.number("linear_num_value_heads") * w.number("linear_value_head_dim");
        w.set("ssm.inner_size", inner).set("rope.dimension_count", 64).same(id);
    }
}

#[test]
fn short_convolutions_come_back() {
    let id = "LiquidAI/LFM2-8B-A1B";
    let w = Written::of(id, "lfm2moe").keys(&EXPERTS).keys(&[
        ("feed_forward_length", "intermediate_size"),
        ("shortconv.l_cache", "conv_L_cache"),
        ("leading_dense_block_count", "num_dense_layers"),
    ]);
    let full = w.config["full_attn_idxs"].clone();
    let full: Vec<u64> =
        full.as_array().expect("a list").iter().filter_map(Value::as_u64).collect();
    w.attention(|i| full.contains(&(i as u64))).same(id);
}

#[test]
fn mamba_layers_come_back() {
    let id = "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16";
    let w = Written::of(id, "nemotron_h_moe").keys(&[
        ("expert_count", "n_routed_experts"),
        ("expert_used_count", "num_experts_per_tok"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
        ("expert_shared_count", "n_shared_experts"),
        ("expert_shared_feed_forward_length", "moe_shared_expert_intermediate_size"),
        ("ssm.conv_kernel", "conv_kernel"),
        ("ssm.state_size", "ssm_state_size"),
        ("ssm.group_count", "n_groups"),
        ("ssm.time_step_rank", "mamba_num_heads"),
    ]);
    let inner = w.number("mamba_num_heads") * w.number("mamba_head_dim");
    let pattern = w.config["hybrid_override_pattern"].as_str().expect("a pattern").to_owned();
    let kinds: Vec<char> = pattern.chars().collect();
    let widths: Vec<u64> = kinds.iter().map(|k| if *k == 'E' { 1856 } else { 0 }).collect();
    let w = w.list("feed_forward_length", &widths).set("ssm.inner_size", inner);
    w.attention(|i| kinds[i] == '*').same(id);

    let id = "ibm-granite/granite-4.0-h-micro";
    let w = Written::of(id, "granitehybrid").keys(&[
        ("feed_forward_length", "shared_intermediate_size"),
        ("ssm.conv_kernel", "mamba_d_conv"),
        ("ssm.state_size", "mamba_d_state"),
        ("ssm.group_count", "mamba_n_groups"),
        ("ssm.time_step_rank", "mamba_n_heads"),
    ]);
    let inner = w.number("mamba_n_heads") * w.number("mamba_d_head");
    let kinds = w.config["layer_types"].clone();
    let w = w.set("ssm.inner_size", inner).tensor("blk.0.ssm_conv1d.bias", &[8]);
    w.attention(|i| kinds[i] == "attention").same(id);
}

#[test]
fn windows_and_wide_heads_by_layer_come_back() {
    let id = "google/gemma-4-26B-A4B-it";
    let w = Written::of(id, "gemma4").keys(&[
        ("feed_forward_length", "intermediate_size"),
        ("attention.sliding_window", "sliding_window"),
        ("expert_count", "num_experts"),
        ("expert_used_count", "top_k_experts"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
    ]);
    let kinds = w.config["layer_types"].as_array().expect("kinds").clone();
    let sliding: Vec<u64> = kinds.iter().map(|k| u64::from(k == "sliding_attention")).collect();
    let kv: Vec<u64> = sliding.iter().map(|s| if *s == 1 { 8 } else { 2 }).collect();
    // The common keys have the head of sliding layers; the converter writes that of full ones.
    let file = Builder::new().text("general.architecture", "gemma4");
    let w = Written { file, ..w }.keys(&[
        ("block_count", "num_hidden_layers"),
        ("context_length", "max_position_embeddings"),
        ("embedding_length", "hidden_size"),
        ("attention.head_count", "num_attention_heads"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.sliding_window", "sliding_window"),
        ("expert_count", "num_experts"),
        ("expert_used_count", "top_k_experts"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
        ("attention.key_length", "global_head_dim"),
        ("attention.key_length_swa", "head_dim"),
    ]);
    let dims = [w.number("hidden_size"), w.number("vocab_size")];
    w.tensor("token_embd.weight", &dims)
        .list("attention.sliding_window_pattern", &sliding)
        .list("attention.head_count_kv", &kv)
        .same(id);
}

#[test]
fn plain_and_routed_families_come_back() {
    for (id, architecture) in [
        ("CohereLabs/c4ai-command-r7b-12-2024", "cohere2"),
        ("rednote-hilab/dots.llm1.inst", "dots1"),
        ("inclusionAI/Ling-lite-1.5", "bailingmoe"),
        ("arcee-ai/Trinity-Mini", "afmoe"),
        ("tencent/Hunyuan-A13B-Instruct", "hunyuan-moe"),
    ] {
        let w = Written::of(id, architecture).keys(&EXPERTS).keys(&[
            ("feed_forward_length", "intermediate_size"),
            ("attention.head_count_kv", "num_key_value_heads"),
            ("attention.sliding_window", "sliding_window"),
            ("leading_dense_block_count", "first_k_dense_replace"),
            ("leading_dense_block_count", "num_dense_layers"),
            ("expert_shared_count", "num_shared_experts"),
            ("expert_shared_count", "num_shared_expert"),
            ("expert_shared_count", "n_shared_experts"),
            ("expert_count", "n_routed_experts"),
            ("expert_used_count", "moe_topk"),
        ]);
        let w = match architecture {
            "afmoe" | "hunyuan-moe" => w.tensor("blk.0.attn_q_norm.weight", &[2]),
            _ => w,
        };
        w.same(id);
    }
}

#[test]
fn an_unknown_architecture_is_read_as_a_plain_decoder_of_its_shape() {
    let w = Written::of("Qwen/Qwen3-8B", "brand-new").keys(&[
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count_kv", "num_key_value_heads"),
    ]);
    let info = GgufInfo::parse_header(w.file.header().as_slice(), None).expect("a header");
    assert!(info.to_config().is_err());
    let config = info.stand_in().expect("a decoder");
    let catalog = Models::built_in().expect("built in");
    let entry = catalog.get("Qwen/Qwen3-8B").expect("known").entry().expect("readable");
    assert_eq!(sizes(&config, "brand-new"), sizes(&entry.config, "Qwen3-8B"));
    // Keys and values of the layers that have attention only.
    let w = Written::of("Qwen/Qwen3-8B", "brand-new")
        .keys(&[("feed_forward_length", "intermediate_size")]);
    let half = w.attention(|i| i % 2 == 0);
    let info = GgufInfo::parse_header(half.file.header().as_slice(), None).expect("a header");
    let (_, _, cache) = sizes(&info.stand_in().expect("a decoder"), "half");
    assert_eq!(cache * 2, sizes(&entry.config, "Qwen3-8B").2);
}

#[test]
fn projectors_and_encoders_are_no_models_to_generate_with() {
    for (architecture, word) in [("clip", "projector"), ("bert", "encoder"), ("eagle3", "draft")] {
        let header = Builder::new().text("general.architecture", architecture).header();
        let info = GgufInfo::parse_header(header.as_slice(), None).expect("a header");
        assert!(info.no_generation().is_some_and(|what| what.contains(word)), "{architecture}");
    }
}
