//! Programs that can be interrupted, whoever started the tests.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Gives signals their usual effect: who started the tests may ignore them (`nohup`, a job in the background), which
/// programs inherit and mlxplan respects.
pub fn with_default_signals(command: &mut Command) -> &mut Command {
    // SAFETY: `signal` may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        })
    }
}
