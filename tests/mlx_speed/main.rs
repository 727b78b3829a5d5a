//! Decode speed against mlx-lm on the same weights, in turn in one run.

#![cfg(mlx)]

#[path = "../mlx/reference.rs"]
#[expect(dead_code, reason = "shared with the other tests of MLX")]
mod reference;

use mlxplan::engine::mlx::clock::Instant;
use mlxplan::engine::mlx::{GenerationRequest, LoadedWeights, Model};
use mlxplan::stats::{TimingSpread, spread_of};
use reference::{model_folder, script, subject};
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// Tokens that are timed in a round, after the first.
const TOKENS: u32 = 10;
const ROUNDS: usize = 9;
const PROMPT: u32 = 8;

/// mlx-lm in a process that runs when it is told to.
struct MlxLm {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl MlxLm {
    fn start() -> Self {
        let mut process =
            script("mlx_speed/steps.py", &[&model_folder(), Path::new(&PROMPT.to_string())])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("Python starts");
        let to = process.stdin.take().expect("a pipe");
        let from = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut out = Self { process, to, from };
        assert_eq!(out.line(), "ready");
        out
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    /// Seconds per token by the wall clock, and of the threads that compute.
    fn run(&mut self) -> [f64; 2] {
        writeln!(self.to, "{TOKENS}").expect("it listens");
        let line = self.line();
        let numbers: Vec<f64> = line.split(' ').map(|n| n.parse().expect("a number")).collect();
        [numbers[0], numbers[1]]
    }
}

impl Drop for MlxLm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The same of this engine.
fn ours(model: &Model<'_>) -> [f64; 2] {
    let prompt: Vec<u32> = (0..PROMPT).map(|i| i % 64 + 1).collect();
    let (mut begin, mut cpu) = (None, 0.0);
    let out = model.generate(&GenerationRequest::greedy(prompt, TOKENS + 1), &mut |_| {
        cpu = begin.get_or_insert_with(Instant::now).seconds();
        ControlFlow::Continue(())
    });
    let times = out.expect("a generation").times_s;
    assert_eq!(times.len(), TOKENS as usize + 1);
    let wall = times[TOKENS as usize] - times[0];
    [wall, cpu].map(|s| s / f64::from(TOKENS))
}

/// Middle and spread of the logarithms of ratios.
fn ratios(of: &[f64], to: &[f64]) -> TimingSpread {
    let logarithms: Vec<f64> = of.iter().zip(to).map(|(a, b)| (a / b).ln()).collect();
    spread_of(&logarithms).expect("rounds")
}

#[test]
fn decode_is_at_least_as_fast_as_in_mlx_lm() {
    let subject = subject();
    let weights = LoadedWeights::load(subject.graph.params(), &model_folder()).expect("weights");
    let model = Model::new(&subject.graph, weights).expect("a model");
    let mut mlx_lm = MlxLm::start();
    ours(&model);
    let [mut we, mut they, mut again] = [const { Vec::<[f64; 2]>::new() }; 3];
    for _ in 0..ROUNDS {
        // mlx-lm before and after: what its own two runs differ by is noise.
        they.push(mlx_lm.run());
        we.push(ours(&model));
        again.push(mlx_lm.run());
    }
    let mut speeds = Vec::new();
    for (clock, name) in ["wall clock", "CPU of the threads that compute"].iter().enumerate() {
        let column = |runs: &[[f64; 2]]| runs.iter().map(|r| r[clock]).collect::<Vec<_>>();
        let (we, they, again) = (column(&we), column(&they), column(&again));
        let both: Vec<f64> = they.iter().zip(&again).map(|(a, b)| (a * b).sqrt()).collect();
        let (ratio, noise) = (ratios(&both, &we), ratios(&they, &again));
        println!(
            "{name}: {:.3} times mlx-lm's decode speed (± {:.3}; mlx-lm against itself {:.3} ± {:.3}), {ROUNDS} rounds",
            ratio.median.exp(),
            1.645 * ratio.median_error,
            noise.median.exp(),
            1.645 * noise.median_error,
        );
        speeds.push((ratio, noise));
    }
    // Slower only within what the rounds differ by, and mlx-lm from itself: three standard errors, at least 2 %.
    let (ratio, noise) = speeds[0];
    let tolerance = (3.0 * ratio.median_error.hypot(noise.median_error)).max(0.02);
    assert!(ratio.median > -tolerance, "{:.3} of mlx-lm's speed", ratio.median.exp());
}
