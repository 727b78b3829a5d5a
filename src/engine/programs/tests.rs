use super::*;
use crate::graph::tape::Routing;
use crate::run::{EngineSetup, MlxRelease, Program};
use crate::versions::{MLX_LM, MLX_RULES};

fn embedded() -> &'static Engines {
    Engines::embedded().expect("built in")
}

#[test]
fn the_whole_file_is_read() {
    let all = embedded();
    assert_eq!(all.engines.len(), 16);
    assert_eq!((all.mlx_versions.len(), all.mlx_lm_versions.len()), (37, 35));
    assert!(all.mlx_rule.len() >= 10 && all.mlx_flag.len() >= 15);
    let names: Vec<&str> = all.engines.iter().map(|e| e.name.as_str()).collect();
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len(), "{names:?}");
    for rule in all.mlx_rule.windows(2) {
        assert!(rule[0].from <= rule[1].from, "{rule:?}");
    }
}

/// What a run defaults to is what the file says of mlx-lm, and the rules that are followed are of versions it lists.
#[test]
fn defaults_are_those_of_the_file() {
    let all = embedded();
    let setup = EngineSetup::default();
    let row = all.get(setup.program.name()).expect("mlx-lm has a row");
    assert_eq!(all.default.engine, setup.program.name());
    assert_eq!(row.prefill_step, Some(setup.prefill_step));
    assert_eq!(all.default.prefill_step, setup.prefill_step);
    assert_eq!(row.kv_type.as_deref(), Some(setup.kv_type().as_str()));
    assert_eq!(row.family, ProgramFamily::Mlx);
    let release = |text: &str| Release(text.parse().expect("a version"));
    assert!(all.mlx_versions.contains_key(&release(MLX_RULES)));
    assert!(all.mlx_lm_versions.contains_key(&release(MLX_LM)));
}

/// Programs that are listed have a row, and run what their family runs.
#[test]
fn predicted_programs_have_a_row() {
    for program in Program::ALL {
        let row = embedded().get(program.name()).expect("a row");
        assert_eq!(row.family == ProgramFamily::Gguf, program.runs_gguf(), "{program}");
    }
}

fn setup(engine: &str) -> EngineSetup {
    let engine = (!engine.is_empty()).then(|| engine.parse().expect("an engine"));
    embedded().setup(&AskedEngine { engine, ..AskedEngine::default() })
}

/// What is taken where nothing is said, and what a version, a day or a name alone say.
#[test]
fn engines_are_resolved_by_the_rules_of_the_file() {
    assert_eq!(setup(""), EngineSetup::default());
    assert_eq!(setup("mlx-lm"), EngineSetup::default());
    for (engine, shown, step) in [
        ("mlx-lm@0.31.3", "mlx-lm 0.31.3 (MLX 0.31.2, of 0.31.2 to 0.32.4)", 2048),
        ("mlx-lm@0.26.2", "mlx-lm 0.26.2 (MLX 0.26.3, of 0.25.0 to 0.32.4)", 2048),
        ("mlx-lm@0.22.1", "mlx-lm 0.22.1 (MLX 0.23.2, of 0.22.0 to 0.32.4)", 512),
        ("mlx-lm@0.1.0", "mlx-lm 0.1.0 (MLX 0.22.0, of 0.22.0 to 0.32.4)", 512),
        ("mlx-lm@1.0", "mlx-lm 1.0.0 (MLX 0.32.4)", 2048),
        ("mlx-lm-server", "mlx-lm-server 0.32.2 (MLX 0.32.4)", 2048),
        ("lm-studio", "lm-studio 2026-08-21 (MLX 0.32.0)", 2048),
        ("lm-studio@2026-03-20", "lm-studio 2026-03-20 (MLX 0.31.1)", 512),
        ("lm-studio@0.3.39", "lm-studio 0.3.39 (MLX 0.32.0, of 0.30.5 to 0.32.0)", 2048),
        ("omlx@0.5.1", "omlx 0.5.1 (MLX 0.31.2)", 2048),
        ("omlx", "omlx 0.6.0 (MLX 0.32.2)", 2048),
        ("mlx-vlm", "mlx-vlm 0.7.10 (MLX 0.32.4)", 2048),
        ("mlx-vlm@0.3.2", "mlx-vlm 0.3.2 (MLX 0.26.2, of 0.26.2 to 0.32.4)", 1 << 24),
        ("rapid-mlx", "rapid-mlx 0.16.10 (MLX 0.32.4, of 0.32.1 to 0.32.4)", 2048),
        ("mlx-swift", "mlx-swift 3.32.3 (MLX 0.32.2)", 512),
        ("exo", "exo 1.0.71 (MLX 0.32.0)", 4096),
        ("osaurus", "osaurus (MLX 0.32.4, of 0.30.4 to 0.32.4)", 2048),
        ("llama.cpp@b9452", "llama.cpp b9452", 2048),
        ("llama.cpp", "llama.cpp b11549", 2048),
        ("ollama", "ollama 0.32.15", 2048),
    ] {
        let found = setup(engine);
        assert_eq!((found.name().as_str(), found.prefill_step), (shown, step), "{engine}");
    }
}

#[test]
fn logits_of_whole_chunks_end_with_a_version() {
    assert!(setup("mlx-lm@0.26.4").whole_logits && !setup("mlx-lm@0.27.0").whole_logits);
    assert!(!setup("").whole_logits && !setup("mlx-vlm@0.3.2").whole_logits);
}

/// An explicit input wins over what the program's version says.
#[test]
fn what_is_said_wins() {
    let mlx = Version::new(0, 32, 0);
    let asked = AskedEngine {
        engine: "mlx-lm@0.31.3".parse().ok(),
        mlx: Some(mlx),
        prefill_step: Some(512),
        ..AskedEngine::default()
    };
    let found = embedded().setup(&asked);
    assert_eq!((found.mlx, found.prefill_step), (MlxRelease::known(mlx), 512));
}

/// The kernels that a trace has by itself are those of the MLX that is linked.
#[test]
fn default_kernels_are_those_of_the_linked_version() {
    let linked = crate::versions::MLX_LINKED.parse().expect("a version");
    assert_eq!(routing(linked, false), Routing::default());
}

/// Where a head size changes hands, and where nothing changes.
#[test]
fn changes_of_attention_by_version() {
    let v = |text: &str| -> Version { text.parse().expect("a version") };
    let range = [v("0.30.4"), v("0.32.4")];
    let found = |nax, head: u32| changes(range, nax, &[[head, head]]);
    assert_eq!(found(false, 128), [v("0.32.4")]);
    assert_eq!(found(true, 256), ["0.32.4", "0.32.2", "0.32.1"].map(v));
    assert_eq!(found(false, 256), ["0.32.4", "0.32.2"].map(v));
    assert_eq!(found(false, 512), ["0.32.4", "0.32.3", "0.32.2"].map(v));
    assert_eq!(found(true, 512), ["0.32.4", "0.32.2"].map(v));
    assert_eq!(found(false, 96), ["0.32.4", "0.32.0"].map(v));
}

#[test]
fn an_unknown_key_is_an_error_with_its_place() {
    let text = EMBEDDED.replace("mlx_lm = \"0.32.2\"\nmlx =", "mlx_ml = \"0.32.2\"\nmlx =");
    let error = Engines::read("engines.toml", &text).expect_err("mlx_ml").to_string();
    assert!(error.starts_with("engines.toml: ") && error.contains("line "), "{error}");
    assert!(error.contains("mlx_ml"), "{error}");
}

#[test]
fn a_version_that_is_none_is_an_error() {
    let text = EMBEDDED.replace("mlx = \"0.32.4\"\nprefill", "mlx = \"newest\"\nprefill");
    let error = Engines::read("engines.toml", &text).expect_err("newest").to_string();
    assert!(error.contains("'newest' is no version"), "{error}");
}
