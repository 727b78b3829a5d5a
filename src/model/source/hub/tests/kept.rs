//! What was read is kept: it serves offline and when the hub is away.

use super::*;

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

#[test]
fn what_is_kept_is_not_written_again() {
    let server = hub("none", |_| TestReply::status(500));
    let store = tempfile::tempdir().unwrap();
    let repo = RepoRef::parse("org/name").unwrap();
    open(&repo, &keeping(&server, store.path()), &|_| {}).unwrap();
    let header = store.path().join("org--name").join(COMMIT).join("model.safetensors.gz");
    let then = std::time::SystemTime::now() - Duration::from_secs(7200);
    std::fs::File::open(&header).unwrap().set_modified(then).unwrap();
    open(&repo, &keeping(&server, store.path()), &|_| {}).unwrap();
    assert_eq!(header.metadata().unwrap().modified().unwrap(), then);
}
