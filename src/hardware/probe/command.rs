//! Running a system tool that might hang.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Largest output that is read.
const MAX_OUTPUT: u64 = 4 << 20;

/// Standard output of a program, which is killed when it takes longer than `timeout`.
pub(super) fn output(program: &str, args: &[&str], timeout: Duration) -> Result<Vec<u8>, String> {
    let fail = |what: String| format!("{program}: {what}");
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| fail(e.to_string()))?;
    let Some(stdout) = child.stdout.take() else {
        return Err(fail("no output".to_owned()));
    };
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let result = stdout.take(MAX_OUTPUT).read_to_end(&mut bytes).map(|_| bytes);
        // The receiver is gone when the time is up.
        let _ = sender.send(result);
    });
    let result = receiver.recv_timeout(timeout);
    if result.is_err() {
        // It may have ended by itself in the meantime.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| fail(e.to_string()))?;
    match result {
        Ok(Ok(bytes)) if status.success() => Ok(bytes),
        Ok(Ok(_)) => Err(fail(status.to_string())),
        Ok(Err(e)) => Err(fail(e.to_string())),
        Err(_) => Err(fail(format!("no answer within {} s", timeout.as_secs_f64()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn output_is_returned() {
        assert_eq!(output("echo", &["hello"], Duration::from_secs(10)).unwrap(), b"hello\n");
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let start = Instant::now();
        let error = output("sleep", &["30"], Duration::from_millis(50)).unwrap_err();
        assert!(error.contains("no answer"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn failures_are_told() {
        assert!(output("false", &[], Duration::from_secs(10)).is_err());
        assert!(output("/no/such/program", &[], Duration::from_secs(10)).is_err());
    }
}
