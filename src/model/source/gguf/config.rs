//! A model configuration from GGUF metadata.
//!
//! llama.cpp's converter (`convert_hf_to_gguf.py`) writes the values of `config.json` under the keys of
//! `gguf-py/gguf/constants.py`; this goes back. What the metadata leaves out is read off the tensors: the vocabulary
//! from the rows of the embedding, a tied head from the absence of `output.weight`, biases from their tensors. The
//! result is a configuration as mlx-lm 0.32.2 reads it. Keys without influence on sizes and speed are left out.

use super::GgufInfo;
use crate::model::config::Config;
use serde_json::{Map, Value, json};

/// Values of `general.architecture` that have a mapping.
pub const MAPPED_ARCHITECTURES: [&str; 18] = [
    "llama",
    "mistral3",
    "qwen2",
    "qwen2moe",
    "qwen3",
    "qwen3moe",
    "qwen3vl",
    "qwen3vlmoe",
    "gemma2",
    "gemma3",
    "phi3",
    "gpt-oss",
    "deepseek2",
    "glm4",
    "glm4moe",
    "olmo2",
    "smollm3",
    "seed_oss",
];

/// Maps the metadata of a well-known architecture.
pub(super) fn to_config(info: &GgufInfo) -> Result<Config, String> {
    let Some(architecture) = info.architecture() else {
        return Err("the file has no key general.architecture".to_owned());
    };
    if !MAPPED_ARCHITECTURES.contains(&architecture) {
        return Err(format!(
            "speed cannot be predicted for the GGUF architecture '{architecture}', only sizes are exact; known: {}",
            MAPPED_ARCHITECTURES.join(" ")
        ));
    }
    let source = Source { info, architecture };
    let mut values = source.common()?;
    source.family(&mut values)?;
    Ok(Config::new(values))
}

struct Source<'a> {
    info: &'a GgufInfo,
    architecture: &'a str,
}

impl Source<'_> {
    fn opt(&self, key: &str) -> Option<u64> {
        self.info.architecture_value(key)
    }

    fn need(&self, key: &str) -> Result<u64, String> {
        let full = format!("{}.{key}", self.architecture);
        self.opt(key).ok_or_else(|| match self.info.metadata.get(&full) {
            None => format!("the file lacks the key '{full}'"),
            Some(_) => format!("the key '{full}' is not one whole number; models that vary it by layer are not mapped"),
        })
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.info.metadata.number(&format!("{}.{key}", self.architecture))
    }

    fn has_tensor(&self, name: &str) -> bool {
        self.info.tensor(name).is_some()
    }

    /// Layers of the language model, without those for multi-token prediction.
    fn layers(&self) -> Result<u64, String> {
        let blocks = self.need("block_count")?;
        let prediction = self.opt("nextn_predict_layers").unwrap_or(0);
        blocks.checked_sub(prediction).ok_or_else(|| {
            format!("{prediction} prediction layers of {blocks} layers are impossible")
        })
    }

    fn head_dim(&self) -> Result<u64, String> {
        let heads = self.need("attention.head_count")?;
        match self.opt("attention.key_length") {
            Some(length) => Ok(length),
            None => self.need("embedding_length")?.checked_div(heads).ok_or_else(|| {
                format!("the key '{}.attention.head_count' is 0", self.architecture)
            }),
        }
    }

    /// What all families share.
    fn common(&self) -> Result<Map<String, Value>, String> {
        let heads = self.need("attention.head_count")?;
        let kv_key = "attention.head_count_kv";
        let kv_heads = match self.info.metadata.get(&format!("{}.{kv_key}", self.architecture)) {
            None => heads,
            Some(_) => self.need(kv_key)?,
        };
        let Some(vocabulary) = self.info.vocabulary() else {
            return Err("the file has neither an embedding nor a list of tokens".to_owned());
        };
        let mut values = Map::new();
        let mut set = |key: &str, value: Value| values.insert(key.to_owned(), value);
        set("hidden_size", json!(self.need("embedding_length")?));
        set("num_hidden_layers", json!(self.layers()?));
        set("num_attention_heads", json!(heads));
        set("num_key_value_heads", json!(kv_heads));
        set("head_dim", json!(self.head_dim()?));
        set("vocab_size", json!(vocabulary));
        if let Some(width) = self.opt("feed_forward_length") {
            set("intermediate_size", json!(width));
        }
        if let Some(length) = self.info.context_length() {
            set("max_position_embeddings", json!(length));
        }
        // A GGUF file stores these as 32-bit numbers; 1e-6 must not come out as 9.999999974752427e-07.
        let eps = self.number("attention.layer_norm_rms_epsilon");
        set("rms_norm_eps", json!(short_decimal(eps.unwrap_or(1e-6))));
        set("rope_theta", json!(short_decimal(self.number("rope.freq_base").unwrap_or(10_000.0))));
        set("tie_word_embeddings", json!(!self.has_tensor("output.weight")));
        if let Some(scaling) = self.rope_scaling() {
            set("rope_scaling", Value::Object(scaling));
        }
        Ok(values)
    }

    /// Scaling of the rotary embedding by a formula. Tables of factors (llama3, longrope) are tensors in a GGUF file
    /// and left out: they change neither sizes nor the number of kernels.
    fn rope_scaling(&self) -> Option<Map<String, Value>> {
        let kind = self.info.metadata.text(&format!("{}.rope.scaling.type", self.architecture))?;
        let factor = self.number("rope.scaling.factor")?;
        let mut scaling = Map::new();
        let mut set = |key: &str, value: Value| scaling.insert(key.to_owned(), value);
        set("type", json!(kind));
        set("factor", json!(short_decimal(factor)));
        match kind {
            "linear" => return Some(scaling),
            "yarn" => {}
            _ => return None,
        }
        if let Some(length) = self.opt("rope.scaling.original_context_length") {
            set("original_max_position_embeddings", json!(length));
        }
        // llama.cpp's converter stores a tenth of DeepSeek's mscale_all_dim.
        if let Some(multiplier) = self.number("rope.scaling.yarn_log_multiplier") {
            let mscale = short_decimal(short_decimal(multiplier) * 10.0);
            set("mscale", json!(mscale));
            set("mscale_all_dim", json!(mscale));
        }
        Some(scaling)
    }

    /// The family's own keys. The keys are those that the family reads in mlx-lm.
    fn family(&self, values: &mut Map<String, Value>) -> Result<(), String> {
        let mut set = |key: &str, value: Value| values.insert(key.to_owned(), value);
        let q_bias = self.has_tensor("blk.0.attn_q.bias");
        let experts = self.opt("expert_count").filter(|n| *n > 0);
        let model_type = match self.architecture {
            "llama" if experts.is_some() => {
                set("num_local_experts", json!(experts));
                set("num_experts_per_tok", json!(self.need("expert_used_count")?));
                "mixtral"
            }
            "llama" => {
                set("attention_bias", json!(q_bias));
                set("mlp_bias", json!(self.has_tensor("blk.0.ffn_down.bias")));
                "llama"
            }
            "mistral3" if experts.is_some() => {
                return Err("Mistral models with experts are not mapped from GGUF".to_owned());
            }
            "mistral3" => {
                let mut rope = self.rope_scaling().unwrap_or_default();
                let original = self.opt("rope.scaling.original_context_length");
                let original = original.or_else(|| self.info.context_length());
                let beta = self.number("attention.temperature_scale").unwrap_or(0.0);
                let theta = self.number("rope.freq_base").unwrap_or(10_000.0);
                rope.insert("rope_theta".to_owned(), json!(short_decimal(theta)));
                rope.insert("llama_4_scaling_beta".to_owned(), json!(short_decimal(beta)));
                rope.insert("original_max_position_embeddings".to_owned(), json!(original));
                set("rope_parameters", Value::Object(rope));
                "ministral3"
            }
            "qwen2" => "qwen2",
            "qwen2moe" => {
                self.qwen_experts(&mut set)?;
                let shared = self.need("expert_shared_feed_forward_length")?;
                set("shared_expert_intermediate_size", json!(shared));
                "qwen2_moe"
            }
            "qwen3" | "qwen3vl" => "qwen3",
            "qwen3moe" | "qwen3vlmoe" => {
                self.qwen_experts(&mut set)?;
                set("decoder_sparse_step", json!(1));
                set("mlp_only_layers", json!([]));
                set("norm_topk_prob", json!(true));
                "qwen3_moe"
            }
            "gemma2" => "gemma2",
            "gemma3" => {
                set("sliding_window", json!(self.need("attention.sliding_window")?));
                // Five sliding layers and a full one in all sizes; llama.cpp has it built in as well.
                set("sliding_window_pattern", json!(6));
                "gemma3_text"
            }
            "phi3" => {
                self.partial_rotary(&mut set)?;
                "phi3"
            }
            "gpt-oss" => {
                set("num_local_experts", json!(self.need("expert_count")?));
                set("num_experts_per_tok", json!(self.need("expert_used_count")?));
                set("intermediate_size", json!(self.need("expert_feed_forward_length")?));
                set("sliding_window", json!(self.need("attention.sliding_window")?));
                "gpt_oss"
            }
            "deepseek2" => self.latent_attention(&mut set)?,
            "glm4" => {
                set("attention_bias", json!(q_bias));
                self.partial_rotary(&mut set)?;
                "glm4"
            }
            "glm4moe" => {
                self.shared_experts(&mut set)?;
                set("attention_bias", json!(q_bias));
                set("use_qk_norm", json!(self.has_tensor("blk.0.attn_q_norm.weight")));
                let scaling = self.rope_scaling().map_or(Value::Null, Value::Object);
                set("rope_scaling", scaling);
                self.partial_rotary(&mut set)?;
                "glm4_moe"
            }
            "olmo2" => "olmo2",
            "smollm3" => "smollm3",
            _ => {
                set("attention_bias", json!(q_bias));
                set("attention_out_bias", json!(self.has_tensor("blk.0.attn_output.bias")));
                "seed_oss"
            }
        };
        set("model_type", json!(model_type));
        match values.contains_key("intermediate_size") {
            true => Ok(()),
            false => self.need("feed_forward_length").map(|_| ()),
        }
    }

    fn qwen_experts(&self, set: &mut Setter<'_>) -> Result<(), String> {
        set("num_experts", json!(self.need("expert_count")?));
        set("num_experts_per_tok", json!(self.need("expert_used_count")?));
        set("moe_intermediate_size", json!(self.need("expert_feed_forward_length")?));
        Ok(())
    }

    /// Routed and shared experts behind leading dense layers, as DeepSeek and GLM have them.
    fn shared_experts(&self, set: &mut Setter<'_>) -> Result<(), String> {
        set("n_routed_experts", json!(self.need("expert_count")?));
        set("n_shared_experts", json!(self.opt("expert_shared_count").filter(|n| *n > 0)));
        set("num_experts_per_tok", json!(self.need("expert_used_count")?));
        set("moe_intermediate_size", json!(self.need("expert_feed_forward_length")?));
        set("first_k_dense_replace", json!(self.opt("leading_dense_block_count").unwrap_or(0)));
        set("moe_layer_freq", json!(1));
        set("n_group", json!(self.opt("expert_group_count").unwrap_or(1)));
        set("topk_group", json!(self.opt("expert_group_used_count").unwrap_or(1)));
        set("norm_topk_prob", json!(true));
        let scale = self.number("expert_weights_scale").unwrap_or(1.0);
        set("routed_scaling_factor", json!(short_decimal(scale)));
        Ok(())
    }

    /// Multi-head latent attention. Files from before llama.cpp had the compressed cache lack the `_mla` keys.
    fn latent_attention(&self, set: &mut Setter<'_>) -> Result<&'static str, String> {
        self.shared_experts(set)?;
        let rope = self.need("rope.dimension_count")?;
        let key = self
            .opt("attention.key_length_mla")
            .map_or_else(|| self.need("attention.key_length"), Ok)?;
        let value = self
            .opt("attention.value_length_mla")
            .map_or_else(|| self.need("attention.value_length"), Ok)?;
        let Some(nope) = key.checked_sub(rope) else {
            return Err(format!("keys of {key} dimensions cannot hold {rope} rotated ones"));
        };
        set("num_key_value_heads", json!(self.need("attention.head_count")?));
        set("q_lora_rank", json!(self.opt("attention.q_lora_rank").filter(|n| *n > 0)));
        set("kv_lora_rank", json!(self.need("attention.kv_lora_rank")?));
        set("qk_rope_head_dim", json!(rope));
        set("qk_nope_head_dim", json!(nope));
        set("v_head_dim", json!(value));
        // llama.cpp's gating functions: 1 softmax (DeepSeek-V2), 2 sigmoid (DeepSeek-V3, Kimi-K2, GLM-4.7-Flash).
        Ok(if self.opt("expert_gating_func") == Some(2) { "deepseek_v3" } else { "deepseek_v2" })
    }

    fn partial_rotary(&self, set: &mut Setter<'_>) -> Result<(), String> {
        let head = self.head_dim()?;
        let rotated = self.opt("rope.dimension_count").unwrap_or(head);
        set("partial_rotary_factor", json!(rotated as f64 / head.max(1) as f64));
        Ok(())
    }
}

/// Stores a key of the configuration.
type Setter<'a> = dyn FnMut(&str, Value) -> Option<Value> + 'a;

/// The shortest decimal number that a 32-bit value stands for.
fn short_decimal(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}
