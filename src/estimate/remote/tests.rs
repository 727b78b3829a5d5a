use crate::estimate::{OpenError, Opened, OpenedModel, Program, Sources};
use crate::model::catalog::Models;
use crate::model::source::cache::CacheRoots;
use crate::model::source::hub::HubOptions;
use std::fs;
use std::path::Path;

/// A small model that no catalog has.
const CONFIG: &str = r#"{"model_type":"llama","hidden_size":512,"num_hidden_layers":2,"num_attention_heads":8,
    "num_key_value_heads":2,"intermediate_size":1024,"vocab_size":1000,"rms_norm_eps":1e-5}"#;

fn open(name: &str, hub: HubOptions) -> Result<OpenedModel, OpenError> {
    let catalog = Models::built_in().expect("built in");
    let sources = Sources {
        catalog: &catalog,
        hub,
        progress: &|_| (),
        assume: None,
        program: Program::default(),
    };
    match OpenedModel::open(name, None, &sources)? {
        Opened::Model(model) => Ok(*model),
        Opened::Class(_) => panic!("{name} is one model"),
    }
}

fn offline(home: &Path) -> HubOptions {
    let caches = CacheRoots::from_env(&|_| None, Some(home));
    HubOptions { offline: true, caches, ..HubOptions::default() }
}

#[test]
fn offline_the_index_says_what_it_knows() {
    let home = tempfile::tempdir().expect("a folder");
    let indexed = "thinkingmachines/Inkling";
    let text = open(indexed, offline(home.path())).map(|m| m.id).unwrap_err().to_string();
    for part in ["inkling_mm_model", "952.38 billion", "released 2026-", "Leave out --offline"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for name in ["nobody-at-all/zzyzx-flim-flam", "zzyzx-flim-flam"] {
        let text = open(name, offline(home.path())).map(|m| m.id).unwrap_err().to_string();
        assert!(text.contains("no model is called"), "{text}");
    }
}

#[test]
fn what_is_on_the_machine_comes_first_by_the_name_the_user_has() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join(".lmstudio/models/nobody-at-all/zzyzx-flim-flam");
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join("config.json"), CONFIG).expect("written");
    let model = open("nobody-at-all/zzyzx-flim-flam", offline(home.path()));
    let model = model.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(model.graph.layers(), 2);
    // A configuration alone does not stand in for a model that is known.
    let known = home.path().join(".lmstudio/models/mlx-community/Qwen3-8B-4bit");
    fs::create_dir_all(&known).expect("made");
    fs::write(known.join("config.json"), CONFIG).expect("written");
    let model = open("mlx-community/Qwen3-8B-4bit", offline(home.path()));
    assert_eq!(model.unwrap_or_else(|e| panic!("{e}")).graph.layers(), 36);
}
