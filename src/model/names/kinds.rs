//! What is no language model for these engines, told by its name or its configuration.

use super::key::words;

/// Words of names, and what such a model is.
const BY_WORD: [(&[&str], &str); 9] = [
    (&["whisper", "parakeet", "canary", "asr", "moonshine", "wav2vec2"], "a speech recognizer"),
    (
        &["tts", "kokoro", "bark", "csm", "orpheus", "dia", "voxcpm", "chatterbox"],
        "a speech synthesizer",
    ),
    (&["flux", "sdxl", "diffusion", "sana", "ltx", "hunyuanvideo", "wan"], "a diffusion model"),
    (
        &["clip", "siglip", "siglip2", "dinov2", "dinov3", "vit", "sam", "sam2", "sam3"],
        "a vision encoder",
    ),
    (
        &[
            "embed",
            "embedding",
            "embeddings",
            "embeddinggemma",
            "bge",
            "gte",
            "e5",
            "minilm",
            "nomic",
            "mxbai",
            "arctic",
        ],
        EMBEDDING,
    ),
    (
        &["reranker", "rerank", "reward", "rm", "prm", "classifier", "guard"],
        "a reward model or classifier",
    ),
    (&["bert", "roberta", "deberta", "modernbert", "electra", "distilbert"], "an encoder"),
    (&["t5", "flan", "bart", "mt5", "m2m100", "nllb", "pegasus", "marian"], "an encoder-decoder"),
    (&["lora", "adapter"], "an adapter, to be put on a model"),
];

const EMBEDDING: &str = "an embedding model";

/// Model types, and what such a model is.
const BY_TYPE: [(&[&str], &str); 7] = [
    (
        &[
            "bert",
            "roberta",
            "xlm-roberta",
            "distilbert",
            "deberta",
            "deberta-v2",
            "electra",
            "albert",
            "modernbert",
            "nomic_bert",
            "nomic-bert",
            "mpnet",
            "camembert",
            "new",
            "eurobert",
            "neobert",
            "xlnet",
            "longformer",
        ],
        "an encoder (embeddings, classification)",
    ),
    (
        &[
            "t5",
            "mt5",
            "umt5",
            "bart",
            "mbart",
            "pegasus",
            "marian",
            "m2m_100",
            "led",
            "t5gemma",
            "encoder-decoder",
            "nllb-moe",
            "blip-2",
        ],
        "an encoder-decoder",
    ),
    (
        &[
            "whisper",
            "wav2vec2",
            "wav2vec2-bert",
            "hubert",
            "moonshine",
            "parakeet",
            "canary",
            "seamless_m4t_v2",
        ],
        "a speech recognizer",
    ),
    (
        &["speecht5", "vits", "bark", "kokoro", "csm", "dia", "parler_tts", "musicgen"],
        "a speech or sound synthesizer",
    ),
    (
        &[
            "clip",
            "siglip",
            "siglip2",
            "vit",
            "dinov2",
            "dinov3_vit",
            "deit",
            "swin",
            "convnext",
            "resnet",
            "sam",
            "sam2",
            "detr",
            "owlvit",
            "segformer",
            "beit",
        ],
        "a vision encoder",
    ),
    (&["flux", "sdxl", "stable-diffusion"], "a diffusion model"),
    (&["wavtokenizer", "encodec", "dac", "mimi", "snac"], "an audio codec"),
];

/// What a name stands for where that is no language model.
#[must_use]
pub fn not_a_language_model(name: &str) -> Option<&'static str> {
    let list = words(name);
    BY_WORD
        .iter()
        .find(|(all, _)| list.iter().any(|w| all.contains(&w.as_str())))
        .map(|(_, what)| *what)
}

/// What a `model_type` stands for where that is no language model.
#[must_use]
pub fn kind_of_type(model_type: &str) -> Option<&'static str> {
    BY_TYPE.iter().find(|(all, _)| all.contains(&model_type)).map(|(_, what)| *what)
}

/// What comes out of a model whose type is a language model's, where it is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextlessKind {
    /// Vectors.
    Embedding,
    /// A score or a class for the whole prompt.
    Judge,
    /// Something for every token.
    Encoder,
}

impl TextlessKind {
    /// What such a model is.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Embedding => EMBEDDING,
            Self::Judge => "a reward model or classifier",
            Self::Encoder => "an encoder",
        }
    }
}

/// What a class in `architectures` makes of a model whose type is a language model's: no text comes out.
#[must_use]
pub fn kind_of_architecture(architecture: &str) -> Option<TextlessKind> {
    const ENDINGS: [(&str, TextlessKind); 6] = [
        ("ForSequenceClassification", TextlessKind::Judge),
        ("RewardModel", TextlessKind::Judge),
        ("ForTokenClassification", TextlessKind::Encoder),
        ("ForQuestionAnswering", TextlessKind::Encoder),
        ("ForMaskedLM", TextlessKind::Encoder),
        ("EmbeddingModel", TextlessKind::Embedding),
    ];
    ENDINGS.iter().find(|(end, _)| architecture.ends_with(end)).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_no_language_model() {
        for (name, what) in [
            ("nomic-embed-text", Some("an embedding model")),
            ("BAAI/bge-m3", Some("an embedding model")),
            ("openai/whisper-large-v3-turbo", Some("a speech recognizer")),
            ("black-forest-labs/FLUX.1-dev", Some("a diffusion model")),
            ("google/flan-t5-xl", Some("an encoder-decoder")),
            ("bert-base-uncased", Some("an encoder")),
            ("Qwen/Qwen3-32B", None),
            ("meta-llama/Llama-3.1-8B-Instruct", None),
        ] {
            assert_eq!(not_a_language_model(name), what, "{name}");
        }
        assert!(kind_of_type("xlm-roberta").is_some() && kind_of_type("qwen3").is_none());
        assert!(kind_of_architecture("Qwen2ForRewardModel").is_some());
        assert!(kind_of_architecture("LlamaForCausalLM").is_none());
    }
}
