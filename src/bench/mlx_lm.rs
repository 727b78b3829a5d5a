//! `mlx_lm.benchmark` as a subprocess.
//!
//! It generates from random tokens with the end-of-sequence token switched off, so every trial has exactly the tokens
//! that were asked for. Its generation rate counts `n` tokens over `n − 1` intervals (`mlx_lm/generate.py`,
//! `stream_generate`: the clock starts when the first token is there); trials carry the corrected rate, and the printed
//! one as the engine's own.

use super::generation::{CountSource, OwnTimings};
use super::memory::{MemoryReading, end_family};
use super::trial::Trial;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Bytes of output that are read of each stream.
const MAX_OUTPUT: u64 = 4 << 20;
/// Characters of an error output that are shown.
const SHOWN: usize = 400;

/// Why there are no figures.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MlxLmError {
    /// The program does not start.
    #[error(
        "cannot start '{command}': {problem}; install mlx-lm (pip install mlx-lm), or name the program with --mlx-lm"
    )]
    Start {
        /// The program.
        command: String,
        /// What the system says.
        problem: String,
    },
    /// The program failed.
    #[error("'{command}' failed ({status}): {output}")]
    Failed {
        /// The program.
        command: String,
        /// Its exit status.
        status: String,
        /// The end of what it wrote.
        output: String,
    },
    /// It took too long.
    #[error("'{command}' was not done after {} s (--timeout)", .limit.as_secs())]
    Timeout {
        /// The program.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// Its output has no trials.
    #[error("the output of '{command}' is not that of mlx_lm.benchmark: {problem}")]
    Output {
        /// The program.
        command: String,
        /// What is wrong.
        problem: String,
    },
}

/// What is asked of `mlx_lm.benchmark`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Benchmark {
    /// Program and arguments before the options, normally `mlx_lm.benchmark`.
    pub command: Vec<String>,
    /// Folder or repository of the model.
    pub model: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens to generate.
    pub generate_tokens: u32,
    /// Sequences at once.
    pub batch: u32,
    /// Timed trials; the program makes one more for warm-up.
    pub trials: u32,
    /// Seconds between trials, whole.
    pub delay_s: u32,
}

/// A line `Trial i:  …`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reported {
    prompt_tps: f64,
    generation_tps: f64,
    peak_memory_gb: f64,
    total_s: Option<f64>,
}

impl Benchmark {
    /// The command line.
    #[must_use]
    pub fn command_line(&self) -> Vec<String> {
        let mut line = self.command.clone();
        let mut option = |name: &str, value: String| line.extend([name.to_owned(), value]);
        option("--model", self.model.clone());
        option("--prompt-tokens", self.prompt_tokens.to_string());
        option("--generation-tokens", self.generate_tokens.to_string());
        option("--batch-size", self.batch.to_string());
        option("--num-trials", self.trials.to_string());
        option("--delay", self.delay_s.to_string());
        line
    }

    /// Runs the program and reads its trials.
    ///
    /// # Errors
    /// When it does not start, fails, takes longer than `limit`, or prints something else.
    pub fn run(&self, limit: Duration) -> Result<Vec<Trial>, MlxLmError> {
        let line = self.command_line();
        let shown = self.command.join(" ");
        let start = |problem: String| MlxLmError::Start { command: shown.clone(), problem };
        let (program, arguments) = line.split_first().ok_or_else(|| start("empty".to_owned()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| start(e.to_string()))?;
        let out = child.stdout.take().map(reader);
        let err = child.stderr.take().map(reader);
        let begin = Instant::now();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if begin.elapsed() > limit => {
                    end_family(child.id());
                    let _ = child.wait();
                    return Err(MlxLmError::Timeout { command: shown, limit });
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(50)),
                Err(e) => return Err(start(e.to_string())),
            }
        };
        let text = |r: Option<std::thread::JoinHandle<String>>| {
            r.and_then(|r| r.join().ok()).unwrap_or_default()
        };
        let (out, err) = (text(out), text(err));
        if !status.success() {
            let tail: Vec<char> = err.trim().chars().rev().take(SHOWN).collect();
            let output = tail.into_iter().rev().map(|c| if c.is_control() { ' ' } else { c });
            let (status, output) = (status.to_string(), output.collect());
            return Err(MlxLmError::Failed { command: shown, status, output });
        }
        let reported =
            parse(&out).map_err(|problem| MlxLmError::Output { command: shown, problem })?;
        Ok(reported.iter().map(|r| self.trial(r)).collect())
    }

    /// A printed line as a trial, with the generation rate corrected for a single sequence.
    fn trial(&self, r: &Reported) -> Trial {
        let n = f64::from(self.generate_tokens);
        let prompt = f64::from(self.prompt_tokens);
        let single = self.batch == 1;
        let decode = if single { r.generation_tps * (n - 1.0) / n } else { r.generation_tps };
        let positive = |v: f64| (v > 0.0).then_some(v);
        let total = self.batch.saturating_mul(self.generate_tokens);
        Trial {
            ttft_s: positive(r.prompt_tps).filter(|_| single).map(|rate| prompt / rate),
            total_s: r.total_s,
            prefill_tokens_per_s: positive(r.prompt_tps),
            decode_tokens_per_s: positive(decode),
            end_to_end_tokens_per_s: r.total_s.filter(|s| *s > 0.0).map(|s| f64::from(total) / s),
            batch: Some(self.batch).filter(|n| *n > 1),
            prompt_tokens: Some(self.prompt_tokens),
            cached_tokens: Some(0),
            generated_tokens: Some(self.generate_tokens),
            count_source: Some(CountSource::Requested),
            finish_reason: Some("length".to_owned()),
            own: OwnTimings {
                prefill_tokens: Some(self.prompt_tokens),
                decode_tokens: Some(self.generate_tokens),
                ..OwnTimings::default()
            },
            own_decode_tokens_per_s: positive(r.generation_tps),
            own_prefill_tokens_per_s: positive(r.prompt_tps),
            memory: Some(MemoryReading {
                mlx_peak_bytes: Some((r.peak_memory_gb * 1e9).round() as u64),
                ..MemoryReading::default()
            }),
            ..Trial::default()
        }
    }
}

fn reader(stream: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut stream = stream;
        // What is beyond the limit is read and dropped, so that the program does not block.
        let _ = stream.by_ref().take(MAX_OUTPUT).read_to_end(&mut bytes);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The trials in the program's output. Older versions print no `total_time`.
fn parse(text: &str) -> Result<Vec<Reported>, String> {
    let lines = text.lines().filter_map(|l| l.trim().strip_prefix("Trial ")?.split_once(':'));
    let trials: Vec<Reported> =
        lines.map(|(_, figures)| reported(figures)).collect::<Result<_, _>>()?;
    match trials.is_empty() {
        true => Err("it has no line that begins with 'Trial'".to_owned()),
        false => Ok(trials),
    }
}

fn reported(figures: &str) -> Result<Reported, String> {
    let find = |name: &str| {
        let parts = figures.split(',').filter_map(|p| p.trim().split_once('='));
        let mut values = parts.filter(|(key, _)| *key == name).map(|(_, value)| value);
        let value = values.next().and_then(|v| v.trim().parse::<f64>().ok());
        value.filter(|v| v.is_finite() && *v >= 0.0)
    };
    let need = |name: &str| find(name).ok_or_else(|| format!("no figure '{name}' in '{figures}'"));
    Ok(Reported {
        prompt_tps: need("prompt_tps")?,
        generation_tps: need("generation_tps")?,
        peak_memory_gb: need("peak_memory")?,
        total_s: find("total_time"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn benchmark(command: &[&str]) -> Benchmark {
        Benchmark {
            command: command.iter().map(|c| (*c).to_owned()).collect(),
            model: "m".to_owned(),
            prompt_tokens: 512,
            generate_tokens: 128,
            batch: 1,
            trials: 2,
            delay_s: 0,
        }
    }

    /// Output of mlx-lm 0.32.2.
    const OUTPUT: &str = "Running warmup..
Timing with prompt_tokens=512, generation_tokens=128, batch_size=1.
Trial 1:  prompt_tps=1024.000, generation_tps=64.000, peak_memory=2.345, total_time=2.500
Trial 2:  prompt_tps=1000.500, generation_tps=63.500, peak_memory=2.345, total_time=2.520
Averages: prompt_tps=1012.250, generation_tps=63.750, peak_memory=2.345
";

    #[test]
    fn the_output_is_read_and_the_rate_corrected() {
        let trials = parse(OUTPUT).unwrap();
        assert_eq!(trials.len(), 2);
        let t = benchmark(&["x"]).trial(&trials[0]);
        assert_eq!(t.decode_tokens_per_s, Some(63.5));
        assert_eq!(t.own_decode_tokens_per_s, Some(64.0));
        assert_eq!((t.ttft_s, t.prefill_tokens_per_s), (Some(0.5), Some(1024.0)));
        assert_eq!(t.memory.unwrap().mlx_peak_bytes, Some(2_345_000_000));
        assert_eq!(t.end_to_end_tokens_per_s, Some(51.2));
        let batch = Benchmark { batch: 4, ..benchmark(&["x"]) }.trial(&trials[0]);
        assert_eq!((batch.decode_tokens_per_s, batch.ttft_s), (Some(64.0), None));
    }

    #[test]
    fn other_outputs_are_refused() {
        assert!(parse("hello").unwrap_err().contains("Trial"));
        assert!(parse("Trial 1: prompt_tps=fast").unwrap_err().contains("prompt_tps"));
        assert!(parse("Trial 1: prompt_tps=1, generation_tps=NaN, peak_memory=1").is_err());
    }

    #[test]
    fn a_program_that_fails_or_hangs_is_an_error() {
        let run = |command: &[&str]| benchmark(command).run(Duration::from_millis(300));
        let missing = run(&["/no/such/program"]).unwrap_err().to_string();
        assert!(missing.contains("--mlx-lm"), "{missing}");
        let failed = run(&["sh", "-c", "echo no such model >&2; exit 3"]).unwrap_err().to_string();
        assert!(failed.contains("no such model"), "{failed}");
        let hanging = run(&["sh", "-c", "sleep 30"]).unwrap_err();
        assert!(matches!(hanging, MlxLmError::Timeout { .. }), "{hanging}");
        let silent = run(&["true"]).unwrap_err();
        assert!(matches!(silent, MlxLmError::Output { .. }), "{silent}");
    }
}
