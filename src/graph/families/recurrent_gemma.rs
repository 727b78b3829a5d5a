//! RecurrentGemma (Griffin): gated linear recurrences with a local attention layer every few layers.
//!
//! The recurrence runs token by token. The output head is the embedding unless the configuration says
//! `tie_word_embeddings: false`; mlx-lm decides by whether the checkpoint has an `lm_head`.

use super::gemma3::gelu_gate;
use crate::graph::parts::prelude::*;

/// Taps of the convolution; mlx-lm does not read `conv1d_width`.
const KERNEL: u64 = 4;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let count = layer_count(c)?;
    let width = c.positive("hidden_size")?;
    let heads = c.positive("num_attention_heads")?;
    if width % heads != 0 {
        return Err(c.invalid("num_attention_heads", format!("a divisor of {width}")));
    }
    let hidden = c.positive("intermediate_size")? / 2;
    let vocabulary = c.positive("vocab_size")?;
    let window = c.positive("attention_window_size")? as u32;
    let recurrent = recurrent_layers(c, count)?;
    let o = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", true)?),
        eps: c.number_or("rms_norm_eps", 1e-5)?,
        max_context: c.opt_dim("max_position_embeddings")?,
        names: Names { norm: "final_norm", ..Names::LLAMA },
        norm: NormKind::Gemma,
        ..Outline::new(width, count, vocabulary)
    };
    let mut decoder = o.decoder(p, |p, i| {
        let (rule, mixer): (_, Box<dyn Mixer>) = match recurrent[i as usize] {
            true => (MaskRule::Recurrent(2), Box::new(Recurrent::new(p, width, heads))),
            false => (MaskRule::Window(window), Box::new(local(p, width, heads))),
        };
        let mlp = GatedMlp::new(p, "mlp_block", width, hidden, true).with_activation(gelu_gate);
        let mixer_norm = GemmaNorm::new(p, "temporal_pre_norm", width, 1e-5);
        let mlp_norm = GemmaNorm::new(p, "channel_pre_norm", width, 1e-5);
        let block = Sandwich::with_norms(mixer_norm, mixer, mlp_norm, mlp)
            .with_residuals(Residual::Swapped, Residual::Swapped);
        Ok((rule, block))
    })?;
    if c.bool_or("embeddings_scale_by_sqrt_dim", true)? {
        decoder = decoder.with_embedding_scale((width as f64).sqrt());
    }
    let cap = c.number("logits_soft_cap")?;
    if cap != 0.0 {
        decoder = decoder.with_logits(move |x| (x / cap).tanh() * cap);
    }
    Ok(decoder.built())
}

/// Which layers are recurrent, by the repeated pattern `block_types` (`_block_types` in some files).
fn recurrent_layers(c: &Config, count: u64) -> Result<Vec<bool>, ConfigError> {
    let key = if c.get("block_types").is_some() { "block_types" } else { "_block_types" };
    let pattern = c.opt_strings(key)?.unwrap_or_default();
    let first = pattern.iter().position(|name| name == "attention");
    if first.is_none_or(|i| i as u64 >= count) {
        return Err(c.invalid(key, "a pattern with 'attention' among the layers"));
    }
    Ok(pattern.iter().cycle().take(count as usize).map(|name| name == "recurrent").collect())
}

/// Attention over a window with one key and value head; half of the features turn.
fn local(p: &mut ParamBuilder, width: u64, heads: u64) -> Attention {
    let heads = Heads { query: heads, kv: 1, dim: width / heads };
    let biases = Biases { qkv: false, output: true };
    let rope = RopeModule::plain(heads.dim / 2, false, 10_000.0);
    Attention::new(p, "temporal_block", width, heads, biases, Some(rope))
}

/// A convolution and a gated linear recurrence, with a gate of their own.
struct Recurrent {
    linear_y: Linear,
    linear_x: Linear,
    out: Linear,
    conv_weight: ModuleId,
    conv_bias: ModuleId,
    width: u64,
    recurrence: Recurrence,
}

impl Recurrent {
    fn new(p: &mut ParamBuilder, width: u64, heads: u64) -> Self {
        p.scope("temporal_block", |p| Self {
            linear_y: Linear::new(p, "linear_y", width, width, true),
            linear_x: Linear::new(p, "linear_x", width, width, true),
            out: Linear::new(p, "linear_out", width, width, true),
            conv_weight: p.raw("conv_1d.weight", &[width, KERNEL, 1]),
            conv_bias: p.raw("conv_1d.bias", &[width]),
            width,
            recurrence: Recurrence::new(p, width, heads),
        })
    }

    fn convolve<'t>(&self, x: Var<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let keep = KERNEL as u32 - 1;
        let input = match cache.state(t, 0) {
            Some(past) => concat([past, x], 1),
            None => x.pad(1, keep, 0),
        };
        let y = input.conv1d(t.weight(self.conv_weight), self.width as u32);
        let y = y + t.weight(self.conv_bias);
        cache.set_state(0, input.last(1, keep));
        y
    }
}

impl Mixer for Recurrent {
    fn mix<'t>(&self, x: Var<'t>, _: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let gate = activations::gelu_approx(self.linear_y.forward(x));
        let x = self.convolve(self.linear_x.forward(x), cache);
        self.out.forward(self.recurrence.run(x, cache) * gate)
    }
}

/// `RGLRU`: block-diagonal gates and a recurrence with one decay per feature.
struct Recurrence {
    heads: u64,
    dim: u64,
    decay: ModuleId,
    input_weight: ModuleId,
    input_bias: ModuleId,
    gate_weight: ModuleId,
    gate_bias: ModuleId,
}

impl Recurrence {
    fn new(p: &mut ParamBuilder, width: u64, heads: u64) -> Self {
        let dim = width / heads;
        p.scope("rg_lru", |p| Self {
            heads,
            dim,
            decay: p.raw("recurrent_param", &[width]),
            input_weight: p.raw("input_gate_weight", &[heads, dim, dim]),
            input_bias: p.raw("input_gate_bias", &[heads, dim]),
            gate_weight: p.raw("recurrent_gate_weight", &[heads, dim, dim]),
            gate_bias: p.raw("recurrent_gate_bias", &[heads, dim]),
        })
    }

    /// The sigmoid of a block-diagonal product.
    fn gate<'t>(&self, x: Var<'t>, weight: ModuleId, bias: ModuleId) -> Var<'t> {
        let t = x.tape();
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let x = x.reshape(&[b, n, self.heads as i64, self.dim as i64]);
        let y = x.swapaxes(1, 2).matmul(t.weight(weight)).swapaxes(1, 2);
        (y + t.weight(bias)).flatten(2, 3).sigmoid()
    }

    fn run<'t>(&self, x: Var<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let before = cache.state(t, 1);
        let gate_x = self.gate(x, self.input_weight, self.input_bias);
        let gate_a = self.gate(x, self.gate_weight, self.gate_bias);
        let param = t.weight(self.decay);
        let log_a = gate_a * -8.0;
        let rate = param.compiled(activations::softplus);
        let log_a = log_a * rate;
        let a = log_a.exp();
        let square = (log_a * 2i64).exp();
        let gated = x * gate_x;
        let rest = 1i64 - square;
        let mut factor = rest.sqrt();
        if before.is_none() {
            let one = t.scalar(1.0, factor.dtype()).broadcast_to(factor.shape().with(1, 1));
            factor = factor.slice_update(one, 1, 0);
        }
        let input = gated * factor.astype(x.dtype());
        let (y, last) = scan(input, a, before);
        cache.set_state(1, last);
        y
    }
}

/// `h = a * h + x`, token by token; the outputs and the last state.
fn scan<'t>(x: Var<'t>, a: Var<'t>, before: Option<Var<'t>>) -> (Var<'t>, Var<'t>) {
    let n = x.dim(1);
    if n == 1 {
        let y = match before {
            None => x,
            Some(h) => a * h.expand_dims(&[1]) + x,
        };
        return (y, y.at(1, 0));
    }
    let mut h = before.unwrap_or_else(|| {
        let shape = x.shape();
        let dtype = x.dtype();
        x.tape().full([shape.dim(0), shape.dim(2)].into(), 0.0, dtype)
    });
    let mut y = x.zeros_like();
    for i in 0..n {
        h = a.at(1, i) * h + x.at(1, i);
        y = y.slice_update(h.expand_dims(&[1]), 1, i);
    }
    (y, h)
}
