//! The model a question is about: its source, its graph, and how it is quantized.

mod doubts;
mod error;
mod format;
mod named;
mod runnable;
mod stated;

pub(crate) use error::SIZES_HINT;
pub use error::{OpenError, Unreachable};

use crate::engine::load::{self, Checkpoint, LoadError};
use crate::graph::families;
use crate::graph::{Graph, GraphError};
use crate::model::catalog::Models;
use crate::model::drafts::{self, PredictionHeads};
use crate::model::gguf::GgufMix;
use crate::model::names::{self, ClassMatch, ModelSpec, NameSpec, TextlessKind};
use crate::model::source::hub::{self, HubOptions, HubProgress};
use crate::model::source::{ModelSource, Origin, SourceNote, WeightFormat, folder};
use crate::model::{Config, ConfigError, DType, NamedFormat, Packing, Scheme};
use crate::run::{FormatOrigin, ModelFile, Program, PromptUse};
use crate::units::Bytes;
use doubts::{plain_decoder_hint, unlike_the_file, unlike_the_index};
use format::{config_dtype, describe, label, origin, stored_dtype, upstream};
use std::collections::HashMap;

/// Where models are looked up.
pub struct Sources<'c, 'p> {
    /// The catalog.
    pub catalog: &'c Models,
    /// Settings of the hub.
    pub hub: HubOptions,
    /// Called while a repository is read.
    pub progress: &'p (dyn Fn(HubProgress) + Sync),
    /// Read an unknown `model_type` as if it were this one.
    pub assume: Option<String>,
    /// The program that runs the model: it decides what a name without a format means, and what loads.
    pub program: Program,
}

/// What a model argument stands for.
pub enum Opened<'c> {
    /// One model.
    Model(Box<OpenedModel>),
    /// All models of a size.
    Class(ClassMatch<'c>),
}

/// A model with its graph.
#[derive(Debug)]
pub struct OpenedModel {
    /// Name to show: a repository, a folder, a file.
    pub id: String,
    /// Where everything came from.
    pub source: ModelSource,
    /// Tensors, caches and forward pass.
    pub graph: Graph,
    /// Quantization: a scheme's id, `files` with the bits per weight where layers differ, or a GGUF type.
    pub quant: String,
    /// What decided the format of its weights.
    pub origin: FormatOrigin,
    /// The GGUF format that was asked for of a model that is no GGUF file.
    pub asked_gguf: Option<GgufMix>,
    /// What it does with a prompt.
    pub purpose: PromptUse,
    /// Lowest and highest bytes of its weights over those of the graph, where only the file tells them.
    pub weights_range: Option<[f64; 2]>,
    /// Remarks that do not put a figure in doubt.
    pub notes: Vec<String>,
    /// How the name was read, as far as it does not say so itself: every prediction says it.
    pub reading: Vec<String>,
    /// Remarks that do.
    pub warnings: Vec<String>,
}

impl OpenedModel {
    /// Opens what a model argument names. `quant` is the `--quant` option.
    ///
    /// # Errors
    /// When the name, the files, the repository, the configuration or the quantization is wrong.
    pub fn open<'c>(
        text: &str,
        quant: Option<&str>,
        sources: &Sources<'c, '_>,
    ) -> Result<Opened<'c>, OpenError> {
        let format: Option<NamedFormat> = quant.map(str::parse).transpose()?;
        let (scheme, mix) = match format {
            Some(NamedFormat::Mlx(scheme)) => (Some(scheme), None),
            Some(NamedFormat::Gguf(mix)) => (None, Some(mix)),
            None => (None, None),
        };
        let source = match names::parse_model_spec(text)? {
            ModelSpec::Name(name) => return Self::named(&name, (scheme, mix), sources),
            ModelSpec::Folder(path) => folder::load(&path)?,
            ModelSpec::Gguf(path) => ModelSource::from_gguf(&path)?,
            ModelSpec::ConfigFile(path) => ModelSource::from_config_file(&path)?,
            ModelSpec::Hub(repo) => {
                // A web address of what is known needs no network.
                let known = (!text.trim().starts_with("hf:"))
                    .then(|| Self::named(&NameSpec::parse(text.trim()), (scheme, mix), sources));
                match known {
                    Some(Ok(known)) => return Ok(known),
                    _ => hub::open(&repo, &sources.hub, sources.progress)?,
                }
            }
        };
        let model = Self::of_file(source, (scheme, mix), sources)?;
        Ok(Opened::Model(Box::new(model)))
    }

    /// The model of files, in the format that was asked for where they leave it open.
    pub(super) fn of_file(
        source: ModelSource,
        (scheme, mix): (Option<Scheme>, Option<GgufMix>),
        sources: &Sources<'_, '_>,
    ) -> Result<Self, OpenError> {
        let model = Self::from_source(source, scheme, sources)?;
        match mix {
            Some(mix) => model.in_gguf(mix),
            None => Ok(model),
        }
    }

    /// The same model as a GGUF file of format `mix`, which was not read.
    ///
    /// # Errors
    /// When its files are quantized already.
    pub fn in_gguf(mut self, mix: GgufMix) -> Result<Self, OpenError> {
        let quantized =
            self.source.gguf.is_some() || matches!(self.source.format, WeightFormat::Mlx(_));
        if quantized {
            let (name, found) = (self.id, self.quant);
            return Err(OpenError::AlreadyQuantized { name, found, asked: NamedFormat::Gguf(mix) });
        }
        self.quant = format!("gguf-{mix}");
        self.asked_gguf = Some(mix);
        self.origin = FormatOrigin::Name;
        Ok(self)
    }

    /// The same as a GGUF file of format `mix`, unless its files say what it is.
    #[must_use]
    pub fn as_gguf_where_open(self, mix: GgufMix) -> Self {
        match self.source.gguf.is_some() || matches!(self.source.format, WeightFormat::Mlx(_)) {
            true => self,
            false => Self { quant: format!("gguf-{mix}"), asked_gguf: Some(mix), ..self },
        }
    }

    /// The model's prediction heads (MTP), by its configuration or by what is known of its repository.
    #[must_use]
    pub fn prediction_heads(&self) -> Option<PredictionHeads> {
        drafts::heads(self.source.config.as_ref(), self.repository())
    }

    /// The repository that the model is known by.
    #[must_use]
    pub fn repository(&self) -> &str {
        match &self.source.origin {
            Origin::Catalog { id, .. } => id,
            _ => &self.source.name,
        }
    }

    /// Builds the graph of a source. `scheme` is what the user asked for.
    ///
    /// # Errors
    /// When the configuration or the quantization is wrong.
    pub fn from_source(
        source: ModelSource,
        scheme: Option<Scheme>,
        sources: &Sources<'_, '_>,
    ) -> Result<Self, OpenError> {
        let name = source.name.clone();
        let Some(config) = source.config.clone() else {
            let reason =
                source.notes.first().map_or("no configuration".into(), ToString::to_string);
            return Err(OpenError::NoConfiguration { name, reason });
        };
        let config = match &sources.assume {
            Some(model_type) => assumed(config, model_type),
            None => config,
        };
        let purpose = purpose(&config).map_err(|what| {
            let name = name.clone();
            OpenError::NotALanguageModel { name, what }
        })?;
        if let (Some(asked), Some(gguf)) = (scheme, &source.gguf) {
            let found = gguf.quantization().unwrap_or("GGUF").to_owned();
            let asked = NamedFormat::Mlx(asked);
            return Err(OpenError::AlreadyQuantized { name, found, asked });
        }
        let mut remarks = Vec::new();
        let (config, graph, format) = match Self::graph(&source, &config, scheme, sources.program) {
            Ok((graph, format, notes)) => {
                remarks = notes;
                (config, graph, format)
            }
            Err(error) => {
                let text = unknown_family(&error).then(|| text_part(&config)).flatten();
                let Some(text) = text else { return Err(error) };
                let (graph, format, _) = Self::graph(&source, &text, scheme, sources.program)?;
                remarks.push(format!(
                    "mlx-lm does not know '{}'; figures are those of its text part, '{}'",
                    config.model_type().unwrap_or_default(),
                    text.model_type().unwrap_or_default()
                ));
                (text, graph, format)
            }
        };
        runnable::check(&source, &graph)?;
        let quant = format.unwrap_or_else(|| label(&source, &graph));
        let origin = origin(&source, &config, scheme);
        let float = matches!(graph.uniform_scheme(), Some(Scheme::Float(_)));
        let graph = graph.with_fp16_activations(source.hub_fp16.filter(|_| !float));
        let mut model = Self {
            id: name,
            source,
            graph,
            quant,
            origin,
            asked_gguf: None,
            purpose,
            weights_range: None,
            notes: Vec::new(),
            reading: Vec::new(),
            warnings: Vec::new(),
        };
        if let Some(what) = purpose.what() {
            model.warnings.push(format!(
                "{what}: it reads prompts and generates nothing; memory and the speed of reading are those of its \
                 network in mlx-lm's operations"
            ));
        }
        for note in model.source.notes.clone() {
            if matches!(note, SourceNote::KeptCopy { .. }) {
                model.reading.push(note.to_string());
            }
            model.remark(note.is_warning(), note.to_string());
        }
        model.warnings.extend(remarks);
        model.warnings.extend(unlike_the_file(&model));
        // The index states the bytes of what is stored, not of another format.
        if scheme.is_none() {
            model.warnings.extend(unlike_the_index(&model));
        }
        if let Some(model_type) = &sources.assume {
            model.warnings.push(format!("read as if its model_type were '{model_type}', as asked"));
        }
        if let Some(reason) = model.graph.not_in_mlx_lm() {
            model.warnings.push(reason.to_owned());
        }
        Ok(model)
    }

    /// The graph, the name of a format that is not MLX's own, and remarks.
    fn graph(
        source: &ModelSource,
        config: &Config,
        scheme: Option<Scheme>,
        program: Program,
    ) -> Result<(Graph, Option<String>, Vec<String>), OpenError> {
        let failed = |error: GraphError| OpenError::Graph {
            hint: plain_decoder_hint(config, &error),
            name: runnable::place(source),
            error,
        };
        if source.gguf.is_some() {
            let graph = Graph::new(config, DType::F16).map_err(|e| failed(e.into()))?;
            return Ok((graph, None, Vec::new()));
        }
        let stored = stored_dtype(source).or_else(|| config_dtype(config)).unwrap_or(DType::BF16);
        let packed = matches!(source.format, WeightFormat::Mlx(_));
        if let (Some(asked), WeightFormat::Mlx(block)) = (scheme, &source.format) {
            let found =
                source.packings.as_ref().and_then(|p| p.dominant()).unwrap_or(block.default);
            return Err(OpenError::AlreadyQuantized {
                name: source.name.clone(),
                found: describe(found),
                asked: NamedFormat::Mlx(asked),
            });
        }
        let foreign = matches!(source.format, WeightFormat::Foreign(_)) || source.beside.is_some();
        if scheme.is_some() || (!packed && !foreign && source.tensors.is_none()) {
            let scheme = scheme.unwrap_or_else(|| upstream(config, stored));
            let graph = Graph::quantized(config, scheme).map_err(failed)?;
            return Ok((graph, None, Vec::new()));
        }
        let checkpoint = Checkpoint {
            config,
            beside: source.beside.as_ref(),
            tensors: source.tensors.as_ref(),
            packings: source.packings.as_ref(),
            dtype: stored,
        };
        let loader = load::loader_of(program);
        let loaded = load::load(&checkpoint, loader).map_err(|error| match error {
            LoadError::Graph(error) => failed(error),
            LoadError::Refused(refusal) => {
                let instead = load::instead(&checkpoint, loader)
                    .map(|(other, bytes)| format!("{other} would hold {}", Bytes(bytes)));
                OpenError::Refused { name: source.name.clone(), refusal, instead }
            }
        })?;
        let mut notes = loaded.notes;
        if let Some(first) = loaded.missing.first() {
            notes.push(format!(
                "the files have no tensors for {} of the model's modules (for example {first}); those are taken as \
                 unquantized",
                loaded.missing.len()
            ));
        }
        Ok((loaded.graph, loaded.format, notes))
    }

    /// The file, as far as the graph does not say it.
    #[must_use]
    pub fn file(&self) -> ModelFile {
        let stored = self.source.gguf.as_ref().map(|g| g.loaded());
        let stand_in = self.source.notes.iter().any(|n| matches!(n, SourceNote::GgufStandIn(_)));
        ModelFile {
            fp16: None,
            gguf: self.gguf_mix(),
            stored,
            origin: self.origin,
            stand_in,
            weights_range: self.weights_range,
            purpose: self.purpose,
        }
    }

    /// The model with the same packing and activations of another type.
    ///
    /// # Errors
    /// When the source has no configuration, or it does not fit the type.
    pub fn with_activations(&self, dtype: DType) -> Result<Graph, OpenError> {
        let Some(config) = self.source.config.as_ref() else {
            let reason = "it has no configuration".to_owned();
            return Err(OpenError::NoConfiguration { name: self.id.clone(), reason });
        };
        let failed = |error| OpenError::Graph { name: self.id.clone(), error, hint: None };
        self.repacked(config, dtype).map_err(failed)
    }

    /// The model with float32 activations; `None` when it has them already or when its configuration is not known.
    ///
    /// # Errors
    /// When the configuration does not fit the type.
    pub fn in_float32(&self) -> Result<Option<Graph>, GraphError> {
        match &self.source.config {
            Some(config) if self.graph.dtype() != DType::F32 => {
                self.repacked(config, DType::F32).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn repacked(&self, config: &Config, dtype: DType) -> Result<Graph, GraphError> {
        let mut graph = Graph::new(config, dtype)?;
        let known: HashMap<&str, Option<Packing>> =
            self.graph.params().modules().iter().map(|m| (m.path.as_str(), m.packing)).collect();
        graph.pack(|module| known.get(module.path.as_str()).copied());
        Ok(graph)
    }

    /// The mixture of formats of a GGUF file: the one that was asked for, the one it names, else the one closest to
    /// its bits per weight.
    #[must_use]
    pub fn gguf_mix(&self) -> Option<GgufMix> {
        let Some(gguf) = self.source.gguf.as_ref() else { return self.asked_gguf };
        let named = gguf.quantization().and_then(|q| q.to_lowercase().parse().ok());
        Some(named.unwrap_or_else(|| GgufMix::nearest(gguf.bits_per_weight())))
    }

    /// The same model in another format, where its configuration tells what it is without one.
    #[must_use]
    pub fn in_scheme(&self, scheme: Scheme) -> Option<Self> {
        if self.source.gguf.is_some() || matches!(self.source.format, WeightFormat::Mlx(_)) {
            return None;
        }
        let config = self.source.config.as_ref()?;
        let graph = Graph::converted(config, scheme, self.graph.loader());
        let fp16 = self.source.hub_fp16.filter(|_| !matches!(scheme, Scheme::Float(_)));
        Some(Self {
            id: self.id.clone(),
            source: self.source.clone(),
            graph: graph.ok()?.with_fp16_activations(fp16),
            quant: scheme.to_string(),
            origin: FormatOrigin::Name,
            asked_gguf: None,
            purpose: self.purpose,
            weights_range: None,
            notes: self.notes.clone(),
            reading: self.reading.clone(),
            warnings: self.warnings.clone(),
        })
    }

    /// The same model in a smaller format than the present one; `None` where the present one is a GGUF format or the
    /// other is not smaller.
    #[must_use]
    pub fn requantized(&self, scheme: Scheme) -> Option<Self> {
        let smaller = self.in_scheme(scheme).filter(|_| self.gguf_mix().is_none())?;
        let bits = |model: &Self| model.graph.bits_per_weight();
        (bits(&smaller) < bits(self) - 0.1).then_some(smaller)
    }

    fn remark(&mut self, warning: bool, text: String) {
        if warning { self.warnings.push(text) } else { self.notes.push(text) }
    }
}

/// Whether the family is what fails.
fn unknown_family(error: &OpenError) -> bool {
    let unknown = |e: &GraphError| matches!(e, GraphError::Config(ConfigError::UnknownFamily(_)));
    matches!(error, OpenError::Graph { error, .. } if unknown(error))
}

/// The language model in a configuration of several parts, where its family is known. The wrapper's blocks and its
/// vocabulary hold for it.
fn text_part(config: &Config) -> Option<Config> {
    let keys = ["text_config", "llm_config", "language_config"];
    let text = keys.iter().find_map(|key| config.opt_object(key).ok().flatten())?;
    families::find(text.model_type().ok()?).ok()?;
    let mut text = Config::new(text.values().clone());
    for key in ["quantization", "quantization_config", "torch_dtype", "tie_word_embeddings"] {
        if let Some(value) = config.get(key).filter(|_| !text.has(key)) {
            text = text.with(key, value.clone());
        }
    }
    Some(text)
}

/// What the model of a configuration does with a prompt.
///
/// # Errors
/// What it is, where that is no language model and no known network that embeds or judges.
fn purpose(config: &Config) -> Result<PromptUse, &'static str> {
    if let Some(what) = config.model_type().ok().and_then(names::kind_of_type) {
        return Err(what);
    }
    let classes = config.get("architectures").and_then(serde_json::Value::as_array);
    let mut classes = classes.into_iter().flatten().filter_map(serde_json::Value::as_str);
    let Some(kind) = classes.find_map(names::kind_of_architecture) else {
        return Ok(PromptUse::Generates);
    };
    let known = config.model_type().is_ok_and(|t| families::find(t).is_ok());
    match kind {
        TextlessKind::Embedding if known => Ok(PromptUse::Embeds),
        TextlessKind::Judge if known => Ok(PromptUse::Judges),
        _ => Err(kind.what()),
    }
}

fn assumed(config: Config, model_type: &str) -> Config {
    config.with("model_type", model_type)
}

#[cfg(test)]
mod field;
#[cfg(test)]
mod tests;
