//! The cache that a request leaves behind: its bytes, and what of it a later request can use.

use super::cache::{advance_singly, after_prompt, bytes};
use crate::graph::Graph;
use crate::graph::cache::{CacheKind, KvQuantization};
use crate::graph::tape::TraceError;
use schemars::JsonSchema;
use serde::Serialize;

/// What of a kept cache a request can use that begins like the kept one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefixReuse {
    /// All tokens that both have in common: later ones are cut off.
    AnyPrefix,
    /// Only a whole kept cache: states and full windows cannot be taken back to an earlier token.
    StoredBoundaries,
}

impl PrefixReuse {
    /// What a cache of a model allows that holds so many tokens (`can_trim_prompt_cache` of mlx-lm).
    #[must_use]
    pub fn of(graph: &Graph, tokens: u32) -> Self {
        if graph.cache_kinds().iter().all(|kind| can_be_cut(kind, tokens)) {
            Self::AnyPrefix
        } else {
            Self::StoredBoundaries
        }
    }
}

/// Whether the last tokens of a cache can be cut off.
fn can_be_cut(kind: &CacheKind, tokens: u32) -> bool {
    match kind {
        CacheKind::Kv | CacheKind::Projected { .. } | CacheKind::Chunked { .. } => true,
        CacheKind::Rotating { max_size, .. } => tokens < *max_size,
        CacheKind::Arrays(_) | CacheKind::Compressed(_) | CacheKind::Pool { .. } => false,
        CacheKind::List(all) => all.iter().all(|kind| can_be_cut(kind, tokens)),
    }
}

/// Bytes of the caches that `mlx_lm` holds after a prompt, read in chunks of `step`, and so many generated tokens: at full
/// capacity, which grows by 256 tokens at a time. A file of it has these bytes and a header.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn kept_bytes(
    graph: &Graph,
    (prompt, generated): (u32, u32),
    step: u32,
    kv: Option<KvQuantization>,
) -> Result<u64, TraceError> {
    if prompt == 0 {
        return Ok(0);
    }
    let mut caches = after_prompt(graph, prompt, step, 1, kv)?;
    advance_singly(&mut caches, generated, kv);
    Ok(bytes(&caches))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::catalog::Models;
    use crate::model::{Config, DType, Scheme};

    fn graph(id: &str) -> Graph {
        let models = Models::built_in().expect("the built-in catalog");
        let entry = models.get(id).expect("in the catalog").entry().expect("readable");
        Graph::quantized(&entry.config, Scheme::DEFAULT).expect("a known family")
    }

    #[test]
    fn keys_can_be_cut_and_states_and_full_windows_cannot() {
        assert_eq!(PrefixReuse::of(&graph("Qwen/Qwen3-4B"), 100_000), PrefixReuse::AnyPrefix);
        let hybrid = PrefixReuse::of(&graph("Qwen/Qwen3.5-4B"), 10);
        assert_eq!(hybrid, PrefixReuse::StoredBoundaries);
        let windows = graph("google/gemma-3-4b-it");
        assert_eq!(PrefixReuse::of(&windows, 1023), PrefixReuse::AnyPrefix);
        assert_eq!(PrefixReuse::of(&windows, 1024), PrefixReuse::StoredBoundaries);
    }

    /// What mlx-lm 0.32.2 really held and saved (`tests/oracle/saved_caches.py`). SmolLM2 was run in 32-bit floats.
    #[test]
    fn kept_caches_have_the_bytes_of_real_ones() {
        let text = include_str!("../../tests/data/saved_caches.json");
        let vectors: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let number = |row: &serde_json::Value, key: &str| row[key].as_u64().expect("a number");
        let mut seen = 0;
        for row in vectors["rows"].as_array().expect("rows") {
            let name = row["model"].as_str().expect("a name");
            // The hybrid one was run without experts, of which MLX has no 16-bit kernel on CPUs; no cache depends on them.
            let text = vectors["models"][name].to_string();
            let text = text.replace(r#""num_experts":0"#, r#""num_experts":8"#);
            let config = Config::parse(&text).expect("JSON");
            let dtype = if name == "smollm2" { DType::F32 } else { DType::BF16 };
            let graph = Graph::new(&config, dtype).expect("a known family");
            let [prompt, offset] = ["prompt", "offset"].map(|key| number(row, key) as u32);
            let found = kept_bytes(&graph, (prompt, offset - prompt), 2048, None).expect("runs");
            assert_eq!(found, number(row, "cache_bytes"), "{row}");
            let header = number(row, "file_bytes") - found;
            let layers = graph.cache_kinds().len() as u64;
            assert!(header < 600 * layers, "{row}");
            let trimmable = PrefixReuse::of(&graph, offset) == PrefixReuse::AnyPrefix;
            assert_eq!(Some(trimmable), row["trimmable"].as_bool(), "{row}");
            seen += 1;
        }
        assert!(seen >= 14);
    }

    /// 36 layers, 8 heads of 128, keys and values of two bytes: 147,456 bytes a token.
    #[test]
    fn a_cache_has_its_full_capacity() {
        let graph = graph("Qwen/Qwen3-4B");
        let bytes = |prompt, generated| {
            kept_bytes(&graph, (prompt, generated), 2048, None).expect("runs") / 147_456
        };
        assert_eq!(bytes(1, 0), 256);
        assert_eq!(bytes(256, 0), 256);
        assert_eq!(bytes(256, 1), 512);
        assert_eq!(bytes(2048, 0), 2048);
        assert_eq!(bytes(2049, 0), 2304);
        assert_eq!(bytes(0, 0), 0);
    }
}
