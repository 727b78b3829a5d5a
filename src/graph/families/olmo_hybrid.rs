//! OLMo Hybrid: gated delta layers with separate convolutions, and attention whose norms follow the sub-layers.

use crate::graph::parts::gated_delta::{DeltaDims, decay, delta_rule, normalize_keys};
use crate::graph::parts::kimi_delta::{short_conv, zeros};
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let linear = linear_layers(c)?;
    let width = c.positive("hidden_size")?;
    let query = c.positive("num_attention_heads")?;
    let heads = Heads {
        query,
        kv: kv_heads(c, query)?,
        dim: c.opt_dim("head_dim")?.unwrap_or(width / query),
    };
    let rope = rope(c, heads.dim)?;
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let hidden = c.positive("intermediate_size")?;
    let delta = DeltaDims::read(c, width)?;
    let negative = c.bool("linear_allow_neg_eigval")?;
    let delta_eps = c.number_or("layer_norm_epsilon", 1e-5)?;
    let outline = Outline {
        head: HeadKind::tied(c.bool("tie_word_embeddings")?),
        eps: c.number_or("rms_norm_eps", 1e-5)?,
        max_context: c.opt_dim("max_position_embeddings")?,
        ..Outline::new(width, linear.len() as u64, c.positive("vocab_size")?)
    };
    let eps = outline.eps;
    let decoder = outline.decoder(p, |p, i| {
        let mlp = GatedMlp::up_first(p, "mlp", width, hidden, false).with_activation(silu_times);
        if linear.get(i as usize) == Some(&true) {
            let mixer = DeltaNet::new(p, delta, negative, delta_eps);
            return Ok((MaskRule::Recurrent(4), Sandwich::pre_norm(p, width, eps, mixer, mlp)));
        }
        let attention = Attention::new(p, "self_attn", width, heads, biases, rope.clone());
        let block = Sandwich::new(
            attention.with_usual_norms(p, NormPlace::Projection, eps),
            Norms::after(RmsNorm::new(p, "post_attention_layernorm", width, eps)),
            mlp,
            Norms::after(RmsNorm::new(p, "post_feedforward_layernorm", width, eps)),
        );
        Ok((MaskRule::Full, block))
    })?;
    Ok(decoder.built())
}

/// Which layers are gated delta layers.
fn linear_layers(c: &Config) -> Result<Vec<bool>, ConfigError> {
    let count = layer_count(c)?;
    match c.opt_strings("layer_types")? {
        None => Ok((0..count).map(|i| i % 4 != 3).collect()),
        Some(types) if types.is_empty() || types.len() > 4096 => {
            Err(c.invalid("layer_types", "1 to 4096 names"))
        }
        Some(types) => Ok(types.iter().map(|t| t == "linear_attention").collect()),
    }
}

/// A `rope_theta` of `null` means no rotation.
fn rope(c: &Config, dim: u64) -> Result<Option<RopeModule>, ConfigError> {
    let base = match c.opt_object("rope_parameters")? {
        Some(block) if block.has("rope_theta") => block.opt_number("rope_theta")?,
        Some(_) => Some(10_000.0),
        None if c.has("rope_theta") => c.opt_number("rope_theta")?,
        None => Some(10_000.0),
    };
    Ok(base.map(|base| RopeModule::plain(dim, false, base)))
}

/// `silu(gate) * x` in two kernels.
fn silu_times<'t>(gate: Var<'t>, x: Var<'t>) -> Var<'t> {
    activations::silu(gate) * x
}

/// Heads and features per head of queries, keys and values.
fn parts(d: &DeltaDims) -> [(u64, u64); 3] {
    let keys = (d.key_heads, d.key_dim);
    [keys, keys, (d.value_heads, d.value_dim)]
}

#[derive(Debug)]
struct DeltaNet {
    dims: DeltaDims,
    /// Whether beta may be up to 2.
    negative: bool,
    projections: [Linear; 3],
    convolutions: [Conv1d; 3],
    a: Linear,
    b: Linear,
    gate: Linear,
    out: Linear,
    a_log: ModuleId,
    dt_bias: ModuleId,
    norm: RmsNorm,
}

impl DeltaNet {
    fn new(p: &mut ParamBuilder, s: DeltaDims, negative: bool, eps: f64) -> Self {
        let sizes = parts(&s).map(|(heads, dim)| heads * dim);
        let values = sizes[2];
        p.scope("linear_attn", |p| Self {
            dims: s,
            negative,
            projections: [("q_proj", 0), ("k_proj", 1), ("v_proj", 2)]
                .map(|(name, i)| Linear::new(p, name, s.width, sizes[i], false)),
            convolutions: [("q_conv1d", 0), ("k_conv1d", 1), ("v_conv1d", 2)]
                .map(|(name, i)| Conv1d::depthwise(p, name, sizes[i], s.kernel, false)),
            a: Linear::new(p, "a_proj", s.width, s.value_heads, false),
            b: Linear::new(p, "b_proj", s.width, s.value_heads, false),
            gate: Linear::new(p, "g_proj", s.width, values, false),
            out: Linear::new(p, "o_proj", values, s.width, false),
            a_log: p.raw("A_log", &[s.value_heads]),
            dt_bias: p.raw("dt_bias", &[s.value_heads]),
            norm: RmsNorm::new(p, "o_norm", s.value_dim, eps),
        })
    }
}

impl Mixer for DeltaNet {
    fn mix<'t>(&self, x: Var<'t>, _: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let s = &self.dims;
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let keep = s.kernel as u32 - 1;
        let parts = parts(s);
        let [q, k, v] = [0, 1, 2].map(|i| {
            let y = self.projections[i].forward(x);
            let past = cache.state(t, i).unwrap_or_else(|| zeros(y, keep));
            let y = short_conv(&self.convolutions[i], y, past, keep, (cache, i));
            y.reshape(&[b, n, parts[i].0 as i64, parts[i].1 as i64])
        });
        let (q, k) = normalize_keys(q, k);
        let a = self.a.forward(x);
        let mut beta = self.b.forward(x).sigmoid();
        if self.negative {
            beta = beta * 2.0;
        }
        let (a_log, dt_bias) = (t.weight(self.a_log), t.weight(self.dt_bias));
        let g = decay(a_log, a, dt_bias);
        let y = delta_rule([q, k, v, g, beta], cache, 3);
        let gate = self.gate.forward(x);
        let y = y.reshape(&[-1, s.value_dim as i64]);
        let gate = gate.reshape(&[-1, s.value_dim as i64]);
        let y = activations::precise_swiglu(y, gate, self.norm.forward(y));
        self.out.forward(y.reshape(&[b, n, -1]))
    }
}
