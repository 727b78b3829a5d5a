//! What the server says of itself, and how it answers calls.

use super::prompts;
use super::tools::{ONLINE, TOOLS, ToolRow};
use crate::clean::clean;
use crate::cli::shared::context::Context;
use crate::cli::shared::global::Global;
use crate::report::{Format, Style};
use anyhow::Result;
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    GetPromptRequestParams, GetPromptResponse, Implementation, JsonObject, ListPromptsResult,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;

/// What agents are told before they choose a tool.
const INSTRUCTIONS: &str = "mlxplan plans language models on Apple Silicon: whether a model fits, how fast it is, which Mac to \
    buy. Every figure has an interval; repeat it with the figure. Names: a model is a hub name or alias with its quantization \
    (qwen3-32b-4bit, gemma3:27b), a size class (32B-4bit, recommend only), a folder, config.json or GGUF file; a Mac is \
    'this', a chip bin and memory (m4max-40/128), or words (\"MacBook Pro M5 Pro 48GB\"). Unknown names are answered with \
    candidates. Say what the user said: context, engine (mlx-lm, lm-studio, ollama, llama.cpp …), kv_bits; what is left out is \
    the engine's default and stands in the answer. Nothing is fetched unless online is true; nothing is written.";

/// The planner as a server of tools.
#[derive(Clone)]
pub(super) struct McpServer {
    contexts: Arc<Contexts>,
    tools: Arc<Vec<Tool>>,
    /// Permits of calls that run at once; the other threads are left to the streams.
    calls: Arc<Semaphore>,
}

/// What commands share: one that never uses the network, and one that does, made when it is asked for.
struct Contexts {
    global: Global,
    offline: Context,
    online: OnceLock<Context>,
}

impl Contexts {
    fn new(global: Global) -> Result<Self> {
        let global = Global { quiet: true, verbose: false, output: None, ..global };
        let offline = Context::new(Global { offline: true, ..global.clone() })?;
        Ok(Self { global, offline, online: OnceLock::new() })
    }

    fn choose(&self, online: bool) -> Result<&Context, String> {
        if !online {
            return Ok(&self.offline);
        }
        if self.global.offline {
            return Err("online: this server was started with --offline".to_owned());
        }
        if let Some(known) = self.online.get() {
            return Ok(known);
        }
        let context = Context::new(self.global.clone()).map_err(|e| format!("{e:#}"))?;
        Ok(self.online.get_or_init(|| context))
    }
}

impl McpServer {
    /// A server with the flags that it was started with, which runs so many calls at once.
    ///
    /// # Errors
    /// A data folder that is not there.
    pub(super) fn new(global: Global, calls: usize) -> Result<Self> {
        let may_go_online = !global.offline;
        let tools = TOOLS.iter().map(|row| row.tool(may_go_online)).collect();
        Ok(Self {
            contexts: Arc::new(Contexts::new(global)?),
            tools: Arc::new(tools),
            calls: Arc::new(Semaphore::new(calls)),
        })
    }
}

/// Answers a call: the object as structured content, and the same for people as text.
fn answered(
    contexts: &Contexts,
    row: &ToolRow,
    mut given: JsonObject,
) -> Result<CallToolResult, String> {
    let online = match given.remove(ONLINE) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(online)) => online,
        Some(_) => return Err("online: expected true or false".to_owned()),
    };
    let answer = row.answer(contexts.choose(online)?, &given)?;
    let style = Style { width: 100, color: false, ascii: false };
    let render = |format| answer.render(format, style).map_err(|e| e.to_string());
    let object: Value = serde_json::from_str(&render(Format::Json)?).map_err(|e| e.to_string())?;
    let mut result = CallToolResult::structured(object);
    result.content = vec![ContentBlock::text(render(Format::Markdown)?)];
    Ok(result)
}

/// A call that failed: the agent reads why, and may try again.
fn failed(why: &str) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(clean(why).into_owned())])
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_prompts().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("mlxplan", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.to_vec()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.iter().find(|t| t.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(row) = TOOLS.iter().find(|row| row.name == request.name) else {
            let names: Vec<&str> = TOOLS.iter().map(|row| row.name).collect();
            let text = format!("there is no such tool; there are {}", names.join(", "));
            return Err(ErrorData::invalid_params(text, None));
        };
        let (contexts, given) = (self.contexts.clone(), request.arguments.unwrap_or_default());
        // It is never closed. The permit ends with the work, of which nobody may want to know any more.
        let permit = self.calls.clone().acquire_owned().await.ok();
        let work = tokio::task::spawn_blocking(move || {
            let _until_done = permit;
            answered(&contexts, row, given)
        });
        let result = match work.await {
            Ok(Ok(result)) => result,
            Ok(Err(why)) => failed(&why),
            Err(_) => failed(&format!(
                "{} ended early, which is a defect of mlxplan; `mlxplan doctor` says what a report needs",
                row.name
            )),
        };
        Ok(result.into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(prompts::all()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let given = request.arguments.unwrap_or_default();
        let made = prompts::make(&request.name, &given);
        made.map(Into::into).map_err(|why| ErrorData::invalid_params(why, None))
    }
}
