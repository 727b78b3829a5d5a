//! Ollama's models: `manifests/HOST/NAMESPACE/MODEL/TAG` lists layers, and `blobs/sha256-…` holds them.
//!
//! Source: <https://github.com/ollama/ollama/blob/main/docs/faq.mdx> (where models are stored) and the OCI image
//! manifest that its registry speaks.

use super::{Discovery, FoundModel, Keeper, LocalFormat, entries, folders};
use crate::files;
use serde::Deserialize;
use std::path::Path;

/// Longest manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1_000_000;
/// The layer that is a GGUF file.
const MODEL_LAYER: &str = "application/vnd.ollama.image.model";
/// The registry whose name Ollama leaves out.
const REGISTRY: &str = "registry.ollama.ai";
/// The namespace whose name Ollama leaves out.
const LIBRARY: &str = "library";

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
}

/// Adds the models below `root` whose names are wanted. Those without a GGUF file, which Ollama's MLX runner has, are
/// passed over.
pub(super) fn list(root: &Path, wanted: &dyn Fn(Keeper, &str) -> bool, found: &mut Discovery) {
    for (host, folder) in folders(&root.join("manifests"), &mut found.problems) {
        for (namespace, folder) in folders(&folder, &mut found.problems) {
            for (model, folder) in folders(&folder, &mut found.problems) {
                for (tag, path) in entries(&folder, &mut found.problems) {
                    let id = name(&host, &namespace, &model, &tag);
                    if wanted(Keeper::Ollama, &id)
                        && let Some(model) = model_of(root, &path, id)
                    {
                        found.models.push(model);
                    }
                }
            }
        }
    }
}

/// A model's name as Ollama shows it.
fn name(host: &str, namespace: &str, model: &str, tag: &str) -> String {
    match (host, namespace) {
        (REGISTRY, LIBRARY) => format!("{model}:{tag}"),
        (REGISTRY, namespace) => format!("{namespace}/{model}:{tag}"),
        (host, namespace) => format!("{host}/{namespace}/{model}:{tag}"),
    }
}

/// The model of a manifest, where its file is there.
fn model_of(root: &Path, manifest: &Path, id: String) -> Option<FoundModel> {
    let text = files::text(manifest, MAX_MANIFEST_BYTES).ok()?;
    let manifest: Manifest = serde_json::from_str(&text).ok()?;
    let layer = manifest.layers.into_iter().find(|l| l.media_type == MODEL_LAYER)?;
    let digest = layer.digest.strip_prefix("sha256:")?;
    if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let path = root.join("blobs").join(format!("sha256-{digest}"));
    let weight_bytes = path.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
    let keeper = Keeper::Ollama;
    let format = LocalFormat::Gguf;
    Some(FoundModel { id, path, keeper, format, weight_bytes, revision: None })
}

#[cfg(test)]
mod tests {
    use crate::model::source::cache::{CacheRoots, Keeper, LocalFormat, discover, locate};
    use crate::model::source::testing::write;
    use std::path::Path;

    fn manifest(layers: &[(&str, &str)]) -> String {
        let layers: Vec<String> = layers
            .iter()
            .map(|(kind, digest)| {
                format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":1}}"#)
            })
            .collect();
        format!(r#"{{"schemaVersion":2,"layers":[{}]}}"#, layers.join(","))
    }

    fn roots(home: &Path) -> CacheRoots {
        CacheRoots::from_env(&|_| None, Some(home))
    }

    #[test]
    fn tags_lead_to_their_blobs() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join(".ollama/models");
        let (digest, absent) = ("ab".repeat(32), "cd".repeat(32));
        let model = super::MODEL_LAYER;
        write(&root, &format!("blobs/sha256-{digest}"), b"GGUF!");
        let whole = manifest(&[
            ("application/vnd.ollama.image.license", &format!("sha256:{absent}")),
            (model, &format!("sha256:{digest}")),
        ]);
        let library = "manifests/registry.ollama.ai/library";
        write(&root, &format!("{library}/gemma3/27b"), whole.as_bytes());
        write(&root, &format!("{library}/qwen3/latest"), whole.as_bytes());
        write(&root, "manifests/hf.co/unsloth/Qwen3-8B-GGUF/Q4_K_M", whole.as_bytes());
        let gone = manifest(&[(model, &format!("sha256:{absent}"))]);
        write(&root, &format!("{library}/gone/1b"), gone.as_bytes());
        let evil = manifest(&[(model, "sha256:../../../etc/passwd")]);
        write(&root, &format!("{library}/evil/1b"), evil.as_bytes());
        write(&root, &format!("{library}/broken/1b"), b"{");
        let found = discover(&roots(home.path()));
        let ids: Vec<&str> = found.models.iter().map(|m| m.id.as_str()).collect();
        assert_eq!(ids, ["gemma3:27b", "hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M", "qwen3:latest"]);
        let first = &found.models[0];
        assert_eq!((first.keeper, first.format), (Keeper::Ollama, LocalFormat::Gguf));
        assert_eq!(first.weight_bytes, 5);
        let named = |name: &str| locate(&roots(home.path()), name).models.len();
        assert_eq!(named("gemma3:27b"), 1);
        assert_eq!(named("qwen3"), 1);
        // A name that only looks alike is not a tag.
        assert_eq!(named("gemma3-27b"), 0);
    }

    #[test]
    fn a_file_of_a_repository_is_found_by_its_type() {
        let home = tempfile::tempdir().unwrap();
        let repo = home.path().join(".lmstudio/models/unsloth/Qwen3-8B-GGUF");
        write(&repo, "Qwen3-8B-Q4_K_M.gguf", b"1");
        write(&repo, "Qwen3-8B-Q8_0.gguf", b"12");
        let bytes = |name: &str| -> Vec<u64> {
            locate(&roots(home.path()), name).models.iter().map(|m| m.weight_bytes).collect()
        };
        assert_eq!(bytes("unsloth/Qwen3-8B-GGUF:Q8_0"), [2]);
        assert_eq!(bytes("unsloth/qwen3-8b-gguf:q4_k_m"), [1]);
        assert_eq!(bytes("Qwen3-8B-GGUF"), [1, 2]);
        assert!(bytes("unsloth/Qwen3-8B-GGUF:Q2_K").is_empty());
        // A type that another one begins with.
        assert!(bytes("unsloth/Qwen3-8B-GGUF:Q4_K").is_empty());
    }
}
