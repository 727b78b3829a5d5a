//! Speed of a model on a machine: decode and prefill with intervals, terms and evidence.
//!
//! [`Speed`] holds a model's features and can be evaluated for any GPU and run in microseconds;
//! [`super::Estimator`] does it for whole machines.

mod decode;
mod evidence;
mod prefill;
mod sound;

pub use decode::{AtDepth, Decode};
pub use evidence::Evidence;
pub(super) use evidence::chip_name;
pub use prefill::Prefill;
pub use sound::UnsoundTime;
pub(super) use sound::{sound, sound_depths};

use super::warning::Warning;
use super::widening::{Chips, Doubtful};
use crate::engine::programs::Engines;
use crate::graph::Graph;
use crate::ledger::llama_cpp::LlamaRelease;
use crate::model::gguf::GgufMix;
use crate::roofline::features::{FeatureError, Share};
use crate::roofline::{Bound, IntervalClass, LawKind, Silicon, StepFeatures};
use crate::run::{Program, Run};
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// A part of a time.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Term {
    /// What the time goes to.
    pub name: &'static str,
    /// Seconds.
    pub seconds: f64,
    /// What sets the pace of it.
    pub bound: Bound,
}

/// Whether a program on llama.cpp uses flash attention for a type of model, as its memory is reckoned too.
fn uses_flash_attention(run: &Run, model_type: &str) -> bool {
    match (run.engine.program, run.engine.version) {
        // The limit decides about contexts, not about attention.
        (Program::Ollama, version) => Engines::embedded()
            .ok()
            .and_then(|engines| engines.ollama(version, model_type, Bytes(0)))
            .is_none_or(|ollama| ollama.flash),
        (Program::LlamaCpp, Some(build)) if build.is_build() => {
            LlamaRelease::of(build.major).auto_flash
        }
        _ => true,
    }
}

/// A model's features for a program, ready to be evaluated on any machine.
#[derive(Clone, Debug)]
pub struct Speed {
    features: StepFeatures,
    model_type: String,
    program: Program,
    kv_quantized: bool,
    /// Whether a program on llama.cpp uses flash attention.
    flash: bool,
    remarks: Vec<Warning>,
    /// Share of the work of recurrent layers; 1 on one Mac.
    recurrent: f64,
}

impl Speed {
    /// Reads the features of a model for the program, the file and the cache of a run. This traces the model (about
    /// 3 ms).
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn of(graph: &Graph, run: &Run) -> Result<Self, FeatureError> {
        let (program, kv) = (run.engine.program, run.engine.kv);
        let mut remarks = Vec::new();
        let mut features = if program.runs_gguf() {
            let mix = run.file.gguf.unwrap_or_else(|| {
                let mix = GgufMix::nearest(graph.bits_per_weight());
                remarks.push(Warning::GgufMixAssumed(mix));
                mix
            });
            if kv.is_some() {
                remarks.push(Warning::KvNotModeled(program));
            }
            StepFeatures::of_gguf(graph, mix, run.file.stored)?
        } else {
            StepFeatures::of(graph, kv)?
        };
        if let Some(fp16) = run.file.fp16.or_else(|| graph.fp16_activations()) {
            features.fp16 = fp16;
        }
        if run.engine.all_experts {
            features.choose_all_experts();
        }
        let model_type = if run.file.stand_in {
            "a plain decoder in place of an unknown one".to_owned()
        } else {
            graph.model_type().to_owned()
        };
        let flash = uses_flash_attention(run, &model_type);
        Ok(Self {
            features,
            model_type,
            program,
            kv_quantized: kv.is_some(),
            flash,
            remarks,
            recurrent: 1.0,
        })
    }

    /// The features of a Mac that has a share of the model.
    pub(in crate::estimate) fn shared(&self, share: &Share) -> Self {
        let features = self.features.shared(share);
        Self { features, recurrent: share.states, ..self.clone() }
    }

    /// What the width of an interval depends on.
    fn doubtful<'a>(
        &'a self,
        target: &'a Silicon,
        run: &Run,
        (law, class): (LawKind, IntervalClass),
        tokens: u32,
    ) -> Doubtful<'a> {
        Doubtful {
            chips: Chips::Candidates(std::slice::from_ref(target)),
            law,
            class,
            model_type: &self.model_type,
            program: self.program,
            tokens: f64::from(tokens),
            batch: run.work.batch,
            quantized_cache: self.kv_quantized,
        }
    }

    /// The features.
    #[must_use]
    pub fn features(&self) -> &StepFeatures {
        &self.features
    }
}

#[cfg(test)]
mod tests;
