//! Mamba and Falcon-Mamba: a causal convolution and a selective recurrence that runs token by token, in Python.

use crate::graph::parts::prelude::*;
use crate::graph::parts::selective::{Selective, SelectiveSizes};

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let s = Settings::read(c)?;
    let outline = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", true)?),
        max_context: c.opt_dim("max_position_embeddings")?,
        names: Names::BACKBONE,
        ..Outline::new(s.sizes.width, layer_count(c)?, c.positive("vocab_size")?)
    };
    let decoder = outline.decoder(p, |p, _| {
        let mixer = MambaBlock::new(p, s);
        let block = Half::mixer(Norms::before(RmsNorm::new(p, "norm", s.sizes.width, 1e-5)), mixer)
            .with_residual(Residual::Swapped);
        Ok((MaskRule::Recurrent(2), block))
    })?;
    Ok(decoder.built())
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    sizes: SelectiveSizes,
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
        let sizes = SelectiveSizes {
            width,
            inner: c.positive("intermediate_size")?,
            state: c.positive("state_size")?,
            rank,
            kernel,
            bias: c.bool_or("use_bias", false)?,
            conv_bias: c.bool("use_conv_bias")?,
        };
        let norm_eps = if normed { Some(c.number_or("mixer_rms_eps", 1e-6)?) } else { None };
        Ok(Self { sizes, norm_eps })
    }
}

#[derive(Debug)]
struct MambaBlock {
    layer: Selective,
    norm_eps: Option<f64>,
}

impl MambaBlock {
    fn new(p: &mut ParamBuilder, s: Settings) -> Self {
        let layer = p.scope("mixer", |p| Selective::new(p, s.sizes));
        Self { layer, norm_eps: s.norm_eps }
    }

    /// One token `[batch, features]`: its output and the next state.
    fn step<'t>(&self, x: Var<'t>, a: Var<'t>, state: Option<Var<'t>>) -> (Var<'t>, Var<'t>) {
        let d = self.layer.skip(x.tape());
        let mut parts = self.layer.parts(x);
        if let Some(eps) = self.norm_eps {
            parts = parts.map(|v| v.rms_norm(None, eps));
        }
        let [delta, b, c] = parts;
        let delta = self.layer.step(delta);
        let mut next = (delta * x).expand_dims(&[-1]) * b.expand_dims(&[1]);
        if let Some(state) = state {
            let decay = (delta.expand_dims(&[-1]) * a).exp();
            next = next + state * decay;
        }
        let y = next.matmul(c.expand_dims(&[-1])).squeeze(&[2]);
        let skip = d * x;
        (y + skip, next)
    }
}

impl Mixer for MambaBlock {
    fn mix<'t>(&self, x: Var<'t>, _: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        self.layer.mix(x, cache, |x, mut state| {
            let a = self.layer.rates(x.tape());
            let mut outputs = Vec::new();
            for i in 0..x.dim(1) {
                let (y, next) = self.step(x.at(1, i), a, state);
                outputs.push(y);
                state = Some(next);
            }
            (x.tape().stack(&outputs, 1), state)
        })
    }
}
