//! Normalization layers.

use crate::graph::params::{ModuleId, ParamBuilder};
use crate::graph::tape::{Derived, Tape, Var};
use std::sync::Arc;

/// A normalization of the last axis.
pub trait Norm: Send + Sync {
    /// The normalized `x`.
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t>;
}

impl<T: Norm + ?Sized> Norm for Box<T> {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        (**self).forward(x)
    }
}

impl<T: Norm + ?Sized> Norm for Arc<T> {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        (**self).forward(x)
    }
}

/// `nn.RMSNorm`.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm {
    weight: ModuleId,
    eps: f64,
}

impl RmsNorm {
    /// The weight.
    pub fn weight<'t>(&self, t: &'t Tape<'t>) -> Var<'t> {
        t.weight(self.weight)
    }

    /// What is added to the mean square.
    #[must_use]
    pub const fn eps(&self) -> f64 {
        self.eps
    }

    /// Declares the weight `name.weight`.
    pub fn new(p: &mut ParamBuilder, name: &str, width: u64, eps: f64) -> Self {
        Self { weight: p.raw(&format!("{name}.weight"), &[width]), eps }
    }

    /// Declares a weight that keeps float32 in a 16-bit model.
    pub fn new_f32(p: &mut ParamBuilder, name: &str, width: u64, eps: f64) -> Self {
        Self { weight: p.raw_f32(&format!("{name}.weight"), &[width]), eps }
    }
}

impl Norm for RmsNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        x.rms_norm(Some(x.tape().weight(self.weight)), self.eps)
    }
}

/// An RMS norm without a weight.
#[derive(Clone, Copy, Debug)]
pub struct UnitNorm {
    eps: f64,
}

impl UnitNorm {
    /// A norm with the given term under the root.
    #[must_use]
    pub const fn new(eps: f64) -> Self {
        Self { eps }
    }
}

impl Norm for UnitNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        x.rms_norm(None, self.eps)
    }
}

/// The RMS norm of the Gemma family, whose scale is `1 + weight`.
#[derive(Clone, Copy, Debug)]
pub struct GemmaNorm {
    weight: ModuleId,
    eps: f64,
}

impl GemmaNorm {
    /// Declares the weight `name.weight`.
    pub fn new(p: &mut ParamBuilder, name: &str, width: u64, eps: f64) -> Self {
        Self { weight: p.raw(&format!("{name}.weight"), &[width]), eps }
    }
}

impl Norm for GemmaNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let scale = x.tape().weight(self.weight) + 1.0;
        x.rms_norm(Some(scale), self.eps)
    }
}

/// The RMS norm of the PLaMo family, whose scale is `weight + offset`.
#[derive(Clone, Copy, Debug)]
pub struct OffsetNorm {
    weight: ModuleId,
    offset: f64,
    eps: f64,
    /// Whether the scale is computed once and kept.
    kept: bool,
}

impl OffsetNorm {
    /// Declares the weight `name.weight`.
    pub fn new(p: &mut ParamBuilder, name: &str, width: u64, eps: f64, offset: f64) -> Self {
        let weight = p.raw(&format!("{name}.weight"), &[width]);
        Self { weight, offset, eps, kept: false }
    }

    /// A norm that computes its scale in the first call and keeps it.
    #[must_use]
    pub fn kept(mut self) -> Self {
        self.kept = true;
        self
    }
}

impl Norm for OffsetNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        let scale = if self.kept && !t.is_first_call() {
            t.derived(Derived::Shifted { weight: self.weight, by: self.offset })
        } else {
            t.weight(self.weight) + self.offset
        };
        x.rms_norm(Some(scale), self.eps)
    }
}

/// `nn.LayerNorm`, with or without bias.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    weight: Option<ModuleId>,
    bias: Option<ModuleId>,
    eps: f64,
}

impl LayerNorm {
    /// Declares `name.weight` and, with `bias`, `name.bias`.
    pub fn new(p: &mut ParamBuilder, name: &str, width: u64, eps: f64, bias: bool) -> Self {
        let weight = Some(p.raw(&format!("{name}.weight"), &[width]));
        let bias = bias.then(|| p.raw(&format!("{name}.bias"), &[width]));
        Self { weight, bias, eps }
    }

    /// A norm without weight and bias.
    #[must_use]
    pub const fn plain(eps: f64) -> Self {
        Self { weight: None, bias: None, eps }
    }
}

impl Norm for LayerNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        let w = self.weight.map(|w| t.weight(w));
        let b = self.bias.map(|b| t.weight(b));
        x.layer_norm(w, b, self.eps)
    }
}
