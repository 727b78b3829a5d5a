//! The first answer after a start, with the time to load apart.

use crate::bench::memory::end_family;
use crate::bench::run::BenchRun;
use crate::bench::trial::Trial;
use crate::stats::TrialSummary;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Cases of the two requests after a start.
const FIRST: &str = "first request";
const SECOND: &str = "second request";
/// Time between two attempts to reach a server that starts.
const KNOCK: Duration = Duration::from_millis(50);

/// Why a cold start cannot be measured.
#[derive(Debug, Error)]
pub enum ColdError {
    /// The command does not start.
    #[error("cannot start '{command}': {source}")]
    Start {
        /// The command.
        command: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is neither a command nor a call that unloads the model.
    #[error(
        "this server has no call that unloads its model; give the command that starts it with --launch"
    )]
    NoUnload,
    /// The server did not come up.
    #[error("'{command}' did not answer within {} s{}", waited.as_secs(), if *ended { "; it ended" } else { "" })]
    NotReady {
        /// The command.
        command: String,
        /// How long was waited.
        waited: Duration,
        /// Whether the process had ended.
        ended: bool,
    },
}

/// A command that starts a server, and a test whether it answers.
pub struct Launcher<'l> {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whether the server answers.
    pub ready: &'l dyn Fn() -> bool,
    /// How long to wait for that.
    pub patience: Duration,
}

/// Starts of one engine. File caches of the system may be warm.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Cold {
    /// Label of the engine.
    pub engine: String,
    /// From the start of the process until it answers, seconds; absent for a server that was only told to unload.
    pub ready_s: Option<TrialSummary>,
    /// Time to first token of the first request, seconds.
    pub first_ttft_s: Option<TrialSummary>,
    /// Time to first token of the second request, of equal length, seconds.
    pub second_ttft_s: Option<TrialSummary>,
    /// Load time: until the server answers, plus what the first request took longer than the second; seconds.
    pub load_s: Option<TrialSummary>,
    /// Load time in the engine's own words, seconds.
    pub own_load_s: Option<TrialSummary>,
}

/// A process that ends with its children when it is dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        end_family(self.0.id());
        let _ = self.0.wait();
    }
}

/// Starts the engine, sends two requests, and ends it again, as often as the protocol says. Without a launcher the
/// engine is told to unload its model instead.
///
/// # Errors
/// When the engine does not start, or cannot be told to unload.
pub fn cold(run: &mut BenchRun<'_>, launcher: Option<&Launcher<'_>>) -> Result<Cold, ColdError> {
    let mut ready = Vec::new();
    for round in 0..run.protocol.trials {
        if run.stop.requested() {
            break;
        }
        let started = match launcher {
            Some(launcher) => {
                match start(launcher) {
                    Ok((process, seconds)) => {
                        ready.push(seconds);
                        Some(process)
                    }
                    // The signal that ends the run reaches the server that was being started, too.
                    Err(_) if run.stop.requested() => break,
                    Err(e) => return Err(e),
                }
            }
            None => {
                let unloaded = run.contenders.first().map(|c| c.generator.unload());
                if !matches!(unloaded, Some(Ok(true))) {
                    return Err(ColdError::NoUnload);
                }
                None
            }
        };
        for case in [FIRST, SECOND] {
            let prompt = run.unique_prompt();
            run.measure(0, case, Some(round), &prompt);
        }
        drop(started);
    }
    let label = run.contenders.first().map(|c| c.label.clone()).unwrap_or_default();
    Ok(summarize(label, &run.trials, &ready))
}

fn start(launcher: &Launcher<'_>) -> Result<(Started, f64), ColdError> {
    let command = launcher.command.join(" ");
    if (launcher.ready)() {
        let source = std::io::Error::other(
            "something answers at the server's address already; stop it, so that the start can be measured",
        );
        return Err(ColdError::Start { command, source });
    }
    let (program, arguments) = launcher.command.split_first().ok_or_else(|| ColdError::Start {
        command: String::new(),
        source: std::io::Error::other("the command is empty"),
    })?;
    let begin = Instant::now();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| ColdError::Start { command: command.clone(), source })?;
    let mut started = Started(child);
    loop {
        if (launcher.ready)() {
            return Ok((started, begin.elapsed().as_secs_f64()));
        }
        let ended = matches!(started.0.try_wait(), Ok(Some(_)));
        if ended || begin.elapsed() > launcher.patience {
            return Err(ColdError::NotReady { command, waited: begin.elapsed(), ended });
        }
        std::thread::sleep(KNOCK);
    }
}

fn summarize(engine: String, trials: &[Trial], ready: &[f64]) -> Cold {
    let find = |case: &str, round: u32| {
        trials.iter().find(|t| t.counts() && t.case == case && t.round == round)
    };
    let all = |case: &str, of: &dyn Fn(&Trial) -> Option<f64>| {
        let mine = trials.iter().filter(|t| t.counts() && t.case == case);
        TrialSummary::of(&mine.filter_map(of).collect::<Vec<_>>())
    };
    let loads: Vec<f64> = ready
        .iter()
        .enumerate()
        .filter_map(|(round, ready)| {
            let first = find(FIRST, round as u32)?.ttft_s?;
            let second = find(SECOND, round as u32)?.ttft_s?;
            Some(ready + (first - second).max(0.0))
        })
        .collect();
    Cold {
        engine,
        ready_s: TrialSummary::of(ready),
        first_ttft_s: all(FIRST, &|t| t.ttft_s),
        second_ttft_s: all(SECOND, &|t| t.ttft_s),
        load_s: TrialSummary::of(&loads),
        own_load_s: all(FIRST, &|t| t.own.load_s),
    }
}
