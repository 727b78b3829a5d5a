//! Settings of the servers on MLX beside mlx_lm.server and LM Studio: their own flags, or their file of settings.
//!
//! Flags are those of the sources that were read: `mlx_vlm/server/cli.py` 0.7.10, `vllm_mlx/cli.py`,
//! `docs/reference/cli.md` of Rapid-MLX 0.16, `omlx/cli.py` and `omlx/settings.py`, vLLM's `serve` with vllm-metal's
//! variables. Of a program whose flags were not read the figures to set are said instead.

use super::{EngineSettings, SettingsFile, declared, files, mlx_cache};
use crate::engine::programs::Engines;
use crate::estimate::Prediction;
use crate::run::Program;
use crate::units::Bytes;

/// Adds what starts a program for what was predicted.
pub(super) fn set_up(p: &Prediction, room: Bytes, settings: &mut EngineSettings) {
    match settings.engine {
        Program::MlxVlm => mlx_vlm(p, settings),
        Program::Omlx => omlx(p, room, settings),
        Program::VllmMlx => vllm_mlx(p, room, settings),
        Program::RapidMlx => rapid_mlx(p, room, settings),
        Program::VllmMetal => vllm_metal(p, settings),
        Program::Exo => exo(p, settings),
        Program::OllamaMlx => ollama_mlx(p, settings),
        _ => by_hand(p, room, settings),
    }
}

/// Sequences at once.
fn at_once(p: &Prediction) -> u32 {
    p.run.engine.parallel.unwrap_or(p.run.work.batch).max(1)
}

/// Prompts read at once.
fn prompts(p: &Prediction) -> u32 {
    p.run.engine.prompt_slots.clamp(1, at_once(p))
}

fn mlx_vlm(p: &Prediction, settings: &mut EngineSettings) {
    settings.commands.push(format!(
        "mlx_vlm.server --model {} --prefill-step-size {} --max-num-seqs {}{}",
        files(p),
        p.run.engine.prefill_step,
        at_once(p),
        mlx_cache(p)
    ));
    settings.notes.push(
        "mlx_vlm.server takes no context: requests longer than that are to be refused before it; it keeps no caches of \
         earlier prompts, but those of 20 images (--vision-cache-size)"
            .to_owned(),
    );
}

/// oMLX reads most settings from its file; the chunk cannot be set.
fn omlx(p: &Prediction, room: Bytes, settings: &mut EngineSettings) {
    let (context, at_once) = (declared(p), at_once(p));
    let hot = p.run.engine.prompt_cache.map_or(Bytes::ZERO, |given| given.min(room));
    let mib = hot.0 >> 20;
    settings.context_tokens = Some(context);
    settings.prompt_cache_bytes = Some(hot);
    settings.commands.push(format!(
        "omlx serve --model-dir ~/.omlx/models --max-concurrent-requests {at_once} --hot-cache-max-size {}",
        size(mib)
    ));
    settings.file = Some(SettingsFile {
        path: "~/.omlx/settings.json".to_owned(),
        content: format!(
            "{{\n  \"scheduler\": {{ \"max_concurrent_requests\": {at_once} }},\n  \"memory\": {{ \"prefill_memory_guard\": \
             true, \"memory_guard_tier\": \"balanced\" }},\n  \"cache\": {{ \"enabled\": true, \"hot_cache_max_size\": \
             \"{}\", \"ssd_cache_max_size\": \"auto\" }},\n  \"sampling\": {{ \"max_context_window\": {context} }}\n}}",
            size(mib)
        ),
    });
    settings.notes.push(format!(
        "{} is to lie in the model folder; the chunk is {} and cannot be set; earlier prompts are kept on the SSD, in up to \
         half of its free space",
        files(p),
        p.run.engine.prefill_step
    ));
}

/// A size as oMLX reads it.
fn size(mib: u64) -> String {
    if mib == 0 { "0".to_owned() } else { format!("{mib}MB") }
}

fn vllm_mlx(p: &Prediction, room: Bytes, settings: &mut EngineSettings) {
    settings.prompt_cache_bytes = Some(room);
    let bits = p.run.engine.kv.map_or_else(String::new, |kv| {
        format!(
            " --kv-cache-quantization --kv-cache-quantization-bits {} --kv-cache-quantization-group-size {}",
            kv.packing.bits, kv.packing.group
        )
    });
    settings.commands.push(format!(
        "vllm-mlx serve {} --continuous-batching --max-num-seqs {} --prefill-batch-size {} --completion-batch-size {} \
         --cache-memory-mb {}{bits}",
        files(p),
        at_once(p),
        prompts(p),
        at_once(p),
        room.0 >> 20
    ));
    settings.notes.push(
        "vllm-mlx takes no context: requests longer than that are to be refused before it; --ssd-cache-dir FOLDER keeps \
         further prompts on the SSD (up to 10 GB)"
            .to_owned(),
    );
}

fn rapid_mlx(p: &Prediction, room: Bytes, settings: &mut EngineSettings) {
    settings.prompt_cache_bytes = Some(room);
    settings.commands.push(format!(
        "rapid-mlx serve {} --max-num-seqs {} --prefill-batch-size {} --completion-batch-size {} --prefill-step-size {} \
         --cache-memory-mb {}",
        files(p),
        at_once(p),
        prompts(p),
        at_once(p),
        p.run.engine.prefill_step,
        room.0 >> 20
    ));
    settings.notes.push(
        "rapid-mlx takes no context: requests longer than that are to be refused before it"
            .to_owned(),
    );
}

/// vLLM takes the context and the sequences, vllm-metal the share of the GPU limit that its pool is made from.
fn vllm_metal(p: &Prediction, settings: &mut EngineSettings) {
    let context = declared(p);
    settings.context_tokens = Some(context);
    let row = Engines::embedded().ok().and_then(|all| all.row(Program::VllmMetal));
    let share = row.and_then(|row| row.memory_fraction).unwrap_or(0.92);
    settings.commands.push(format!(
        "VLLM_METAL_MEMORY_FRACTION={share} vllm serve {} --max-model-len {context} --max-num-seqs {}",
        files(p),
        at_once(p)
    ));
    settings.notes.push(
        "vllm-metal reserves its pool of cache blocks when it starts: a smaller fraction leaves memory to others".to_owned(),
    );
}

fn exo(p: &Prediction, settings: &mut EngineSettings) {
    settings.commands.push("exo".to_owned());
    settings.notes.push(format!(
        "exo has no settings for memory; choose {} in its page, and keep prompt and output within the lengths above",
        files(p)
    ));
}

fn ollama_mlx(p: &Prediction, settings: &mut EngineSettings) {
    let context = declared(p);
    settings.context_tokens = Some(context);
    settings.commands.push(format!("OLLAMA_CONTEXT_LENGTH={context} ollama serve"));
    settings.notes.push(
        "tags that end in -nvfp4, -mxfp8 or -mlx run on MLX; their runner took a context of its own in Ollama 0.24 \
         (ollama/ollama issue 16219): /api/ps shows what was taken"
            .to_owned(),
    );
}

/// What to set where the flags of a program are not known.
fn by_hand(p: &Prediction, room: Bytes, settings: &mut EngineSettings) {
    let context = declared(p);
    settings.context_tokens = Some(context);
    let kept = if p.run.engine.program.is_mlx_server() {
        settings.prompt_cache_bytes = Some(room);
        format!(", at most {room} for caches of earlier prompts")
    } else {
        String::new()
    };
    settings.notes.push(format!(
        "the flags of {} are not known here; what to set with its own: {}, a context of {context} tokens, prompts in chunks \
         of {}, a cache of type {}, {} at once{kept}",
        settings.engine,
        files(p),
        p.run.engine.prefill_step,
        p.run.engine.kv_type(),
        at_once(p)
    ));
}
