//! Repositories that no name leads to, against a hub on this machine.

#[expect(dead_code, reason = "the library's tests use the rest")]
#[path = "../../src/model/source/hub/server.rs"]
mod server;

use crate::mlxplan;
use server::{TestReply, TestServer};
use std::path::Path;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// A model that no catalog has.
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

/// A hub with four popular repositories, of which the last is away as long as `away` says.
fn popular(away: std::sync::Arc<std::sync::atomic::AtomicBool>) -> TestServer {
    TestServer::start(move |request| {
        let path = request.path.split('?').next().unwrap_or_default();
        let name = path.trim_start_matches('/').split("/resolve/").next().unwrap_or_default();
        match name {
            "api/models" => TestReply::body(
                r#"[{"id":"nobody/zzyzx-flim","downloads":9,"createdAt":"2026-11-01T00:00:00.000Z"},
                {"id":"Qwen/Qwen3-8B","downloads":8},{"id":"nobody/packed-4bit"},
                {"id":"nobody/zzyzx-flam","downloads":7,"safetensors":{"total":3000000}}]"#,
            ),
            "nobody/packed-4bit" => TestReply::body(
                r#"{"model_type":"llama","quantization":{"bits":4,"group_size":64}}"#,
            ),
            "nobody/zzyzx-flam" if away.load(std::sync::atomic::Ordering::Relaxed) => {
                TestReply::status(503)
            }
            _ => TestReply::body(CONFIG).with("X-Repo-Commit", COMMIT),
        }
    })
}

#[test]
fn an_update_goes_on_where_it_was_interrupted_and_is_written_whole() {
    let away = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let server = popular(away.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().display();
    let update = format!("update --limit 50 --data-dir {data} --json");
    let (code, _, err) = ask(&server.address, folder.path(), &update);
    assert_eq!(code, 2);
    assert!(err.contains("503") && err.contains("3 repositories were read"), "{err}");
    let file = folder.path().join("hub_models.json");
    assert!(!file.exists());
    away.store(false, std::sync::atomic::Ordering::Relaxed);
    let (code, out, err) = ask(&server.address, folder.path(), &update);
    assert_eq!(code, 0, "{err}");
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let problems = crate::schema::problems(&answer);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let figures = ["considered", "added", "known", "resumed"].map(|k| answer[k].to_string());
    assert_eq!(figures, ["4", "2", "1", "true"], "{out}");
    assert_eq!(answer["passed_over"][0]["id"], "nobody/packed-4bit");
    assert!(file.exists());
    let predict = format!(
        "predict --model nobody/zzyzx-flam --quant 4bit --mac m4max-40/64 --offline --data-dir {data}"
    );
    let (code, out, err) = ask(&server.address, folder.path(), &predict);
    assert_eq!(code, 0, "{out}{err}");
    // Offline nothing is read and nothing is lost.
    let (code, _, err) = ask(&server.address, folder.path(), &format!("{update} --offline"));
    assert_eq!(code, 2, "{err}");
    assert!(file.exists());
}

/// A hub with these repositories, most downloaded first; those called `legal` it may not hand out.
fn listing(names: &'static [&'static str]) -> TestServer {
    TestServer::start(move |request| {
        if request.path.starts_with("/api/models") {
            let repos: Vec<String> = names.iter().map(|n| format!(r#"{{"id":"{n}"}}"#)).collect();
            return TestReply::body(format!("[{}]", repos.join(",")));
        }
        match request.path.contains("legal") {
            true => TestReply::status(451),
            false => TestReply::body(CONFIG).with("X-Repo-Commit", COMMIT),
        }
    })
}

#[test]
fn an_update_leaves_every_name_as_it_was() {
    let server = listing(&["nobody/Qwen3-8B", "nobody/Qwen3-8B-Base", "nobody/zz-flim"]);
    let folder = tempfile::tempdir().expect("a folder");
    let data = format!("--data-dir {}", folder.path().display());
    let predict = |name: &str| {
        let arguments = format!("predict --model {name} --mac m4max-40/64 --offline {data}");
        ask(&server.address, folder.path(), &arguments)
    };
    let names = ["qwen3-8b", "qwen3-8b-chat", "Qwen/Qwen3-8B"];
    let before = names.map(predict);
    let (code, _, err) = ask(&server.address, folder.path(), &format!("update {data}"));
    assert_eq!(code, 0, "{err}");
    assert_eq!(names.map(predict), before);
    let (code, out, err) = predict("nobody/Qwen3-8B");
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("nobody/Qwen3-8B"), "{out}");
}

#[test]
fn what_an_update_writes_can_be_read() {
    // Two spellings of one name, and one that the hub refuses for good.
    let server = listing(&["nobody/legal", "nobody/zz-flim", "nobody/zz_flim"]);
    let folder = tempfile::tempdir().expect("a folder");
    let data = format!("--data-dir {}", folder.path().display());
    let (code, out, err) = ask(&server.address, folder.path(), &format!("update {data} --json"));
    assert_eq!(code, 0, "{err}");
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&answer["considered"], &answer["added"]), (&3.into(), &1.into()), "{out}");
    let reasons = [0, 1].map(|i| answer["passed_over"][i]["reason"].to_string());
    assert!(reasons[0].contains("451") && reasons[1].contains("spelling"), "{out}");
    let arguments = format!("inspect nobody/zz_flim --quant 4bit --offline {data}");
    let (code, _, err) = ask(&server.address, folder.path(), &arguments);
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn a_list_without_repositories_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let update = format!("update --data-dir {}", folder.path().display());
    let file = folder.path().join("hub_models.json");
    std::fs::write(&file, r#"{"models":[]}"#).expect("written");
    let next = "</x>; rel=\"next\"";
    let nothing = TestServer::start(move |_| TestReply::body("[]").with("Link", next));
    let (code, _, err) = ask(&nothing.address, folder.path(), &update);
    assert_eq!((code, nothing.paths().len()), (2, 1), "{err}");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), r#"{"models":[]}"#);
    // One that goes on for ever behind its only repository ends there.
    let endless = TestServer::start(move |request| match request.path.as_str() {
        "/x" => TestReply::body("[]").with("Link", next),
        path if path.starts_with("/api/models") => {
            TestReply::body(r#"[{"id":"nobody/zz-flim"}]"#).with("Link", next)
        }
        _ => TestReply::body(CONFIG).with("X-Repo-Commit", COMMIT),
    });
    let (code, _, err) = ask(&endless.address, folder.path(), &update);
    assert_eq!((code, endless.paths().len()), (0, 3), "{err}");
}

#[test]
fn lists_say_what_a_mac_makes_of_each_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("models/nobody/zzyzx-flim");
    std::fs::create_dir_all(&model).expect("made");
    std::fs::write(model.join("config.json"), CONFIG).expect("written");
    let hub = folder.path().join("hf/models--nobody--zzyzx-flim/snapshots/1");
    std::fs::create_dir_all(&hub).expect("made");
    std::fs::write(hub.join("config.json"), CONFIG).expect("written");
    let mut command = mlxplan("models --local --mac m4max-40/64 --json");
    command.env("HF_HUB_CACHE", folder.path().join("hf"));
    let output = command.output().expect("it runs");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["models"][0]["on_mac"]["fits"], "yes", "{answer}");
    let context = answer["models"][0]["on_mac"]["max_context_tokens"].as_u64();
    assert!(context.is_some_and(|n| n > 0), "{answer}");
    let (code, list) = crate::json("models qwen3-32b --mac m4max-40/64");
    assert_eq!(code, 0);
    let first = &list["models"][0]["on_mac"];
    assert_eq!(
        (&first["fits"], &first["quant"]),
        (&"yes".into(), &"affine-4-g64".into()),
        "{list}"
    );
}
