//! Step 3.7 Flash: the text decoder of Step 3.5 (`step3p5`), which transformers' `modular_step3p7.py` confirms. mlx-lm
//! 0.32.2 lacks the type. Vision tower and the layers that predict further tokens are left out.
//!
//! The published configuration nests the decoder under `text_config` with the keys of `step3p5`. A flat form with the
//! usual names is read as well; it does not say how many query heads the window layers have. The released model has 96
//! of them, against 64 in full layers: only then do decoder, the three prediction layers and vision tower add up to
//! the 201 365 316 160 published parameters.

use super::step3p5;
use crate::graph::parts::prelude::*;
use serde_json::json;

/// Query heads of the window layers of the released model.
const RELEASED_WINDOW_HEADS: u64 = 96;

/// Sizes by which a flat configuration is known to be the released model's.
const RELEASED: [(&str, u64); 5] = [
    ("hidden_size", 4096),
    ("num_hidden_layers", 45),
    ("num_attention_heads", 64),
    ("num_key_value_heads", 8),
    ("head_dim", 128),
];

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    match c.opt_object("text_config")? {
        Some(text) => step3p5::build(&routed_by_default(text)?, p),
        None => step3p5::build(&from_flat(c)?, p),
    }
}

/// As mlx-vlm builds it: a configuration without `text_config` is that of the sizes which mlx-vlm has as defaults.
pub(in crate::graph) fn build_under_mlx_vlm(
    c: &Config,
    p: &mut ParamBuilder,
) -> Result<Built, ConfigError> {
    let text = match c.opt_object("text_config")? {
        Some(text) => text,
        None => c.clone().emptied(),
    };
    let text = text.with_sizes(&RELEASED).with_sizes(&[
        ("num_attention_groups", 8),
        ("vocab_size", 128_896),
        ("intermediate_size", 11_264),
        ("max_position_embeddings", 262_144),
    ]);
    let text = text.with_defaults(&[("use_head_wise_attn_gate", false.into())]);
    p.scope("language_model", |p| step3p5::build(&routed_by_default(text)?, p))
}

/// Translates the usual names to those of `step3p5`.
fn from_flat(c: &Config) -> Result<Config, ConfigError> {
    let mut out = c.clone();
    for (usual, own) in [
        ("num_key_value_heads", "num_attention_groups"),
        ("num_experts", "moe_num_experts"),
        ("num_experts_per_tok", "moe_top_k"),
    ] {
        if !c.has(own) {
            out = out.with(own, c.positive(usual)?);
        }
    }
    let windows =
        c.opt_strings("layer_types")?.is_none_or(|t| t.iter().any(|k| k == "sliding_attention"));
    if windows && c.opt_object("attention_other_setting")?.is_none() {
        if RELEASED.iter().any(|(key, value)| c.opt_dim(key) != Ok(Some(*value))) {
            let expected = "the heads of the window layers, which only the released model implies";
            return Err(c.invalid("attention_other_setting", expected));
        }
        let heads = json!({
            "num_attention_heads": RELEASED_WINDOW_HEADS,
            "num_attention_groups": c.positive("num_key_value_heads")?,
        });
        out = out.with("attention_other_setting", heads);
    }
    routed_by_default(out)
}

/// Without a list of routed layers, those from `first_k_dense_replace` on are: by default all but the first three.
fn routed_by_default(c: Config) -> Result<Config, ConfigError> {
    if c.opt_str("moe_layers_enum")?.is_some_and(|list| !list.is_empty()) {
        return Ok(c);
    }
    let (first, layers) = (c.dim_or("first_k_dense_replace", 3)?, c.dim("num_hidden_layers")?);
    // One number past the last layer keeps the list from being empty, which would mean the default of `step3p5`.
    let list: Vec<String> = (first.min(layers)..=layers.min(4096)).map(|i| i.to_string()).collect();
    Ok(c.with("moe_layers_enum", list.join(",")))
}

#[cfg(test)]
mod tests {
    use crate::graph::Graph;
    use crate::model::{Config, DType};

    fn released(extra: &str) -> String {
        let types: Vec<&str> = (0..45)
            .map(|i| if i % 4 == 0 { "\"full_attention\"" } else { "\"sliding_attention\"" })
            .collect();
        format!(
            r#"{{"model_type": "step3p7", "hidden_size": 4096, "num_hidden_layers": 45,
            "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128896,
            "intermediate_size": 11264, "first_k_dense_replace": 3, "num_experts": 288, "num_experts_per_tok": 8,
            "layer_types": [{}] {extra}}}"#,
            types.join(",")
        )
    }

    #[test]
    fn the_flat_configuration_of_the_release_has_the_published_decoder() {
        let config = Config::parse(&released("")).unwrap();
        let graph = Graph::new(&config, DType::BF16).unwrap();
        let parameters: u64 = graph.params().modules().iter().map(|m| m.parameters()).sum();
        // 201 365 316 160 published, less three prediction layers of 809 390 336 and a vision tower of 1 981 014 784.
        assert_eq!(parameters, 201_365_316_160 - 3 * 809_390_336 - 1_981_014_784);
        assert!(graph.not_in_mlx_lm().is_some_and(|why| why.contains("step3p5")));
    }

    #[test]
    fn other_sizes_must_state_the_heads_of_window_layers() {
        let text = released("").replace("\"hidden_size\": 4096", "\"hidden_size\": 2048");
        let error = Graph::new(&Config::parse(&text).unwrap(), DType::BF16).unwrap_err();
        assert!(error.to_string().contains("attention_other_setting"), "{error}");
        let other =
            r#", "attention_other_setting": {"num_attention_heads": 8, "num_attention_groups": 8}"#;
        let text = released(other).replace("\"hidden_size\": 4096", "\"hidden_size\": 2048");
        assert!(Graph::new(&Config::parse(&text).unwrap(), DType::BF16).is_ok());
    }
}
