//! The parsers of what others wrote. Each takes bytes, and goes on with what it read as mlxplan does.

use mlxplan::advise::check;
use mlxplan::advise::cluster::ClusterSpec;
use mlxplan::advise::session::{SessionSpec, TurnSpec};
use mlxplan::advise::use_case::UseCase;
use mlxplan::audit::claim;
use mlxplan::calibration::{Profile, evidence};
use mlxplan::data_dir::DataDirs;
use mlxplan::graph::tape::Routing;
use mlxplan::hardware::probe;
use mlxplan::ledger::llama_cpp::KvType;
use mlxplan::model::drafts::Vocabulary;
use mlxplan::model::source::hub::RepoRef;
use mlxplan::model::source::{safetensors, shards};
use mlxplan::model::{Config, NamedFormat, Scheme, parse_model_spec, source::GgufInfo};
use mlxplan::run::{Acceptance, DraftTokens, EngineName, Images, Version};
use mlxplan::units::Bytes;
use mlxplan::{Graph, Macs, Models, bench, ledger, validation};
use std::sync::LazyLock;

/// A parser; only that it returns matters.
pub type Parse = fn(&[u8]);

static MACS: LazyLock<Macs> = LazyLock::new(Macs::embedded);

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

/// Sizes that no spoiled number may make the tests wait for.
fn is_small(graph: &Graph) -> bool {
    graph.layers() <= 64
}

fn runs(config: &Config) {
    let Ok(graph) = Graph::quantized(config, Scheme::DEFAULT) else { return };
    if is_small(&graph) {
        let call = mlxplan::graph::Call::decode();
        let _ = graph.trace(&mut graph.make_cache(), call, Routing::default());
        let _ = ledger::weights::Weights::of(&graph);
    }
}

/// `config.json`.
pub fn config(input: &[u8]) {
    if let Ok(config) = Config::parse(&text(input)) {
        runs(&config);
    }
}

/// The header of a safetensors file.
pub fn safetensors(input: &[u8]) {
    let _ = safetensors::read_header(input, input.len() as u64);
    let _ = safetensors::parse_header(input, Some(1 << 30));
}

/// The header of a GGUF file.
pub fn gguf(input: &[u8]) {
    for length in [None, Some(input.len() as u64), Some(1 << 40)] {
        let Ok(file) = GgufInfo::parse_header(input, length) else { continue };
        let _ = (file.total_bytes(), file.parameters(), file.bits_per_weight(), file.by_type());
        if let Ok(config) = file.to_config() {
            runs(&config);
        }
    }
}

/// `model.safetensors.index.json`.
pub fn shards(input: &[u8]) {
    let _ = shards::parse_shard_index(&text(input));
}

/// Recorded readings of a machine.
pub fn probe(input: &[u8]) {
    let _ = probe::interpret(&probe::dump::parse(&text(input)), &MACS);
}

/// Claims for `audit`.
pub fn claims(input: &[u8]) {
    let _ = claim::parse("x.toml", &text(input)).map_err(|e| e.to_string());
}

/// A result of `bench`.
pub fn bench(input: &[u8]) {
    let _ = bench::record::parse(&text(input));
}

/// Recorded measurements.
pub fn measurements(input: &[u8]) {
    let _ = validation::read("x.csv", &text(input)).map_err(|e| e.to_string());
}

/// Runs on this machine that later predictions rest on.
pub fn evidence(input: &[u8]) {
    let _ = evidence::parse(&text(input));
}

/// A calibration.
pub fn profile(input: &[u8]) {
    let _ = Profile::parse("x.toml".as_ref(), &text(input)).map_err(|e| e.to_string());
}

/// A plan for `check`.
pub fn plan(input: &[u8]) {
    let lookup = check::Lookup {
        model: &|_, name, _| Err(format!("no {name} here")),
        mac: &|spec| mlxplan::resolve_mac(spec, &MACS).map_err(|e| e.to_string()),
        evidence: &|file, _, _, _| Err(format!("no {file} here")),
    };
    let _ = check::read("x.toml", &text(input), &lookup);
}

/// What people call models.
pub fn name(input: &[u8]) {
    let _ = parse_model_spec(&text(input)).map_err(|e| e.to_string());
}

/// What people call Macs.
pub fn mac(input: &[u8]) {
    let _ = mlxplan::resolve_mac(&text(input), &MACS).map_err(|e| e.to_string());
}

/// Data of the user that adds to the built-in one, under the name that it would have.
fn in_a_folder(name: &str, input: &[u8]) -> (tempfile::TempDir, DataDirs) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(name), input).expect("written");
    let dirs = DataDirs::new(vec![folder.path().to_owned()]);
    (folder, dirs)
}

/// `chips.toml`, `macs.toml` and `gpu_memory_limits.toml` of the user.
pub fn hardware(input: &[u8]) {
    let text = text(input);
    if text.contains("[[chip") {
        let (_folder, dirs) = in_a_folder("chips.toml", input);
        let _ = Macs::new(dirs).chips().map_err(|e| e.to_string());
    } else if text.contains("[[mac") {
        let (_folder, dirs) = in_a_folder("macs.toml", input);
        let _ = Macs::new(dirs).macs().map_err(|e| e.to_string());
    } else {
        let (_folder, dirs) = in_a_folder("gpu_memory_limits.toml", input);
        let _ = Macs::new(dirs).limits().map_err(|e| e.to_string());
    }
}

/// `models.json` of the user.
pub fn catalog(input: &[u8]) {
    let (_folder, dirs) = in_a_folder("models.json", input);
    if let Ok(models) = Models::load(&dirs) {
        let own = models.models().iter().find(|m| m.id.starts_with("a/"));
        if let Some(Ok(entry)) = own.map(mlxplan::model::Summary::entry) {
            runs(&entry.config);
        }
    }
}

/// A session as a file, or a turn or session as a flag.
pub fn session(input: &[u8]) {
    let text = text(input);
    let _ = text.parse::<TurnSpec>().map_err(|e| e.to_string());
    let file = SessionSpec::read("x.toml", &text);
    for session in [file, text.parse()].into_iter().flatten() {
        let last = session.turns as usize;
        (0..=last).for_each(|n| {
            let _ = session.turn(n);
        });
    }
}

/// Recorded measurements beyond one stream.
pub fn beyond(input: &[u8]) {
    let _ = validation::beyond::read_beyond("x.csv", &text(input)).map_err(|e| e.to_string());
}

/// `tokenizer.json`, as far as drafts compare it.
pub fn vocabulary(input: &[u8]) {
    if let Ok(vocabulary) = Vocabulary::parse(&text(input)) {
        let _ = vocabulary.marks("<|end|>", 3);
    }
}

/// Values of flags and of keys of plans that have a form of their own.
pub fn flag(input: &[u8]) {
    fn tried<T: std::str::FromStr<Err: ToString>>(text: &str) {
        let _ = text.parse::<T>().map_err(|e| e.to_string());
    }
    let text = text(input);
    let parsers: [fn(&str); 12] = [
        tried::<ClusterSpec>,
        tried::<NamedFormat>,
        tried::<Scheme>,
        tried::<Bytes>,
        tried::<Images>,
        tried::<Acceptance>,
        tried::<DraftTokens>,
        tried::<EngineName>,
        tried::<Version>,
        tried::<UseCase>,
        tried::<KvType>,
        tried::<mlxplan::Program>,
    ];
    parsers.iter().for_each(|parse| parse(&text));
}

/// Addresses of repositories.
pub fn repository(input: &[u8]) {
    let _ = RepoRef::parse(&text(input)).map_err(|e| e.to_string());
}
