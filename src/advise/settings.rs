//! Settings of an engine for a prediction: the command that starts it so that what was predicted holds.

mod servers;

use crate::estimate::Prediction;
use crate::estimate::memory::{ContextBound, Fit};
use crate::hardware::limits::WiredLimitAdvice;
use crate::model::Scheme;
use crate::run::{FormatOrigin, Program};
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// How to start an engine.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct EngineSettings {
    /// The program.
    pub engine: Program,
    /// Commands that start it with these settings, one after the other.
    pub commands: Vec<String>,
    /// Tokens to declare, where the program takes a context.
    pub context_tokens: Option<u64>,
    /// Bytes that caches of earlier prompts may take beside the run.
    pub prompt_cache_bytes: Option<Bytes>,
    /// A raised GPU limit that lets more fit, and how to undo it.
    pub wired_limit: Option<WiredLimitAdvice>,
    /// A file of settings, where the program reads them from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<SettingsFile>,
    /// What else to know.
    pub notes: Vec<String>,
}

/// What belongs into a file of settings; keys that it has beside them stay.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct SettingsFile {
    /// Where the program looks for it.
    pub path: String,
    /// The keys and values.
    pub content: String,
}

impl EngineSettings {
    /// Settings of a program for what was predicted. `None` where nothing could be set: what llama.cpp needs is not known.
    #[must_use]
    pub fn of(p: &Prediction, engine: Program) -> Option<Self> {
        let room = room(p);
        let mut settings = Self {
            engine,
            commands: Vec::new(),
            context_tokens: None,
            prompt_cache_bytes: None,
            wired_limit: wired_limit(p),
            file: None,
            notes: longest(p),
        };
        if p.model.place.is_none() && files(p) != p.model.id {
            settings.notes.push(format!(
                "{} is what such files are usually called; give the folder, file or repository that you have",
                files(p)
            ));
        }
        match engine {
            Program::MlxLm => settings.commands.push(generate(p)),
            Program::MlxServer => {
                settings.prompt_cache_bytes = Some(room);
                settings.commands.push(server(p, room));
                settings.notes.push(
                    "mlx_lm.server takes no context: requests longer than that are to be refused before it"
                        .to_owned(),
                );
            }
            Program::LmStudio | Program::LmStudioGguf => {
                let context = declared(p);
                settings.context_tokens = Some(context);
                settings.commands.push(format!("lms load {} --context-length {context}", files(p)));
            }
            Program::LlamaCpp => {
                settings.context_tokens = Some(declared(p));
                settings.prompt_cache_bytes = Some(room);
                settings.commands.push(llama_server(p, room)?);
            }
            Program::Ollama => {
                settings.context_tokens = Some(declared(p));
                settings.commands.push(ollama(p)?);
                settings.notes.push(
                    "with Ollama.app set the variables by launchctl setenv and start it again; /api/ps shows the \
                     context that was taken"
                        .to_owned(),
                );
            }
            _ => servers::set_up(p, room, &mut settings),
        }
        Some(settings)
    }
}

/// The files to load as a shell takes them: where they lie on this machine, else by the name that they usually have.
fn files(p: &Prediction) -> String {
    if let Some(place) = &p.model.place {
        return shlex::try_quote(place).map_or_else(|_| place.clone(), Into::into);
    }
    let file = &p.run.file;
    let known = matches!(file.origin, FormatOrigin::File | FormatOrigin::Native);
    match file.gguf.filter(|_| !known && p.run.engine.program.runs_gguf()) {
        Some(mix) => format!("{}-{}.gguf", short(&p.model.id), mix.to_string().to_uppercase()),
        None => usual_repository(&p.model.id, &p.model.quant, file.origin),
    }
}

/// The repository that usually holds a model in MLX's format `quant`: a model that is known by its original is run in
/// the format that was predicted.
#[must_use]
pub fn usual_repository(id: &str, quant: &str, origin: FormatOrigin) -> String {
    if matches!(origin, FormatOrigin::File | FormatOrigin::Native) {
        return id.to_owned();
    }
    match quant.parse::<Scheme>() {
        Ok(Scheme::Float(_)) | Err(_) => id.to_owned(),
        Ok(scheme) => format!("mlx-community/{}-{}", short(id), scheme.suffix()),
    }
}

/// The folder that a model is converted into: its name and the format.
pub(super) fn converted_name(id: &str, scheme: Scheme) -> String {
    format!("{}-{}", short(id), scheme.suffix())
}

/// The name of a repository without its owner.
fn short(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// Bytes for the caches of earlier prompts: what was given to them, else what the run leaves under the lowest limit at the
/// upper end of its interval without them.
fn room(p: &Prediction) -> Bytes {
    let Some(memory) = &p.memory else { return Bytes::ZERO };
    if let Some(given) = p.run.engine.prompt_cache {
        return given;
    }
    let hard = memory.judgment.limits.iter().filter(|l| l.kind.is_hard());
    let sums = hard.filter(|l| l.need_bytes.0 >= memory.peak.peak_bytes);
    let left = |l: &crate::estimate::memory::Limit| {
        l.limit_range_bytes[0].saturating_sub(l.need_range_bytes[1].saturating_sub(memory.kept))
    };
    sums.map(left).min().unwrap_or(Bytes::ZERO)
}

/// Tokens that hold the run, and at least what llama.cpp was taken to be started with.
fn declared(p: &Prediction) -> u64 {
    let llama = p.memory.as_ref().and_then(|m| m.llama);
    llama
        .map_or_else(|| u64::from(p.run.total_tokens()).div_ceil(256) * 256, |l| l.settings.context)
}

/// The longest contexts, as a note.
fn longest(p: &Prediction) -> Vec<String> {
    let Some(context) = p.context else { return Vec::new() };
    let (safe, most) = (context.safe.tokens, context.at_most.tokens);
    vec![format!(
        "up to {safe} tokens of prompt and output are safe, up to {most} fit by the expected memory"
    )]
}

/// A raised limit, where memory is what ends the context or the run does not fit.
fn wired_limit(p: &Prediction) -> Option<WiredLimitAdvice> {
    let bound = p.context.is_some_and(|c| c.at_most.bound == ContextBound::Memory);
    let short = p.memory.as_ref().is_some_and(|m| m.judgment.verdict >= Fit::Uncertain);
    let limit = &p.machine.gpu_limit;
    let advice = WiredLimitAdvice::highest(p.machine.memory.value, limit.bytes)?;
    (bound || short).then(|| advice.from(limit.wired_limit_mib))
}

/// The options of a quantized cache in mlx-lm, from the first token on.
fn mlx_cache(p: &Prediction) -> String {
    p.run.engine.kv.map_or_else(String::new, |kv| {
        format!(
            " --kv-bits {} --kv-group-size {} --quantized-kv-start {}",
            kv.packing.bits, kv.packing.group, kv.start
        )
    })
}

fn generate(p: &Prediction) -> String {
    format!(
        "mlx_lm.generate --model {} --max-tokens {} --prefill-step-size {}{} --prompt -",
        files(p),
        p.run.work.generate_tokens,
        p.run.engine.prefill_step,
        mlx_cache(p)
    )
}

fn server(p: &Prediction, room: Bytes) -> String {
    let at_once = p.run.engine.parallel.unwrap_or(p.run.work.batch).max(1);
    let prompts = p.run.engine.prompt_slots.clamp(1, at_once);
    format!(
        "mlx_lm.server --model {} --prefill-step-size {} --decode-concurrency {at_once} --prompt-concurrency {prompts} \
         --prompt-cache-bytes {}{}",
        files(p),
        p.run.engine.prefill_step,
        room.0,
        mlx_cache(p)
    )
}

fn llama_server(p: &Prediction, room: Bytes) -> Option<String> {
    let s = p.memory.as_ref()?.llama?.settings;
    let [keys, values] = s.kv;
    let together = if s.unified { " --kv-unified" } else { "" };
    let flash = if s.flash { "on" } else { "off" };
    Some(format!(
        "llama-server --model {} --ctx-size {} --parallel {}{together} --ubatch-size {} --cache-type-k {keys} \
         --cache-type-v {values} --flash-attn {flash} --cache-ram {}",
        files(p),
        s.context,
        s.slots,
        s.micro_batch,
        match p.run.engine.prompt_cache {
            Some(given) => given.0 >> 20,
            None => (room.0 >> 20).min(8192),
        }
    ))
}

fn ollama(p: &Prediction) -> Option<String> {
    let s = p.memory.as_ref()?.llama?.settings;
    let each = s.context / s.slots.max(1);
    Some(format!(
        "OLLAMA_CONTEXT_LENGTH={each} OLLAMA_NUM_PARALLEL={} OLLAMA_FLASH_ATTENTION={} OLLAMA_KV_CACHE_TYPE={} ollama serve",
        s.slots,
        u8::from(s.flash),
        s.kv[0]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::{Estimator, Run};
    use crate::graph::Graph;
    use crate::graph::cache::KvQuantization;
    use crate::hardware::{Macs, spec};
    use crate::model::Config;
    use crate::roofline::Coefficients;

    fn settings(engine: Program, run: Run) -> EngineSettings {
        let config = Config::parse(
            r#"{"model_type":"qwen3","hidden_size":4096,"num_hidden_layers":36,"num_attention_heads":32,
                "num_key_value_heads":8,"head_dim":128,"intermediate_size":12288,"vocab_size":151936,
                "max_position_embeddings":40960,"rms_norm_eps":1e-6,"rope_theta":1e6,"tie_word_embeddings":false}"#,
        );
        let graph = Graph::quantized(&config.expect("valid JSON"), Scheme::DEFAULT)
            .expect("a known family");
        let program = if engine.runs_gguf() { engine } else { Program::MlxLm };
        let run = run.with_program(program).with_context(8192);
        let coefficients = Coefficients::embedded().expect("built in");
        let machine = spec::resolve("m4-10/16", &Macs::embedded()).expect("a Mac");
        let estimator = Estimator::of_graph(coefficients, &graph, run);
        EngineSettings::of(&estimator.at(&machine).expect("runs"), engine).expect("known")
    }

    #[test]
    fn a_command_has_the_settings_of_the_prediction() {
        let eight = Run::default().with_kv(Some(KvQuantization::bits(8)));
        let llama = settings(Program::LlamaCpp, eight.with_parallel(Some(1)));
        let command = &llama.commands[0];
        let expected = "--ctx-size 8448 --parallel 1 --ubatch-size 512 --cache-type-k q8_0 --cache-type-v q8_0 \
                        --flash-attn on --cache-ram";
        assert!(command.contains(expected), "{command}");
        assert_eq!(llama.context_tokens, Some(8448));
        let ollama = settings(Program::Ollama, eight);
        let expected = "OLLAMA_CONTEXT_LENGTH=8448 OLLAMA_NUM_PARALLEL=1 OLLAMA_FLASH_ATTENTION=1 \
                        OLLAMA_KV_CACHE_TYPE=q8_0 ollama serve";
        assert_eq!(ollama.commands, [expected]);
        let server = settings(Program::MlxServer, eight);
        assert!(server.commands[0].contains("--kv-bits 8 --kv-group-size 64"), "{server:?}");
    }

    /// What is left for earlier prompts is under the limit, together with the run at its worst.
    #[test]
    fn a_prompt_cache_takes_what_is_left() {
        let server = settings(Program::MlxServer, Run::default());
        let room = server.prompt_cache_bytes.expect("a server");
        assert!(room.0 > 500_000_000 && room.0 < 8_000_000_000, "{room}");
        assert!(
            server.commands[0].contains(&format!("--prompt-cache-bytes {}", room.0)),
            "{server:?}"
        );
    }
}
