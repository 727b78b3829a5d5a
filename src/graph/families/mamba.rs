//! Mamba and Falcon-Mamba: a causal convolution and a selective recurrence that runs token by token, in Python.

use super::common::layer_count;
use super::frame::{MaskRule, Mixer, Residual};
use super::outline::{Around, Outline};
use crate::graph::Built;
use crate::graph::cache::{Cache, CacheKind};
use crate::graph::nn::{Conv1d, Linear, activations};
use crate::graph::params::{ModuleId, ParamBuilder};
use crate::graph::tape::{Mask, Tape, Var};
use crate::model::{Config, ConfigError};

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let s = Settings::read(c)?;
    let outline = Outline {
        layers: layer_count(c)?,
        width: s.width,
        vocabulary: c.positive("vocab_size")?,
        eps: 1e-5,
        tied: c.bool_or("tie_word_embeddings", true)?,
        max_context: c.opt_dim("max_position_embeddings")?,
    };
    let decoder = outline.decoder_around(
        p,
        Around::named(["backbone", "embeddings", "norm_f"]),
        |p, _| {
            let mixer = MambaBlock::new(p, s);
            let block = Residual::new(p, "norm", s.width, 1e-5, mixer).swapped();
            Ok((MaskRule::None, block))
        },
    )?;
    Ok(Built {
        layers: outline.layers,
        network: Box::new(decoder),
        caches: vec![CacheKind::Arrays(2); outline.layers as usize],
        experts: None,
        max_context: outline.max_context,
    })
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    width: u64,
    inner: u64,
    state: u64,
    rank: u64,
    kernel: u64,
    bias: bool,
    conv_bias: bool,
    /// Epsilon of the norms over step, B and C, if they are there.
    norm_eps: Option<f64>,
}

impl Settings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let width = c.positive("hidden_size")?;
        let rank = match c.get("time_step_rank") {
            Some(v) if v == "auto" => width.div_ceil(16),
            _ => c.positive("time_step_rank")?,
        };
        let normed = c.bool_or("use_bcdt_rms", false)? || c.model_type()? == "falcon_mamba";
        let kernel = c.positive("conv_kernel")?;
        if kernel < 2 {
            return Err(c.invalid("conv_kernel", "a whole number of at least 2"));
        }
        Ok(Self {
            width,
            inner: c.positive("intermediate_size")?,
            state: c.positive("state_size")?,
            rank,
            kernel,
            bias: c.bool_or("use_bias", false)?,
            conv_bias: c.bool("use_conv_bias")?,
            norm_eps: if normed { Some(c.number_or("mixer_rms_eps", 1e-6)?) } else { None },
        })
    }
}

#[derive(Debug)]
struct MambaBlock {
    settings: Settings,
    input: Linear,
    conv: Conv1d,
    x_proj: Linear,
    dt_proj: Linear,
    a_log: ModuleId,
    d: ModuleId,
    out: Linear,
}

impl MambaBlock {
    fn new(p: &mut ParamBuilder, s: Settings) -> Self {
        p.scope("mixer", |p| Self {
            settings: s,
            input: Linear::new(p, "in_proj", s.width, 2 * s.inner, s.bias),
            conv: Conv1d::depthwise(p, "conv1d", s.inner, s.kernel, s.conv_bias),
            x_proj: Linear::new(p, "x_proj", s.inner, s.rank + 2 * s.state, false),
            dt_proj: Linear::new(p, "dt_proj", s.rank, s.inner, true),
            a_log: p.raw("A_log", &[s.inner, s.state]),
            d: p.raw("D", &[s.inner]),
            out: Linear::new(p, "out_proj", s.inner, s.width, s.bias),
        })
    }

    /// One token `[batch, features]`: its output and the next state.
    fn step(&self, t: &mut Tape<'_>, x: Var, a: Var, state: Option<Var>) -> (Var, Var) {
        let s = &self.settings;
        let d = t.weight(self.d);
        let projected = self.x_proj.forward(t, x);
        let at = [s.rank as u32, (s.rank + s.state) as u32];
        let mut parts: [Var; 3] = t.split(projected, &at, -1);
        if let Some(eps) = s.norm_eps {
            parts = parts.map(|v| t.rms_norm(v, None, eps));
        }
        let [delta, b, c] = parts;
        let delta = self.dt_proj.forward(t, delta);
        let [delta] = t.compiled(|t| [activations::softplus(t, delta)]);
        let input = t.mul(delta, x);
        let input = t.expand_dims(input, &[-1]);
        let b = t.expand_dims(b, &[1]);
        let mut next = t.mul(input, b);
        if let Some(state) = state {
            let step = t.expand_dims(delta, &[-1]);
            let decay = t.mul(step, a);
            let decay = t.exp(decay);
            let kept = t.mul(state, decay);
            next = t.add(next, kept);
        }
        let c = t.expand_dims(c, &[-1]);
        let y = t.matmul(next, c);
        let y = t.squeeze(y, &[2]);
        let skip = t.mul(d, x);
        (t.add(y, skip), next)
    }
}

impl Mixer for MambaBlock {
    fn mix(&self, t: &mut Tape<'_>, x: Var, _: Mask, cache: &mut Cache) -> Var {
        let keep = (self.settings.kernel - 1) as u32;
        let n = t.dim(x, 1);
        let xz = self.input.forward(t, x);
        let [x, z] = t.split_equal(xz, -1);
        let input = match cache.state(0) {
            Some(past) => t.concat(&[past, x], 1),
            None => t.pad(x, 1, keep, 0),
        };
        let y = self.conv.forward(t, input);
        let tail = t.last(input, 1, keep);
        let x = activations::silu(t, y);
        let a = t.weight(self.a_log);
        let a = t.exp(a);
        let a = t.neg(a);
        let mut state = cache.state(1);
        let mut outputs = Vec::new();
        for i in 0..n {
            let token = t.at(x, 1, i);
            let (y, next) = self.step(t, token, a, state);
            outputs.push(y);
            state = Some(next);
        }
        let y = t.stack(&outputs, 1);
        let y = activations::swiglu(t, z, y);
        cache.set_state(t, 0, tail);
        if let Some(state) = state {
            cache.set_state(t, 1, state);
        }
        self.out.forward(t, y)
    }
}
