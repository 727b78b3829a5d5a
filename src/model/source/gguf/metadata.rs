//! The metadata of a GGUF file by the keys of its architecture, and the keys of the configuration that it becomes.

use super::GgufInfo;
use super::values::GgufValue as Stored;
use serde_json::{Map, Value, json};

/// The metadata of a file, read by the keys of its architecture.
pub(super) struct GgufMetadata<'a> {
    pub(super) info: &'a GgufInfo,
    architecture: &'a str,
}

impl<'a> GgufMetadata<'a> {
    /// Of a file with this architecture.
    pub(super) const fn new(info: &'a GgufInfo, architecture: &'a str) -> Self {
        Self { info, architecture }
    }

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

    /// `general.architecture`.
    pub(super) const fn architecture(&self) -> &str {
        self.architecture
    }

    fn value(&self, key: &str) -> Option<&Stored> {
        self.info.metadata.get(&format!("{}.{key}", self.architecture))
    }

    /// The whole numbers or truth values of a list; empty without the key.
    pub(super) fn array(&self, key: &str) -> Result<Vec<u64>, String> {
        let Some(Stored::Array { items, .. }) = self.value(key) else { return Ok(Vec::new()) };
        let number = |item: &Stored| match item {
            Stored::Bool(on) => Some(u64::from(*on)),
            other => other.as_u64(),
        };
        let numbers: Option<Vec<u64>> = items.iter().map(number).collect();
        numbers.ok_or_else(|| {
            format!("the key '{}.{key}' is no list of whole numbers", self.architecture)
        })
    }

    /// A number for each of `layers` layers, from a list or from one number for all.
    pub(super) fn per_layer(&self, key: &str, layers: usize) -> Result<Vec<u64>, String> {
        let list = self.array(key)?;
        if list.is_empty() {
            return Ok(vec![self.opt(key).unwrap_or(0); layers]);
        }
        let wrong =
            || format!("'{}.{key}' has {} of {layers} layers", self.architecture, list.len());
        list.get(..layers).map(<[u64]>::to_vec).ok_or_else(wrong)
    }

    /// The number, or the largest of a list.
    pub(super) fn widest(&self, key: &str) -> Result<u64, String> {
        match self.array(key)?.into_iter().max() {
            Some(most) => Ok(most),
            None => self.need(key),
        }
    }

    /// Whether a list has different numbers.
    pub(super) fn varies(&self, key: &str) -> bool {
        matches!(self.value(key), Some(Stored::Array { .. })) && self.opt(key).is_none()
    }

    /// A number as the shortest decimal that its 32 bits stand for.
    pub(super) fn decimal(&self, key: &str) -> Option<f64> {
        self.number(key).map(short_decimal)
    }

    /// Epsilon of the RMS norms.
    pub(super) fn rms_epsilon(&self) -> f64 {
        self.decimal("attention.layer_norm_rms_epsilon").unwrap_or(1e-6)
    }

    /// Kinds of attention by layer: the stored pattern, or every `period`th layer full.
    pub(super) fn kinds(&self, period: usize) -> Result<Vec<&'static str>, String> {
        let sliding = self.array("attention.sliding_window_pattern")?;
        let full = |i: usize| match sliding.get(i) {
            Some(sliding) => *sliding == 0,
            None => (i + 1) % period.max(1) == 0,
        };
        let kind = |i| if full(i) { "full_attention" } else { "sliding_attention" };
        Ok((0..self.layers()? as usize).map(kind).collect())
    }

    /// Layers of the language model, without those for multi-token prediction.
    pub(super) fn layers(&self) -> Result<u64, String> {
        let blocks = self.need("block_count")?;
        let prediction = self.opt("nextn_predict_layers").unwrap_or(0);
        blocks.checked_sub(prediction).ok_or_else(|| {
            format!("{prediction} prediction layers of {blocks} layers are impossible")
        })
    }

    pub(super) fn head_dim(&self) -> Result<u64, String> {
        let heads = self.widest("attention.head_count")?;
        match self.opt("attention.key_length") {
            Some(length) => Ok(length),
            None => self.need("embedding_length")?.checked_div(heads).ok_or_else(|| {
                format!("the key '{}.attention.head_count' is 0", self.architecture)
            }),
        }
    }

    /// What all families share.
    pub(super) fn common(&self) -> Result<Map<String, Value>, String> {
        // Recurrent models have no heads.
        let stated = |key: &str| match self.value(key) {
            None => Ok(None),
            Some(_) => self.widest(key).map(Some),
        };
        let recurrent = ["ssm.conv_kernel", "wkv.head_size"].iter().any(|k| self.opt(k).is_some());
        let heads = match stated("attention.head_count")? {
            None if !recurrent => self.need("attention.head_count")?,
            heads => heads.unwrap_or(0),
        };
        let kv_heads = stated("attention.head_count_kv")?.unwrap_or(heads);
        let Some(vocabulary) = self.info.vocabulary() else {
            return Err("the file has neither an embedding nor a list of tokens".to_owned());
        };
        let mut values = Map::new();
        let mut set = |key: &str, value: Value| values.insert(key.to_owned(), value);
        set("hidden_size", json!(self.need("embedding_length")?));
        set("num_hidden_layers", json!(self.layers()?));
        set("num_attention_heads", json!(heads));
        set("num_key_value_heads", json!(kv_heads));
        if heads > 0 {
            set("head_dim", json!(self.head_dim()?));
        }
        set("vocab_size", json!(vocabulary));
        if let Some(width) = stated("feed_forward_length")? {
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

impl<'a> Keys<'a> {
    /// Writes into a map.
    pub(super) const fn new(values: &'a mut Map<String, Value>) -> Self {
        Self(values)
    }

    /// Sets a key that is not there yet.
    pub(super) fn default(&mut self, key: &str, value: Value) {
        self.0.entry(key).or_insert(value);
    }

    /// Puts all keys under one.
    pub(super) fn nest(&mut self, key: &str) {
        let inner = std::mem::take(self.0);
        self.0.insert(key.to_owned(), Value::Object(inner));
    }

    pub(super) fn set(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }
}

/// The shortest decimal number that a 32-bit value stands for.
pub(super) fn short_decimal(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}
