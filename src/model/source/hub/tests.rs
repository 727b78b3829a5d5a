//! Repositories read from a hub on this machine.

mod gguf;
mod kept;
mod wrong;

use super::server::{TestReply, TestRequest, TestServer};
use super::*;
use crate::model::source::WeightFormat;
use crate::model::source::testing::{ONE_LAYER, TensorEntry, safetensors};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const CONFIG: &str =
    r#"{"model_type":"llama","num_hidden_layers":1,"quantization":{"bits":4,"group_size":64}}"#;

fn options(server: &TestServer) -> HubOptions {
    HubOptions {
        endpoint: server.address.clone(),
        token: Some("hf_secret".to_owned()),
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_millis(400),
        file_timeout: Duration::from_millis(1500),
        backoff: Duration::from_millis(1),
        ..HubOptions::default()
    }
}

fn read(server: &TestServer) -> Result<ModelSource, SourceError> {
    let repo = RepoRef::parse("org/name").expect("a valid name");
    open(&repo, &options(server), &|_| {})
}

fn error(server: &TestServer) -> String {
    let message = read(server).expect_err("an error").to_string();
    message.replace(server.address.trim_start_matches("http://"), "HOST")
}

/// A hub with a model in one file, whose requests for `file` are answered by `special`.
fn hub(
    file: &'static str,
    special: impl Fn(&TestRequest) -> TestReply + Send + Sync + 'static,
) -> TestServer {
    let weights = safetensors(&ONE_LAYER);
    TestServer::start(move |request| {
        let name = request.path.rsplit('/').next().unwrap_or_default();
        match name {
            name if name == file => special(request),
            "config.json" => TestReply::body(CONFIG).with("X-Repo-Commit", COMMIT),
            "model.safetensors" => TestReply::file(request, &weights),
            _ => TestReply::error(404, "EntryNotFound"),
        }
    })
}

/// A hub whose weight file is `bytes`.
fn with_weights(bytes: Vec<u8>) -> TestServer {
    hub("model.safetensors", move |request| TestReply::file(request, &bytes))
}

#[test]
fn a_model_in_one_file_is_read_at_the_pinned_commit() {
    let server = hub("none", |_| TestReply::status(500));
    let last = AtomicU32::new(0);
    let repo = RepoRef::parse("org/name@v1/x").unwrap();
    let progress =
        |p: HubProgress| last.store(p.done as u32 * 10 + p.total as u32, Ordering::Relaxed);
    let source = open(&repo, &options(&server), &progress).unwrap();
    let file = safetensors(&ONE_LAYER);
    let tensors = source.tensors.as_ref().unwrap();
    assert_eq!(tensors.tensors().len(), ONE_LAYER.len());
    assert_eq!(tensors.files()[0].bytes, Some(file.len() as u64));
    assert!(matches!(source.format, WeightFormat::Mlx(_)));
    assert_eq!(source.name, "org/name");
    let expected = format!(
        "config.json and the header of 1 weight file of {}/org/name at {COMMIT}",
        server.address
    );
    assert_eq!(source.origin.to_string(), expected);
    assert_eq!(last.load(Ordering::Relaxed), 11);
    let pinned = |f: &str| format!("/org/name/resolve/{COMMIT}/{f}");
    assert_eq!(
        server.paths(),
        [
            "/org/name/resolve/v1%2Fx/config.json".to_owned(),
            pinned("model.safetensors.index.json"),
            pinned("model.safetensors"),
        ]
    );
    let authorised = |r: &TestRequest| {
        r.headers.get("authorization").map(String::as_str) == Some("Bearer hf_secret")
    };
    assert!(server.all().iter().all(authorised));
}

#[test]
fn a_header_longer_than_the_first_piece_is_read_with_a_second_request() {
    let names: Vec<String> =
        (0..6000).map(|i| format!("model.layers.{i}.a_rather_long_name_for_a_tensor")).collect();
    let entries: Vec<TensorEntry<'_>> =
        names.iter().map(|n| (n.as_str(), "BF16", &[1_u64][..])).collect();
    let file = safetensors(&entries);
    assert!(file.len() > 2 * FIRST_PIECE as usize);
    let server = with_weights(file.clone());
    assert_eq!(read(&server).unwrap().tensors.unwrap().tensors().len(), 6000);
    let ranges: Vec<_> = server.all().iter().filter_map(TestRequest::range).collect();
    let header_end = file.len() - 2 * 6000;
    assert_eq!(ranges, [(0, 262_143), (262_144, header_end - 1)]);
    // The same from a server that ignores ranges at the second request.
    let server = hub("model.safetensors", move |request| match request.range() {
        Some((0, _)) => TestReply::file(request, &file),
        _ => TestReply::body(file.clone()),
    });
    assert_eq!(read(&server).unwrap().tensors.unwrap().tensors().len(), 6000);
}

#[test]
fn a_server_that_ignores_ranges_is_not_downloaded() {
    let entries: Vec<TensorEntry<'_>> = vec![("w", "U8", &[400_000_000_000])];
    let header = {
        let json = r#"{"w":{"dtype":"U8","shape":[400000000000],"data_offsets":[0,400000000000]}}"#;
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes
    };
    let total = header.len() as u64 + 400_000_000_000;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n")
        + std::str::from_utf8(&header).expect("zeros and JSON are UTF-8");
    let server = hub("model.safetensors", move |_| TestReply::Endless(head.clone()));
    let source = read(&server).unwrap();
    assert_eq!(source.stored_bytes(), entries[0].2.first().copied());
    // What the buffers of both sides swallow, and no more.
    assert!(server.sent.load(Ordering::Relaxed) < 64_000_000);
}

#[test]
fn shards_are_read_in_parallel_and_must_all_be_there() {
    let complete = std::sync::Arc::new(AtomicU64::new(1));
    let flag = complete.clone();
    let names: Vec<String> =
        (1..=9).map(|i| format!("model-{i:05}-of-00009.safetensors")).collect();
    let map: Vec<String> =
        names.iter().enumerate().map(|(i, n)| format!("\"t{i}\":\"{n}\"")).collect();
    let index = format!(r#"{{"metadata":{{"total_size":36}},"weight_map":{{{}}}}}"#, map.join(","));
    let server = TestServer::start(move |request| {
        let file = request.path.rsplit('/').next().unwrap_or_default();
        let shard = names.iter().position(|n| n == file);
        match (file, shard) {
            ("config.json", _) => TestReply::body("{}"),
            ("model.safetensors.index.json", _) => TestReply::body(index.clone()),
            (_, Some(6)) if flag.load(Ordering::Relaxed) == 0 => {
                TestReply::error(404, "EntryNotFound")
            }
            (_, Some(i)) => {
                let name = format!("t{i}");
                TestReply::file(request, &safetensors(&[(name.as_str(), "F32", &[1])]))
            }
            _ => TestReply::status(404),
        }
    });
    let source = read(&server).unwrap();
    assert_eq!(source.stored_bytes(), Some(36));
    assert_eq!(source.tensors.unwrap().get("t8").map(|t| t.file), Some(8));
    complete.store(0, Ordering::Relaxed);
    assert_eq!(
        error(&server),
        "hf:org/name: the shard model-00007-of-00009.safetensors is missing, so the model is incomplete; finish the \
         download and try again"
    );
}

#[test]
fn very_many_shards_are_not_read_one_by_one() {
    let map: Vec<String> =
        (0..301).map(|i| format!("\"t{i}\":\"model-{i}.safetensors\"")).collect();
    let index = format!(r#"{{"metadata":{{"total_size":5}},"weight_map":{{{}}}}}"#, map.join(","));
    let server = hub("model.safetensors.index.json", move |_| TestReply::body(index.clone()));
    let source = read(&server).unwrap();
    assert!(source.tensors.is_none());
    assert_eq!(source.notes, [SourceNote::IndexOnly { files: 301, total_bytes: Some(5) }]);
    assert_eq!(server.paths().len(), 2);
}

#[test]
fn a_repository_without_weights_still_has_a_configuration() {
    let server = hub("model.safetensors", |_| TestReply::error(404, "EntryNotFound"));
    let source = read(&server).unwrap();
    assert_eq!(source.notes, [SourceNote::NoWeights]);
}

#[test]
fn redirects_keep_the_range_but_not_the_token() {
    let files = TestServer::start(|request| TestReply::file(request, &safetensors(&ONE_LAYER)));
    let target = format!("{}/cdn/file", files.address);
    let server = hub("model.safetensors", move |_| TestReply::redirect(&target));
    assert!(read(&server).unwrap().tensors.is_some());
    let seen = &files.all()[0];
    assert_eq!(seen.range(), Some((0, 262_143)));
    assert!(!seen.headers.contains_key("authorization"));
    // A redirect on the same host, as for a renamed repository, keeps the token.
    let server = TestServer::start(|request| match request.path.strip_prefix("/org/name/") {
        Some(rest) => TestReply::redirect(&format!("/new/home/{rest}")),
        None if request.path.ends_with("config.json") => TestReply::body("{}"),
        None => TestReply::error(404, "EntryNotFound"),
    });
    read(&server).unwrap();
    assert!(server.all().iter().all(|r| r.headers.contains_key("authorization")));
}

#[test]
fn a_server_that_does_not_tell_the_length_is_accepted() {
    let bytes = safetensors(&ONE_LAYER);
    let server = hub("model.safetensors", move |_| {
        TestReply::Send(206, Vec::new(), bytes.clone()).with("Content-Range", "bytes 0-262143/*")
    });
    let tensors = read(&server).unwrap().tensors.unwrap();
    assert_eq!(tensors.files()[0].bytes, None);
}

#[test]
fn a_password_in_the_endpoint_is_not_shown() {
    let server = hub("none", |_| TestReply::status(500));
    let endpoint = server.address.replace("http://", "http://user:verysecret@");
    let repo = RepoRef::parse("org/name").expect("a valid name");
    let with = |endpoint: String| HubOptions { endpoint, ..options(&server) };
    let source = open(&repo, &with(endpoint), &|_| {}).unwrap();
    let shown = format!("{:?} {}", source.origin, source.origin);
    assert!(shown.contains("org/name") && !shown.contains("verysecret"), "{shown}");
    let error = open(&repo, &with("ftp://user:verysecret@host".to_owned()), &|_| {}).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("verysecret"), "{error}");
}

/// Options that keep what is read in `store`.
fn keeping(server: &TestServer, store: &std::path::Path) -> HubOptions {
    HubOptions { store: Some(store.to_owned()), ..options(server) }
}
