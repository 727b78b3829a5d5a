//! A run to share: its figures and what they depend on, without what tells whose machine it is.
//!
//! What is left is a result like any other (`mlxplan.bench/1`): `predict --evidence`, `audit` and `why --bench` read it.

use super::http::Address;
use super::record::{EngineRecord, Record, RecordError, SCHEMA, StoredRecord};
use crate::files;
use serde_json::{Map, Value};
use std::path::Path;

/// What of the machine speeds depend on, by the keys of `mlxplan.probe/1`. No names, no serial numbers, no paths.
const MACHINE: [&str; 19] = [
    "apple_silicon",
    "virtual_machine",
    "brand",
    "generation",
    "tier",
    "chip",
    "model_identifier",
    "fanless",
    "memory_bytes",
    "gpu_cores",
    "bandwidth_gbs",
    "metal_arch",
    "matrix_units",
    "matrix_units_usable",
    "gpu_limit",
    "macos",
    "power_mode",
    "power_source",
    "thermal_state",
];
/// Said in the place of what is left out.
const REDACTED: &str = "left out";
const NOTE: &str = "exported: addresses, paths, messages and remarks are left out";

/// The run without addresses, paths, messages and remarks.
#[must_use]
pub fn redacted(record: &Record) -> Record {
    let mut shared = record.clone();
    let kept =
        MACHINE.iter().filter_map(|&key| Some((key.to_owned(), record.machine.get(key)?.clone())));
    shared.machine = Value::Object(kept.collect::<Map<_, _>>());
    shared.engines = record.engines.iter().map(engine).collect();
    for failure in shared.trials.iter_mut().filter_map(|t| t.failure.as_mut()) {
        REDACTED.clone_into(&mut failure.message);
    }
    shared.notes = vec![NOTE.to_owned()];
    shared
}

/// An engine: whether a server ran on this machine is kept, its address is not.
fn engine(e: &EngineRecord) -> EngineRecord {
    let here = e.via != "http" || Address::parse(&e.at, true).is_ok_and(|a| a.is_loopback());
    let at = if here && e.via == "http" { "http://localhost" } else { REDACTED };
    let mut shared = EngineRecord { at: at.to_owned(), tokenizer: None, ..e.clone() };
    shared.model = shared.model.map(|m| without_folders(&m));
    if let Some(server) = &mut shared.server {
        server.model.id = without_folders(&server.model.id);
        server.model.request_name = server.model.request_name.as_deref().map(without_folders);
    }
    shared
}

/// A model's name; of a path the last part, since folders have people's names.
fn without_folders(name: &str) -> String {
    let path =
        name.starts_with(['/', '~', '.']) || name.contains(['\\', ':']) && name.contains('/');
    match name.rsplit(['/', '\\']).find(|part| !part.is_empty()) {
        Some(last) if path => last.to_owned(),
        _ => name.to_owned(),
    }
}

/// Writes a run to share.
///
/// # Errors
/// When the file cannot be written.
pub fn export(path: &Path, record: &Record) -> Result<(), RecordError> {
    let shared = redacted(record);
    let text = serde_json::to_string_pretty(&StoredRecord { schema: SCHEMA, record: &shared })
        .map_err(|e| RecordError::Content { path: path.to_owned(), problem: e.to_string() })?;
    let io = |source| RecordError::Io { path: path.to_owned(), source };
    files::write(path, text.as_bytes()).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::{self, tests::record};

    fn secret() -> Record {
        let engine = EngineRecord {
            label: "A".to_owned(),
            via: "http".to_owned(),
            at: "http://127.0.0.1:1234/v1".to_owned(),
            server: None,
            model: Some("/Users/jane/models/Qwen3-8B-4bit".to_owned()),
            tokenizer: Some("/Users/jane/models/Qwen3-8B-4bit".to_owned()),
        };
        let machine = serde_json::json!({
            "brand": "Apple M4 Max", "gpu_cores": 40, "memory_bytes": 137_438_953_472_u64,
            "sources": { "brand": "sysctl on janes-mac.local" }, "notes": ["janes-mac"], "serial": "C02",
        });
        let notes = vec!["/Users/jane is full".to_owned()];
        Record { engines: vec![engine], machine, notes, ..record() }
    }

    #[test]
    fn nothing_tells_whose_machine_it_is_and_figures_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shared.json");
        export(&path, &secret()).expect("written");
        let text = std::fs::read_to_string(&path).expect("read");
        for word in ["jane", "127.0.0.1", "C02", "after 3 pieces"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        let shared = record::read(&path).expect("a result like any other");
        assert_eq!(shared.engines[0].model.as_deref(), Some("Qwen3-8B-4bit"));
        assert!(Address::parse(&shared.engines[0].at, true).expect("an address").is_loopback());
        assert_eq!(shared.machine["gpu_cores"], 40);
        assert_eq!(shared.trials.len(), secret().trials.len());
        assert_eq!(shared.trials[1], secret().trials[1]);
    }

    #[test]
    fn names_of_repositories_stay() {
        assert_eq!(without_folders("mlx-community/Qwen3-8B-4bit"), "mlx-community/Qwen3-8B-4bit");
        assert_eq!(without_folders("~/m/Qwen3-8B"), "Qwen3-8B");
        assert_eq!(without_folders("qwen3:8b"), "qwen3:8b");
    }
}
