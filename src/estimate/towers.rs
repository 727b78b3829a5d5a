//! What an engine loads of a model with towers: engines on mlx-vlm load vision and audio towers with their projectors,
//! mlx-lm the language model alone. Every answer says which was taken and what the other would be.

use super::opened::{OpenError, OpenedModel};
use super::warning::Warning;
use crate::engine::programs::Engines;
use crate::graph::towers::images::ImageSize;
use crate::graph::towers::{Loader, ModelPart, stays_unpacked};
use crate::graph::{Graph, GraphError};
use crate::ledger::weights::{PartSize, Weights};
use crate::model::source::WeightFormat;
use crate::model::{Config, ConfigError, DType, Scheme};
use crate::run::{Images, Program, Run};
use crate::units::Bytes;

/// Whether a program loads the towers of a model (`vision_tower` in `data/engines.toml`).
#[must_use]
pub fn loads_towers(program: Program) -> bool {
    let engines = Engines::embedded().ok();
    let engine = engines.and_then(|e| e.get(program.name()));
    engine.and_then(|e| e.vision_tower).unwrap_or(false)
}

/// The programs that load towers, in words.
fn programs_with_towers() -> String {
    let engines = Engines::embedded().map(|e| e.engines.as_slice()).unwrap_or_default();
    let names: Vec<&str> =
        engines.iter().filter(|e| e.vision_tower == Some(true)).map(|e| e.name.as_str()).collect();
    names.join(", ")
}

impl OpenedModel {
    /// The model as a program loads it: with its towers or without, and a remark on what the other would be.
    ///
    /// # Errors
    /// When the program loads towers and refuses these.
    pub fn loaded_by(mut self, program: Program) -> Result<Self, OpenError> {
        if let Some(note) = self.projector_note(program) {
            self.warnings.push(note);
            return Ok(self);
        }
        let Some(seen) = self.seen_by(program) else { return Ok(self) };
        let wanted = loads_towers(program);
        match seen {
            Ok(seen) => {
                self.warnings.push(self.choice(&seen, program));
                if wanted {
                    self.graph = seen.with_fp16_activations(self.graph.fp16_activations());
                }
                Ok(self)
            }
            Err(_) if !wanted => Ok(self),
            Err(error) => {
                let hint = Some("--engine mlx-lm loads the language model alone".to_owned());
                Err(OpenError::Graph { name: self.id.clone(), error, hint })
            }
        }
    }

    /// The same, without a remark where the program loads the language model alone; one whose towers it refuses stays
    /// without them, with the reason as a doubt.
    #[must_use]
    pub fn with_towers_of(mut self, program: Program) -> Self {
        if !loads_towers(program) || self.is_gguf(program) {
            return self;
        }
        match self.seen_by(program) {
            Some(Ok(seen)) => {
                self.warnings.push(self.choice(&seen, program));
                self.graph = seen.with_fp16_activations(self.graph.fp16_activations());
            }
            Some(Err(error)) => {
                let doubt = format!("without its towers, which {program} loads: {error}");
                self.warnings.push(doubt);
            }
            None => {}
        }
        self
    }

    /// What a program loads of a model with towers, and what others would; `None` for models without.
    #[must_use]
    pub fn towers_note(&self, program: Program) -> Option<String> {
        if let Some(note) = self.projector_note(program) {
            return Some(note);
        }
        let seen = self.seen_by(program)?.ok()?;
        Some(self.choice(&seen, program))
    }

    /// The graph with towers where the model has some and is not loaded with them yet.
    fn seen_by(&self, program: Program) -> Option<Result<Graph, GraphError>> {
        let config = self.source.config.as_ref()?;
        let open = self.graph.loader() == Loader::MlxLm && self.graph.states_towers(config);
        (open && !self.is_gguf(program)).then(|| self.with_towers(config))
    }

    /// Whether the weights are those of a GGUF file.
    const fn is_gguf(&self, program: Program) -> bool {
        self.source.gguf.is_some() || self.asked_gguf.is_some() || program.runs_gguf()
    }

    /// What the projector file of a GGUF model with towers adds, which no figure holds.
    fn projector_note(&self, program: Program) -> Option<String> {
        let config = self.source.config.as_ref().filter(|_| self.is_gguf(program))?;
        let open = self.graph.loader() == Loader::MlxLm && self.graph.states_towers(config);
        let float = Scheme::Float(DType::BF16);
        let seen = open.then(|| Graph::converted(config, float, Loader::MlxVlm))?.ok()?;
        let towers = PartSize::of(&seen).into_iter().filter(|s| s.part != ModelPart::Language);
        let bytes: u64 = towers.map(|size| size.bytes).sum();
        // Published files in F16 are 1 to 2 % larger than the towers: header, and tensors that stay in F32.
        let file = Bytes(bytes + bytes / 64);
        (bytes > 0).then(|| {
            format!(
                "the weights are those of the language model; images need the projector, a file of its own (mmproj, \
                 about {file} in F16), which Ollama's tags bring with them and llama.cpp loads with --mmproj"
            )
        })
    }

    fn choice(&self, seen: &Graph, program: Program) -> String {
        let [alone, all] = [&self.graph, seen].map(|g| Bytes(Weights::of(g).bytes));
        if loads_towers(program) {
            let parts = towers_text(seen);
            return format!(
                "the weights are {all} with {parts}, which {program} loads; mlx-lm loads the language model alone: \
                 {alone}"
            );
        }
        let others = programs_with_towers();
        format!(
            "the weights are {alone}, those of the language model alone, which {program} loads; with its towers, which \
             {others} load, they are {all}"
        )
    }

    /// The graph with towers, in the format of the one without.
    fn with_towers(&self, config: &Config) -> Result<Graph, GraphError> {
        let WeightFormat::Mlx(block) = &self.source.format else {
            let scheme = self.graph.uniform_scheme();
            let scheme = scheme.ok_or_else(|| no_format(config))?;
            return Graph::converted(config, scheme, Loader::MlxVlm);
        };
        let mut graph = Graph::loaded(config, self.graph.dtype(), Loader::MlxVlm)?;
        let packings = self.source.packings.as_ref();
        graph.pack(|module| match packings {
            Some(packings) => packings.get(&module.path).map(|p| p.packing),
            None if stays_unpacked(&module.path) => Some(None),
            None => {
                let packing = block.packing_of(&module.path);
                Some(packing.filter(|p| module.shape.dim(-1) % p.group.max(1) == 0))
            }
        });
        Ok(graph)
    }
}

fn no_format(config: &Config) -> ConfigError {
    config.invalid("quantization", "one format for all layers, or the files")
}

/// The parts beside the language model, with their sizes.
fn towers_text(graph: &Graph) -> String {
    let parts: Vec<String> = PartSize::of(graph)
        .iter()
        .filter(|size| size.part != ModelPart::Language)
        .map(|size| format!("{} ({})", size.part, Bytes(size.bytes)))
        .collect();
    parts.join(", ")
}

/// The run with the tokens of its images in the prompt. Images whose tokens are counted already stay as they are.
pub(super) fn counting_images(model: &OpenedModel, run: Run) -> Result<Run, Box<Warning>> {
    let Some(images) = run.work.images.filter(|images| images.tokens_each.is_none()) else {
        return Ok(run);
    };
    let program = run.engine.program;
    let Some(config) = model.source.config.as_ref() else {
        return Err(Box::new(Warning::ImagesUnseen(program)));
    };
    if model.graph.loader() != Loader::MlxVlm {
        return Err(Box::new(Warning::ImagesUnseen(program)));
    }
    let size = ImageSize { width: images.width, height: images.height };
    let tokens = match model.graph.image_tokens(config, None, size) {
        Ok(Some(tokens)) => u32::try_from(tokens.prompt).unwrap_or(u32::MAX),
        Ok(None) => {
            let family = model.graph.model_type();
            let reason = format!("the rule of the image processor of '{family}' is not known");
            return Err(Box::new(Warning::ImagesNotCounted(reason)));
        }
        Err(e) => return Err(Box::new(Warning::ImagesNotCounted(e.to_string()))),
    };
    let more = tokens.saturating_mul(images.count);
    let images = Images { tokens_each: Some(tokens), ..images };
    let context = run.work.context_tokens.saturating_add(more);
    Ok(run.with_context(context).with_images(Some(images)))
}
