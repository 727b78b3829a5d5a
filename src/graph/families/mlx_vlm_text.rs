//! Language models of types that only mlx-vlm has, and that are known decoders with other defaults.

use super::{llama, mimo_v2_flash};
use crate::graph::parts::prelude::*;
use serde_json::Value;

const LANGUAGE: &str = "language_model";

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
    use crate::graph::Graph;
    use crate::ledger::weights::Weights;
    use crate::model::{Config, DType};
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
}
