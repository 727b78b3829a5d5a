//! What layers consist of: halves with norms before and behind, whose result is added to their input.

use crate::graph::prelude::*;

/// Mixes information between positions: attention or a recurrence.
pub trait Mixer: Send + Sync {
    /// The mixed `x`, before the residual addition.
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t>;
}

/// Works on every position by itself: an MLP or a mixture of experts.
pub trait FeedForward: Send + Sync {
    /// The result, before the residual addition.
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t>;
}

impl<T: FeedForward + ?Sized> FeedForward for Box<T> {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        (**self).apply(x)
    }
}

impl<T: Mixer + ?Sized> Mixer for Box<T> {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        (**self).mix(x, mask, cache)
    }
}

/// A [`FeedForward`] in the place of a mixer.
pub struct Pointwise<T>(pub T);

impl<T: FeedForward> Mixer for Pointwise<T> {
    fn mix<'t>(&self, x: Var<'t>, _: Mask<'t>, _: &mut Cache) -> Var<'t> {
        self.0.apply(x)
    }
}

/// How the result of half a layer is added to its input.
#[derive(Clone, Copy, Debug)]
pub enum Residual {
    /// `x + r`.
    Plain,
    /// `r + x`.
    Swapped,
    /// `x + r * factor`.
    Scaled(f64),
    /// `x + r * gain`, the gain being a tensor.
    Gained(ModuleId),
    /// The family's own sum.
    Own(for<'t> fn(Var<'t>, Var<'t>) -> Var<'t>),
}

impl Residual {
    /// The sum of the input `x` and the result `r`.
    pub fn add<'t>(self, x: Var<'t>, r: Var<'t>) -> Var<'t> {
        match self {
            Self::Plain => x + r,
            Self::Swapped => r + x,
            Self::Scaled(factor) => x + r * factor,
            Self::Gained(gain) => x + r * x.tape().weight(gain),
            Self::Own(add) => add(x, r),
        }
    }
}

/// The norms before and after half a layer.
#[derive(Default)]
pub struct Norms {
    before: Option<Box<dyn Norm>>,
    after: Option<Box<dyn Norm>>,
}

impl Norms {
    /// A norm before.
    pub fn before(norm: impl Norm + 'static) -> Self {
        Self { before: Some(Box::new(norm)), after: None }
    }

    /// A norm after.
    pub fn after(norm: impl Norm + 'static) -> Self {
        Self { before: None, after: Some(Box::new(norm)) }
    }

    /// A norm before and one after.
    pub fn around(before: impl Norm + 'static, after: impl Norm + 'static) -> Self {
        Self { before: Some(Box::new(before)), after: Some(Box::new(after)) }
    }
}

fn normed<'t>(norm: Option<&dyn Norm>, x: Var<'t>) -> Var<'t> {
    norm.map_or(x, |n| n.forward(x))
}

/// Half a layer, or a layer of one part: `x + after(mixer(before(x)))`.
pub struct Half {
    norms: Norms,
    mixer: Box<dyn Mixer>,
    residual: Residual,
}

impl Half {
    /// Attention or a recurrence with a plain residual.
    pub fn mixer(norms: Norms, mixer: impl Mixer + 'static) -> Self {
        Self { norms, mixer: Box::new(mixer), residual: Residual::Plain }
    }

    /// An MLP or experts with a plain residual.
    pub fn mlp(norms: Norms, mlp: impl FeedForward + 'static) -> Self {
        Self::mixer(norms, Pointwise(mlp))
    }

    /// Another residual.
    #[must_use]
    pub fn with_residual(mut self, residual: Residual) -> Self {
        self.residual = residual;
        self
    }
}

impl Block for Half {
    fn forward<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let r = normed(self.norms.before.as_deref(), x);
        let r = self.mixer.mix(r, mask, cache);
        let r = normed(self.norms.after.as_deref(), r);
        self.residual.add(x, r)
    }
}

/// As many halves as a layer has.
impl Block for Vec<Half> {
    fn forward<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        self.iter().fold(x, |h, half| half.forward(h, mask, cache))
    }
}

/// A layer of two halves: attention or a recurrence, then an MLP, each with the norms that the family has.
pub struct Sandwich {
    mixer: Half,
    mlp: Half,
}

impl Sandwich {
    /// A layer with plain residuals.
    pub fn new(
        mixer: impl Mixer + 'static,
        mixer_norms: Norms,
        mlp: impl FeedForward + 'static,
        mlp_norms: Norms,
    ) -> Self {
        Self { mixer: Half::mixer(mixer_norms, mixer), mlp: Half::mlp(mlp_norms, mlp) }
    }

    /// The usual layer: RMS norms `input_layernorm` and `post_attention_layernorm` before the halves; `mixer` and
    /// `mlp` declare their own tensors in the scope of the layer.
    pub fn pre_norm(
        p: &mut ParamBuilder,
        width: u64,
        eps: f64,
        mixer: impl Mixer + 'static,
        mlp: impl FeedForward + 'static,
    ) -> Self {
        let norm = RmsNorm::new(p, "input_layernorm", width, eps);
        let mlp_norm = RmsNorm::new(p, "post_attention_layernorm", width, eps);
        Self::new(mixer, Norms::before(norm), mlp, Norms::before(mlp_norm))
    }

    /// The usual layer under other names and with other kinds of norms.
    pub fn with_norms(
        norm: impl Norm + 'static,
        mixer: impl Mixer + 'static,
        mlp_norm: impl Norm + 'static,
        mlp: impl FeedForward + 'static,
    ) -> Self {
        Self::new(mixer, Norms::before(norm), mlp, Norms::before(mlp_norm))
    }

    /// Other residuals of the two halves.
    #[must_use]
    pub fn with_residuals(mut self, mixer: Residual, mlp: Residual) -> Self {
        self.mixer.residual = mixer;
        self.mlp.residual = mlp;
        self
    }

    /// Multiplies what both halves add by a factor.
    #[must_use]
    pub fn with_residual_scale(self, factor: f64) -> Self {
        self.with_residuals(Residual::Scaled(factor), Residual::Scaled(factor))
    }
}

impl Block for Sandwich {
    fn forward<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let h = self.mixer.forward(x, mask, cache);
        self.mlp.forward(h, mask, cache)
    }
}

/// A layer whose attention and MLP work side by side on the same input.
pub struct Parallel {
    norm: Box<dyn Norm>,
    mlp_norm: Option<Box<dyn Norm>>,
    mixer: Box<dyn Mixer>,
    mlp: Box<dyn FeedForward>,
    input_first: bool,
}

impl Parallel {
    /// A layer that adds `mixer + mlp + x`, both halves on the same norm.
    pub fn new(
        norm: impl Norm + 'static,
        mixer: impl Mixer + 'static,
        mlp: impl FeedForward + 'static,
    ) -> Self {
        Self {
            norm: Box::new(norm),
            mlp_norm: None,
            mixer: Box::new(mixer),
            mlp: Box::new(mlp),
            input_first: false,
        }
    }

    /// A norm of its own for the MLP.
    #[must_use]
    pub fn with_mlp_norm(mut self, norm: impl Norm + 'static) -> Self {
        self.mlp_norm = Some(Box::new(norm));
        self
    }

    /// Adds `x + mixer + mlp` instead.
    #[must_use]
    pub fn input_first(mut self) -> Self {
        self.input_first = true;
        self
    }
}

impl Block for Parallel {
    fn forward<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let h = self.norm.forward(x);
        let mixed = self.mixer.mix(h, mask, cache);
        let g = match &self.mlp_norm {
            Some(norm) => norm.forward(x),
            None => h,
        };
        let mlp = self.mlp.apply(g);
        if self.input_first { x + mixed + mlp } else { mixed + mlp + x }
    }
}

/// A norm whose result is divided by a number.
pub struct DividedNorm {
    /// The norm.
    pub norm: Box<dyn Norm>,
    /// The number.
    pub divisor: f64,
}

impl Norm for DividedNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        self.norm.forward(x) / self.divisor
    }
}
