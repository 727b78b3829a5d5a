//! Hubs that refuse, are slow, break off or lie.

use super::*;

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
        (TestReply::error(401, "GatedRepo"), "org/name is gated: accept its license"),
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
