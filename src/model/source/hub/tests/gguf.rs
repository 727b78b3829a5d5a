//! Repositories of GGUF files.

use super::*;

const SMOLLM2: &[u8] =
    include_bytes!("../../../../../tests/fixtures/smollm2-135m-instruct-q4_1.gguf-header");

/// A hub whose repositories have these files.
fn gguf_hub(files: Vec<(&'static str, Vec<u8>)>) -> TestServer {
    TestServer::start(move |request| {
        if request.path.starts_with("/api/models/org/") {
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

#[test]
fn a_gguf_repository_whose_name_does_not_say_so_is_kept_too() {
    let server = gguf_hub(vec![("M-Q4_K_M.gguf", SMOLLM2.to_vec())]);
    let store = tempfile::tempdir().unwrap();
    let repo = RepoRef::parse("org/M").unwrap();
    let source = open(&repo, &keeping(&server, store.path()), &|_| {}).unwrap();
    let asked = server.paths().len();
    open(&repo, &keeping(&server, store.path()), &|_| {}).unwrap();
    let offline = HubOptions { offline: true, ..keeping(&server, store.path()) };
    assert_eq!(open(&repo, &offline, &|_| {}).unwrap().gguf, source.gguf);
    assert_eq!(server.paths().len(), asked, "{:?}", server.paths());
}
