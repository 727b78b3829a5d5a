//! Every parser of what others wrote, fed with spoiled files: an error or a value, but no panic.
//!
//! A seed is a file of `corpus/TARGET`. Each input is a seed that was spoiled in a few places, the same ones in every run.
//! By default each parser gets some hundred; `cargo xtask fuzz` gives each so many seconds (`MLXPLAN_FUZZ_SECONDS`) and
//! other places (`MLXPLAN_FUZZ_SEED`). An input that fails is kept in `target/fuzz` and belongs into the corpus, whose
//! files are all parsed as they are, too.

#[cfg(feature = "mcp")]
mod agent;
mod spoil;
mod targets;

use spoil::Spoiler;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Inputs of a parser where no time is given.
const INPUTS: u32 = 300;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The seeds of a target, in the order of their names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("a corpus").flatten().map(|e| e.path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no seeds");
    paths.iter().map(|p| std::fs::read(p).expect("a seed")).collect()
}

/// Keeps an input that failed.
fn keep(target: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{target}-{:016x}", spoil::fingerprint(input)));
    std::fs::write(&path, input).expect("written");
    path
}

/// Feeds one input; keeps it where the parser panics.
fn feed(target: &str, parse: targets::Parse, input: &[u8]) -> Duration {
    let begin = Instant::now();
    if catch_unwind(AssertUnwindSafe(|| parse(input))).is_err() {
        panic!("{target}: a panic on the input in {}", keep(target, input).display());
    }
    begin.elapsed()
}

fn fuzz(target: &str, parse: targets::Parse) {
    let seeds = seeds(target);
    for seed in &seeds {
        feed(target, parse, seed);
    }
    let mut spoiler = Spoiler::new(number("MLXPLAN_FUZZ_SEED").unwrap_or(1), &seeds);
    let limit = number("MLXPLAN_FUZZ_SECONDS").map(Duration::from_secs);
    let (begin, mut inputs, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    loop {
        let more = limit.map_or(inputs < INPUTS, |limit| begin.elapsed() < limit);
        if !more {
            break;
        }
        slowest = slowest.max(feed(target, parse, &spoiler.next()));
        inputs += 1;
    }
    println!("{target}: {inputs} inputs, the slowest took {slowest:.1?}");
}

/// A test for every target, so that they run side by side.
macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { fuzz(stringify!($name), targets::$name); })*

        /// A parser without a corpus, or a corpus without a parser, is forgotten.
        #[test]
        fn every_corpus_has_its_parser() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
            let entries = std::fs::read_dir(folder).expect("the corpus").flatten();
            let mut found: Vec<String> =
                entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            found.sort();
            // That of an agent's messages is in `agent`.
            let mut known = vec!["mcp", $(stringify!($name)),*];
            known.sort();
            assert_eq!(found, known);
        }
    };
}

targets!(
    bench beyond catalog claims config evidence flag gguf hardware mac measurements name plan probe profile repository
    safetensors session shards vocabulary
);
