//! mlx-lm in a subprocess.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that `cargo xtask setup` puts under `target/mlx`.
pub fn installed(path: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mlx").join(path);
    assert!(file.exists(), "{} is missing: run `cargo xtask setup`", file.display());
    file
}

/// Runs a script of this folder with the Python that has mlx-lm; returns what it prints.
pub fn python(script: &str, arguments: &[&Path]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mlx").join(script);
    let output = Command::new(installed("venv/bin/python"))
        .arg(script)
        .args(arguments)
        .output()
        .expect("Python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
