//! What one forward pass of a model does: its tensors, its cache and its operations.
//!
//! A family file (see [`families`]) turns a configuration into a [`Graph`]. Everything else is read off it: exact
//! weight bytes, cache bytes, the operations of a step with their shapes ([`Graph::trace`]), peak memory and
//! execution. Nothing outside `families` knows the name of a model family.

pub mod cache;
mod call;
mod decoder;
mod division;
pub mod families;
mod first_calls;
mod likeness;
mod masks;
pub mod nn;
pub mod op;
pub mod parallel;
pub mod params;
mod parts;
pub mod pattern;
mod prelude;
pub mod quantize;
pub mod shape;
mod skipped;
pub mod tape;
pub mod towers;
pub mod training;
mod traits;

pub use call::Call;
pub use skipped::SkippedLayers;

use crate::model::{Config, ConfigError, DType, Packing, Scheme};
use cache::{Cache, CacheKind};
use params::{ModuleKind, ParamBuilder, Parameters};
use pattern::{LayerPlan, LayerUse};
use quantize::QuantizeError;
use std::sync::{Arc, OnceLock};
use tape::{TraceError, Var};
use towers::images::{ImageCall, ImageSize, ImageTokens};
use towers::{Loader, VisionModel};

/// The forward pass of a model family.
pub trait Network: Send + Sync {
    /// Records one call: token ids `[batch, length]` in, logits `[batch, length, vocabulary]` out.
    fn forward<'t>(&self, tokens: Var<'t>, caches: &mut [Cache]) -> Var<'t>;

    /// How the family's `quant_predicate` treats a module in a plain conversion.
    fn quant_override(&self, path: &str) -> QuantOverride {
        let _ = path;
        QuantOverride::Default
    }

    /// The layers. [`Network::forward`] leaves out those that [`tape::Tape::skips`] names, so that a layer that does the same
    /// as another must get nothing from the others but the hidden state.
    fn layers(&self) -> Vec<LayerUse>;
}

/// What a family's `quant_predicate` answers for a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantOverride {
    /// The scheme decides.
    Default,
    /// Affine 8-bit with group size 64, whatever the scheme (routers, for example).
    EightBit,
    /// As the scheme says, with affine groups of 32 where its own do not divide the rows.
    GroupOf32,
    /// Stays unquantized.
    Keep,
    /// Stays unquantized in every recipe, because it is no part of the language model.
    Skipped,
    /// mlx-lm fails on this module, whatever the scheme.
    Impossible,
}

/// What a family file returns.
pub struct Built {
    /// The forward pass.
    pub network: Box<dyn Network>,
    /// Cache class of every layer that has one, as `make_cache` returns them.
    pub caches: Vec<CacheKind>,
    /// Number of layers of the model (`len(model.layers)`).
    pub layers: u64,
    /// Routed experts of a mixture-of-experts layer and how many a token uses.
    pub experts: Option<Experts>,
    /// Longest context the model was made for, if the configuration says.
    pub max_context: Option<u64>,
    /// How mlx-lm divides the model among several Macs, where that hangs on the configuration; else the family says.
    pub division: Option<parallel::Division>,
}

/// Routed experts of a mixture-of-experts model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Experts {
    /// Experts per layer.
    pub total: u64,
    /// Experts that a token uses.
    pub chosen: u64,
}

/// A model: tensors, cache classes and forward pass.
pub struct Graph {
    params: Parameters,
    built: Built,
    dtype: DType,
    /// The scheme that was applied; `None` when files decided.
    scheme: Option<Scheme>,
    model_type: String,
    /// How mlx-vlm builds the model, where it does.
    seen: Option<&'static VisionModel>,
    /// Whether activations are IEEE half precision, where that is known better than by the tensors' type.
    fp16_activations: Option<bool>,
    layer_plan: OnceLock<Result<Arc<LayerPlan>, TraceError>>,
    fingerprint: OnceLock<Result<u64, TraceError>>,
    /// Sizes of the heads of its attention.
    heads: OnceLock<Vec<[u32; 2]>>,
    first_calls: first_calls::FirstCalls,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph")
            .field("model_type", &self.model_type)
            .field("scheme", &self.scheme)
            .field("modules", &self.params.modules().len())
            .finish_non_exhaustive()
    }
}

/// How a module is treated by a plain conversion of mlx-lm or, where the model is `seen`, of mlx-vlm.
fn quant_rule(
    network: &dyn Network,
    seen: Option<&'static VisionModel>,
    path: &str,
) -> QuantOverride {
    match seen {
        Some(_) if towers::stays_unpacked(path) => QuantOverride::Skipped,
        Some(VisionModel { rule: Some(rule), .. }) => rule(path),
        _ => network.quant_override(path),
    }
}

impl Graph {
    /// The unquantized model of a configuration, with weights of type `dtype`.
    ///
    /// # Errors
    /// When the family is unknown, a key is missing or wrong, or the values do not fit together.
    pub fn new(config: &Config, dtype: DType) -> Result<Self, ConfigError> {
        Self::loaded(config, dtype, Loader::MlxLm)
    }

    /// The unquantized model of a configuration as a library builds it: mlx-vlm adds towers and projectors.
    ///
    /// # Errors
    /// As [`Graph::new`], and when mlx-vlm refuses a tower.
    pub fn loaded(config: &Config, dtype: DType, loader: Loader) -> Result<Self, ConfigError> {
        let model_type = config.model_type()?.to_owned();
        let family = families::find(&model_type)?;
        let seen = family.seen.filter(|_| loader == Loader::MlxVlm);
        let mut builder = ParamBuilder::new(dtype);
        let built = match seen {
            None => (family.build)(config, &mut builder)?,
            Some(seen) => {
                builder = builder.with_f32(seen.keeps_f32);
                let built = family.text_seen.unwrap_or(family.build)(config, &mut builder)?;
                (seen.towers)(config, &mut builder)?;
                built
            }
        };
        let params = builder.finish().map_err(|reason| {
            ConfigError::Unsupported(format!(
                "the configuration asks for an impossible model: {reason}"
            ))
        })?;
        let scheme = Some(Scheme::Float(dtype));
        Ok(Self {
            params,
            built,
            dtype,
            scheme,
            model_type,
            seen,
            fp16_activations: None,
            layer_plan: OnceLock::new(),
            fingerprint: OnceLock::new(),
            heads: OnceLock::new(),
            first_calls: first_calls::FirstCalls::default(),
        })
    }

    /// The model of a configuration after `mlx_lm.convert` with the given scheme, bfloat16 unless the scheme says
    /// otherwise.
    ///
    /// # Errors
    /// As [`Graph::new`], and when mlx-lm cannot convert this model to the scheme.
    pub fn quantized(config: &Config, scheme: Scheme) -> Result<Self, GraphError> {
        Self::converted(config, scheme, Loader::MlxLm)
    }

    /// The model after a conversion with the given scheme by the library whose model code loads it.
    ///
    /// # Errors
    /// As [`Graph::loaded`], and when the library cannot convert this model to the scheme.
    pub fn converted(config: &Config, scheme: Scheme, loader: Loader) -> Result<Self, GraphError> {
        let dtype = match scheme {
            Scheme::Float(dtype) => dtype,
            _ => DType::BF16,
        };
        let mut graph = Self::loaded(config, dtype, loader)?;
        graph.quantize(scheme)?;
        Ok(graph)
    }

    /// Applies a scheme to an unquantized model.
    ///
    /// # Errors
    /// When mlx-lm cannot convert this model to the scheme.
    pub fn quantize(&mut self, scheme: Scheme) -> Result<(), QuantizeError> {
        let (network, seen) = (&*self.built.network, self.seen);
        let rule = |path: &str| quant_rule(network, seen, path);
        quantize::apply(&mut self.params, rule, self.built.layers, scheme)?;
        self.scheme = Some(scheme);
        self.forget();
        Ok(())
    }

    /// Packs every matrix as `packing` says (outer `None`: unknown, left unquantized). Returns the modules it does not
    /// know.
    pub fn pack(
        &mut self,
        packing: impl Fn(&params::Module) -> Option<Option<Packing>>,
    ) -> Vec<String> {
        let mut unknown = Vec::new();
        for module in self.params.modules_mut().iter_mut().filter(|m| m.packable()) {
            match packing(module) {
                Some(p) => module.packing = p,
                None => unknown.push(module.path.clone()),
            }
        }
        self.scheme = None;
        self.forget();
        unknown
    }

    /// Keeps a float32 scale beside every packed matrix, one for each expert.
    pub fn with_global_scales(&mut self) {
        for module in self.params.modules_mut().iter_mut().filter(|m| m.packing.is_some()) {
            let stacked = matches!(module.kind, ModuleKind::SwitchLinear);
            module.global_scales = if stacked { u64::from(module.shape.dim(0)) } else { 1 };
        }
        self.forget();
    }

    /// Keeps the float32 scales that files hold beside packed matrices.
    pub fn take_global_scales(&mut self, stored: impl Fn(&str) -> u64) {
        for module in self.params.modules_mut().iter_mut().filter(|m| m.packing.is_some()) {
            module.global_scales = module.global_scales.max(stored(&module.path));
        }
        self.forget();
    }

    /// The scheme that describes the packing of every matrix, if one does.
    #[must_use]
    pub fn uniform_scheme(&self) -> Option<Scheme> {
        if self.scheme.is_some() {
            return self.scheme;
        }
        let mut candidates = vec![Scheme::Float(self.dtype)];
        let first = self.params.modules().iter().find_map(|m| m.packing);
        candidates.extend(first.map(|p| match p.mode {
            crate::model::Mode::Affine => Scheme::Affine { bits: p.bits, group: p.group },
            crate::model::Mode::Mxfp4 => Scheme::Mxfp4,
            crate::model::Mode::Nvfp4 => Scheme::Nvfp4,
            crate::model::Mode::Mxfp8 => Scheme::Mxfp8,
        }));
        // Without experts this is plain 8 bit, which comes first.
        candidates.push(Scheme::Mxfp4Q8);
        candidates.into_iter().find(|&scheme| {
            let mut plain = self.params.clone();
            plain.modules_mut().iter_mut().for_each(|m| m.packing = None);
            let rule = |path: &str| self.quant_override(path);
            quantize::apply(&mut plain, rule, self.built.layers, scheme).is_ok()
                && plain
                    .modules()
                    .iter()
                    .zip(self.params.modules())
                    .all(|(a, b)| a.packing == b.packing)
        })
    }

    /// Average bits per weight over all tensors.
    #[must_use]
    pub fn bits_per_weight(&self) -> f64 {
        let modules = self.params.modules();
        let bytes: u64 = modules.iter().map(params::Module::bytes).sum();
        let weights: u64 = modules.iter().map(params::Module::parameters).sum();
        bytes as f64 * 8.0 / weights.max(1) as f64
    }

    /// Why mlx-lm cannot run this model type, if it cannot.
    #[must_use]
    pub fn not_in_mlx_lm(&self) -> Option<&'static str> {
        families::find(&self.model_type).ok().and_then(|f| f.not_in_mlx_lm)
    }

    /// How the family's `quant_predicate` treats a module.
    #[must_use]
    pub fn quant_override(&self, path: &str) -> QuantOverride {
        quant_rule(&*self.built.network, self.seen, path)
    }

    /// Whose model code the graph follows: mlx-vlm's where the model has towers and they are loaded.
    #[must_use]
    pub const fn loader(&self) -> Loader {
        if self.seen.is_some() { Loader::MlxVlm } else { Loader::MlxLm }
    }

    /// Whether the configuration is that of a model with towers, which mlx-vlm builds.
    #[must_use]
    pub fn states_towers(&self, config: &Config) -> bool {
        let seen = families::find(&self.model_type).ok().and_then(|f| f.seen);
        let stated = |key| config.get(key).is_some();
        seen.is_some_and(|seen| seen.implied || stated("vision_config") || stated("audio_config"))
    }

    /// How many tokens an image of a size becomes under mlx-vlm; `config` is that of the graph, `preprocessor` the
    /// content of `preprocessor_config.json` where it is known. `None` where the processor's rule is not known.
    ///
    /// # Errors
    /// When a value is out of range or the processor refuses the image.
    pub fn image_tokens(
        &self,
        config: &Config,
        preprocessor: Option<&Config>,
        size: ImageSize,
    ) -> Result<Option<ImageTokens>, ConfigError> {
        let seen = families::find(&self.model_type)?.seen;
        let Some(rule) = seen.and_then(|seen| seen.images) else { return Ok(None) };
        rule(&ImageCall::new(config, preprocessor, size)?).map(Some)
    }

    /// The tensors.
    #[must_use]
    pub fn params(&self) -> &Parameters {
        &self.params
    }

    /// The `model_type` of the configuration.
    #[must_use]
    pub fn model_type(&self) -> &str {
        &self.model_type
    }

    /// Type of weights before quantization, and of activations.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of layers.
    #[must_use]
    pub fn layers(&self) -> u64 {
        self.built.layers
    }

    /// Longest context the model was made for, if the configuration says.
    #[must_use]
    pub fn max_context(&self) -> Option<u64> {
        self.built.max_context
    }

    /// Routed experts, if the model has any.
    #[must_use]
    pub fn experts(&self) -> Option<Experts> {
        let routed = self.params.modules().iter().any(|m| m.kind == ModuleKind::SwitchLinear);
        self.built.experts.filter(|_| routed)
    }

    /// Empty caches, as `make_prompt_cache` returns them.
    #[must_use]
    pub fn make_cache(&self) -> Vec<Cache> {
        self.built.caches.iter().map(Cache::new).collect()
    }

    /// Cache class of every layer that has one.
    #[must_use]
    pub fn cache_kinds(&self) -> &[CacheKind] {
        &self.built.caches
    }
}

/// Why a configuration and a scheme give no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The configuration is wrong or unsupported.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// mlx-lm cannot convert the model to the scheme.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
}
