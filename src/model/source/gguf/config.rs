//! A model configuration from GGUF metadata.
//!
//! llama.cpp's converter (`convert_hf_to_gguf.py`) writes the values of `config.json` under the keys of
//! `gguf-py/gguf/constants.py`; this goes back. What the metadata leaves out is read off the tensors: the vocabulary
//! from the rows of the embedding, a tied head from the absence of `output.weight`, biases from their tensors. The
//! result is a configuration as mlx-lm 0.32.2 reads it. Keys without influence on sizes and speed are left out.

use super::GgufInfo;
use super::architectures::MAPPINGS;
use crate::model::config::Config;
use serde_json::{Map, Value, json};

/// Maps the metadata of a well-known architecture.
pub(super) fn to_config(info: &GgufInfo) -> Result<Config, String> {
    let Some(architecture) = info.architecture() else {
        return Err("the file has no key general.architecture".to_owned());
    };
    let Some(mapping) = MAPPINGS.iter().find(|m| m.architecture == architecture) else {
        let known: Vec<&str> = MAPPINGS.iter().map(|m| m.architecture).collect();
        return Err(format!(
            "speed cannot be predicted for the GGUF architecture '{architecture}', only sizes are exact; known: {}",
            known.join(" ")
        ));
    };
    let source = GgufMetadata { info, architecture };
    let mut values = source.common()?;
    let model_type = (mapping.own_keys)(&source, &mut Keys(&mut values))?;
    values.insert("model_type".to_owned(), json!(model_type));
    if !values.contains_key("intermediate_size") {
        source.need("feed_forward_length")?;
    }
    Ok(Config::new(values))
}

/// The metadata of a file, read by the keys of its architecture.
pub(super) struct GgufMetadata<'a> {
    pub(super) info: &'a GgufInfo,
    architecture: &'a str,
}

impl GgufMetadata<'_> {
    pub(super) fn opt(&self, key: &str) -> Option<u64> {
        self.info.architecture_value(key)
    }

    pub(super) fn need(&self, key: &str) -> Result<u64, String> {
        let full = format!("{}.{key}", self.architecture);
        self.opt(key).ok_or_else(|| match self.info.metadata.get(&full) {
            None => format!("the file lacks the key '{full}'"),
            Some(_) => format!("the key '{full}' is not one whole number; models that vary it by layer are not mapped"),
        })
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.info.metadata.number(&format!("{}.{key}", self.architecture))
    }

    pub(super) fn has_tensor(&self, name: &str) -> bool {
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

    pub(super) fn head_dim(&self) -> Result<u64, String> {
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
    pub(super) fn rope_scaling(&self) -> Option<Map<String, Value>> {
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
}

/// The keys of a configuration being written.
pub(super) struct Keys<'a>(&'a mut Map<String, Value>);

impl Keys<'_> {
    pub(super) fn set(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }
}

/// The shortest decimal number that a 32-bit value stands for.
pub(super) fn short_decimal(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}
