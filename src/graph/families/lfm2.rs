//! LFM2 and LFM2 MoE: gated short convolutions with a few layers of attention between them.

use crate::graph::parts::prelude::*;

/// `lfm2`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let s = Settings::read(c)?;
    let width = c.positive("block_dim")?;
    let hidden = dense_hidden(c)?;
    s.build(p, None, |p, _| {
        let names = ["w1", "w3", "w2"];
        Box::new(p.scope("feed_forward", |p| GatedMlp::named(p, names, width, hidden, false)))
    })
}

/// `lfm2-vl`: the text model under `language_model`.
pub(super) fn build_vision(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = c.object("text_config")?;
    p.scope("language_model", |p| build(&text, p))
}

/// `lfm2_moe`: after the first layers, sigmoid-routed experts.
pub(super) fn build_moe(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let s = Settings::read(c)?;
    let hidden = c.positive("intermediate_size")?;
    let expert_hidden = c.positive("moe_intermediate_size")?;
    let experts = experts(c, "num_experts", "num_experts_per_tok")?;
    let dense = c.dim("num_dense_layers")?;
    let with_bias = c.bool("use_expert_bias")?;
    let normalize = c.bool("norm_topk_prob")?;
    let scale = c.number_or("routed_scaling_factor", 1.0)?;
    let width = s.outline.width;
    s.build(p, Some(experts), |p, i| {
        if i < dense {
            return Box::new(GatedMlp::new(p, "feed_forward", width, hidden, false));
        }
        Box::new(p.scope("feed_forward", |p| {
            let mlp = SwitchGlu::new(p, "switch_mlp", width, expert_hidden, experts.total, false);
            let router = SigmoidRouter {
                gate: Linear::new(p, "gate", width, experts.total, false),
                bias: with_bias.then(|| p.raw_f32("expert_bias", &[experts.total])),
                chosen: experts.chosen,
                divisor: Divisor::sum_plus(normalize, 1e-6),
                scale,
            };
            RoutedMlp::new(router, mlp)
        }))
    })
}

/// Hidden features of the dense MLPs, which the configuration may state before an adjustment.
fn dense_hidden(c: &Config) -> Result<u64, ConfigError> {
    let hidden = match c.opt_dim("block_ff_dim")? {
        Some(n) => n,
        None => c.positive("intermediate_size")?,
    };
    c.require(&["block_ffn_dim_multiplier"])?;
    let multiple = c.dim("block_multiple_of")?;
    if !c.bool("block_auto_adjust_ff_dim")? {
        return Ok(hidden);
    }
    let mut adjusted = 2 * hidden / 3;
    if let Some(factor) = c.opt_number("block_ffn_dim_multiplier")? {
        adjusted = (factor * adjusted as f64) as u64;
    }
    match adjusted.checked_next_multiple_of(multiple) {
        Some(n) => Ok(n),
        None => Err(c.invalid("block_multiple_of", "a whole number of at least 1")),
    }
}

/// What both kinds share.
struct Settings {
    outline: Outline,
    heads: Heads,
    rope: RopeModule,
    attention: Vec<bool>,
    kernel: u64,
    conv_bias: bool,
}

impl Settings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let mut outline = Outline::read(c, true)?;
        outline.eps = c.number_or("norm_eps", 1e-5)?;
        outline.names = Names { norm: "embedding_norm", ..Names::LLAMA };
        let query = c.positive("num_attention_heads")?;
        c.require(&["num_key_value_heads"])?;
        let heads = Heads { query, kv: kv_heads(c, query)?, dim: outline.width / query };
        let nested = c.opt_object("rope_parameters")?;
        let theta = match nested.map(|r| r.opt_number("rope_theta")).transpose()?.flatten() {
            Some(theta) => theta,
            None => c.number_or("rope_theta", 1e6)?,
        };
        let kernel = c.positive("conv_L_cache")?;
        if kernel < 2 {
            return Err(c.invalid("conv_L_cache", "a whole number of at least 2"));
        }
        let attention = attention_layers(c, outline.layers)?;
        Ok(Self {
            heads,
            rope: RopeModule::plain(heads.dim, false, theta),
            attention,
            kernel,
            conv_bias: c.bool("conv_bias")?,
            outline,
        })
    }

    fn build(
        &self,
        p: &mut ParamBuilder,
        experts: Option<Experts>,
        mut mlp: impl FnMut(&mut ParamBuilder, u64) -> Box<dyn FeedForward>,
    ) -> Result<Built, ConfigError> {
        let o = &self.outline;
        let decoder = o.decoder(p, |p, i| {
            let attention = self.attention.get(i as usize).copied().unwrap_or(false);
            let mixer: Box<dyn Mixer> = if attention {
                Box::new(self.attention(p))
            } else {
                Box::new(ShortConv::new(p, o.width, self.kernel, self.conv_bias))
            };
            let mlp = mlp(p, i);
            let input_norm = RmsNorm::new(p, "operator_norm", o.width, o.eps);
            let post_norm = RmsNorm::new(p, "ffn_norm", o.width, o.eps);
            let rule = if attention { MaskRule::Full } else { MaskRule::Recurrent(1) };
            Ok((rule, Sandwich::with_norms(input_norm, mixer, post_norm, mlp)))
        })?;
        let decoder = decoder.with_packing(QuantOverride::EightBit, &["feed_forward.gate"]);
        Ok(decoder.with_experts(experts).built())
    }

    fn attention(&self, p: &mut ParamBuilder) -> Attention {
        let (o, h) = (&self.outline, self.heads);
        let rope = Some(self.rope.clone());
        let attention =
            Attention::named(p, "self_attn", "out_proj", o.width, h, Biases::default(), rope);
        let names = ["self_attn.q_layernorm", "self_attn.k_layernorm"];
        attention.with_rms_norms(p, names, NormPlace::Rows, o.eps)
    }
}

/// Which layers are attention: `full_attn_idxs`, or the full ones of `layer_types`.
fn attention_layers(c: &Config, layers: u64) -> Result<Vec<bool>, ConfigError> {
    let flags: Vec<bool> = match c.opt_dims("full_attn_idxs")? {
        Some(list) => (0..layers).map(|i| list.contains(&i)).collect(),
        None => {
            let types = c.opt_strings("layer_types")?.unwrap_or_default();
            let full = |i: u64| types.get(i as usize).is_some_and(|t| t == "full_attention");
            (0..layers).map(full).collect()
        }
    };
    if !flags.contains(&true) || !flags.contains(&false) {
        let key = if c.has("full_attn_idxs") { "full_attn_idxs" } else { "layer_types" };
        return Err(c.invalid(key, "layers of both kinds, attention and convolution"));
    }
    Ok(flags)
}

/// A gated short convolution: `C * conv(B * x)`.
struct ShortConv {
    input: Linear,
    conv: Conv1d,
    output: Linear,
    width: u64,
    kernel: u64,
}

impl ShortConv {
    fn new(p: &mut ParamBuilder, width: u64, kernel: u64, bias: bool) -> Self {
        p.scope("conv", |p| Self {
            conv: Conv1d::depthwise(p, "conv", width, kernel, bias),
            input: Linear::new(p, "in_proj", width, 3 * width, bias),
            output: Linear::new(p, "out_proj", width, width, bias),
            width,
            kernel,
        })
    }
}

impl Mixer for ShortConv {
    fn mix<'t>(&self, x: Var<'t>, _: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let keep = self.kernel as u32 - 1;
        let [b, c, x] = self.input.forward(x).split_equal(-1);
        let x = b * x;
        let x = match cache.state(x.tape(), 0) {
            Some(state) => concat([state, x], 1),
            None if x.tape().is_training() => x.pad(1, keep, 0),
            None => {
                let shape = Shape::new(&[x.dim(0), keep, self.width as u32]);
                concat([x.tape().full(shape, 0.0, x.dtype()), x], 1)
            }
        };
        cache.set_state(0, x.last(1, keep));
        self.output.forward(c * self.conv.forward(x))
    }
}

/// Sigmoid scores in the type of the input; a bias in float32 only decides which experts are chosen.
#[derive(Debug)]
struct SigmoidRouter {
    gate: Linear,
    bias: Option<ModuleId>,
    chosen: u64,
    divisor: Divisor,
    scale: f64,
}

impl Router for SigmoidRouter {
    fn route<'t>(&self, x: Var<'t>) -> (Var<'t>, Var<'t>) {
        let gates = self.gate.forward(x).sigmoid();
        let mut ranked = gates;
        if let Some(bias) = self.bias {
            ranked = gates.astype(DType::F32) + x.tape().weight(bias);
        }
        let indices = best(ranked, self.chosen, Order::Ascending);
        let scores = self.divisor.apply(gates.take_along_axis(indices, -1)) * self.scale;
        let dtype = x.dtype();
        (indices, scores.astype(dtype))
    }
}
