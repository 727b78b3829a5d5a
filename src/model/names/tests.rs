use super::*;
use crate::data_dir::DataDirs;
use crate::model::catalog::Models;
use crate::model::quant::Scheme;
use proptest::prelude::*;
use std::fs;
use std::sync::LazyLock;
use tempfile::tempdir;

static CATALOG: LazyLock<Models> =
    LazyLock::new(|| Models::built_in().expect("the built-in catalog parses"));

static RESOLVER: LazyLock<Resolver<'static>> = LazyLock::new(|| Resolver::new(&CATALOG));

fn find(text: &str, option: Option<Scheme>) -> Result<Resolution<'static>, NameError> {
    match parse_model_spec(text)? {
        ModelSpec::Name(name) => RESOLVER.resolve(&name, option),
        other => panic!("{text} is {other:?}"),
    }
}

/// Id and scheme of the one model that a name stands for.
fn one(text: &str) -> (String, Option<Scheme>) {
    match find(text, None) {
        Ok(Resolution::One(found)) => (found.model.id.clone(), found.scheme),
        other => panic!("{text}: {other:?}"),
    }
}

fn class(text: &str) -> ClassMatch<'static> {
    match find(text, None) {
        Ok(Resolution::Class(class)) => class,
        other => panic!("{text}: {other:?}"),
    }
}

fn error(text: &str) -> String {
    find(text, None).expect_err(text).to_string()
}

fn scheme(text: &str) -> Option<Scheme> {
    Some(text.parse().expect("a scheme"))
}

#[test]
fn every_id_and_alias_stands_for_its_model() {
    for model in CATALOG.models() {
        let names = model.aliases.iter().map(String::as_str);
        for name in names.chain([model.id.as_str(), model.short_name()]) {
            for spelling in
                [name.to_owned(), name.to_uppercase(), name.replace(['-', '.', '/'], "_")]
            {
                assert_eq!(one(&spelling).0, model.id, "{spelling}");
            }
        }
    }
}

#[test]
fn every_conversion_name_gives_model_and_scheme() {
    for model in CATALOG.models() {
        let short = model.short_name();
        for (name, expected) in [
            (format!("mlx-community/{short}-4bit"), "4bit"),
            (format!("mlx-community_{short}_4bit"), "4bit"),
            (format!("lmstudio-community/{short}-MLX-8bit"), "8bit"),
            (format!("{short}-mxfp4"), "mxfp4"),
            (format!("{short}-6bit-gs32"), "6bit-g32"),
            (format!("{short}-4bit-DWQ-0508"), "4bit"),
            (format!("{}-bf16", model.id), "bf16"),
        ] {
            assert_eq!(one(&name), (model.id.clone(), scheme(expected)), "{name}");
        }
    }
}

#[test]
fn a_name_without_suffix_states_no_scheme() {
    assert_eq!(one("qwen3-32b"), ("Qwen/Qwen3-32B".to_owned(), None));
    assert_eq!(one("gpt-oss:20b").1, None);
    // The original's own name ends in BF16.
    let nemotron = "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16";
    assert_eq!(one(nemotron), (nemotron.to_owned(), scheme("bf16")));
    assert_eq!(one("NVIDIA-Nemotron-3-Nano-30B-A3B-4bit"), (nemotron.to_owned(), scheme("4bit")));
}

#[test]
fn the_option_gives_the_scheme_and_may_not_contradict() {
    let with = |text: &str, option: &str| find(text, scheme(option));
    for (text, option) in [("qwen3-32b", "8bit"), ("qwen3-32b-8bit", "8bit")] {
        assert!(
            matches!(with(text, option), Ok(Resolution::One(m)) if m.scheme == scheme("8bit")),
            "{text}"
        );
    }
    assert_eq!(
        with("qwen3-32b-4bit", "8bit").unwrap_err().to_string(),
        "the name says affine-4-g64 but --quant says affine-8-g64; leave one of them out"
    );
    assert!(with("32B-4bit", "mxfp4").is_err());
    assert!(
        matches!(with("32B", "mxfp4"), Ok(Resolution::Class(c)) if c.scheme == scheme("mxfp4"))
    );
}

#[test]
fn a_letter_is_no_name() {
    for name in ["x", "a.x", "4"] {
        assert!(find(name, None).is_err(), "{name}");
    }
}

#[test]
fn words_that_do_not_change_the_architecture_may_be_left_out_or_added() {
    for (name, id) in [
        ("Qwen3-32B-Instruct", "Qwen/Qwen3-32B"),
        ("qwen3-32b-instruct-2512-4bit", "Qwen/Qwen3-32B"),
        ("meta-llama/Llama-3.1-8B-Base-hf", "meta-llama/Llama-3.1-8B-Instruct"),
        ("qwen3-235b", "Qwen/Qwen3-235B-A22B"),
        ("qwen3-30b", "Qwen/Qwen3-30B-A3B"),
        ("gemma-4-26b-it", "google/gemma-4-26B-A4B-it"),
    ] {
        match find(name, None) {
            Ok(Resolution::One(found)) => {
                assert_eq!(found.model.id, id, "{name}");
                let expected = NameNote::ReadAs { name: name.to_owned(), id: id.to_owned() };
                assert_eq!(found.notes, [expected], "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_repository_with_the_configuration_of_another_is_read_as_that_and_says_so() {
    for (name, repo, id) in [
        ("gemma-3-27b-pt", "google/gemma-3-27b-pt", "google/gemma-3-27b-it"),
        ("ornith-ai/Ornith-1.5-9B-MLX-4bit", "ornith-ai/Ornith-1.5-9B", "Qwen/Qwen3.5-9B"),
        (
            "lmstudio-community/Phi-4-mini-reasoning-MLX-4bit",
            "microsoft/Phi-4-mini-reasoning",
            "microsoft/Phi-4-mini-instruct",
        ),
    ] {
        match find(name, None) {
            Ok(Resolution::One(found)) => {
                assert_eq!(found.model.id, id, "{name}");
                let (repo, id) = (repo.to_owned(), id.to_owned());
                let expected = NameNote::SameConfiguration { repo, id, context: None };
                assert_eq!(found.notes, [expected], "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn an_incomplete_name_lists_the_models_that_contain_it() {
    assert_eq!(
        error("mistral-7b"),
        "'mistral-7b' is no full model name; it fits mistralai/Mistral-7B-Instruct-v0.3, \
         mistralai/Mistral-7B-Instruct-v0.2"
    );
    assert!(error("gpt-oss").contains("openai/gpt-oss-20b, openai/gpt-oss-120b"));
    assert!(error("qwen 32b 4bit").contains("Qwen/Qwen3-32B, Qwen/Qwen2.5-32B-Instruct"));
}

#[test]
fn a_single_candidate_is_taken_with_a_note() {
    for (name, id) in [
        ("hermes-4", "NousResearch/Hermes-4-70B"),
        ("NousResearch/hermes-4-4bit", "NousResearch/Hermes-4-70B"),
        ("Qwen3-4B-Thinking-2507", "Qwen/Qwen3-4B-Instruct-2507"),
        ("huihui-ai/Qwen3-14B-abliterated", "Qwen/Qwen3-14B"),
    ] {
        match find(name, None) {
            Ok(Resolution::One(found)) => {
                assert_eq!(found.model.id, id, "{name}");
                assert!(
                    matches!(
                        found.notes[..],
                        [NameNote::ReadAs { .. } | NameNote::SameConfiguration { .. }]
                    ),
                    "{name}"
                );
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn typing_errors_get_suggestions() {
    assert_eq!(
        error("qwne3-32b").split(". ").nth(1).and_then(|s| s.split(", ").next()),
        Some("Similar: Qwen/Qwen3-32B")
    );
    assert!(error("lama-3.3-70b-4bit").contains("meta-llama/Llama-3.3-70B-Instruct"));
    let unlike = error("zzzzzzzzzzzzzzzz");
    assert!(unlike.starts_with("no model is called 'zzzzzzzzzzzzzzzz'; `mlxplan models WORDS`"));
    assert!(unlike.contains("hf:org/name asks the hub"), "{unlike}");
}

#[test]
fn suffixes_without_sizes_say_what_to_do() {
    assert!(error("qwen3-8b-OptiQ").contains("varies bits by layer"));
    assert!(error("qwen3-8b-MTP").contains("is a prediction head (MTP), not a model"));
    assert!(error("qwen3-8b-JANG_4M").contains("a format that only vmlx loads"));
    assert!(error("nomic-embed-text").contains("is an embedding model, not a language model"));
    assert!(
        error("someone/Unheard-Of-7B").contains("hf:someone/Unheard-Of-7B reads the repository")
    );
    assert!(error("qwen3-8b-7bit").starts_with("unknown quantization '7bit'"));
    match find("mlx-community/Qwen3-8B-OptiQ-4bit", None) {
        Ok(Resolution::One(found)) => {
            assert_eq!((found.scheme, found.notes.len()), (scheme("4bit"), 1));
            assert!(found.notes[0].is_warning());
            assert!(found.notes[0].to_string().contains("'optiq-4bit' conversions vary bits"));
            assert!(matches!(found.stated, Stated::Mixed(m) if m.over_nominal == [1.0, 1.8]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn formats_of_other_programs_are_stated() {
    let stated = |text: &str| match find(text, None) {
        Ok(Resolution::One(found)) => found.stated,
        other => panic!("{text}: {other:?}"),
    };
    let gguf = |name: &str| Stated::Gguf(Some(name.to_owned()));
    assert_eq!(stated("qwen3-32b-Q4_K_M"), gguf("Q4_K_M"));
    assert_eq!(stated("hf.co/unsloth/Qwen3-8B-GGUF:UD-Q4_K_XL"), gguf("UD-Q4_K_XL"));
    assert_eq!(stated("llama3.3:70b-instruct-q4_K_M"), gguf("Q4_K_M"));
    assert_eq!(stated("qwen3:8b-fp16"), gguf("F16"));
    assert_eq!(stated("bartowski/Qwen_Qwen3-8B-GGUF"), Stated::Gguf(None));
    assert_eq!(stated("qwen3-32b-fp8"), Stated::Foreign(Foreign::Fp8));
    assert_eq!(stated("Qwen/Qwen3-8B-AWQ"), Stated::Foreign(Foreign::Awq));
    assert_eq!(stated("nvidia/Qwen3-8B-NVFP4"), Stated::Foreign(Foreign::Nvfp4));
    assert_eq!(stated("mlx-community/Qwen3-8B-nvfp4"), Stated::Scheme(Scheme::Nvfp4));
    let mixed = |text: &str| matches!(stated(text), Stated::Mixed(_));
    assert!(
        mixed("qwen3-8b-oQ4e")
            && mixed("gemma-4-31b-it-qat-4bit")
            && mixed("qwen3.6-27b-4.6bit-msq")
    );
    assert!(!mixed("gemma-3-27b-it-qat-4bit"));
    assert_eq!(one("phi-4-4bit"), ("microsoft/phi-4".to_owned(), scheme("4bit")));
    assert_eq!(one("deepseek-r1:32b").0, "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B");
}

#[test]
fn models_that_mlx_lm_does_not_implement_are_marked() {
    match find("deepseek-v4-pro", None) {
        Ok(Resolution::One(found)) => {
            assert!(matches!(found.notes[0], NameNote::NotSupported { .. }))
        }
        other => panic!("{other:?}"),
    }
}

fn ids(members: &[ClassMember<'_>]) -> Vec<String> {
    members.iter().map(|m| m.model.short_name().to_owned()).collect()
}

#[test]
fn a_class_lists_its_models_by_popularity() {
    let found = class("32B-4bit");
    assert_eq!(found.scheme, scheme("4bit"));
    assert_eq!(
        ids(&found.members),
        [
            "Qwen3-32B",
            "Qwen2.5-32B-Instruct",
            "Qwen2.5-Coder-32B-Instruct",
            "DeepSeek-R1-Distill-Qwen-32B",
            "Qwen3-VL-32B-Instruct",
            "QwQ-32B",
            "OLMo-2-0325-32B-Instruct",
            "EXAONE-4.0-32B",
            "Qwen3-VL-32B-Thinking",
            "Olmo-3.1-32B-Instruct",
            "GLM-4-32B-0414",
        ]
    );
    // A mixture of experts of the same total, whose name states no size.
    assert_eq!(ids(&found.related), ["granite-4.0-h-small"]);
    let downloads: Vec<_> = found.members.iter().map(|m| m.model.downloads).collect();
    assert!(downloads.is_sorted_by(|a, b| a >= b));
}

#[test]
fn dense_models_and_mixtures_are_told_apart() {
    let mixtures = class("30B-A3B-4bit");
    assert_eq!(
        ids(&mixtures.members),
        [
            "Qwen3-30B-A3B",
            "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
            "Qwen3-30B-A3B-Instruct-2507",
            "Qwen3-Coder-30B-A3B-Instruct",
            "Qwen3-VL-30B-A3B-Instruct",
        ]
    );
    assert!(mixtures.members.iter().all(|m| m.mixture_of_experts));
    let plain = class("30b");
    assert!(plain.members.iter().all(|m| !m.mixture_of_experts));
    assert_eq!(ids(&plain.members), ["Muse-Glimmer-30B", "granite-4.1-30b", "granite-4.2-30b"]);
    assert!(ids(&plain.related).contains(&"Qwen3-30B-A3B".to_owned()));
    // There is no dense model of this size.
    assert_eq!(ids(&class("20b").members), ["gpt-oss-20b"]);
    assert!(ids(&class("14B").members).contains(&"phi-4".to_owned()));
    assert_eq!(ids(&class("0.6B-8bit").members), ["Qwen3-0.6B"]);
    assert_eq!(ids(&class("mlx-community/E2B-4bit").members), ["gemma-4-E2B-it"]);
}

#[test]
fn a_size_without_models_lists_the_nearest() {
    assert_eq!(
        error("45B-4bit"),
        "no model of the size 45B is in the catalog; the nearest sizes: 49B, 40B, 36B, 34B, 32B"
    );
    assert!(error("32B-A3B").contains("nearest sizes: 30B-A3B, 35B-A3B"));
}

#[test]
fn what_exists_on_disk_is_a_path() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let spec = |name: &str| parse_model_spec(&path(name).display().to_string());
    fs::create_dir_all(path("model")).unwrap();
    fs::write(path("model/config.json"), "{}").unwrap();
    fs::write(path("x.gguf"), "GGUF").unwrap();
    assert_eq!(spec("model").unwrap(), ModelSpec::Folder(path("model")));
    assert_eq!(
        spec("model/config.json").unwrap(),
        ModelSpec::ConfigFile(path("model/config.json"))
    );
    assert_eq!(spec("x.gguf").unwrap(), ModelSpec::Gguf(path("x.gguf")));
    // A folder with one GGUF model stands for it, with several for none.
    fs::create_dir(path("studio")).unwrap();
    fs::write(path("studio/mmproj-a.gguf"), "").unwrap();
    assert!(spec("studio").unwrap_err().to_string().contains("no config.json and no .gguf"));
    fs::write(path("studio/a-00001-of-00002.gguf"), "").unwrap();
    fs::write(path("studio/a-00002-of-00002.gguf"), "").unwrap();
    assert_eq!(spec("studio").unwrap(), ModelSpec::Gguf(path("studio/a-00001-of-00002.gguf")));
    fs::write(path("studio/b.gguf"), "").unwrap();
    assert!(spec("studio").unwrap_err().to_string().contains("a-00001-of-00002.gguf, b.gguf"));
    for (name, expected) in [
        ("absent", "there is no "),
        ("absent.gguf", "there is no "),
        ("model.safetensors", "there is no "),
    ] {
        assert!(spec(name).unwrap_err().to_string().starts_with(expected), "{name}");
    }
    fs::write(path("model/model.safetensors"), "").unwrap();
    fs::write(path("model/model.safetensors.index.json"), "").unwrap();
    fs::write(path("notes.txt"), "").unwrap();
    for (name, expected) in [
        ("model/model.safetensors", "give the folder with config.json"),
        ("model/model.safetensors.index.json", "list of weight files"),
        ("notes.txt", "not a model"),
    ] {
        assert!(spec(name).unwrap_err().to_string().contains(expected), "{name}");
    }
}

#[test]
fn what_does_not_exist_is_a_name_unless_it_looks_like_a_file() {
    let kind = |text: &str| match parse_model_spec(text) {
        Ok(ModelSpec::Name(_)) => "name",
        Ok(ModelSpec::Hub(_)) => "hub",
        Ok(_) => "path",
        Err(NameError::NoSuchPath(_)) => "missing path",
        Err(_) => "error",
    };
    for (text, expected) in [
        ("mlx-community/Qwen3-32B-4bit", "name"),
        ("qwen3-32b", "name"),
        ("32B-4bit", "name"),
        ("./qwen3-32b", "missing path"),
        ("~/no-such-folder-of-mlxplan", "missing path"),
        ("/absent/model", "missing path"),
        ("absent.gguf", "missing path"),
        ("models/absent/config.json", "missing path"),
        ("hf:Qwen/Qwen3-32B", "hub"),
        ("hf:Qwen/Qwen3-32B@refs/pr/1", "hub"),
        ("hf://Qwen/Qwen3-32B", "hub"),
        ("https://huggingface.co/Qwen/Qwen3-32B/tree/main", "hub"),
        ("hf:Qwen", "error"),
        ("hf:../../etc/passwd", "error"),
        ("", "error"),
        ("  ", "error"),
        ("---", "error"),
    ] {
        assert_eq!(kind(text), expected, "{text}");
    }
    assert!(matches!(parse_model_spec(&"x".repeat(5000)), Err(NameError::TooLong(5000))));
    assert!(matches!(parse_model_spec(&"x".repeat(301)), Err(NameError::TooLong(301))));
}

#[test]
fn a_name_is_taken_apart() {
    let name = NameSpec::parse("mlx-community/Qwen3-32B-4bit-DWQ");
    assert_eq!(name.organization.as_deref(), Some("mlx-community"));
    assert_eq!(name.stem, "qwen3-32b");
    assert_eq!(name.suffix.map(|s| s.text).as_deref(), Some("4bit-dwq"));
    assert_eq!(name.class, None);
    assert_eq!(NameSpec::parse("30B/A3B/4bit").class, SizeClass::parse("30b-a3b"));
}

#[test]
fn a_users_model_wins_over_a_built_in_name() {
    let dir = tempdir().unwrap();
    let text = r#"[{"id":"me/tuned","aliases":["qwen3-32b"],"config":{"model_type":"qwen3"}}]"#;
    fs::write(dir.path().join("models.json"), text).unwrap();
    let catalog = Models::load(&DataDirs::new(vec![dir.path().to_owned()])).unwrap();
    let id = |name: &str| match resolve(&catalog, &NameSpec::parse(name), None) {
        Ok(Resolution::One(found)) => found.model.id.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(id("qwen3-32b-4bit"), "me/tuned");
    assert_eq!(id("Qwen/Qwen3-32B"), "Qwen/Qwen3-32B");
    // A converted model of the user, whose own name says how.
    let text = r#"[{"id":"me/tuned-4bit","config":{"model_type":"qwen3"}}]"#;
    fs::write(dir.path().join("models.json"), text).unwrap();
    let catalog = Models::load(&DataDirs::new(vec![dir.path().to_owned()])).unwrap();
    let with = |option| match resolve(&catalog, &NameSpec::parse("me/tuned-4bit"), option) {
        Ok(Resolution::One(found)) => found.scheme.map(|s| s.suffix()).unwrap_or_default(),
        other => format!("{:?}", other.map(|_| ()).map_err(|e| e.to_string())),
    };
    assert_eq!(with(None), "4bit");
    assert!(with(scheme("8bit")).contains("leave one of them out"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_text_is_read_without_panic(text in any::<String>()) {
        if let Ok(ModelSpec::Name(name)) = parse_model_spec(&text) {
            let _ = RESOLVER.resolve(&name, None).map_err(|e| e.to_string());
        }
        let _ = NameSpec::parse(&text);
    }

    #[test]
    fn anything_made_of_name_parts_is_read_without_panic(
        parts in proptest::collection::vec(
            prop::sample::select(vec![
                "qwen3", "32b", "a3b", "4bit", "8bit", "-", "_", "/", ".", "0", "6b", "e4b", "8x7b", "mixed", "3",
                "dwq", "g32", "q4", "k", "m", "bf16", "mxfp4", "instruct", "2507", "ä", "mlx", "optiq", "v2", "1t",
            ]),
            0..10,
        ),
    ) {
        let text: String = parts.concat();
        let _ = find_any(&text);
        let _ = find_any(&parts.join("-"));
    }
}

fn find_any(text: &str) -> Result<(), String> {
    match parse_model_spec(text) {
        Ok(ModelSpec::Name(name)) => {
            RESOLVER.resolve(&name, None).map(|_| ()).map_err(|e| e.to_string())
        }
        Ok(_) => Ok(()),
        Err(e) => Err(e.to_string()),
    }
}
