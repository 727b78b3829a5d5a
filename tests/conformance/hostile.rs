//! Configurations with wrong values: an error or a model, but never a panic and never endless work.

use crate::families::{config, models};
use mlxplan::graph::tape::Routing;
use mlxplan::graph::{Call, Graph};
use mlxplan::model::{Config, DType, Scheme};
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

/// Builds a configuration and runs two calls; whether it is a model that runs.
fn runs(config: &Config, scheme: Scheme) -> bool {
    let Ok(graph) = Graph::quantized(config, scheme) else {
        return false;
    };
    let mut caches = graph.make_cache();
    [3, 1].into_iter().all(|tokens| {
        let call = Call { sample: tokens == 1, ..Call::prefill(tokens) };
        graph.trace(&mut caches, call, Routing::default()).is_ok()
    })
}

/// The first format in which the right configuration runs: mlx-lm cannot pack every one of these small models, and some
/// it can load but not run.
fn scheme_of(right: &Config) -> Option<Scheme> {
    let all = [Scheme::DEFAULT, Scheme::Float(DType::BF16)];
    all.into_iter().find(|&scheme| runs(right, scheme))
}

#[test]
fn wrong_values_never_panic() {
    let mut without = Vec::new();
    for model in models() {
        let right = config(&model);
        let runs_in = scheme_of(&right);
        let scheme = runs_in.unwrap_or(Scheme::DEFAULT);
        let spoiled = spoiled(right.values()).into_iter();
        let refused = spoiled.filter(|values| !runs(&Config::new(values.clone()), scheme)).count();
        assert!(refused > 0, "{}: whatever is wrong, it is taken", model["name"]);
        without.extend(runs_in.is_none().then(|| model["name"].to_string()));
    }
    let few = without.is_empty() || without.len() < models().len() / 10;
    assert!(few, "no right configuration runs: {without:?}");
}

/// `config` with one value replaced.
fn with(config: &Map<String, Value>, key: &str, value: Value) -> Config {
    let mut copy = config.clone();
    copy.insert(key.to_owned(), value);
    Config::new(copy)
}

#[test]
fn what_a_model_cannot_do_without_must_be_of_the_right_type() {
    let mut tried = 0;
    for model in models() {
        let right = config(&model);
        let Some(scheme) = scheme_of(&right) else { continue };
        for (key, value) in right.values() {
            let mut without = right.values().clone();
            without.shift_remove(key);
            if key == "model_type" || !value.is_number() || runs(&Config::new(without), scheme) {
                continue;
            }
            // A factor may be negative; a count may not.
            let counts = key.starts_with("num_") || key.ends_with("_size");
            let count = counts.then_some(json!(-1));
            for wrong in [json!("x"), json!({}), json!([])].into_iter().chain(count) {
                tried += 1;
                let spoiled = with(right.values(), key, wrong.clone());
                assert!(!runs(&spoiled, scheme), "{}: {key} = {wrong} is taken", model["name"]);
            }
        }
    }
    // One family alone may have a default for everything.
    assert!(tried > 0 || models().len() == 1, "nothing was tried");
}
