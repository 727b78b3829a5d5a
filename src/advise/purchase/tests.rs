use super::*;
use crate::data_dir::DataDirs;
use crate::graph::Graph;
use crate::model::catalog::Models;
use crate::roofline::Coefficients;
use crate::run::Run;
use proptest::prelude::*;
use std::sync::LazyLock;

fn graph(id: &str) -> Graph {
    let models = Models::built_in().expect("the built-in catalog");
    let entry = models.get(id).expect("in the catalog").entry().expect("readable");
    Graph::quantized(&entry.config, "4bit".parse().expect("a scheme")).expect("a known family")
}

static QWEN: LazyLock<Graph> = LazyLock::new(|| graph("Qwen/Qwen3-32B"));
static ESTIMATORS: LazyLock<[Estimator<'static>; 1]> = LazyLock::new(|| {
    let coefficients = Coefficients::embedded().expect("built in");
    [Estimator::of_graph(coefficients, &QWEN, Run::default())]
});
static CATALOG: LazyLock<Macs> = LazyLock::new(Macs::embedded);

fn ask(needs: &Needs) -> Purchase {
    purchase(&CATALOG, &ESTIMATORS[..], needs, &Economics::default()).expect("answered")
}

fn ids(p: &Purchase) -> Vec<String> {
    p.choices.iter().map(|c| format!("{}/{}", c.offer.mac, c.offer.memory_gib)).collect()
}

#[test]
fn every_configuration_is_counted_once() {
    let p = ask(&Needs { budget_usd: Some(3000), min_tok_s: Some(10.0), ..Needs::default() });
    assert_eq!(p.considered, p.failed + p.over_budget + p.choices.len());
    assert!(p.considered > 40 && p.over_budget > 0 && p.failed > 0);
}

#[test]
fn the_front_rises_in_price_and_speed() {
    let p = ask(&Needs::default());
    let front: Vec<&Choice> = p.choices.iter().filter(|c| c.pareto).collect();
    assert!(front.len() >= 3);
    assert!(front.is_sorted_by(|a, b| a.offer.usd_now < b.offer.usd_now && a.tok_s < b.tok_s));
    let smallest = p.smallest().expect("one passes");
    assert!(smallest.pareto);
    let up = p.step_up().expect("there is a faster one");
    assert!(up.tok_s > smallest.tok_s && up.offer.usd_now > smallest.offer.usd_now);
}

#[test]
fn a_missing_price_is_missing_and_its_own_price_counts() {
    let needs = Needs { budget_usd: Some(5000), ..Needs::default() };
    let before = ask(&needs);
    let unpriced =
        before.choices.iter().find(|c| c.offer.usd_now.is_none()).expect("some have no price");
    assert!(!unpriced.pareto && unpriced.costs == Costs::default());
    let dir = tempfile::tempdir().expect("a folder");
    let price = "[[price]]\nmac = \"mbp14-m5max-40-2026\"\nmemory_gib = 128\nusd_now = 4000\n";
    std::fs::write(dir.path().join("prices.toml"), price).expect("written");
    let catalog = Macs::new(DataDirs::discover(Some(dir.path())).expect("a folder"));
    let p = purchase(&catalog, &ESTIMATORS[..], &needs, &Economics::default()).expect("answered");
    let own = p
        .choices
        .iter()
        .find(|c| c.offer.mac == "mbp14-m5max-40-2026" && c.offer.memory_gib == 128);
    assert_eq!(own.expect("it passes").offer.usd_now, Some(4000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_bigger_budget_never_loses_options(usd in 500u32..12_000, more in 0u32..5_000) {
        let few = ids(&ask(&Needs { budget_usd: Some(usd), ..Needs::default() }));
        let many = ids(&ask(&Needs { budget_usd: Some(usd + more), ..Needs::default() }));
        prop_assert!(few.iter().all(|id| many.contains(id)));
    }

    #[test]
    fn a_higher_demand_never_gains_options(tok_s in 1.0f64..60.0, more in 0.0f64..30.0, ttft in 1.0f64..60.0) {
        let at = |x| ask(&Needs { min_tok_s: Some(x), max_ttft_s: Some(ttft), ..Needs::default() });
        let (less, much) = (at(tok_s), at(tok_s + more));
        let known = ids(&less);
        prop_assert!(ids(&much).iter().all(|id| known.contains(id)));
        for c in &much.choices {
            let before = less.choices.iter().find(|b| b.machine == c.machine).expect("still there");
            prop_assert!(c.probability <= before.probability + 1e-12);
        }
    }
}
