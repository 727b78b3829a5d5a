use super::*;
use crate::hardware::Catalogue;
use crate::hardware::spec::resolve;
use crate::model::{Config, Scheme};

fn graph(id: &str, scheme: &str) -> Graph {
    let models = crate::model::catalogue::Catalogue::built_in().expect("the built-in catalogue");
    let entry = models.get(id).expect("in the catalogue").entry().expect("readable");
    let config: &Config = &entry.config;
    let scheme: Scheme = scheme.parse().expect("a scheme");
    Graph::quantised(config, scheme).expect("a known family")
}

fn machine(spec: &str) -> Machine {
    resolve(spec, &Catalogue::embedded()).expect("a Mac")
}

/// `../shared/design/REFERENCE-REPORTS.md` R4: Qwen2.5 4-bit on the 40-core M4 Max with mlx-lm.
#[test]
fn the_reports_of_r4_lie_within_their_intervals() {
    let coefficients = Coefficients::embedded().expect("built in");
    let m4_max = machine("m4max-40/128");
    let request = SpeedRequest { context_tokens: 128, generate_tokens: 200, ..Default::default() };
    for (id, measured) in [
        ("Qwen/Qwen2.5-0.5B-Instruct", 385.0),
        ("Qwen/Qwen2.5-3B-Instruct", 156.0),
        ("Qwen/Qwen2.5-7B-Instruct", 94.0),
        ("Qwen/Qwen2.5-14B-Instruct", 50.0),
    ] {
        let d = decode(coefficients, &graph(id, "4bit"), &m4_max, &request).expect("runs");
        let [low, high] = d.interval_90;
        assert!(low <= measured && measured <= high, "{id}: {measured} in {low}..{high}");
    }
}
