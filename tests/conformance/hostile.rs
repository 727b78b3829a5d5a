//! Configurations with wrong values: an error or a model, but never a panic and never endless work.

use crate::families::{config, models};
use mlxplan::graph::tape::Routing;
use mlxplan::graph::{Call, Graph};
use mlxplan::model::{Config, Scheme};
use serde_json::{Map, Value, json};

/// What a key may hold instead of the right value.
fn wrong_values() -> Vec<Value> {
    vec![
        json!(0),
        json!(1),
        json!(3),
        json!(257),
        json!(2_147_483_647u64),
        json!(4_294_967_296u64),
        json!(-1),
        json!(0.5),
        json!(1e300),
        json!(null),
        json!(true),
        json!("x"),
        json!([]),
        json!([0, 7]),
        json!({}),
    ]
}

/// Every copy of `config` in which one value, at any depth of objects, is wrong or absent.
fn spoiled(config: &Map<String, Value>) -> Vec<Map<String, Value>> {
    let mut out = Vec::new();
    for (key, value) in config {
        if key == "model_type" {
            continue;
        }
        for wrong in wrong_values() {
            let mut copy = config.clone();
            copy.insert(key.clone(), wrong);
            out.push(copy);
        }
        let mut copy = config.clone();
        copy.shift_remove(key);
        out.push(copy);
        if let Value::Object(inner) = value {
            out.extend(spoiled(inner).into_iter().map(|inner| {
                let mut copy = config.clone();
                copy.insert(key.clone(), Value::Object(inner));
                copy
            }));
        }
    }
    out
}

fn try_out(config: &Config) {
    let Ok(graph) = Graph::quantised(config, Scheme::DEFAULT) else {
        return;
    };
    let mut caches = graph.make_cache();
    for tokens in [3, 1] {
        let call = Call { sample: tokens == 1, ..Call::prefill(tokens) };
        if graph.trace(&mut caches, call, Routing::default()).is_err() {
            return;
        }
    }
}

#[test]
fn wrong_values_are_errors() {
    for model in models() {
        let right = config(&model);
        for values in spoiled(right.values()) {
            try_out(&Config::new(values));
        }
    }
}
