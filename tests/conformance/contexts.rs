//! Maximum contexts mean what they say, with every program: below the safe one every prompt fits at the interval, below the
//! longest one every prompt fits by the expected peak, whatever its last chunk.

use mlxplan::engine::programs::AskedEngine;
use mlxplan::estimate::Estimator;
use mlxplan::estimate::memory::Fit;
use mlxplan::graph::Graph;
use mlxplan::hardware::{Macs, spec};
use mlxplan::model::Scheme;
use mlxplan::model::catalog::Models;
use mlxplan::roofline::Coefficients;
use mlxplan::run::{EngineName, Program, Run};

/// Lengths that are drawn for each program, beside the longest and those with an unfused last chunk.
const DRAWN: u32 = 3;

fn graph(model: &str) -> Graph {
    let models = Models::built_in().expect("a good catalog");
    let entry = models.get(model).expect("in the catalog").entry().expect("a good entry");
    Graph::quantized(&entry.config, Scheme::DEFAULT).expect("a graph")
}

/// Numbers that look drawn and are the same every time.
fn draws(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed | 1), |x| {
        let x = x ^ (x << 13);
        let x = x ^ (x >> 7);
        Some(x ^ (x << 17))
    })
    .skip(1)
}

#[test]
fn every_prompt_below_the_safe_context_fits_with_every_program() {
    let coefficients = Coefficients::embedded().expect("built in");
    let mac = spec::resolve("m4-10/16", &Macs::embedded()).expect("a Mac");
    let mut wrong = Vec::new();
    for model in ["Qwen/Qwen3.5-9B"] {
        let graph = graph(model);
        for (i, program) in Program::ALL.into_iter().enumerate() {
            let engine = EngineName { program, version: None };
            let asked = AskedEngine { engine: Some(engine), ..AskedEngine::default() };
            let setup = asked.setup().expect("a good file");
            let at = |context: u32| {
                let run = Run::default().with_engine(setup).with_context(context);
                Estimator::of_graph(coefficients, &graph, run)
            };
            let generated = Run::default().work.generate_tokens;
            let asked = at(4096);
            let safe = asked.safe_context(&mac).expect("runs").tokens;
            let most = asked.max_context(&mac).expect("runs").tokens;
            assert!(safe <= most, "{program}: {safe} of {most}");
            let drawn = draws(17 + i as u64).take(DRAWN as usize).map(|x| x as u32);
            let near = [0, 1023].map(|less| u32::MAX - less);
            for x in drawn.chain(near) {
                let within = |longest: u32| {
                    let room = longest.checked_sub(generated + 1)?;
                    let prompt = if x > u32::MAX - 4096 {
                        room.checked_sub(u32::MAX - x)?
                    } else {
                        x % (room + 1)
                    };
                    Some(prompt + 1)
                };
                if let Some(prompt) = within(safe) {
                    let memory = at(prompt).memory(&mac).expect("runs");
                    if memory.judgment.verdict > Fit::Tight {
                        wrong.push(format!(
                            "{model} {program}: {prompt} of {safe} safe: {}",
                            memory.judgment.verdict
                        ));
                    }
                }
                if let Some(prompt) = within(most) {
                    let memory = at(prompt).memory(&mac).expect("runs");
                    let over = |l: &&mlxplan::estimate::memory::Limit| {
                        l.kind.is_hard() && l.headroom_bytes() < 0
                    };
                    if let Some(limit) = memory.judgment.limits.iter().find(over) {
                        wrong.push(format!(
                            "{model} {program}: {prompt} of {most}: over {}",
                            limit.kind.name()
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
