//! What the layers of Mamba's first version share: a gate, a causal convolution, and the projections to step, B and C.

use crate::graph::prelude::*;

/// Sizes of a selective layer, in features unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SelectiveSizes {
    /// Of the model.
    pub width: u64,
    /// Of the recurrence.
    pub inner: u64,
    /// Of the state, for each of `inner`.
    pub state: u64,
    /// Of the projection that the step is made of.
    pub rank: u64,
    /// Tokens that the convolution spans, at least 2.
    pub kernel: u64,
    /// Whether the outer projections have a bias.
    pub bias: bool,
    /// Whether the convolution has a bias.
    pub conv_bias: bool,
}

/// A selective layer without its recurrence.
#[derive(Debug)]
pub(crate) struct Selective {
    sizes: SelectiveSizes,
    input: Linear,
    conv: Conv1d,
    x_proj: Linear,
    dt_proj: Linear,
    a_log: ModuleId,
    d: ModuleId,
    out: Linear,
}

impl Selective {
    /// Declares the layer.
    pub fn new(p: &mut ParamBuilder, s: SelectiveSizes) -> Self {
        Self {
            sizes: s,
            input: Linear::new(p, "in_proj", s.width, 2 * s.inner, s.bias),
            conv: Conv1d::depthwise(p, "conv1d", s.inner, s.kernel, s.conv_bias),
            x_proj: Linear::new(p, "x_proj", s.inner, s.rank + 2 * s.state, false),
            dt_proj: Linear::new(p, "dt_proj", s.rank, s.inner, true),
            a_log: p.raw("A_log", &[s.inner, s.state]),
            d: p.raw("D", &[s.inner]),
            out: Linear::new(p, "out_proj", s.inner, s.width, s.bias),
        }
    }

    /// The layer's output. `recur` takes the features of all tokens and the state before them, and gives its outputs and
    /// the state after them.
    pub fn mix<'t>(
        &self,
        x: Var<'t>,
        cache: &mut Cache,
        recur: impl FnOnce(Var<'t>, Option<Var<'t>>) -> (Var<'t>, Option<Var<'t>>),
    ) -> Var<'t> {
        let keep = (self.sizes.kernel - 1) as u32;
        let [x, z] = self.input.forward(x).split_equal(-1);
        let input = match cache.state(x.tape(), 0) {
            Some(past) => concat([past, x], 1),
            None => x.pad(1, keep, 0),
        };
        let y = self.conv.forward(input);
        let tail = input.last(1, keep);
        let (y, state) = recur(activations::silu(y), cache.state(x.tape(), 1));
        let y = activations::swiglu(z, y);
        cache.set_state(0, tail);
        if let Some(state) = state {
            cache.set_state(1, state);
        }
        self.out.forward(y)
    }

    /// The rates of decay, `-exp(A_log)`.
    pub fn rates<'t>(&self, t: &'t Tape<'t>) -> Var<'t> {
        -t.weight(self.a_log).exp()
    }

    /// The step before its projection, B and C.
    pub fn parts<'t>(&self, x: Var<'t>) -> [Var<'t>; 3] {
        let s = &self.sizes;
        self.x_proj.forward(x).split(&[s.rank as u32, (s.rank + s.state) as u32], -1)
    }

    /// The size of the step.
    pub fn step<'t>(&self, delta: Var<'t>) -> Var<'t> {
        let delta = self.dt_proj.forward(delta);
        delta.compiled(activations::softplus)
    }

    /// The factor of the input that skips the recurrence.
    pub fn skip<'t>(&self, t: &'t Tape<'t>) -> Var<'t> {
        t.weight(self.d)
    }
}
