//! The tensors of a model: modules with a weight, how each is packed, and their sizes.

use super::shape::Shape;
use crate::model::{DType, Packing};

/// A module of the model that owns tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModuleId(u32);

impl ModuleId {
    /// The module at a place in the list of all.
    pub(crate) const fn at(index: usize) -> Self {
        Self(index as u32)
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One tensor of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The weight, packed or not.
    Weight = 0,
    /// Scales of a packed weight.
    Scales = 1,
    /// Biases of an affinely packed weight.
    Biases = 2,
    /// The additive bias of a layer.
    Bias = 3,
}

/// What a module is, which decides how it may be packed and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModuleKind {
    /// `nn.Linear`: weight `[out, in]`.
    Linear,
    /// `nn.Embedding`: weight `[vocabulary, width]`.
    Embedding,
    /// `SwitchLinear`: weight `[experts, out, in]` of routed experts.
    SwitchLinear,
    /// A `SwitchLinear` of which every token uses all matrices: a block-diagonal projection, weight
    /// `[groups, out, in]`.
    GroupedLinear,
    /// `MultiLinear`: weight `[heads, out, in]`.
    MultiLinear,
    /// A single tensor that is never packed: norms, convolutions, scalars.
    Raw,
}

/// A module and its tensors.
#[derive(Clone, Debug)]
pub struct Module {
    /// Name of the module, or of the tensor itself for [`ModuleKind::Raw`].
    pub path: String,
    /// What it is.
    pub kind: ModuleKind,
    /// Shape of the unpacked weight.
    pub shape: Shape,
    /// Type of the unpacked weight, and of the bias.
    pub dtype: DType,
    /// Shape of the additive bias, if there is one.
    pub bias: Option<Shape>,
    /// How the weight is packed, or `None`.
    pub packing: Option<Packing>,
    /// Keeps float32 when the model is cast to a 16-bit type.
    pub keeps_f32: bool,
    /// Set for a matrix that only exists packed: conversions leave it alone.
    pub prepacked: Option<Prepacked>,
    /// Float32 scales of whole matrices that some loaders keep beside the packed tensors.
    pub global_scales: u64,
}

/// A matrix that only exists packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepacked {
    /// Signs and block size of the Hadamard rotation of its input, if it has one.
    pub rotation: Option<(ModuleId, u32)>,
}

impl Module {
    /// Shape and type of one tensor of the module, or `None` when it has no such tensor.
    #[must_use]
    pub fn tensor(&self, part: Part) -> Option<(Shape, DType)> {
        match (part, self.packing) {
            (Part::Bias, _) => self.bias.map(|s| (s, self.dtype)),
            (Part::Weight, None) => Some((self.shape, self.dtype)),
            (Part::Weight, Some(p)) => {
                let words = u64::from(self.shape.dim(-1)) * u64::from(p.bits) / 32;
                Some((self.shape.with(-1, words as u32), DType::U32))
            }
            (Part::Scales, Some(p)) => Some((self.groups(p), p.scale_dtype(self.dtype))),
            (Part::Biases, Some(p)) if p.has_biases() => Some((self.groups(p), self.dtype)),
            (Part::Scales | Part::Biases, _) => None,
        }
    }

    fn groups(&self, p: Packing) -> Shape {
        self.shape.with(-1, self.shape.dim(-1) / p.group.max(1))
    }

    /// Name of one tensor.
    #[must_use]
    pub fn tensor_name(&self, part: Part) -> String {
        if self.kind == ModuleKind::Raw {
            return self.path.clone();
        }
        let suffix = match part {
            Part::Weight => "weight",
            Part::Scales => "scales",
            Part::Biases => "biases",
            Part::Bias => "bias",
        };
        format!("{}.{suffix}", self.path)
    }

    /// The tensors of the module: part, shape, type.
    pub fn tensors(&self) -> impl Iterator<Item = (Part, Shape, DType)> + '_ {
        [Part::Weight, Part::Scales, Part::Biases, Part::Bias]
            .into_iter()
            .filter_map(|part| self.tensor(part).map(|(shape, dtype)| (part, shape, dtype)))
    }

    /// Bytes of all tensors of the module.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let tensors: u64 =
            self.tensors().map(|(_, shape, dtype)| shape.elements() * dtype.bytes()).sum();
        tensors + self.global_scales * DType::F32.bytes()
    }

    /// Number of logical parameters (a packed matrix counts its weights, not its words).
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.shape.elements() + self.bias.map_or(0, |b| b.elements())
    }

    /// Whether `mlx_lm.convert` can pack this kind of module.
    #[must_use]
    pub const fn packable(&self) -> bool {
        !matches!(self.kind, ModuleKind::Raw) && self.prepacked.is_none()
    }
}

/// All modules of a model.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    modules: Vec<Module>,
}

impl Parameters {
    /// All modules, in the order in which the family declared them.
    #[must_use]
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    pub(crate) fn modules_mut(&mut self) -> &mut [Module] {
        &mut self.modules
    }

    /// One module.
    #[must_use]
    pub fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.index()]
    }

    /// Shape and type of one tensor.
    #[must_use]
    pub fn tensor(&self, id: ModuleId, part: Part) -> Option<(Shape, DType)> {
        self.module(id).tensor(part)
    }
}

/// Declares the tensors of a model while a family builds its modules.
#[derive(Debug)]
pub struct ParamBuilder {
    params: Parameters,
    dtype: DType,
    prefix: String,
    overflow: Option<String>,
    /// Which tensors stay float32, where that is not for each declaration to say.
    keeps_f32: Option<fn(&str) -> bool>,
}

/// More elements than any real tensor; keeps every later product within 64 bits.
const MAX_ELEMENTS: u64 = 1 << 48;
/// Room made for modules at first; most models have fewer.
const EXPECTED_MODULES: usize = 768;
/// More modules than any real model has; bounds the work on a hostile configuration.
const MAX_MODULES: usize = 200_000;

impl ParamBuilder {
    /// A builder for a model whose weights have type `dtype`.
    #[must_use]
    pub fn new(dtype: DType) -> Self {
        let params = Parameters { modules: Vec::with_capacity(EXPECTED_MODULES) };
        Self { params, dtype, prefix: String::new(), overflow: None, keeps_f32: None }
    }

    /// With a rule, by the name, for what stays float32 in a 16-bit model; declarations that say so no longer count.
    #[must_use]
    pub fn with_f32(mut self, keeps: fn(&str) -> bool) -> Self {
        self.keeps_f32 = Some(keeps);
        self
    }

    /// Declares everything that `build` declares, with `from` in the paths replaced by `to`.
    pub fn renamed<T>(&mut self, from: &str, to: &str, build: impl FnOnce(&mut Self) -> T) -> T {
        let first = self.params.modules.len();
        let out = build(self);
        for module in self.params.modules.iter_mut().skip(first) {
            module.path = module.path.replacen(from, to, 1);
        }
        out
    }

    /// The finished list of tensors.
    ///
    /// # Errors
    /// When a dimension was absurd; the text names the tensor.
    pub fn finish(self) -> Result<Parameters, String> {
        match self.overflow {
            None => Ok(self.params),
            Some(reason) => Err(reason),
        }
    }

    /// Sets the type of the weights declared from now on.
    pub fn set_dtype(&mut self, dtype: DType) {
        self.dtype = dtype;
    }

    /// A declared module by its path: id, kind, columns, whether it has a bias.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(ModuleId, ModuleKind, u64, bool)> {
        let (i, m) = self.params.modules.iter().enumerate().find(|(_, m)| m.path == path)?;
        let id = ModuleId(u32::try_from(i).ok()?);
        Some((id, m.kind, u64::from(m.shape.dim(-1)), m.bias.is_some()))
    }

    /// Marks a module as one that only exists packed; `rotation` holds the signs and the block size of the Hadamard
    /// rotation of its input. False when it is marked already.
    pub fn prepack(
        &mut self,
        id: ModuleId,
        packing: Packing,
        rotation: Option<(ModuleId, u32)>,
    ) -> bool {
        match self.params.modules.get_mut(id.index()) {
            Some(m) if m.prepacked.is_none() => {
                m.packing = Some(packing);
                m.prepacked = Some(Prepacked { rotation });
                true
            }
            _ => false,
        }
    }

    /// Declares everything that `build` declares under `name.`.
    pub fn scope<T>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.prefix.len();
        self.prefix.push_str(name);
        self.prefix.push('.');
        let out = build(self);
        self.prefix.truncate(length);
        out
    }

    fn add(
        &mut self,
        name: &str,
        kind: ModuleKind,
        dims: &[u64],
        bias: Option<&[u64]>,
        keeps_f32: bool,
    ) -> ModuleId {
        let id = ModuleId(u32::try_from(self.params.modules.len()).unwrap_or(u32::MAX));
        let path = format!("{}{name}", self.prefix);
        let shape = self.checked(&path, dims);
        let bias = bias.map(|b| self.checked(&path, b));
        if self.params.modules.len() >= MAX_MODULES {
            self.overflow.get_or_insert_with(|| format!("more than {MAX_MODULES} modules"));
            return ModuleId(0);
        }
        let keeps_f32 = self.keeps_f32.map_or(keeps_f32, |keeps| keeps(&path));
        let dtype = if keeps_f32 { DType::F32 } else { self.dtype };
        let module = Module {
            path,
            kind,
            shape,
            dtype,
            bias,
            packing: None,
            keeps_f32,
            prepacked: None,
            global_scales: 0,
        };
        self.params.modules.push(module);
        id
    }

    fn checked(&mut self, path: &str, dims: &[u64]) -> Shape {
        let mut shape = Shape::SCALAR;
        let mut total: u64 = 1;
        for &n in dims {
            total = total.saturating_mul(n);
            shape.push(u32::try_from(n).unwrap_or(1));
            if n == 0 || n >= 1 << 31 || total > MAX_ELEMENTS {
                self.overflow
                    .get_or_insert_with(|| format!("tensor {path} would have the shape {dims:?}"));
                return Shape::new(&[1; 8][..dims.len().min(8)]);
            }
        }
        shape
    }

    /// `nn.Linear(inputs, outputs, bias)`.
    pub fn linear(&mut self, name: &str, inputs: u64, outputs: u64, bias: bool) -> ModuleId {
        let b = [outputs];
        self.add(name, ModuleKind::Linear, &[outputs, inputs], bias.then_some(&b), false)
    }

    /// `nn.Linear(inputs, outputs, False)` that stays float32 in a 16-bit model.
    pub fn linear_f32(&mut self, name: &str, inputs: u64, outputs: u64) -> ModuleId {
        self.add(name, ModuleKind::Linear, &[outputs, inputs], None, true)
    }

    /// `nn.Embedding(count, width)`.
    pub fn embedding(&mut self, name: &str, count: u64, width: u64) -> ModuleId {
        self.add(name, ModuleKind::Embedding, &[count, width], None, false)
    }

    /// `SwitchLinear(inputs, outputs, experts, bias)`.
    pub fn switch_linear(
        &mut self,
        name: &str,
        inputs: u64,
        outputs: u64,
        experts: u64,
        bias: bool,
    ) -> ModuleId {
        let b = [experts, outputs];
        let dims = [experts, outputs, inputs];
        self.add(name, ModuleKind::SwitchLinear, &dims, bias.then_some(&b), false)
    }

    /// A block-diagonal matrix of `groups` blocks: `SwitchLinear(inputs, outputs, groups, false)`.
    pub fn grouped_linear(
        &mut self,
        name: &str,
        inputs: u64,
        outputs: u64,
        groups: u64,
    ) -> ModuleId {
        self.add(name, ModuleKind::GroupedLinear, &[groups, outputs, inputs], None, false)
    }

    /// `MultiLinear(inputs, outputs, heads)`.
    pub fn multi_linear(&mut self, name: &str, inputs: u64, outputs: u64, heads: u64) -> ModuleId {
        self.add(name, ModuleKind::MultiLinear, &[heads, outputs, inputs], None, false)
    }

    /// A tensor that is never packed.
    pub fn raw(&mut self, name: &str, dims: &[u64]) -> ModuleId {
        self.add(name, ModuleKind::Raw, dims, None, false)
    }

    /// A tensor of bytes that is never packed: weights in a format of their own.
    pub fn raw_bytes(&mut self, name: &str, dims: &[u64]) -> ModuleId {
        let id = self.add(name, ModuleKind::Raw, dims, None, false);
        if let Some(module) = self.params.modules.get_mut(id.index()) {
            module.dtype = DType::U8;
        }
        id
    }

    /// A tensor of 32-bit integers.
    pub fn raw_i32(&mut self, name: &str, dims: &[u64]) -> ModuleId {
        let id = self.raw(name, dims);
        if let Some(module) = self.params.modules.get_mut(id.index()) {
            module.dtype = DType::I32;
        }
        id
    }

    /// A tensor of whole numbers of 64 bits.
    pub fn raw_i64(&mut self, name: &str, dims: &[u64]) -> ModuleId {
        let id = self.raw(name, dims);
        if let Some(module) = self.params.modules.get_mut(id.index()) {
            module.dtype = DType::I64;
        }
        id
    }

    /// A tensor that is never packed and stays float32 in a 16-bit model (the family's `cast_predicate`).
    pub fn raw_f32(&mut self, name: &str, dims: &[u64]) -> ModuleId {
        self.add(name, ModuleKind::Raw, dims, None, true)
    }
}
