//! The models of `validate --suite`.

use crate::calibration::evidence::EvidenceMetric;

/// A model in a format, and what is measured of it.
#[derive(Clone, Debug)]
pub(super) struct LadderCase {
    pub model: String,
    pub quant: Option<String>,
    /// Tokens in the cache (decode), or of the prompt (prefill).
    pub tokens: u32,
    pub metric: EvidenceMetric,
}

type Rung = (&'static str, &'static str, u32);

const ERNIE_0_3B: &str = "baidu/ERNIE-4.5-0.3B-PT";
const GEMMA3_1B: &str = "google/gemma-3-1b-it";
const GRANITE4_TINY: &str = "ibm-granite/granite-4.0-h-tiny";
const LFM2_350M: &str = "LiquidAI/LFM2-350M";
const LFM2_1_2B: &str = "LiquidAI/LFM2-1.2B";
const LFM2_8B_A1B: &str = "LiquidAI/LFM2-8B-A1B";
const LLAMA32_1B: &str = "meta-llama/Llama-3.2-1B-Instruct";
const OLMOE_7B: &str = "allenai/OLMoE-1B-7B-0924-Instruct";
const QWEN25_0_5B: &str = "Qwen/Qwen2.5-0.5B-Instruct";
const QWEN25_1_5B: &str = "Qwen/Qwen2.5-1.5B-Instruct";
const QWEN3_0_6B: &str = "Qwen/Qwen3-0.6B";
const QWEN3_1_7B: &str = "Qwen/Qwen3-1.7B";
const SMOLLM2_135M: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";
const TINYLLAMA: &str = "TinyLlama/TinyLlama-1.1B-Chat-v1.0";

/// Decode, in an order that covers shapes, formats and depths however early time is up. Nothing was fitted on these:
/// neither the laws of kernels nor the widths of intervals. Groups of 128 weights are not timed in a calibration.
const HELD_OUT: [Rung; 20] = [
    (QWEN25_0_5B, "4bit-g128", 0),
    (ERNIE_0_3B, "mxfp8", 2048),
    (LLAMA32_1B, "mxfp4", 512),
    (GEMMA3_1B, "nvfp4", 2048),
    (OLMOE_7B, "mxfp4", 0),
    (ERNIE_0_3B, "3bit-g128", 1024),
    (TINYLLAMA, "mxfp4", 2048),
    (QWEN25_0_5B, "bf16", 256),
    (LFM2_1_2B, "mxfp4", 1024),
    (QWEN25_0_5B, "8bit", 512),
    (GRANITE4_TINY, "mxfp4", 512),
    (QWEN3_1_7B, "mxfp4", 256),
    (ERNIE_0_3B, "4bit", 0),
    (GEMMA3_1B, "8bit-g128", 512),
    (QWEN25_0_5B, "mxfp4", 2048),
    (LLAMA32_1B, "6bit-g128", 0),
    (LFM2_1_2B, "4bit-g128", 0),
    (TINYLLAMA, "5bit", 128),
    (OLMOE_7B, "4bit-g128", 512),
    (ERNIE_0_3B, "6bit-g128", 512),
];

/// Decode of other models, on which the widths of the intervals were fitted.
const FITTED_ON: [Rung; 14] = [
    (SMOLLM2_135M, "4bit", 1),
    (LFM2_350M, "nvfp4", 2048),
    (QWEN3_0_6B, "mxfp4", 512),
    (SMOLLM2_135M, "8bit-g128", 512),
    (QWEN25_1_5B, "mxfp4", 1024),
    (LFM2_8B_A1B, "mxfp4", 0),
    (SMOLLM2_135M, "mxfp4", 2048),
    (SMOLLM2_135M, "bf16", 128),
    (LFM2_350M, "6bit", 0),
    (QWEN3_0_6B, "4bit-g128", 2048),
    (SMOLLM2_135M, "3bit", 1024),
    (LFM2_350M, "4bit-g32", 512),
    (SMOLLM2_135M, "5bit-g128", 0),
    (QWEN3_0_6B, "8bit", 0),
];

const HELD_OUT_PROMPTS: [Rung; 3] =
    [(QWEN25_0_5B, "mxfp4", 33), (ERNIE_0_3B, "4bit-g128", 33), (GEMMA3_1B, "mxfp4", 33)];
const FITTED_ON_PROMPTS: [Rung; 3] =
    [(SMOLLM2_135M, "4bit", 65), (LFM2_350M, "mxfp4", 33), (SMOLLM2_135M, "bf16", 129)];

/// The cases of a ladder.
pub(super) fn cases(fitted_on: bool) -> Vec<LadderCase> {
    let case = |metric| {
        move |&(model, quant, tokens): &Rung| LadderCase {
            model: model.to_owned(),
            quant: Some(quant.to_owned()),
            tokens,
            metric,
        }
    };
    let (decode, prompts): (&[Rung], &[Rung]) = match fitted_on {
        true => (&FITTED_ON, &FITTED_ON_PROMPTS),
        false => (&HELD_OUT, &HELD_OUT_PROMPTS),
    };
    let mut all: Vec<LadderCase> = decode.iter().map(case(EvidenceMetric::Decode)).collect();
    // Prompts stand between the others, lest they are what time is never left for.
    for (i, prompt) in prompts.iter().map(case(EvidenceMetric::Prefill)).enumerate() {
        all.insert((4 * i + 3).min(all.len()), prompt);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_model_is_on_both_ladders() {
        let held_out = cases(false);
        let fitted = cases(true);
        assert!(fitted.iter().all(|f| held_out.iter().all(|h| h.model != f.model)));
        let decode = || held_out.iter().filter(|c| c.metric == EvidenceMetric::Decode);
        let mut models: Vec<&str> = decode().map(|c| c.model.as_str()).collect();
        models.sort_unstable();
        models.dedup();
        assert!(models.len() >= 6);
        // Formats that no calibration times.
        let new = |c: &&LadderCase| c.quant.as_deref().is_some_and(|q| q.ends_with("-g128"));
        let mut formats: Vec<_> = decode().filter(new).map(|c| c.quant.clone()).collect();
        formats.sort_unstable();
        formats.dedup();
        assert!(formats.len() >= 3);
    }
}
