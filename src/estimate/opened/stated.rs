//! The one rule for formats of names: stated by the name, native to the model, the engine's default, or assumed.

use crate::engine::programs::Engines;
use crate::graph::families;
use crate::model::catalog::ModelEntry;
use crate::model::hub_index::{self, conversions::conversions};
use crate::model::names::{Match, NameSpec, Stated, tags_of};
use crate::model::{DType, Scheme};
use crate::run::{FormatOrigin, Program};

/// What a name means for its weights.
#[derive(Default)]
pub(super) struct Decided {
    /// The scheme of MLX; `None` for what the model was published in.
    pub scheme: Option<Scheme>,
    /// The type of a GGUF file.
    pub gguf: Option<String>,
    /// The block of a repository that another tool packed.
    pub block: Option<serde_json::Value>,
    /// What decided it.
    pub origin: FormatOrigin,
    /// Lowest and highest bytes over those of the scheme, where only the file tells.
    pub weights_range: Option<[f64; 2]>,
    /// Remarks, and whether they put figures in doubt.
    pub notes: Vec<(bool, String)>,
}

/// What programs on llama.cpp take where nothing is said.
const USUAL_GGUF: &str = "Q4_K_M";

impl Decided {
    /// What a match means to a program.
    pub fn of(found: &Match<'_>, name: &NameSpec, program: Program, entry: &ModelEntry) -> Self {
        let named = Self { origin: FormatOrigin::Name, ..Self::default() };
        match &found.stated {
            Stated::Scheme(scheme) => Self { scheme: Some(*scheme), ..named },
            Stated::Mixed(mixed) => {
                let (scheme, range) = mixed.middle();
                Self { scheme: Some(scheme), weights_range: Some(range), ..named }
            }
            Stated::Gguf(Some(file_type)) => Self { gguf: Some(file_type.clone()), ..named },
            Stated::Gguf(None) => Self::usual_gguf(program, entry),
            Stated::Foreign(foreign) => Self { block: Some(foreign.block()), ..named },
            Stated::Mlx => Self {
                scheme: Some(Scheme::Float(DType::BF16)),
                origin: FormatOrigin::Assumed,
                notes: vec![(true, "the name says MLX but no bits: 16 bit is assumed".to_owned())],
                ..Self::default()
            },
            Stated::Nothing if name.ollama.is_some() || program == Program::Ollama => {
                match &name.ollama {
                    Some(tag) => Self::ollama(tag),
                    None => Self::in_library(&entry.id),
                }
            }
            Stated::Nothing if program.runs_gguf() => Self::usual_gguf(program, entry),
            Stated::Nothing => Self::unstated(found, name, entry),
        }
    }

    /// A GGUF file of which no type is named.
    fn usual_gguf(program: Program, entry: &ModelEntry) -> Self {
        let who = if program.runs_gguf() { program.name() } else { "LM Studio and llama-server" };
        let family = families::find(&entry.model_type).ok();
        let (gguf, note) = if family.and_then(|f| f.native_scheme) == Some(Scheme::Mxfp4Q8) {
            let note = "no GGUF type was named: MXFP4, which the model was published in";
            ("MXFP4", note.to_owned())
        } else {
            let note = format!("no GGUF type was named: {USUAL_GGUF}, which {who} would take");
            (USUAL_GGUF, note)
        };
        Self {
            gguf: Some(gguf.to_owned()),
            origin: FormatOrigin::EngineDefault,
            notes: vec![(false, note)],
            ..Self::default()
        }
    }

    /// The file of an Ollama tag.
    fn ollama(tag: &str) -> Self {
        let file_type = ollama_type(tag).unwrap_or_else(|| USUAL_GGUF.to_owned());
        let note = format!("'{tag}' is Ollama's file: {file_type}, as its library has it");
        Self::of_library(file_type, note)
    }

    /// The file that Ollama's library has of a model, by the tag that the model most likely has there.
    fn in_library(id: &str) -> Self {
        let mut tags: Vec<String> =
            tags_of(id).map(str::to_owned).chain(library_tags(id)).collect();
        // Of tags of one file, the one that names its size.
        tags.sort_by_key(|tag| tag.ends_with(":latest"));
        let known = tags.iter().find_map(|tag| Some((tag, ollama_type(tag)?)));
        let (file_type, note) = match known {
            Some((tag, kind)) => {
                let note = format!("no tag was named: Ollama's '{tag}' is {kind}");
                (kind, note)
            }
            None => {
                let note = format!(
                    "no tag of Ollama was named: {USUAL_GGUF}, as most files of its library are"
                );
                (USUAL_GGUF.to_owned(), note)
            }
        };
        Self::of_library(file_type, note)
    }

    fn of_library(file_type: String, note: String) -> Self {
        Self {
            gguf: Some(file_type),
            origin: FormatOrigin::EngineDefault,
            notes: vec![(false, note)],
            ..Self::default()
        }
    }

    /// A name without a format, for a program on MLX.
    fn unstated(found: &Match<'_>, name: &NameSpec, entry: &ModelEntry) -> Self {
        let config = &entry.config;
        let native = Self { origin: FormatOrigin::Native, ..Self::default() };
        let family = families::find(&entry.model_type).ok();
        let text = config.opt_object("text_config").ok().flatten();
        let packed = [Some(config), text.as_ref()]
            .into_iter()
            .flatten()
            .any(|c| c.has("quantization_config"))
            || family.is_some_and(|family| family.native_scheme.is_some());
        if found.is_repository || packed || is_an_original(name) {
            return native;
        }
        let published = conversions(&entry.id).into_iter().find(|c| c.scheme == Scheme::DEFAULT);
        let which = match published {
            Some(conversion) => format!("4 bit, as {} has it", conversion.repo.repo),
            None => "4 bit, the usual conversion for MLX".to_owned(),
        };
        let note = format!("no format was given: {which}; --quant bf16 is the original");
        Self {
            scheme: Some(Scheme::DEFAULT),
            origin: FormatOrigin::EngineDefault,
            notes: vec![(false, note)],
            ..Self::default()
        }
    }
}

/// Whether a name is, letter for letter, that of a repository which holds no conversion.
fn is_an_original(name: &NameSpec) -> bool {
    let repository = name.organization.as_ref().map(|_| name.repository());
    let row = repository.and_then(hub_index::find);
    row.is_some_and(|row| Some(row.repo.as_str()) == repository && row.format.is_empty())
}

/// The tags that a model may have in Ollama's library, the most exact first: `gemma-3-27b-it-qat` is `gemma3:27b-it-qat` or
/// `gemma3:27b`. None for a name without a size.
fn library_tags(id: &str) -> Vec<String> {
    let name = id.rsplit('/').next().unwrap_or(id).to_ascii_lowercase();
    let name = name.strip_prefix("meta-").unwrap_or(&name);
    let parts: Vec<&str> = name.split('-').collect();
    let is_size = |part: &&str| {
        let digits = part.strip_suffix(['b', 'm']).unwrap_or("");
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'x'))
    };
    let Some(at) = parts.iter().position(is_size) else { return Vec::new() };
    let joined = |name: String, part: &&str| match part.as_bytes().first() {
        _ if name.is_empty() => (*part).to_owned(),
        Some(b) if b.is_ascii_digit() => name + part,
        _ => name + "-" + part,
    };
    let family = parts[..at].iter().fold(String::new(), joined);
    let tag = |end: usize| format!("{family}:{}", parts[at..end].join("-"));
    (at + 1..=parts.len()).rev().map(tag).collect()
}

/// The type of Ollama's file of a tag, by `data/engines.toml`: the pattern with the most letters decides; `None` where only
/// the one for all tags fits.
fn ollama_type(tag: &str) -> Option<String> {
    let fits = |pattern: &str| {
        let mut rest = tag;
        let mut parts = pattern.split('*').peekable();
        let mut first = true;
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let at = match (first, last) {
                (true, true) => (rest == part).then_some(0),
                (true, false) => rest.starts_with(part).then_some(0),
                (false, true) => rest.ends_with(part).then(|| rest.len() - part.len()),
                (false, false) => rest.find(part),
            };
            let Some(at) = at else { return false };
            rest = &rest[at + part.len()..];
            first = false;
        }
        true
    };
    let programs = Engines::embedded().ok();
    let tags = programs.iter().flat_map(|p| &p.ollama_tag);
    let known = tags.filter(|t| t.quant.is_some() && t.pattern != "*" && fits(&t.pattern));
    known.max_by_key(|t| t.pattern.len())?.quant.clone()
}

#[cfg(test)]
mod tests {
    use super::{Decided, ollama_type};

    #[test]
    fn tags_of_ollama_have_their_types() {
        for (tag, expected) in [
            ("gemma3:27b", "Q4_K_M"),
            ("qwen3:32b", "Q4_K_M"),
            ("gpt-oss:20b", "MXFP4"),
            ("gemma3:27b-it-qat", "Q4_0"),
            ("llama3.2:1b", "Q8_0"),
            ("mistral:7b", "Q4_K_M"),
            ("llama2:7b", "Q4_0"),
            ("mixtral:8x7b", "Q4_0"),
        ] {
            let kind = Decided::ollama(tag).gguf;
            assert_eq!(kind.as_deref(), Some(expected), "{tag}");
        }
        assert_eq!(ollama_type("qwen3:32b"), None);
    }

    #[test]
    fn a_model_is_the_file_that_the_library_has_of_it() {
        for (id, expected, tag) in [
            ("meta-llama/Llama-3.2-1B-Instruct", "Q8_0", "llama3.2:1b"),
            ("meta-llama/Llama-3.2-3B-Instruct", "Q4_K_M", "no tag of Ollama"),
            ("meta-llama/Meta-Llama-3-8B-Instruct", "Q4_0", "llama3:"),
            ("google/gemma-2-9b-it", "Q4_0", "gemma2:9b"),
            ("google/gemma-2b-it", "Q4_0", "gemma:2b"),
            ("google/gemma-3-27b-it", "Q4_K_M", "no tag of Ollama"),
            ("HuggingFaceTB/SmolLM2-1.7B-Instruct", "Q8_0", "smollm2:1.7b"),
            ("mistralai/Mixtral-8x7B-Instruct-v0.1", "Q4_0", "mixtral:8x7b"),
            ("mistralai/Mistral-7B-Instruct-v0.2", "Q4_0", "mistral:7b-instruct-v0.2"),
            ("openai/gpt-oss-20b", "MXFP4", "gpt-oss:20b"),
            ("CohereLabs/c4ai-command-r-v01", "Q4_0", "command-r:35b"),
            ("microsoft/Phi-3-mini-4k-instruct", "Q4_0", "phi3:"),
            ("mistralai/Mistral-Nemo-Instruct-2407", "Q4_K_M", "no tag of Ollama"),
        ] {
            let decided = Decided::in_library(id);
            assert_eq!(decided.gguf.as_deref(), Some(expected), "{id}");
            assert!(decided.notes[0].1.contains(tag), "{id}: {:?}", decided.notes);
        }
    }
}
