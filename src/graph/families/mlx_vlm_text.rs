//! Language models of types that only mlx-vlm has, and that are known decoders with other defaults.

use super::{llama, mimo_v2_flash};
use crate::graph::parts::prelude::*;
use serde_json::Value;

/// Scope of the language model in files of mlx-vlm.
pub(super) const LANGUAGE: &str = "language_model";

/// Why these types are not mlx-lm's.
pub(super) const ONLY_THERE: &str = concat!(
    "mlx-lm ",
    crate::versions::mlx_lm!(),
    " cannot run this type, mlx-vlm can (mlx-vlm only); the figures are those of its language model, without towers"
);

/// MiMo-V2.5 and V2.6: the decoder of MiMo-V2-Flash, whose projections are split again on load.
pub(super) fn mimo_v2(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = match c.opt_object("text_config")? {
        Some(text) if !text.values().is_empty() => text,
        _ => c.clone(),
    };
    let text = text.with_sizes(&MIMO_V2).with_defaults(&[
        ("n_shared_experts", Value::Null),
        ("routed_scaling_factor", Value::Null),
        ("partial_rotary_factor", 0.334.into()),
        ("layernorm_epsilon", 1e-6.into()),
        ("rope_theta", 10_000_000.0.into()),
        ("swa_rope_theta", 10_000.0.into()),
        ("attention_value_scale", 0.707.into()),
        ("topk_method", "noaux_tc".into()),
        ("scoring_func", "sigmoid".into()),
        ("norm_topk_prob", true.into()),
        ("add_swa_attention_sink_bias", true.into()),
        ("add_full_attention_sink_bias", false.into()),
        ("tie_word_embeddings", false.into()),
        ("attention_bias", false.into()),
    ]);
    p.scope(LANGUAGE, |p| mimo_v2_flash::build(&text, p))
}

/// Sizes that a configuration of MiMo-V2 leaves out.
const MIMO_V2: [(&str, u64); 21] = [
    ("vocab_size", 152_576),
    ("hidden_size", 4096),
    ("intermediate_size", 16_384),
    ("moe_intermediate_size", 2048),
    ("num_hidden_layers", 48),
    ("num_attention_heads", 64),
    ("num_key_value_heads", 4),
    ("head_dim", 192),
    ("v_head_dim", 128),
    ("swa_head_dim", 192),
    ("swa_v_head_dim", 128),
    ("swa_num_attention_heads", 64),
    ("swa_num_key_value_heads", 8),
    ("max_position_embeddings", 1_048_576),
    ("sliding_window_size", 128),
    ("n_routed_experts", 256),
    ("num_experts_per_tok", 8),
    ("n_group", 1),
    ("topk_group", 1),
    ("attention_chunk_size", 128),
    ("num_nextn_predict_layers", 0),
];

/// K2 Horizon: a Llama with a head of its own.
pub(super) fn k2_horizon(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = c
        .clone()
        .with_sizes(&[
            ("hidden_size", 4096),
            ("num_hidden_layers", 36),
            ("intermediate_size", 12_288),
            ("num_attention_heads", 32),
            ("num_key_value_heads", 8),
            ("head_dim", 128),
            ("vocab_size", 250_624),
            ("max_position_embeddings", 524_288),
        ])
        .with_defaults(&[
            ("rms_norm_eps", 1e-6.into()),
            ("rope_theta", 10_000_000.0.into()),
            ("attention_bias", false.into()),
            ("tie_word_embeddings", false.into()),
        ]);
    p.scope(LANGUAGE, |p| llama::build(&text, p))
}

#[cfg(test)]
mod tests {
    use crate::graph::tape::Routing;
    use crate::graph::{Call, Graph};
    use crate::ledger::weights::Weights;
    use crate::model::{Config, DType, Models, Scheme};
    use serde_json::{Value, json};

    /// Parameters and tensors of a language model.
    fn sizes(config: Value) -> (u64, u64) {
        let config = Config::new(config.as_object().unwrap().clone());
        let weights = Weights::of(&Graph::new(&config, DType::BF16).unwrap());
        (weights.parameters, weights.tensors)
    }

    #[test]
    fn language_models_are_those_of_mlx_vlm_0_7_10() {
        let mimo = json!({
            "model_type": "mimo_v2", "vocab_size": 1000, "hidden_size": 512, "intermediate_size": 768,
            "moe_intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 8,
            "num_key_value_heads": 2, "head_dim": 96, "v_head_dim": 64, "swa_head_dim": 96,
            "swa_v_head_dim": 64, "swa_num_attention_heads": 8, "swa_num_key_value_heads": 4,
            "hybrid_layer_pattern": [0, 1, 1, 0], "moe_layer_freq": [0, 1, 1, 1], "n_routed_experts": 8,
            "num_experts_per_tok": 2, "sliding_window_size": 128
        });
        assert_eq!(sizes(mimo), (10_543_656, 47));
        let horizon = json!({
            "model_type": "k2_horizon", "hidden_size": 512, "num_hidden_layers": 3, "intermediate_size": 1024,
            "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1000
        });
        assert_eq!(sizes(horizon), (7_712_256, 30));
    }

    /// Parameters, tensors, bytes in bf16 and in 4 bit, by the classes of mlx-vlm 0.7.10 and its conversion.
    fn vector(config: Value) -> [u64; 4] {
        let config = Config::new(config.as_object().unwrap().clone());
        let of = |graph: Graph| Weights::of(&graph);
        let plain = of(Graph::new(&config, DType::BF16).unwrap());
        let packed = of(Graph::quantized(&config, Scheme::DEFAULT).unwrap());
        [plain.parameters, plain.tensors, plain.bytes, packed.bytes]
    }

    #[test]
    fn glm5_next_is_that_of_mlx_vlm() {
        let config = json!({
            "model_type": "glm5_next", "vocab_size": 1000, "hidden_size": 512, "intermediate_size": 768,
            "moe_intermediate_size": 128, "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 4,
            "n_routed_experts": 8, "num_experts_per_tok": 2, "kv_lora_rank": 128, "q_lora_rank": 256, "v_head_dim": 64,
            "qk_nope_head_dim": 64, "index_topk": 128, "index_head_dim": 64, "index_n_heads": 4, "index_topk_freq": 2,
            "linear_attn_config": {"head_dim": 64, "num_heads": 4, "short_conv_kernel_size": 4},
            "max_position_embeddings": 4096
        });
        assert_eq!(vector(config), [19_181_424, 190, 40_074_944, 13_802_688]);
    }

    #[test]
    fn qwen4_exp_is_that_of_mlx_vlm() {
        let config = json!({
            "model_type": "qwen4_exp", "text_config": {
                "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
                "head_dim": 64, "linear_num_key_heads": 2, "linear_num_value_heads": 6, "linear_key_head_dim": 64,
                "linear_value_head_dim": 64, "linear_conv_kernel_dim": 4, "num_experts": 8, "num_experts_per_tok": 2,
                "shared_expert_intermediate_size": 128, "moe_intermediate_size": 128, "rms_norm_eps": 1e-6,
                "vocab_size": 1000, "max_position_embeddings": 4096, "hc_lowrank": 64, "ple_layer_ids": [2],
                "ple_embed_dim": 384, "ngram_vocab_size_base": 1000, "heads_per_ngram": 2, "split_ngram_parts": 4,
                "indexer_n_heads": 2, "indexer_head_dim": 64, "indexer_budget": 128
            }
        });
        assert_eq!(vector(config), [26_853_331, 218, 53_706_800, 15_242_288]);
    }

    #[test]
    fn hy_v4_is_that_of_mlx_vlm() {
        let config = json!({
            "model_type": "hy_v4", "vocab_size": 1000, "hidden_size": 512, "intermediate_size": 768,
            "moe_intermediate_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 1,
            "n_routed_experts": 8, "num_experts_per_tok": 2, "kv_lora_rank": 128, "q_lora_rank": 256,
            "qk_rope_head_dim": 32, "v_head_dim": 64, "qk_nope_head_dim": 64, "index_head_dim": 64, "index_n_heads": 4,
            "index_topk": 128, "max_position_embeddings": 4096
        });
        assert_eq!(vector(config), [15_420_733, 167, 31_251_444, 9_421_684]);
    }

    /// The published counts of these models less their towers and one layer of prediction.
    #[test]
    fn published_models_have_their_parameters() {
        let models = Models::built_in().unwrap();
        for (id, parameters) in [
            ("zai-org/GLM-5.3-Flash", 313_326_828_862),
            ("Qwen/Qwen3.8-Flash-Next", 176_943_899_555),
            ("tencent/Hy3", 298_786_155_776 - 3_752_612_288),
            ("tencent/Hy4-preview", 769_907_408_797),
            ("XiaomiMiMo/MiMo-V2.5", 308_778_780_864),
            ("IFM/K2-Horizon-7B", 8_999_178_240),
            // Two of the four numbers of each activation are no parameters in the files.
            ("swiss-ai/Apertus-v1.5-8B", 8_903_547_555 - 294_464_099 + 2 * 32),
            ("swiss-ai/Apertus-v1.5-70B", 72_005_819_139 - 294_464_099 + 2 * 80),
        ] {
            let entry = models.get(id).unwrap().entry().unwrap();
            let graph = Graph::new(&entry.config, DType::BF16).unwrap();
            assert_eq!(Weights::of(&graph).parameters, parameters, "{id}");
        }
    }

    #[test]
    fn long_prompts_and_single_tokens_are_traced() {
        let models = Models::built_in().unwrap();
        let new = ["zai-org/GLM-5.3-Flash", "Qwen/Qwen3.8-Flash-Next", "tencent/Hy3"];
        for id in new.into_iter().chain(["tencent/Hy4-preview"]) {
            let entry = models.get(id).unwrap().entry().unwrap();
            let graph = Graph::quantized(&entry.config, Scheme::DEFAULT).unwrap();
            let mut caches = graph.make_cache();
            let prompts = [Call::prefill(2048), Call::prefill(100), Call::prefill(2048)];
            for call in prompts.into_iter().chain([Call::decode(), Call::decode()]) {
                let trace = graph.trace(&mut caches, call.clone(), Routing::default());
                assert!(trace.is_ok(), "{id}, {call:?}: {:?}", trace.err());
            }
        }
    }
}
