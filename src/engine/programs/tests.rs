use super::*;
use crate::run::{EngineSetup, Program};
use crate::versions::{MLX_LM, MLX_RULES};

fn embedded() -> &'static Engines {
    Engines::embedded().expect("built in")
}

#[test]
fn the_whole_file_is_read() {
    let all = embedded();
    assert_eq!(all.engines.len(), 15);
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

/// Programs that predictions can be asked for have a row, and run what their family runs.
#[test]
fn predicted_programs_have_a_row() {
    for program in Program::PREDICTED {
        let row = embedded().get(program.name()).expect("a row");
        assert_eq!(row.family == ProgramFamily::Gguf, program.runs_gguf(), "{program}");
    }
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
