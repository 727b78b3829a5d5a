//! Models as claims and servers name them: a name, and a quantization in MLX's or llama.cpp's words.

use super::context::Context;
use crate::audit::Known;
use crate::estimate::{Opened, OpenedModel, Speed};
use crate::model::gguf::GgufMix;
use crate::model::names::key;
use crate::model::{NamedFormat, Scheme};
use crate::run::{ModelFile, Program, Run};
use crate::validation::join::weights as row_weights;

impl Context {
    /// The model with this name at this quantization, ready for bounds and predictions; a reason where either is not
    /// known.
    pub(in crate::cli) fn known(
        &self,
        name: &str,
        quant: Option<&str>,
        engine: Program,
    ) -> Result<Known, String> {
        let runs_gguf = engine.runs_gguf();
        let gguf = quant.and_then(|q| gguf_format(q, runs_gguf));
        // A GGUF format sizes the matrices of the model without MLX's quantization.
        let scheme = match (gguf, quant) {
            (Some(_), _) | (None, None) => None,
            (None, Some(text)) => Some(mlx_scheme(text)?),
        };
        let subject = one(self, name, scheme)?;
        // Files say it themselves.
        if quant.is_none() && !is_quantized(name) && !std::path::Path::new(name).exists() {
            return Err("the quantization is not stated".to_owned());
        }
        if runs_gguf && gguf.is_none() && scheme.is_none() {
            return Err(format!("the GGUF format of '{name}' is not stated"));
        }
        let engine = if gguf.is_some() && !runs_gguf { Program::LlamaCpp } else { engine };
        let file = ModelFile { gguf, ..ModelFile::default() };
        let run = Run::default().with_program(engine).with_file(file);
        let graph = subject.graph;
        let speed = Speed::of(&graph, &run).map_err(|e| e.to_string())?;
        Ok(Known { graph, speed })
    }
}

/// A GGUF format; without the prefix `gguf-`, names such as `mxfp4` mean one only with an engine that runs GGUF.
fn gguf_format(text: &str, runs_gguf: bool) -> Option<GgufMix> {
    match text.strip_prefix("gguf-") {
        Some(name) => name.parse().ok(),
        None if runs_gguf => text.parse().ok(),
        None => None,
    }
}

fn mlx_scheme(text: &str) -> Result<Scheme, String> {
    if let Some(NamedFormat::Mlx(scheme)) = row_weights(text) {
        return Ok(scheme);
    }
    text.parse().map_err(|e| format!("{e}"))
}

/// Whether a name says how the model is quantized.
fn is_quantized(name: &str) -> bool {
    let words = key(name);
    let suffix = ["bit", "bf16", "fp16", "mxfp", "nvfp"];
    words.split('-').any(|w| suffix.iter().any(|s| w.ends_with(s) || w.starts_with(s)))
}

fn one(context: &Context, name: &str, scheme: Option<Scheme>) -> Result<OpenedModel, String> {
    let quant = scheme.map(|s| s.to_string());
    let opened = context.open(name, quant.as_deref(), None);
    match opened.map_err(|e| super::output::error_text(&e))? {
        Opened::Model(subject) => Ok(*subject),
        Opened::Class(_) => Err(format!("'{name}' is a size class, not one model")),
    }
}
