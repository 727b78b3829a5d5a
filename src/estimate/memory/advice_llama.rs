//! What makes a run of llama.cpp fit, or lengthens its context: the change that loses least first.

use super::advice::{AdviceCase, Advised, Change};
use super::{MaxContext, Memory};
use crate::estimate::refusal::Refusal;
use crate::estimate::{Estimator, StoredWeights};
use crate::graph::Graph;
use crate::graph::cache::KvQuantization;
use crate::hardware::machine::Machine;
use crate::ledger::llama_cpp::KvType;
use crate::model::gguf::{FileType, GgufMix};
use crate::run::ModelFile;

/// Types of the cache that are tried.
const KV_TYPES: [(KvType, u32); 2] = [(KvType::Q8_0, 8), (KvType::Q4_0, 4)];
/// Formats of the file that are tried, the most precise first.
const MIXES: [FileType; 5] =
    [FileType::Q8_0, FileType::Q6_K, FileType::Q5_K_M, FileType::Q4_K_M, FileType::Q3_K_M];
/// A smaller file has fewer bytes than this share of the present one.
const SMALLER: f64 = 0.97;

/// The usual formats in which a model is smaller than in a file, the most precise first.
#[must_use]
pub fn smaller_mixes(graph: &Graph, file: &ModelFile) -> Vec<GgufMix> {
    let now = StoredWeights::of(graph, file).bytes as f64;
    let smaller = |mix: &GgufMix| {
        (StoredWeights::of(graph, &file_in(*mix, *file)).bytes as f64) < SMALLER * now
    };
    MIXES.into_iter().map(GgufMix::plain).filter(smaller).collect()
}

/// The file of a model in another format.
#[must_use]
pub fn file_in(mix: GgufMix, file: ModelFile) -> ModelFile {
    ModelFile { gguf: Some(mix), stored: None, weights_range: None, ..file }
}

/// Changes that help a run of llama.cpp: a quantized cache, fewer slots, a raised limit, a smaller file.
#[must_use]
pub fn advise_llama(
    estimator: &Estimator<'_>,
    machine: &Machine,
    now: (&Memory, MaxContext),
) -> Advised {
    let case = AdviceCase { machine, estimator, now };
    let (graph, run) = (estimator.graph(), *estimator.run());
    let tried = |what, run| case.tried(what, &estimator.with_run(run), machine);
    let mut out = Vec::new();
    if run.engine.kv.is_none() {
        out.extend(KV_TYPES.into_iter().filter_map(|(kv, bits)| {
            let quantized = run.with_kv(Some(KvQuantization::bits(bits)));
            let known = Refusal::of(graph, &quantized).is_none();
            known.then(|| tried(Change::KvType { kv_type: kv.name() }, quantized))?
        }));
    }
    let sequences = run.work.batch.max(1);
    if run.engine.parallel.unwrap_or(u32::MAX) > sequences {
        out.extend(tried(Change::Parallel { sequences }, run.with_parallel(Some(sequences))));
    }
    out.extend(case.wired_limit());
    out.extend(smaller_mixes(graph, &run.file).into_iter().filter_map(|mix| {
        let quant = mix.to_string().to_uppercase();
        tried(Change::Quantization { quant }, run.with_file(file_in(mix, run.file)))
    }));
    Advised::of(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::memory::Fits;
    use crate::hardware::{Macs, spec};
    use crate::model::{Config, DType};
    use crate::roofline::Coefficients;
    use crate::run::{Program, Run};

    /// A 14B in Q8_0 with 65536 tokens on 24 GB: what is advised makes it fit, and no change of MLX is among it.
    #[test]
    fn what_is_advised_helps_llama_cpp() {
        let config = Config::parse(
            r#"{"model_type":"qwen3","hidden_size":5120,"num_hidden_layers":40,"num_attention_heads":40,
                "num_key_value_heads":8,"head_dim":128,"intermediate_size":17408,"vocab_size":151936,
                "max_position_embeddings":131072,"rms_norm_eps":1e-6,"rope_theta":1e6,"tie_word_embeddings":false}"#,
        );
        let graph = Graph::new(&config.expect("valid JSON"), DType::F16).expect("a known family");
        let mac = spec::resolve("m4pro-20/24", &Macs::embedded()).expect("a Mac");
        let file = file_in(GgufMix::plain(FileType::Q5_K_M), ModelFile::default());
        let run = Run::default().with_file(file).with_program(Program::LlamaCpp);
        let run = run.with_context(65_000).with_parallel(Some(1));
        let coefficients = Coefficients::embedded().expect("built in");
        let estimator = Estimator::of_graph(coefficients, &graph, run);
        let now = estimator.memory(&mac).expect("runs");
        assert_eq!(now.judgment.fits, Fits::No);
        let longest = estimator.max_context(&mac).expect("runs");
        let all = advise_llama(&estimator, &mac, (&now, longest)).changes;
        assert!(all.iter().any(|a| a.fits != Fits::No), "{all:#?}");
        assert!(all.iter().any(|a| matches!(a.what, Change::KvType { .. })), "{all:#?}");
        assert!(all.iter().all(|a| !matches!(a.what, Change::PrefillStep { .. })), "{all:#?}");
        let smaller = smaller_mixes(&graph, &file);
        assert_eq!(smaller.first(), Some(&GgufMix::plain(FileType::Q4_K_M)), "{smaller:?}");
    }
}
