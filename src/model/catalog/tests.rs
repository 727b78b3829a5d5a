use super::*;
use crate::model::names::key;
use std::collections::HashMap;
use tempfile::{TempDir, tempdir};

fn users(text: &str) -> (TempDir, Result<Models, ModelsError>) {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
    let loaded = Models::load(&DataDirs::new(vec![dir.path().to_owned()]));
    (dir, loaded)
}

fn error(text: &str) -> String {
    let (dir, loaded) = users(text);
    let message = loaded.expect_err("an error").to_string();
    message.replace(&dir.path().display().to_string(), "DIR")
}

#[test]
fn every_built_in_entry_parses_and_agrees_with_the_index() {
    let catalog = Models::built_in().unwrap();
    assert_eq!(catalog.models().len(), 447);
    for summary in catalog.models() {
        let entry = summary.entry().unwrap();
        assert_eq!(entry.id, summary.id);
        assert_eq!(entry.aliases, summary.aliases);
        assert_eq!(entry.downloads, summary.downloads);
        assert_eq!(entry.listed, summary.listed, "{}", entry.id);
        assert_eq!(entry.active_params, summary.active_params);
        assert_eq!(entry.config.model_type(), Ok(entry.model_type.as_str()), "{}", entry.id);
        assert!(!entry.sources.is_empty(), "{}", entry.id);
        assert_eq!(catalog.get(&entry.id).map(|s| &s.id), Some(&entry.id));
    }
    assert!(catalog.models().is_sorted_by_key(|m| m.id.to_lowercase()));
}

#[test]
fn names_are_unique_whatever_the_spelling() {
    let catalog = Models::built_in().unwrap();
    let mut seen: HashMap<String, &str> = HashMap::new();
    for model in catalog.models() {
        let names = model.aliases.iter().map(String::as_str);
        for name in names.chain([model.id.as_str(), model.short_name()]) {
            if let Some(other) = seen.insert(key(name), &model.id) {
                assert_eq!(other, model.id, "{name}");
            }
        }
    }
}

#[test]
fn mixtures_of_experts_are_told_from_dense_models() {
    let catalog = Models::built_in().unwrap();
    let is = |id: &str| catalog.get(id).unwrap().entry().unwrap().is_mixture_of_experts();
    for id in [
        "Qwen/Qwen3-30B-A3B",
        "openai/gpt-oss-20b",
        "mistralai/Mixtral-8x22B-Instruct-v0.1",
        "deepseek-ai/DeepSeek-R1",
        "google/gemma-4-26B-A4B-it",
        "zai-org/GLM-4.7-Flash",
        "meta-llama/Llama-4-Scout-17B-16E-Instruct",
        "Qwen/Qwen3.5-35B-A3B",
        "ibm-granite/granite-4.0-h-small",
        "microsoft/Phi-3.5-MoE-instruct",
    ] {
        assert!(is(id), "{id}");
    }
    for id in ["Qwen/Qwen3-32B", "google/gemma-4-31B-it", "ibm-granite/granite-4.0-h-micro"] {
        assert!(!is(id), "{id}");
    }
}

const MINE: &str = r#"{"id": "me/mine-7b", "config": {"model_type": "llama", "hidden_size": 1}}"#;

#[test]
fn a_users_entry_needs_little_and_is_found() {
    for text in [format!("[{MINE}]"), format!(r#"{{"schema":"x","models":[{MINE}]}}"#)] {
        let (dir, loaded) = users(&text);
        let catalog = loaded.unwrap();
        assert_eq!(catalog.models().len(), 448);
        let entry = catalog.get("me/mine-7b").unwrap().entry().unwrap();
        assert_eq!(entry.name, "mine-7b");
        assert_eq!(entry.confidence, EntryConfidence::High);
        let place = format!("{} line 1", dir.path().join(FILE_NAME).display());
        assert_eq!(entry.sources, [place]);
        assert!(entry.mlx_lm_supported && entry.downloads.is_none());
        assert_eq!(entry.config.dim("hidden_size"), Ok(1));
    }
}

#[test]
fn a_users_entry_replaces_a_built_in_one_and_the_first_folder_wins() {
    let one = |name: &str| {
        format!(r#"[{{"id":"Qwen/Qwen3-32B","name":"{name}","config":{{"model_type":"qwen3"}}}}]"#)
    };
    let (first, loaded) = users(&one("first"));
    assert_eq!(loaded.unwrap().get("Qwen/Qwen3-32B").unwrap().name, "first");
    let (second, _) = users(&one("second"));
    let folders = DataDirs::new(vec![first.path().to_owned(), second.path().to_owned()]);
    let both = Models::load(&folders).unwrap();
    assert_eq!(both.models().len(), 447);
    assert_eq!(both.get("Qwen/Qwen3-32B").unwrap().name, "first");
    assert_eq!(both.get("Qwen/Qwen3-32B").unwrap().origin(), EntryOrigin::User);
    let absent = DataDirs::new(vec![first.path().join("absent")]);
    assert!(Models::load(&absent).is_ok());
}

#[test]
fn errors_name_file_line_and_key() {
    assert_eq!(
        error(
            "[\n{\"id\": \"a/b\",\n \"downloads\": \"many\",\n \"config\": {\"model_type\": \"x\"}}]"
        ),
        "DIR/models.json line 3: key 'downloads' is wrong: invalid type: string \"many\", expected u64"
    );
    assert_eq!(error("[\n\n{\"id\": \"a/b\"}]"), "DIR/models.json line 3: key 'config' is missing");
    assert!(
        error("[{\"id\":\"a/b\",\"config\":{}}]")
            .contains("key 'config' lacks the key 'model_type'")
    );
    assert!(error("[{\"id\":\"\",\"config\":{}}]").contains("line 1: key 'id' must be a name"));
    assert!(error("[{\"config\":{}}]").contains("key 'id' is missing"));
    assert!(
        error("[{\"id\":\"a\",\n\"downlaods\":1,\"config\":{}}]")
            .starts_with("DIR/models.json line 2: key 'downlaods' is unknown; known: id name")
    );
    assert!(error("[{\"id\":\"a\",\"id\":\"b\"}]").contains("key 'id' occurs twice"));
    assert!(error("[1]").contains("line 1: no catalog entry"));
    assert!(error("{\n\"models\": [\n").starts_with("DIR/models.json line 3: no model catalog"));
    assert!(error("{}").contains("missing field `models`"));
    assert!(
        error(&format!("[{MINE},\n{MINE}]"))
            .starts_with("DIR/models.json line 2: key 'id' 'me/mine-7b' is the same name")
    );
    assert!(
        error(
            &MINE
                .replace("\"id\"", "\"aliases\":[\"x\"],\"confidence\":\"sure\",\"id\"")
                .replace('{', "[{")
        )
        .contains("line 1")
    );
}

#[test]
fn a_folder_named_models_json_is_an_error() {
    let dir = tempdir().unwrap();
    std::fs::create_dir(dir.path().join(FILE_NAME)).unwrap();
    let error = Models::load(&DataDirs::new(vec![dir.path().to_owned()])).unwrap_err().to_string();
    assert!(error.starts_with("cannot read "), "{error}");
}

proptest::proptest! {
    #[test]
    fn damaged_files_never_panic(at in 0_usize..90, byte in proptest::prelude::any::<u8>()) {
        let mut bytes = format!("[{MINE}]").into_bytes();
        let length = bytes.len();
        bytes[at % length] = byte;
        let dir = tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), bytes).unwrap();
        let _ = Models::load(&DataDirs::new(vec![dir.path().to_owned()]));
    }
}
