//! What the real mlx-lm does with rejected drafts, which is why mlxplan refuses them on sliding windows.

use crate::real::brought;
use serde_json::Value;
use std::process::Command;

/// Without an error the output is another than that of plain decoding, soon after the first round whose drafts fill the
/// window; without windows it is the same.
#[test]
fn drafts_go_wrong_where_they_fill_the_window_and_not_without_one() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/windows.py");
    let output = Command::new(brought("venv/bin/python")).arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |key: &str| found[key].as_u64().unwrap();
    let (window, drafts) = (number("window"), number("drafts"));
    // A round reads one token and its drafts; its own token is still right, the next one need not be.
    let first_wrong = window - drafts + 1;
    assert!((first_wrong..window).contains(&number("with_windows")), "{found}");
    assert_eq!(found["without"], Value::Null, "{found}");
}
