//! Blocks with other norms and residuals than the usual one.

use super::frame::{Block, FeedForward, Mixer, Norm};
use crate::graph::prelude::*;

/// How the result of half a block is added to its input.
#[derive(Clone, Copy, Debug)]
pub enum Residual {
    /// `x + r`.
    Plain,
    /// `r + x`.
    Swapped,
    /// The family's own sum.
    Own(fn(&Tape<'_>, Var, Var) -> Var),
}

impl Residual {
    fn add(self, t: &Tape<'_>, x: Var, r: Var) -> Var {
        match self {
            Self::Plain => t.add(x, r),
            Self::Swapped => t.add(r, x),
            Self::Own(add) => add(t, x, r),
        }
    }
}

/// The norms before and after half a block.
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

fn apply(norm: Option<&dyn Norm>, t: &Tape<'_>, x: Var) -> Var {
    norm.map_or(x, |n| n.norm(t, x))
}

/// A block of two halves, each with norms before and after as the family has them.
pub struct Sandwich {
    mixer: Box<dyn Mixer>,
    mixer_norms: Norms,
    mlp: Box<dyn FeedForward>,
    mlp_norms: Norms,
    residuals: [Residual; 2],
}

impl Sandwich {
    /// A block with plain residuals.
    pub fn new(
        mixer: impl Mixer + 'static,
        mixer_norms: Norms,
        mlp: impl FeedForward + 'static,
        mlp_norms: Norms,
    ) -> Self {
        let residuals = [Residual::Plain; 2];
        Self { mixer: Box::new(mixer), mixer_norms, mlp: Box::new(mlp), mlp_norms, residuals }
    }

    /// Other residuals of the two halves.
    #[must_use]
    pub fn with_residuals(mut self, mixer: Residual, mlp: Residual) -> Self {
        self.residuals = [mixer, mlp];
        self
    }
}

impl Block for Sandwich {
    fn forward(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let r = apply(self.mixer_norms.before.as_deref(), t, x);
        let r = self.mixer.mix(t, r, mask, cache);
        let r = apply(self.mixer_norms.after.as_deref(), t, r);
        let h = self.residuals[0].add(t, x, r);
        let r = apply(self.mlp_norms.before.as_deref(), t, h);
        let r = self.mlp.apply(t, r);
        let r = apply(self.mlp_norms.after.as_deref(), t, r);
        self.residuals[1].add(t, h, r)
    }
}

/// A block whose attention and MLP work side by side on the same input.
pub struct Parallel {
    norm: Box<dyn Norm>,
    mlp_norm: Option<Box<dyn Norm>>,
    mixer: Box<dyn Mixer>,
    mlp: Box<dyn FeedForward>,
    input_first: bool,
}

impl Parallel {
    /// A block that adds `mixer + mlp + x`, both halves on the same norm.
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
    fn forward(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let h = self.norm.norm(t, x);
        let mixed = self.mixer.mix(t, h, mask, cache);
        let g = match &self.mlp_norm {
            Some(norm) => norm.norm(t, x),
            None => h,
        };
        let mlp = self.mlp.apply(t, g);
        if self.input_first {
            let sum = t.add(x, mixed);
            t.add(sum, mlp)
        } else {
            let sum = t.add(mixed, mlp);
            t.add(sum, x)
        }
    }
}
