//! Prints the operations of one model call, one JSON object a line, depth first from the results.
//!
//! `cargo run --example dump_trace -- CONFIG.json SCHEME CONTEXT TOKENS [nax]`: CONTEXT tokens are in the cache before
//! the call, TOKENS new ones are processed; one new token also samples. `kv4` or `kv8` quantises the cache from 300
//! tokens on.

use mlxplan::graph::cache::KvQuantisation;
use mlxplan::graph::op::Op;
use mlxplan::graph::tape::{Node, Routing, Source, Trace, Var};
use mlxplan::graph::{Call, Graph};
use mlxplan::model::Config;
use std::collections::HashMap;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let config = Config::parse(&std::fs::read_to_string(&args[0])?)?;
    let graph = Graph::quantised(&config, args[1].parse()?)?;
    let (context, tokens): (u32, u32) = (args[2].parse()?, args[3].parse()?);
    let routing = Routing { nax: args.get(4).is_some_and(|a| a == "nax") };
    let kv = args.iter().find_map(|a| a.strip_prefix("kv")).map(str::parse).transpose()?;
    let kv = kv.map(|bits| KvQuantisation { start: 300, ..KvQuantisation::bits(bits) });
    let mut caches = graph.make_cache();
    let mut left = context.saturating_sub(1);
    let call = |caches: &mut Vec<_>, tokens, sample| {
        graph.trace(caches, Call { batch: 1, tokens, sample, kv }, routing)
    };
    while left > 0 {
        let n = left.min(2048);
        call(&mut caches, n, false)?;
        left -= n;
    }
    if context > 0 {
        call(&mut caches, 1, false)?;
    }
    let trace = call(&mut caches, tokens, tokens == 1)?;
    print(&trace);
    Ok(())
}

/// Whether this node fills an array with a constant, without a broadcast in between.
fn is_filled(trace: &Trace, node: &Node) -> bool {
    let source = trace.inputs(node).first().map(|v| trace.value(*v).source);
    node.op == Op::Full && matches!(source, Some(Source::Constant(_)))
}

/// Prints the graph depth first, with equal sub-graphs merged as MLX's export merges them.
fn print(trace: &Trace) {
    let mut producer = vec![usize::MAX; trace.values().len()];
    for (i, node) in trace.nodes().iter().enumerate() {
        for v in trace.outputs(node) {
            producer[v.index()] = i;
        }
    }
    let mut canonical: Vec<usize> = (0..trace.values().len()).collect();
    let mut merged: HashMap<String, usize> = HashMap::new();
    for (i, value) in trace.values().iter().enumerate() {
        if let Source::Constant(c) = value.source {
            let key = format!("{:?}", trace.constants()[c as usize]);
            canonical[i] = *merged.entry(key).or_insert(i);
        }
    }
    let roots: Vec<Var> = trace.roots().collect();
    for node in trace.nodes() {
        // The oracle keeps calls apart that make arrays out of nothing; MLX's export never merges results.
        let apart = is_filled(trace, node)
            || matches!(node.op, Op::Arange { .. } | Op::Contiguous)
            || (node.op == Op::Full && roots.contains(&trace.outputs(node)[0]));
        if apart {
            continue;
        }
        let inputs: Vec<usize> = trace.inputs(node).iter().map(|v| canonical[v.index()]).collect();
        let outputs = trace.outputs(node);
        let shape = trace.value(outputs[0]).shape;
        let body = match node.op {
            Op::Compiled(b) => format!("{:?}", trace.body(b)),
            ref op => format!("{op:?}"),
        };
        let key = format!("{body} {inputs:?} {shape:?} {}", trace.value(outputs[0]).dtype);
        let first = *merged.entry(key).or_insert(outputs[0].index());
        for (k, v) in outputs.iter().enumerate() {
            canonical[v.index()] = first + k;
        }
    }
    let mut seen = vec![false; trace.nodes().len()];
    for root in trace.roots() {
        let mut stack = vec![(root.index(), 0)];
        while let Some((value, i)) = stack.pop() {
            let n = producer[canonical[value]];
            if n == usize::MAX || (i == 0 && seen[n]) {
                continue;
            }
            seen[n] = true;
            let node = &trace.nodes()[n];
            let inputs = trace.inputs(node);
            if i < inputs.len() {
                stack.push((value, i + 1));
                stack.push((inputs[i].index(), 0));
                continue;
            }
            let out = trace.value(trace.outputs(node)[0]);
            let ins: Vec<_> = inputs
                .iter()
                .filter(|_| !is_filled(trace, node))
                .map(|v| trace.value(*v).shape)
                .collect();
            println!("{} {ins:?} -> {:?} {}", trace.name(node), out.shape, out.dtype);
        }
    }
}
