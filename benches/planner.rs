//! How fast the planner itself is, mostly on Llama 3.3 70B at 4 bits: `cargo bench`.
//!
//! Figures depend on the machine and on what else it does; compare those of one run, such as `peak` with `full`.

use mlxplan::graph::Graph;
use mlxplan::ledger::replay::Gpu;
use mlxplan::model::{Config, Models};
use mlxplan::run::Run;

const MODEL: &str = "meta-llama/Llama-3.3-70B-Instruct";
const GPU: Gpu = Gpu::REFERENCE;

fn main() {
    divan::main();
}

fn built_in() -> Models {
    Models::built_in().expect("the catalog is read")
}

fn config() -> Config {
    let catalog = built_in();
    let model = catalog.get(MODEL).expect("the catalog has the model");
    model.entry().expect("the entry is read").config
}

fn sized(config: &Config) -> Graph {
    let scheme = "affine_4_g64".parse().expect("a known scheme");
    Graph::quantized(config, scheme).expect("the model is known")
}

/// A prompt of 32768 tokens with mlx-lm's defaults.
fn long_run() -> Run {
    Run::default().with_context(32768).with_generated(3)
}

mod catalog {
    use super::{MODEL, built_in};
    use divan::Bencher;
    use mlxplan::model::names::{ModelSpec, Resolver};
    use mlxplan::model::parse_model_spec;

    /// The built-in catalog; the models' configurations are left unread.
    #[divan::bench]
    fn load(bencher: Bencher<'_, '_>) {
        bencher.bench_local(built_in);
    }

    /// One model's configuration.
    #[divan::bench]
    fn entry(bencher: Bencher<'_, '_>) {
        let catalog = built_in();
        let model = catalog.get(MODEL).expect("the catalog has the model");
        bencher.bench_local(|| model.entry());
    }

    /// An exact name, one with words left out, a size class and a typing error.
    #[divan::bench(args = ["meta-llama/Llama-3.3-70B-Instruct", "llama-3.3-70b-4bit", "30B-A3B-4bit", "lama-3.3-70b"])]
    fn resolve(bencher: Bencher<'_, '_>, name: &str) {
        let catalog = built_in();
        let resolver = Resolver::new(&catalog);
        bencher.bench_local(|| match parse_model_spec(name) {
            Ok(ModelSpec::Name(spec)) => resolver.resolve(&spec, None).is_ok(),
            _ => false,
        });
    }
}

mod sizes {
    use super::{config, sized};
    use divan::Bencher;
    use mlxplan::ledger::{cache, weights::Weights};

    /// The graph and the bytes of all tensors.
    #[divan::bench]
    fn weights(bencher: Bencher<'_, '_>) {
        let config = config();
        bencher.bench_local(|| Weights::of(&sized(&config)));
    }

    /// The cache after so many tokens.
    #[divan::bench(args = [4096, 131_072])]
    fn cache_bytes(bencher: Bencher<'_, '_>, tokens: u32) {
        let graph = sized(&config());
        bencher.bench_local(|| cache::bytes_after(&graph, &[tokens]));
    }
}

mod step {
    use super::{GPU, config, sized};
    use divan::Bencher;
    use mlxplan::graph::{Call, SkippedLayers, tape::Routing};
    use mlxplan::ledger::traffic;

    /// The operations of one decode step on an empty cache.
    #[divan::bench]
    fn trace(bencher: Bencher<'_, '_>) {
        let graph = sized(&config());
        bencher.bench_local(|| {
            graph.trace(&mut graph.make_cache(), Call::decode(), Routing::default())
        });
    }

    /// The same with every buffer and launch replayed: the traffic of a step.
    #[divan::bench(args = [0, 4096, 32768])]
    fn traffic(bencher: Bencher<'_, '_>, context: u32) {
        let graph = sized(&config());
        bencher.bench_local(|| {
            traffic::decode_step(&graph, context, 1, GPU, None, SkippedLayers::NONE)
        });
    }
}

mod peak_memory {
    use super::{GPU, config, long_run, sized};
    use divan::Bencher;
    use mlxplan::ledger::peak;

    /// Some of the prompt's chunks replayed, as predictions do.
    #[divan::bench]
    fn sampled(bencher: Bencher<'_, '_>) {
        let graph = sized(&config());
        bencher.bench_local(|| peak::peak(&graph, &long_run(), GPU));
    }

    /// Every chunk replayed.
    #[divan::bench]
    fn full(bencher: Bencher<'_, '_>) {
        let graph = sized(&config());
        bencher.bench_local(|| peak::full(&graph, &long_run(), GPU));
    }
}

mod sweep {
    use super::built_in;
    use divan::Bencher;
    use divan::counter::ItemsCount;
    use mlxplan::advise::sweep::{Sweep, SweepAxes, supported};
    use mlxplan::hardware::Macs;
    use mlxplan::roofline::Coefficients;

    /// The whole catalog in eight formats on every configuration at six contexts; items are predictions.
    #[divan::bench(sample_count = 3, sample_size = 1)]
    fn catalog(bencher: Bencher<'_, '_>) {
        let catalog = built_in();
        let (models, macs) = (supported(&catalog), Macs::embedded());
        let coefficients = Coefficients::embedded().expect("built in");
        let configs: usize = macs.macs().expect("read").iter().map(|m| m.configs.len()).sum();
        let predictions = models.len() * 8 * configs * 6;
        bencher
            .counter(ItemsCount::new(predictions))
            .bench_local(|| Sweep::run(&models, &macs, coefficients, &SweepAxes::usual()));
    }
}

mod training {
    use super::{GPU, config, sized};
    use divan::Bencher;
    use mlxplan::graph::training::FineTuning;
    use mlxplan::ledger::training::replay;

    /// The backward pass and the update of `mlx_lm.lora`'s default run, recorded and replayed.
    #[divan::bench]
    fn step(bencher: Bencher<'_, '_>) {
        let graph = sized(&config());
        bencher.bench_local(|| replay(&graph, &FineTuning::default(), GPU));
    }
}

mod process {
    use divan::Bencher;
    use std::process::Command;

    /// From the start of the program to the answer to a question about one model.
    #[divan::bench(args = ["--version", "predict llama-3.3-70b-4bit --mac m4max-40/64 --offline"])]
    fn start(bencher: Bencher<'_, '_>, line: &str) {
        bencher.bench_local(|| {
            let program = env!("CARGO_BIN_EXE_mlxplan");
            let output = Command::new(program).args(line.split(' ')).output();
            assert!(output.is_ok_and(|o| o.status.code().is_some()), "{line}");
        });
    }
}
