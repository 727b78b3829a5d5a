//! What a server is, and which model it serves.

use super::client::Client;
use super::error::{HttpError, shorten};
use crate::bench::generation::Generation;
use crate::model::names::key;
use crate::run::Program;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Program behind an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerKind {
    /// llama.cpp's `llama-server`, also inside other programs.
    LlamaCpp,
    /// Ollama.
    Ollama,
    /// LM Studio.
    LmStudio,
    /// `mlx_lm.server`.
    MlxLm,
    /// vLLM and vllm-mlx.
    Vllm,
    /// oMLX.
    Omlx,
    /// Anything else with `/v1/chat/completions`.
    OpenAiCompatible,
}

impl ServerKind {
    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llama.cpp",
            Self::Ollama => "Ollama",
            Self::LmStudio => "LM Studio",
            Self::MlxLm => "mlx_lm.server",
            Self::Vllm => "vLLM",
            Self::Omlx => "oMLX",
            Self::OpenAiCompatible => "OpenAI-compatible server",
        }
    }
}

/// The model that is measured, as the server describes it.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct ServedModel {
    /// The server's name of the model.
    pub id: String,
    /// The name that requests carry; `None` where the server has one model and needs none.
    pub request_name: Option<String>,
    /// Quantization in the server's words.
    pub quant: Option<String>,
    /// `gguf` or `mlx`.
    pub format: Option<String>,
    /// Tokens of context that the server has set aside; with Ollama, the most that the model takes.
    pub context_tokens: Option<u32>,
    /// Parameters.
    pub parameters: Option<u64>,
    /// Bytes of the weight file.
    pub file_bytes: Option<u64>,
}

/// A server and its model.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct ServerInfo {
    /// The program.
    pub kind: ServerKind,
    /// Its version, in its own words.
    pub version: Option<String>,
    /// Requests it processes at once, where it says so.
    pub slots: Option<u32>,
    /// The model.
    pub model: ServedModel,
}

impl ServerInfo {
    /// The same with what only an answer tells: `mlx_lm.server` puts its version there.
    pub(super) fn with(&self, generation: &Generation) -> Self {
        let mut info = self.clone();
        if info.version.is_none() && info.kind == ServerKind::MlxLm {
            info.version = generation.fingerprint.as_deref().map(shorten);
        }
        if info.model.id.is_empty() {
            // mlx_lm.server repeats the request's placeholder.
            let name = generation.model.as_deref().filter(|m| *m != "default_model");
            info.model.id = name.map(shorten).unwrap_or_default();
        }
        info
    }

    /// The speed model that applies, where the answer is known.
    #[must_use]
    pub fn engine(&self) -> Option<Program> {
        match (self.kind, self.model.format.as_deref()) {
            (ServerKind::Ollama, _) => Some(Program::Ollama),
            (ServerKind::LlamaCpp, _) | (_, Some("gguf")) => Some(Program::LlamaCpp),
            (ServerKind::MlxLm | ServerKind::Omlx, _) | (_, Some("mlx")) => Some(Program::MlxLm),
            _ => None,
        }
    }
}

/// Finds out what answers, and which of its models `wanted` is.
pub(super) fn discover(client: &Client, wanted: Option<&str>) -> Result<ServerInfo, HttpError> {
    if let Some(info) = ollama(client, wanted)? {
        return Ok(info);
    }
    if let Some(info) = llama_cpp(client, wanted)? {
        return Ok(info);
    }
    if let Some(info) = lm_studio(client, wanted)? {
        return Ok(info);
    }
    openai(client, wanted)
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().filter(|t| !t.is_empty()).map(shorten)
}

fn count(value: &Value, pointer: &str) -> Option<u32> {
    value.pointer(pointer)?.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0)
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn ollama(client: &Client, wanted: Option<&str>) -> Result<Option<ServerInfo>, HttpError> {
    let Some(answer) = client.question("/api/version")? else { return Ok(None) };
    let Some(version) = text(&answer.json, "/version") else { return Ok(None) };
    let tags = client.question("/api/tags")?.map(|a| a.json).unwrap_or_default();
    let models = list(&tags, "/models");
    let names: Vec<&str> = models.iter().filter_map(|m| m.get("name")?.as_str()).collect();
    let name = choose(&names, wanted)?;
    let entry = models.iter().find(|m| m.get("name").and_then(Value::as_str) == Some(name));
    let show = client.ask("/api/show", &json!({ "model": name }))?.unwrap_or_default();
    let longest = show
        .get("model_info")
        .and_then(Value::as_object)
        .and_then(|info| info.iter().find(|(k, _)| k.ends_with(".context_length")))
        .and_then(|(_, v)| u32::try_from(v.as_u64()?).ok());
    let model = ServedModel {
        id: shorten(name),
        request_name: Some(name.to_owned()),
        quant: text(&show, "/details/quantization_level"),
        format: text(&show, "/details/format"),
        context_tokens: longest,
        parameters: show.pointer("/model_info/general.parameter_count").and_then(Value::as_u64),
        file_bytes: entry.and_then(|m| m.get("size")?.as_u64()),
    };
    Ok(Some(ServerInfo { kind: ServerKind::Ollama, version: Some(version), slots: None, model }))
}

fn llama_cpp(client: &Client, wanted: Option<&str>) -> Result<Option<ServerInfo>, HttpError> {
    let Some(props) = client.question("/props")?.map(|a| a.json) else { return Ok(None) };
    if props.get("default_generation_settings").is_none() {
        return Ok(None);
    }
    let models = client.question("/v1/models")?.map(|a| a.json).unwrap_or_default();
    let entries = list(&models, "/data");
    let names: Vec<&str> = entries.iter().filter_map(|m| m.get("id")?.as_str()).collect();
    let name = choose(&names, wanted)?;
    let entry = entries.iter().find(|m| m.get("id").and_then(Value::as_str) == Some(name));
    let entry = entry.cloned().unwrap_or_default();
    let model = ServedModel {
        id: shorten(name),
        request_name: Some(name.to_owned()),
        quant: text(&props, "/model_ftype").or_else(|| text(&entry, "/meta/ftype")),
        format: Some("gguf".to_owned()),
        context_tokens: count(&props, "/default_generation_settings/n_ctx"),
        parameters: entry.pointer("/meta/n_params").and_then(Value::as_u64),
        file_bytes: entry.pointer("/meta/size").and_then(Value::as_u64),
    };
    Ok(Some(ServerInfo {
        kind: ServerKind::LlamaCpp,
        version: text(&props, "/build_info"),
        slots: count(&props, "/total_slots"),
        model,
    }))
}

fn lm_studio(client: &Client, wanted: Option<&str>) -> Result<Option<ServerInfo>, HttpError> {
    let Some(models) = client.question("/api/v0/models")?.map(|a| a.json) else { return Ok(None) };
    let entries: Vec<&Value> = list(&models, "/data")
        .iter()
        .filter(|m| m.get("type").and_then(Value::as_str) != Some("embeddings"))
        .collect();
    if !entries.iter().any(|m| m.get("compatibility_type").is_some()) {
        return Ok(None);
    }
    let id = |m: &&Value| m.get("id").and_then(Value::as_str).map(str::to_owned);
    let loaded = |m: &&&Value| m.get("state").and_then(Value::as_str) == Some("loaded");
    // Without a wish, the models that are loaded already come first.
    let mut names: Vec<String> = entries.iter().filter(loaded).filter_map(id).collect();
    if wanted.is_some() || names.is_empty() {
        names = entries.iter().filter_map(id).collect();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let name = choose(&names, wanted)?;
    let entry = entries.iter().find(|m| m.get("id").and_then(Value::as_str) == Some(name));
    let entry = entry.map(|m| (*m).clone()).unwrap_or_default();
    let model = ServedModel {
        id: shorten(name),
        request_name: Some(name.to_owned()),
        quant: text(&entry, "/quantization"),
        format: text(&entry, "/compatibility_type"),
        context_tokens: count(&entry, "/loaded_context_length"),
        ..ServedModel::default()
    };
    Ok(Some(ServerInfo { kind: ServerKind::LmStudio, version: None, slots: None, model }))
}

fn openai(client: &Client, wanted: Option<&str>) -> Result<ServerInfo, HttpError> {
    // mlx_lm.server breaks off /v1/models when there is no Hugging Face cache, but its /health works.
    let answer = match client.question("/v1/models")? {
        Some(answer) => Some(answer),
        None => client.question("/health")?,
    };
    let Some(answer) = answer else {
        return Err(HttpError::Protocol(format!(
            "{} has neither /v1/models nor /api/version; is it a server for language models?",
            client.address()
        )));
    };
    let entries = list(&answer.json, "/data");
    let owner = entries.iter().find_map(|m| text(m, "/owned_by")).unwrap_or_default();
    let python = answer.server.as_deref().is_some_and(|s| s.starts_with("BaseHTTP"));
    let kind = match owner.to_lowercase() {
        o if o.starts_with("vllm") => ServerKind::Vllm,
        o if o.contains("omlx") => ServerKind::Omlx,
        _ if python => ServerKind::MlxLm,
        _ => ServerKind::OpenAiCompatible,
    };
    let names: Vec<&str> = entries.iter().filter_map(|m| m.get("id")?.as_str()).collect();
    let version = match kind {
        ServerKind::Vllm => client.question("/version")?.and_then(|a| text(&a.json, "/version")),
        _ => None,
    };
    let name = match (kind, wanted) {
        // It lists the whole Hugging Face cache, and answers with the model it was started with when asked for none.
        (ServerKind::MlxLm, None) => {
            names.iter().find(|n| n.starts_with('/')).copied().unwrap_or("")
        }
        // It may be asked for any repository, which it then loads.
        (ServerKind::MlxLm, Some(w)) => choose(&names, Some(w)).unwrap_or(w),
        _ => choose(&names, wanted)?,
    };
    let entry = entries.iter().find(|m| m.get("id").and_then(Value::as_str) == Some(name));
    let model = ServedModel {
        id: shorten(name),
        request_name: (!name.is_empty() && (kind != ServerKind::MlxLm || wanted.is_some()))
            .then(|| name.to_owned()),
        context_tokens: entry.and_then(|m| count(m, "/max_model_len")),
        format: (kind == ServerKind::MlxLm).then(|| "mlx".to_owned()),
        ..ServedModel::default()
    };
    Ok(ServerInfo { kind, version, slots: None, model })
}

/// The served model that a name means: compared by [`key`], so that case and `/`, `_`, `:`, `.`, `-` do not matter.
fn choose<'n>(served: &[&'n str], wanted: Option<&str>) -> Result<&'n str, HttpError> {
    let listed = |names: &[&str]| {
        let shown: Vec<String> =
            names.iter().take(12).map(|n| format!("  {}", shorten(n))).collect();
        shown.join("\n")
    };
    let Some(wanted) = wanted else {
        return match served {
            [] => Err(HttpError::Model("the server serves no model; load one first".to_owned())),
            [only] => Ok(only),
            many => Err(HttpError::Model(format!(
                "the server serves several models; choose one with --model:\n{}",
                listed(many)
            ))),
        };
    };
    let want = key(wanted);
    let equal: Vec<&str> = served.iter().filter(|n| key(n) == want).copied().collect();
    if let [one, ..] = equal.as_slice() {
        return Ok(one);
    }
    // An organization, a path or a tag such as ':latest' may be left out.
    let within = |n: &&&str| {
        let name = format!("-{}-", key(n));
        name.contains(&format!("-{want}-"))
    };
    let close: Vec<&str> = served.iter().filter(within).copied().collect();
    match close.as_slice() {
        [one] => Ok(one),
        [] => Err(HttpError::Model(format!(
            "the server does not serve '{}'; it serves:\n{}",
            shorten(wanted),
            listed(served)
        ))),
        many => Err(HttpError::Model(format!(
            "'{}' is not clear; the server serves:\n{}",
            shorten(wanted),
            listed(many)
        ))),
    }
}

/// Tokens of a text, by llama.cpp's and vLLM's `/tokenize`.
pub(super) fn tokenize(client: &Client, info: &ServerInfo, text: &str) -> Option<u32> {
    let body = match info.kind {
        ServerKind::LlamaCpp => json!({ "content": text, "add_special": false }),
        ServerKind::Vllm => {
            json!({ "model": info.model.request_name, "prompt": text, "add_special_tokens": false })
        }
        _ => return None,
    };
    let answer = client.ask("/tokenize", &body).ok()??;
    let tokens = answer.get("tokens")?.as_array()?;
    u32::try_from(tokens.len()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_names_match_across_spellings() {
        let served = ["mlx-community/Qwen3-8B-4bit", "llama3.2:1b", "/models/SmolLM2-135M.gguf"];
        for (wanted, expected) in [
            ("mlx-community_qwen3-8b-4bit", 0),
            ("Qwen3:8B/4bit", 0),
            ("llama3.2_1B", 1),
            ("llama-3.2-1b", 1),
            ("smollm2-135m", 2),
        ] {
            assert_eq!(choose(&served, Some(wanted)), Ok(served[expected]), "{wanted}");
        }
        assert!(choose(&served, Some("qwen3-80b")).is_err());
        let error = choose(&served, None).unwrap_err().to_string();
        assert!(error.contains("--model") && error.contains("llama3.2:1b"), "{error}");
        assert!(choose(&["a-4bit", "a-8bit"], Some("a")).is_err());
        assert_eq!(choose(&["only"], None), Ok("only"));
    }
}
