//! What programs that run GGUF files need, and what Ollama's tags stand for.

use crate::hardware::provenance::Confidence;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Parts of llama.cpp's memory; formulas are in words.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of the file, which explains them")]
pub struct GgufMemory {
    pub ctx_pad: u32,
    pub kv_bytes_per_element: BTreeMap<String, f64>,
    pub quantized_v_needs_flash_attention: bool,
    pub kv_full: String,
    pub kv_swa: String,
    pub output: String,
    pub compute_logits: Vec<DatedFormula>,
    pub compute_mask: String,
    pub compute_no_flash: String,
    pub compute_quantized_kv_scratch: Vec<DatedFormula>,
    pub confirmed_by: String,
    pub source: String,
    pub confidence: Confidence,
}

/// A formula from a day on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatedFormula {
    /// The day, ISO, as far as it is known.
    pub from: String,
    /// The program, where not all.
    pub program: Option<String>,
    /// The formula in words.
    pub value: String,
    /// Where this comes from.
    pub source: Option<String>,
}

/// What a tag of Ollama stands for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OllamaTag {
    /// The tag, with `*` for any text.
    pub pattern: String,
    /// The format of the file.
    pub format: Option<String>,
    /// The format of the weights.
    pub quant: Option<String>,
    /// The program that runs it, where it is not Ollama's llama.cpp.
    pub engine: Option<String>,
    /// Size of the file in 10^9 bytes.
    pub bytes_gb: Option<f64>,
    /// The same of the variant with 20 billion parameters.
    pub bytes_gb_20b: Option<f64>,
    /// Whether the size includes a vision tower.
    #[serde(default)]
    pub includes_tower: bool,
    /// How far to trust it.
    pub confidence: Confidence,
}
