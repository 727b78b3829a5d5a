//! The engine: matrix units, releases, chunks, shared reads, flash attention, the server around the model.

use super::{Brings, NONE, SuspectList, around};
use crate::estimate::uses_matrix_units;
use crate::run::{MatrixUnits, Program, Version};
use crate::why::facts::ReleaseRow;
use crate::why::rank::Suspect;
use crate::why::{GapCause, GapError};

/// How far the computed factor of matrix units may be off: builds differ by as much.
const UNITS_SPREAD: f64 = 1.35;
/// Prior of a release that is known to be slow where the user named it; where the release is not known, its share of it.
const NAMED: f64 = 0.8;
const UNNAMED: f64 = 0.03;
/// The first MLX in which groups of query heads share reads of keys and values.
const SHARED_READS: Version = Version::new(0, 32, 2);
/// Query heads to a key head from which that tells.
const GROUP: u64 = 8;
/// Further time for keys and values where they are read for every query head, as a share of what it is.
const UNSHARED: [f64; 2] = [0.2, 1.0];
/// What scores that are written and read take of the speed of a prompt, at most, and the tokens from which they do.
const SCORES: f64 = 0.5;
const SCORES_FROM: f64 = 32_768.0;

pub(super) fn find(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    matrix_units(found)?;
    for row in &found.file.release {
        release(found, row);
    }
    if !found.case.run().engine.program.runs_gguf() {
        chunk(found)?;
        shared_reads(found)?;
    }
    unlisted(found)?;
    flash_attention(found)?;
    server(found)
}

fn matrix_units(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (case, run) = (found.case, found.case.run());
    let engine = run.engine;
    let used =
        engine.program.runs_gguf() || uses_matrix_units(case.machine, &engine, engine.mlx.taken);
    if !case.machine.matrix_units.value || !used {
        return Ok(());
    }
    let row = found.row(GapCause::MatrixUnitsOff, None)?;
    let brings = match case.changed(run.with_matrix_units(MatrixUnits::Off)) {
        Some([_, first]) if first < 0.9 => Brings::computed(NONE, around(first, UNITS_SPREAD)),
        _ => Brings::of(row),
    };
    // Who says "--nax on" has looked.
    let times = if engine.matrix_units == MatrixUnits::On { 0.2 } else { 1.0 };
    let test = match engine.program {
        Program::OllamaMlx => "ollama --version  # then update, and ask again".to_owned(),
        Program::LmStudio => "ls ~/.lmstudio/extensions/backends  # one with 'nax' in its name".to_owned(),
        p if p.runs_gguf() => "llama-bench -m MODEL.gguf -p 2048 -n 0  # 'has tensor = true' in its log".to_owned(),
        _ => "python3 -c \"import importlib.metadata as m; print(m.distribution('mlx-metal').read_text('WHEEL'))\"  # macosx_26_0 has them"
            .to_owned(),
    };
    found.add(row, times, brings, test);
    Ok(())
}

/// A release with a slow-down of its own.
fn release(found: &mut SuspectList<'_, '_>, row: &ReleaseRow) {
    let case = found.case;
    let engine = case.run().engine;
    let mlx = row.program == "mlx";
    if (mlx && engine.program.runs_gguf()) || (!mlx && row.program != engine.program.name()) {
        return;
    }
    if (row.matrix_units && !case.machine.matrix_units.value)
        || case.features.weight_bytes < row.min_weights_gb * 1e9
        || case.run().middle_tokens() < row.min_tokens
    {
        return;
    }
    let system = match (row.macos_from, engine.macos) {
        (Some(from), Some(macos)) if macos < from => return,
        (Some(_), None) => 0.2,
        _ => 1.0,
    };
    let said = case.stated.version || (mlx && case.stated.mlx);
    let within = |v: Version| row.from <= v && v < row.below;
    let prior = match (said, engine.version.filter(|_| !mlx)) {
        (true, Some(version)) if within(version) => NAMED,
        (true, Some(_)) => return,
        (true, None) if within(engine.mlx.taken) => NAMED,
        (true, None) => return,
        (false, _) => UNNAMED,
    };
    let first = match (row.prefill, row.first_token_s) {
        (Some(range), _) => range,
        (None, Some(seconds)) => case.later_token(seconds),
        (None, None) => NONE,
    };
    let fixed = row.fix.as_deref().map(|v| format!("; repaired in {v}")).unwrap_or_default();
    found.push(Suspect {
        cause: row.cause,
        prior: prior * system,
        decode: row.decode.unwrap_or(NONE),
        first,
        computed: false,
        included: false,
        evidence: format!("{}{fixed}", row.evidence),
        sources: row.sources.clone(),
        test: version_test(engine.program),
    });
}

/// The command that tells the release.
fn version_test(program: Program) -> String {
    match program {
        Program::Ollama | Program::OllamaMlx => "ollama --version  # then update, and ask again",
        Program::LlamaCpp => "llama-cli --version  # then update, and ask again",
        Program::LmStudio | Program::LmStudioGguf => {
            "lms version  # then update the runtime, and ask again"
        }
        Program::MlxLm | Program::MlxServer => {
            "pip install -U mlx-lm mlx  # in a new environment, and ask again"
        }
        _ => "pip show mlx mlx-lm  # then update the program, and ask again",
    }
    .to_owned()
}

fn unlisted(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let row = found.row(GapCause::EngineVersion, Some("unlisted"))?;
    found.add(row, 1.0, Brings::of(row), version_test(found.case.run().engine.program));
    Ok(())
}

fn chunk(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (case, run) = (found.case, found.case.run());
    let row = found.row(GapCause::EngineVersion, Some("prefill_chunk"))?;
    if run.engine.prefill_step <= 512 || run.work.context_tokens <= 512 {
        return Ok(());
    }
    let Some([_, first]) = case.changed(run.with_prefill_step(512)) else { return Ok(()) };
    let [low, high] = row.prefill.unwrap_or(NONE);
    let brings = Brings::computed(NONE, [low.min(first), high.min(first.max(low))]);
    let test = found.predict("--prefill-step 512");
    found.add(row, 1.0, brings, test);
    Ok(())
}

fn shared_reads(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (case, engine) = (found.case, found.case.run().engine);
    let row = found.row(GapCause::EngineVersion, Some("shared_reads"))?;
    let wide = |a: &crate::roofline::features::AttentionReads| a.heads >= GROUP * a.kv_heads.max(1);
    if !case.features.attention.iter().any(wide) {
        return Ok(());
    }
    let old = engine.mlx.taken < SHARED_READS;
    let kv = case.term("kv");
    let brings = Brings::computed(case.longer_token(UNSHARED.map(|s| s * kv)), NONE);
    let test = version_test(engine.program);
    let times = match (old, case.stated.version || case.stated.mlx) {
        (true, _) => 4.0,
        (false, true) => 0.1,
        (false, false) => 1.0,
    };
    found.add(row, times, brings, test);
    Ok(())
}

fn flash_attention(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (case, run) = (found.case, found.case.run());
    if !run.engine.program.runs_gguf() {
        return Ok(());
    }
    let row = found.row(GapCause::FlashAttentionOff, None)?;
    let [low, high] = row.decode.unwrap_or(NONE);
    let kv = case.term("kv");
    let deep = (f64::from(run.work.context_tokens) / SCORES_FROM).min(1.0);
    let first = [1.0 - SCORES * deep, 1.0];
    let brings = Brings::computed(case.longer_token([(low - 1.0) * kv, (high - 1.0) * kv]), first);
    let test = match run.engine.program {
        Program::Ollama => "OLLAMA_FLASH_ATTENTION=1 ollama serve",
        Program::LmStudioGguf => "lms log stream  # 'flash_attn' of the loaded model",
        _ => "llama-bench -m MODEL.gguf -fa 0,1 -d 0,16384",
    };
    found.add(row, 1.0, brings, test.to_owned());
    Ok(())
}

fn server(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (case, engine) = (found.case, found.case.run().engine);
    let old_omlx = engine.program == Program::Omlx
        && case.stated.version
        && engine.version.is_some_and(|v| v < Version::new(0, 3, 0));
    let (variant, token, first) = match engine.program {
        _ if old_omlx => ("old_omlx", [5.0e-3, 7.5e-3], [0.3, 0.6]),
        p if p.runs_gguf() => ("server", [0.0, 1.5e-3], [0.0, 0.2]),
        Program::LmStudio => ("server", [0.0, 0.5e-3], [0.0, 0.3]),
        p if p.is_mlx_server() => ("server", [0.0, 1.7e-3], [0.0, 0.45]),
        _ => ("server", [0.3e-3, 2.0e-3], [0.05, 0.5]),
    };
    let row = found.row(GapCause::ServerOverhead, Some(variant))?;
    let brings = Brings::computed(case.longer_token(token), case.later_token(first));
    let test = found.bench("--generate 256");
    found.add(row, 1.0, brings, test);
    Ok(())
}
