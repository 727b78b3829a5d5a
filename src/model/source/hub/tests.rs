use super::server::{TestReply, TestRequest, TestServer};
use super::*;
use crate::model::source::WeightFormat;
use crate::model::source::testing::{ONE_LAYER, TensorEntry, safetensors};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SMOLLM2: &[u8] =
    include_bytes!("../../../../tests/fixtures/smollm2-135m-instruct-q4_1.gguf-header");
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
fn redirects_that_lead_nowhere_are_errors() {
    let reply = |reply: fn() -> TestReply| hub("config.json", move |_| reply());
    let lost = reply(|| TestReply::redirect("/org/name/resolve/main/config.json"));
    assert!(error(&lost).contains("redirects hf:org/name config.json wrongly: more than 5 times"));
    assert_eq!(lost.paths().len(), 6);
    let silent = reply(|| TestReply::status(302));
    assert!(error(&silent).contains("the new address is missing or invalid"));
    for target in ["file:///etc/passwd", "ftp://example.com/x"] {
        let server = hub("config.json", move |_| TestReply::redirect(target));
        assert!(error(&server).contains("which is not safe"), "{target}");
    }
}

#[test]
fn refusals_say_what_to_do() {
    for (reply, expected) in [
        (TestReply::error(401, "GatedRepo"), "org/name is gated: accept its licence"),
        (TestReply::error(403, "GatedRepo"), "org/name is gated"),
        (TestReply::status(403), "org/name is gated"),
        (
            TestReply::status(401),
            "org/name does not exist or is private; check the spelling, or whether the access token",
        ),
        (TestReply::error(404, "RepoNotFound"), "org/name does not exist or is private"),
        (TestReply::error(404, "RevisionNotFound"), "org/name has no revision 'main'"),
        (
            TestReply::error(404, "EntryNotFound"),
            "org/name at main has no config.json and no GGUF file; check the spelling",
        ),
        (TestReply::status(418), "answers 418"),
    ] {
        let shown = format!("{reply:?}");
        let server = hub("config.json", move |_| reply.clone());
        let text = error(&server);
        assert!(text.contains(expected), "{shown}: {text}");
        let asked = server.paths().iter().filter(|p| p.ends_with("config.json")).count();
        assert_eq!(asked, 1, "{shown}: no repetition");
    }
    let server = hub("config.json", |_| TestReply::status(401));
    let repo = RepoRef::parse("org/name").unwrap();
    let without = HubOptions { token: None, ..options(&server) };
    let text = open(&repo, &without, &|_| {}).unwrap_err().to_string();
    assert!(text.ends_with("or put an access token into HF_TOKEN"), "{text}");
}

#[test]
fn busy_servers_are_asked_three_times() {
    let busy = hub("config.json", |_| TestReply::status(429));
    assert!(error(&busy).contains("limits the number of requests"));
    assert_eq!(busy.paths().len(), 3);
    let down = hub("config.json", |_| TestReply::status(503));
    assert!(error(&down).contains("answers 503 to hf:org/name config.json; try again later"));
    assert_eq!(down.paths().len(), 3);
    let count = AtomicU32::new(0);
    let recovering = hub("config.json", move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => TestReply::status(502),
        1 => TestReply::status(429).with("Retry-After", "0"),
        _ => TestReply::body(CONFIG),
    });
    assert!(read(&recovering).is_ok());
    let patient = hub("config.json", |_| TestReply::status(429).with("Retry-After", "3600"));
    assert!(error(&patient).contains("wait a few minutes"));
    assert_eq!(patient.paths().len(), 1);
}

#[test]
fn slow_servers_are_given_up() {
    let start = Instant::now();
    let silent = hub("config.json", |_| TestReply::Hang(Duration::from_secs(60)));
    assert!(
        error(&silent).contains("did not answer in time while hf:org/name config.json was read")
    );
    // Each byte comes in time, but the file as a whole does not.
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec();
    let dripping = hub("config.json", move |_| {
        let body = [head.clone(), vec![b' '; 1000]].concat();
        TestReply::Drip(body, Duration::from_millis(20))
    });
    assert!(error(&dripping).contains("did not answer in time"));
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn broken_transfers_are_errors() {
    let raw = |text: &'static str| hub("config.json", move |_| TestReply::Raw(text.into()));
    let short = raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"model");
    assert!(error(&short).contains("it broke while hf:org/name config.json was read"));
    let nothing = raw("");
    assert!(error(&nothing).starts_with("no connection to 127.0.0.1"));
    let nonsense = raw("220 ftp ready\r\n");
    assert!(error(&nonsense).starts_with("no connection to 127.0.0.1"));
    let page = hub("config.json", |_| TestReply::body("<html>login</html>"));
    assert!(error(&page).contains("hf:org/name config.json: not a model configuration"));
    let binary = hub("config.json", |_| TestReply::body(vec![0xff, 0xfe]));
    assert!(error(&binary).contains("it is no text"));
    let endless = hub("config.json", |_| {
        TestReply::Endless("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned())
    });
    let text = error(&endless);
    assert!(text.contains("is longer than 32000000 bytes") || text.contains("in time"), "{text}");
    let index = hub("model.safetensors.index.json", |_| {
        TestReply::body(r#"{"weight_map":{"a":"../../x.safetensors"}}"#)
    });
    assert!(error(&index).contains("is no plain name"));
}

#[test]
fn lies_about_lengths_are_found() {
    let file = safetensors(&ONE_LAYER);
    let with_length = |length: u64| {
        let mut bytes = file.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    assert!(error(&with_weights(with_length(u64::MAX))).contains("claims a header of"));
    assert!(error(&with_weights(with_length(50_000_000))).contains("is cut off"));
    assert!(error(&with_weights(b"1234".to_vec())).contains("is cut off"));
    assert!(error(&with_weights(file[..file.len() - 1].to_vec())).contains("it is cut off"));
    // A header of 50 MB in a file that claims to be large enough.
    let huge = with_length(50_000_000);
    let server = hub("model.safetensors", move |_| {
        TestReply::Send(206, Vec::new(), huge.clone())
            .with("Content-Range", "bytes 0-262143/99999999999")
    });
    assert!(
        error(&server)
            .contains("the header of hf:org/name model.safetensors is longer than 25000000")
    );
    assert!(server.paths().len() == 3, "no second piece is asked for");
    // Another part than the one that was asked for, or none at all.
    for range in ["bytes 8-262143/999", "bytes */999", "x"] {
        let bytes = file.clone();
        let server = hub("model.safetensors", move |_| {
            TestReply::Send(206, Vec::new(), bytes.clone()).with("Content-Range", range)
        });
        assert!(error(&server).contains("is not the one that was asked for"), "{range}");
    }
    // A file that changes between two requests.
    let long = (FIRST_PIECE + 1000).to_le_bytes();
    let server = hub("model.safetensors", move |request| {
        let total = if request.range().is_some_and(|r| r.0 == 0) { "9999999" } else { "8888888" };
        let (first, last) = request.range().unwrap_or_default();
        let mut bytes = vec![b' '; last - first + 1];
        if first == 0 {
            bytes[..8].copy_from_slice(&long);
        }
        TestReply::Send(206, Vec::new(), bytes)
            .with("Content-Range", &format!("bytes {first}-{last}/{total}"))
    });
    assert!(error(&server).contains("the file's length changed between two requests"));
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
fn an_offline_run_asks_nobody() {
    let server = hub("none", |_| TestReply::status(500));
    let repo = RepoRef::parse("org/name").unwrap();
    let offline = HubOptions { offline: true, ..options(&server) };
    let text = open(&repo, &offline, &|_| {}).unwrap_err().to_string();
    assert!(
        text.starts_with("hf:org/name needs the network, but this is an offline run"),
        "{text}"
    );
    assert!(server.paths().is_empty());
}

#[test]
fn endpoints_must_be_addresses() {
    let repo = RepoRef::parse("org/name").unwrap();
    for endpoint in ["", "huggingface.co", "file:///tmp", "ftp://host", "https://"] {
        let options = HubOptions { endpoint: endpoint.to_owned(), ..HubOptions::default() };
        let text = open(&repo, &options, &|_| {}).unwrap_err().to_string();
        assert!(text.starts_with("HF_ENDPOINT is "), "{endpoint}: {text}");
    }
    // Nobody listens on the discard port of this machine.
    let options = HubOptions { endpoint: "http://127.0.0.1:9".to_owned(), ..HubOptions::default() };
    let text = open(&repo, &options, &|_| {}).unwrap_err().to_string();
    assert!(text.starts_with("no connection to 127.0.0.1"), "{text}");
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

#[test]
fn a_chain_of_redirects_has_one_deadline() {
    let server = TestServer::start(|request| {
        std::thread::sleep(Duration::from_millis(250));
        TestReply::redirect(&format!("{}x", request.path))
    });
    let repo = RepoRef::parse("org/name").expect("a valid name");
    let limited = HubOptions { file_timeout: Duration::from_millis(400), ..options(&server) };
    let begin = Instant::now();
    let error = open(&repo, &limited, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("did not answer in time"), "{error}");
    assert!(begin.elapsed() < Duration::from_millis(1200), "{:?}", begin.elapsed());
}

/// Options that keep what is read in `store`.
fn keeping(server: &TestServer, store: &std::path::Path) -> HubOptions {
    HubOptions { store: Some(store.to_owned()), ..options(server) }
}

#[test]
fn what_was_read_is_not_asked_for_again_and_serves_offline() {
    let server = hub("none", |_| TestReply::status(500));
    let store = tempfile::tempdir().unwrap();
    let repo = RepoRef::parse("org/name").unwrap();
    let read = |options: HubOptions| open(&repo, &options, &|_| {});
    let first = read(keeping(&server, store.path())).unwrap();
    let asked = server.paths().len();
    let again = read(keeping(&server, store.path())).unwrap();
    assert_eq!(server.paths().len(), asked);
    assert_eq!(again.tensors, first.tensors);
    assert_eq!(again.origin, first.origin);
    assert_eq!(again.notes, first.notes);
    let offline = HubOptions { offline: true, ..keeping(&server, store.path()) };
    let kept = read(offline).unwrap();
    assert_eq!(kept.tensors, first.tensors);
    assert!(matches!(kept.notes.last(), Some(SourceNote::KeptCopy { days: 0, .. })));
    assert_eq!(server.paths().len(), asked);
    // What was not read before is not there offline.
    let other = RepoRef::parse("org/other").unwrap();
    let offline = HubOptions { offline: true, ..keeping(&server, store.path()) };
    assert!(open(&other, &offline, &|_| {}).unwrap_err().is_offline());
}

#[test]
fn a_hub_that_is_away_is_answered_for_by_what_was_kept() {
    let server = hub("none", |_| TestReply::status(500));
    let store = tempfile::tempdir().unwrap();
    let repo = RepoRef::parse("org/name").unwrap();
    let first = open(&repo, &keeping(&server, store.path()), &|_| {}).unwrap();
    // Two hours later.
    let reference = store.path().join("org--name/refs/main");
    let then = std::time::SystemTime::now() - Duration::from_secs(7200);
    std::fs::File::open(&reference).unwrap().set_modified(then).unwrap();
    let away = TestServer::start(|_| TestReply::status(503));
    let kept = open(&repo, &keeping(&away, store.path()), &|_| {}).unwrap();
    assert_eq!(kept.tensors, first.tensors);
    assert!(matches!(kept.notes.last(), Some(SourceNote::KeptCopy { .. })), "{:?}", kept.notes);
    // A refusal is no absence.
    let gated = TestServer::start(|_| TestReply::error(403, "GatedRepo"));
    assert!(open(&repo, &keeping(&gated, store.path()), &|_| {}).is_err());
}

/// A hub with one GGUF repository of these files.
fn gguf_hub(files: Vec<(&'static str, Vec<u8>)>) -> TestServer {
    TestServer::start(move |request| {
        if request.path.starts_with("/api/models/org/M-GGUF/revision/") {
            let names: Vec<String> =
                files.iter().map(|(n, _)| format!(r#"{{"rfilename":"{n}"}}"#)).collect();
            let body = format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, names.join(","));
            return TestReply::body(body);
        }
        match files.iter().find(|(n, _)| request.path.ends_with(&format!("/{n}"))) {
            // The data behind a header is not there, but the server says that it is.
            Some((_, bytes)) => TestReply::Send(206, Vec::new(), bytes.clone())
                .with("Content-Range", &format!("bytes 0-{}/98000000", bytes.len() - 1)),
            None => TestReply::error(404, "EntryNotFound"),
        }
    })
}

#[test]
fn a_gguf_repository_is_read_by_the_header_of_one_file() {
    let server = gguf_hub(vec![
        ("M-Q4_K_M.gguf", SMOLLM2.to_vec()),
        ("M-Q8_0.gguf", b"GGUF".to_vec()),
        ("mmproj-F16.gguf", b"GGUF".to_vec()),
    ]);
    let store = tempfile::tempdir().unwrap();
    let repo = RepoRef::parse("org/M-GGUF").unwrap();
    let source = open(&repo, &keeping(&server, store.path()), &|_| {}).unwrap();
    assert!(source.gguf.is_some() && source.config.is_some());
    assert!(source.origin.to_string().contains("M-Q4_K_M.gguf"), "{}", source.origin);
    let offline = HubOptions { offline: true, ..keeping(&server, store.path()) };
    assert_eq!(open(&repo, &offline, &|_| {}).unwrap().gguf, source.gguf);
    let broken = open_file(&repo, Some("Q8_0"), &options(&server), &|_| {}).unwrap_err();
    assert!(broken.to_string().contains("wrong answer"), "{broken}");
    let none = open_file(&repo, Some("Q2_K"), &options(&server), &|_| {}).unwrap_err();
    assert!(none.to_string().contains("none of Q2_K"), "{none}");
    assert!(none.to_string().contains("M-Q8_0.gguf"), "{none}");
}

#[test]
fn a_gguf_header_without_end_is_given_up() {
    let mut head = b"GGUF".to_vec();
    head.extend(3_u32.to_le_bytes());
    head.extend(1_u64.to_le_bytes());
    head.extend(u64::from(u16::MAX).to_le_bytes());
    let server = gguf_hub(vec![("M-Q4_K_M.gguf", head)]);
    let repo = RepoRef::parse("org/M-GGUF").unwrap();
    assert!(open(&repo, &options(&server), &|_| {}).is_err());
    let endless = TestServer::start(|request| match request.path.contains("/api/") {
        true => TestReply::body(format!(
            r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"a.gguf"}}]}}"#
        )),
        false => TestReply::Endless("HTTP/1.1 200 OK\r\n\r\nGGUF".to_owned()),
    });
    assert!(open(&repo, &options(&endless), &|_| {}).is_err());
    let lies = TestServer::start(|_| TestReply::body("[1, 2"));
    let text = open(&repo, &options(&lies), &|_| {}).unwrap_err().to_string();
    assert!(text.contains("list of its files"), "{text}");
}
