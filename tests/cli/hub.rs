//! Repositories that no name leads to, against a hub on this machine.

#[path = "../../src/model/source/hub/server.rs"]
mod server;

use crate::mlxplan;
use server::{TestReply, TestServer};
use std::path::Path;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// A model that no catalogue has.
const CONFIG: &str = r#"{"model_type":"llama","hidden_size":512,"num_hidden_layers":2,"num_attention_heads":8,
    "num_key_value_heads":2,"intermediate_size":1024,"vocab_size":1000,"rms_norm_eps":1e-5}"#;

/// A hub with the configuration of one repository.
fn hub() -> TestServer {
    TestServer::start(|request| match request.path.as_str() {
        "/nobody/zzyzx-flim/resolve/main/config.json" => {
            TestReply::body(CONFIG).with("X-Repo-Commit", COMMIT)
        }
        _ => TestReply::error(404, "EntryNotFound"),
    })
}

/// Exit code, standard output and standard error of a command that may ask `hub` and keeps what it reads in `cache`.
fn ask(hub: &str, cache: &Path, arguments: &str) -> (i32, String, String) {
    let mut command = mlxplan(arguments);
    command.env("HF_ENDPOINT", hub).env_remove("HF_HUB_OFFLINE").env("XDG_CACHE_HOME", cache);
    if cfg!(target_os = "macos") {
        command.env("HOME", cache);
    }
    let output = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("no signal"), text(output.stdout), text(output.stderr))
}

#[test]
fn an_unknown_repository_is_looked_up_once() {
    let (server, cache) = (hub(), tempfile::tempdir().expect("a folder"));
    let predict = "predict --model nobody/zzyzx-flim --quant 4bit --mac m4max-40/64";
    let (code, out, err) = ask(&server.address, cache.path(), predict);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("nobody/zzyzx-flim"), "{out}");
    let asked = server.paths().len();
    let (code, again, _) = ask(&server.address, cache.path(), predict);
    assert_eq!((code, &again), (0, &out));
    assert_eq!(server.paths().len(), asked, "{:?}", server.paths());
    let (code, kept, _) = ask(&server.address, cache.path(), &format!("{predict} --offline"));
    assert_eq!(code, 0, "{kept}");
    assert!(kept.contains("as the hub had it today"), "{kept}");
}

#[test]
fn offline_the_answer_says_what_is_known_and_how_to_go_on() {
    let (server, cache) = (hub(), tempfile::tempdir().expect("a folder"));
    let inspect = "inspect thinkingmachines/Inkling --offline";
    let (code, _, err) = ask(&server.address, cache.path(), inspect);
    assert_eq!(code, 2);
    for part in ["inkling_mm_model", "952.38 billion parameters", "--offline", "folder"] {
        assert!(err.contains(part), "'{part}' is not in {err}");
    }
    assert!(server.paths().is_empty());
}

#[test]
fn what_the_hub_does_not_have_is_an_error_that_says_so() {
    let (server, cache) = (hub(), tempfile::tempdir().expect("a folder"));
    let (code, _, err) = ask(&server.address, cache.path(), "inspect nobody/zzyzx-flam");
    assert_eq!(code, 2);
    assert!(err.contains("nobody/zzyzx-flam at main has no config.json"), "{err}");
    let busy = TestServer::start(|_| TestReply::status(503));
    let (code, _, err) = ask(&busy.address, cache.path(), "inspect nobody/zzyzx-flam");
    assert_eq!(code, 2);
    assert!(err.contains("503"), "{err}");
    // A name without an organization is none of the hub's.
    let asked = server.paths().len();
    let (code, _, err) = ask(&server.address, cache.path(), "inspect zzyzx-flam");
    assert_eq!((code, server.paths().len()), (2, asked), "{err}");
}
