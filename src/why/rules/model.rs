//! The model as it runs: quantized caches, bfloat16, dense experts, other bins, other files, drafts.

use super::{Brings, NONE, SuspectList};
use crate::graph::cache::KvQuantization;
use crate::run::Program;
use crate::why::rank::Suspect;
use crate::why::{GapCause, GapError};

/// What an unfused cache adds for every layer, in seconds, and to the time of keys and values, as a share.
const UNFUSED_LAYER_S: [f64; 2] = [10e-6, 30e-6];
const UNFUSED_KV: [f64; 2] = [0.2, 5.0];
/// Bits a weight of files with more bits, and those from which none has many more.
const MORE_BITS: [f64; 2] = [8.5, 16.0];
const FULL: f64 = 12.0;

pub(super) fn find(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    quantized_cache(found)?;
    bfloat16(found)?;
    dense(found)?;
    bins(found)?;
    bits(found)?;
    drafts(found)
}

fn quantized_cache(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (case, run) = (found.case, found.case.run());
    if run.engine.kv.is_some() {
        return Ok(());
    }
    let row = found.row(GapCause::KvQuantized, None)?;
    let test = match run.engine.program {
        Program::Ollama => "echo $OLLAMA_KV_CACHE_TYPE  # ask again with f16".to_owned(),
        p if p.runs_gguf() => {
            "llama-bench -m MODEL.gguf -fa 1 -ctk f16,q8_0 -ctv f16,q8_0 -d 4096".to_owned()
        }
        _ => found.predict("--kv-bits 8  # and measure with the cache in 16 bits"),
    };
    let mut brings = Brings::of(row);
    if !run.engine.program.runs_gguf() {
        let layers: f64 = case.features.attention.iter().map(|a| a.launches).sum();
        let kv = case.term("kv");
        let seconds = [0, 1].map(|i| UNFUSED_LAYER_S[i] * layers + UNFUSED_KV[i] * kv);
        let [mut low, mut high] = case.longer_token(seconds);
        // What the law says of the bytes alone.
        if let Some([decode, _]) = case.changed(run.with_kv(Some(KvQuantization::bits(8)))) {
            (low, high) = (low.min(decode), high.max(decode.min(0.99)));
        }
        brings.decode = [low, high];
        brings.computed = true;
    }
    found.add(row, 1.0, brings, test.clone());
    if run.engine.program == Program::Omlx {
        let row = found.row(GapCause::KvQuantized, Some("turboquant"))?;
        found.add(
            row,
            1.0,
            Brings::of(row),
            "turn TurboQuant off in oMLX's model settings, and ask again".to_owned(),
        );
    }
    Ok(())
}

/// bfloat16 is in the prediction: it slows a run that is as predicted.
fn bfloat16(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (case, run) = (found.case, found.case.run());
    let old = case.machine.generation.value <= 2;
    if !old || run.engine.program.runs_gguf() || case.features.fp16 {
        return Ok(());
    }
    let Some([decode, first]) = case.changed(run.with_fp16(true)) else { return Ok(()) };
    let row = found.row(GapCause::Bf16M1M2, None)?;
    let (decode, first) = (1.0 / decode, 1.0 / first);
    if decode > 0.995 && first > 0.995 {
        return Ok(());
    }
    found.push(Suspect {
        cause: row.name,
        prior: row.prior,
        decode: [decode; 2],
        first: [first; 2],
        computed: true,
        included: true,
        evidence: row.evidence.clone(),
        sources: row.sources.clone(),
        test: "mlx_lm.convert --hf-path MODEL -q --dtype float16  # and measure the copy"
            .to_owned(),
    });
    Ok(())
}

fn dense(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (case, run) = (found.case, found.case.run());
    if !case.features.has_experts() {
        return Ok(());
    }
    let Some([decode, first]) = case.changed(run.with_all_experts()) else { return Ok(()) };
    let row = found.row(GapCause::MoeDense, None)?;
    let brings = Brings::computed([decode / 1.5, decode * 1.5], [first / 1.5, first * 1.5]);
    found.add(
        row,
        1.0,
        brings,
        "mlx_lm.generate --model MODEL --prompt x --max-tokens 100  # the same file".to_owned(),
    );
    Ok(())
}

fn bins(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let case = found.case;
    let row = found.row(GapCause::OtherBin, None)?;
    for sibling in &case.siblings {
        let Some(speeds) = case.speeds_on(sibling, case.run()) else { continue };
        let [decode, first] = case.factors(speeds);
        let id = sibling.chip.as_deref().unwrap_or_default();
        let mut named = row.clone();
        named.evidence = format!(
            "{id} has {} GPU cores and {} GB/s; {}",
            sibling.gpu_cores.value,
            sibling.bandwidth.value.gbs(),
            row.evidence
        );
        let brings = Brings::computed([decode; 2], [first; 2]);
        let test = "system_profiler SPDisplaysDataType | grep Cores  # or: mlxplan probe";
        found.add(&named, 1.0, brings, test.to_owned());
    }
    Ok(())
}

fn bits(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let case = found.case;
    let f = &case.features;
    let bits = 8.0 * f.weight_bytes / f.parameters.max(1.0);
    if bits > FULL {
        return Ok(());
    }
    let variant = if case.stated.format { "stated" } else { "assumed" };
    let row = found.row(GapCause::OtherFormat, Some(variant))?;
    let read = case.term("weights") + case.term("experts") + case.term("head");
    let seconds = MORE_BITS.map(|more| read * (more / bits - 1.0).max(0.05));
    let brings = Brings::computed(case.longer_token(seconds), [0.7, 1.05]);
    let test =
        format!("mlxplan inspect MODEL  # bits per weight of the file; {bits:.1} were taken");
    found.add(row, 1.0, brings, test);
    Ok(())
}

fn drafts(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let program = found.case.run().engine.program;
    // These bring drafts with them.
    let eager = matches!(program, Program::Mtplx | Program::Omlx | Program::RapidMlx);
    let test = "turn drafts off (--draft-model, MTP, DFlash), and ask again";
    for (variant, times) in [("faster", 1.0), ("slower", if eager { 1.5 } else { 0.7 })] {
        let row = found.row(GapCause::Speculative, Some(variant))?;
        found.add(row, times, Brings { first: NONE, ..Brings::of(row) }, test.to_owned());
    }
    Ok(())
}
