//! Muse Spark: a float32 residual stream with gated sums, window and full attention with a gate, experts in a narrower
//! space; most element-wise work is in custom Metal kernels. The vision tower is part of the model.

use crate::graph::parts::prelude::*;
use crate::graph::parts::vision_tower;
use std::sync::Arc;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = c.object("text_config")?;
    let s = Settings::read(&text)?;
    let vision = c.opt_object("vision_config")?.filter(|v| !v.values().is_empty());
    let o = Outline {
        eps: s.eps,
        max_context: text.opt_dim("max_position_embeddings")?,
        names: Names { model: "model.language_model", ..Names::LLAMA },
        ..Outline::new(s.width, s.layers.len() as u64, s.vocabulary)
    };
    // The norm of a layer's input is part of the kernel at the end of the layer before.
    let norms = (0..o.layers).map(|i| {
        let name = format!("model.language_model.layers.{i}.input_layernorm");
        RmsNorm::new(p, &name, s.width, s.eps)
    });
    let norms: Vec<RmsNorm> = norms.collect();
    let s = Arc::new(s);
    let settings = Arc::clone(&s);
    let mut decoder = o.sharing(
        p,
        |p, i| {
            let i = i as usize;
            let layer = SparkLayer::new(p, &s, i, [norms.get(i), norms.get(i + 1)]);
            Ok(Place::new(s.layers[i].rule, layer))
        },
        move |call| {
            let h = call.embedded.rms_norm(None, settings.eps);
            (h.astype(DType::F32), None)
        },
    )?;
    if let Some(vision) = &vision {
        p.scope("model", |p| vision_tower::declare(c, vision, p, s.width))?;
    }
    decoder.norm = Box::new(NarrowNorm(decoder.norm));
    let (multiplier, cap, count) = (s.multiplier, s.cap, s.count);
    let decoder = decoder
        .with_logits(move |logits| (logits.astype(DType::F32) * multiplier / cap).tanh() * cap)
        .with_quant_override(move |path| quant_override(path, count));
    Ok(decoder.with_experts(s.experts).built())
}

/// Only the experts between the first and the last layer are packed.
fn quant_override(path: &str, count: u64) -> QuantOverride {
    let layer = path
        .strip_prefix("model.language_model.layers.")
        .and_then(|rest| rest.split_once(".mlp.experts."))
        .filter(|(_, name)| ["gate_proj", "up_proj", "down_proj"].contains(name))
        .and_then(|(number, _)| number.parse::<u64>().ok());
    match layer {
        Some(i) if i != 0 && i + 1 != count => QuantOverride::Default,
        _ => QuantOverride::Keep,
    }
}

/// A norm whose result returns to bfloat16.
struct NarrowNorm(Box<dyn Norm>);

impl Norm for NarrowNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        self.0.forward(x).astype(DType::BF16)
    }
}

/// What differs between the layers.
#[derive(Clone, Copy, Debug)]
struct LayerKind {
    rule: MaskRule,
    rotates: bool,
}

struct Settings {
    width: u64,
    heads: Heads,
    vocabulary: u64,
    eps: f64,
    post_eps: f64,
    theta: f64,
    query_scale: f64,
    layers: Vec<LayerKind>,
    /// `num_hidden_layers`, whose last one stays unpacked.
    count: u64,
    experts: Experts,
    inner: u64,
    hidden: u64,
    route_scale: f64,
    multiplier: f64,
    cap: f64,
}

impl Settings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let shared = c.dim_or("num_shared_experts", 0)?;
        let kinds = c.opt_strings("mlp_layer_types")?.unwrap_or_default();
        if shared > 0 || kinds.iter().any(|k| k != "sparse") {
            return Err(c.invalid("mlp_layer_types", "'sparse' layers without shared experts only"));
        }
        Ok(Self {
            width: c.positive("hidden_size")?,
            heads: Heads::read(c)?,
            vocabulary: c.positive("vocab_size")?,
            eps: c.number_or("rms_norm_eps", 1e-5)?,
            post_eps: c.number("post_norm_eps")?,
            theta: c.object("rope_parameters")?.number_or("rope_theta", 10_000.0)?,
            query_scale: c.number_or("qk_scale_factor", 5.473_006_486_387_5)?,
            layers: layers(c)?,
            count: c.positive("num_hidden_layers")?,
            experts: experts(c, "num_local_experts", "num_experts_per_tok")?,
            inner: c.positive("moe_hidden_size")?,
            hidden: c.positive("moe_intermediate_size")?,
            route_scale: c.number_or("routed_scaling_factor", 1.0)?,
            multiplier: c.number("output_multiplier")?,
            cap: c.number("final_logit_softcapping")?,
        })
    }
}

/// The layers: as many as both `layer_types` and `layer_rope_theta` name. A base of 0 means no rotation.
fn layers(c: &Config) -> Result<Vec<LayerKind>, ConfigError> {
    c.require(&["layer_types", "layer_rope_theta"])?;
    let types = c.opt_strings("layer_types")?.unwrap_or_default();
    let bases = c.opt_numbers("layer_rope_theta")?.unwrap_or_default();
    let window = MaskRule::Window(c.positive("sliding_window")? as u32);
    let count = types.len().min(bases.len());
    if count == 0 || count > 4096 {
        return Err(c.invalid("layer_types", "1 to 4096 kinds of layers"));
    }
    let kind = |(kind, base): (&String, &f64)| LayerKind {
        rule: if kind == "sliding_attention" { window } else { MaskRule::Full },
        rotates: *base != 0.0,
    };
    Ok(types.iter().zip(&bases).map(kind).collect())
}

/// The weights of stream and branch in a gated sum, which stay float32.
struct SumGate {
    alpha: ModuleId,
    beta: ModuleId,
}

impl SumGate {
    fn new(p: &mut ParamBuilder, name: &str, width: u64) -> Self {
        Self {
            alpha: p.raw_f32(&format!("{name}_alpha"), &[width]),
            beta: p.raw_f32(&format!("{name}_beta"), &[width]),
        }
    }

    /// `norm_add_norm`: norms the branch, adds it to the stream, and norms the sum for what comes next.
    fn add<'t>(
        &self,
        [branch, stream]: [Var<'t>; 2],
        post: Option<ModuleId>,
        post_eps: f64,
        next: Option<&RmsNorm>,
    ) -> (Var<'t>, Option<Var<'t>>) {
        let t = branch.tape();
        let (alpha, beta) = (t.weight(self.alpha), t.weight(self.beta));
        let post = post.map_or(alpha, |w| t.weight(w));
        let post_eps = t.scalar(post_eps, DType::F32);
        let mut inputs = vec![branch, stream, alpha, beta, post, post_eps];
        let sum = (stream.shape(), DType::F32);
        let Some(next) = next else {
            return (t.kernel_one(Kernel::NormAdd, &inputs, sum.0, sum.1), None);
        };
        inputs.push(next.weight(t));
        inputs.push(t.scalar(next.eps(), DType::F32));
        let normed = (branch.shape(), branch.dtype());
        let (sum, normed) = t.kernel(Kernel::NormAddNorm, &inputs, sum, normed);
        (sum, Some(normed))
    }
}

struct SparkLayer {
    settings: Arc<Settings>,
    rotates: bool,
    input_norm: Option<RmsNorm>,
    attention: Attention,
    pre_norm: RmsNorm,
    moe: Moe,
    post_norm: ModuleId,
    attention_gate: SumGate,
    moe_gate: SumGate,
    /// The input norm of the next layer.
    next: Option<RmsNorm>,
}

impl SparkLayer {
    fn new(
        p: &mut ParamBuilder,
        s: &Arc<Settings>,
        i: usize,
        [input_norm, next]: [Option<&RmsNorm>; 2],
    ) -> Self {
        Self {
            rotates: s.layers[i].rotates,
            input_norm: input_norm.copied(),
            attention: Attention::new(p, s),
            pre_norm: RmsNorm::new(p, "pre_feedforward_layernorm", s.width, s.eps),
            moe: Moe::new(p, s),
            post_norm: p.raw("post_feedforward_layernorm.weight", &[s.width]),
            attention_gate: SumGate::new(p, "add_attn", s.width),
            moe_gate: SumGate::new(p, "add_ffn", s.width),
            next: next.copied(),
            settings: Arc::clone(s),
        }
    }
}

/// A layer leaves the normed input of the next one.
impl Layer<Option<Var<'static>>> for SparkLayer {
    fn run<'t>(&self, stream: Var<'t>, at: At<'_, 't, Option<Var<'static>>>) -> Var<'t> {
        let s = &*self.settings;
        let input = match (at.shared.take(), &self.input_norm) {
            (Some(input), _) => input,
            (None, Some(norm)) => norm.forward(stream).astype(DType::BF16),
            (None, None) => stream,
        };
        let r = self.attention.mix(s, input, at.mask, at.cache, self.rotates);
        let (h, input) =
            self.attention_gate.add([r, stream], None, s.post_eps, Some(&self.pre_norm));
        let r = self.moe.apply(s, input.unwrap_or(h));
        let (h, next) =
            self.moe_gate.add([r, h], Some(self.post_norm), s.post_eps, self.next.as_ref());
        *at.shared = next;
        h
    }
}

/// Attention whose input projection also gives a gate.
struct Attention {
    qkvg: Linear,
    out: Linear,
}

impl Attention {
    fn new(p: &mut ParamBuilder, s: &Settings) -> Self {
        let h = s.heads;
        let all = 2 * h.query.saturating_add(h.kv).saturating_mul(h.dim);
        p.scope("self_attn", |p| Self {
            qkvg: Linear::new(p, "qkvg_proj", s.width, all, false),
            out: Linear::new(p, "o_proj", h.query * h.dim, s.width, false),
        })
    }

    fn mix<'t>(
        &self,
        s: &Settings,
        x: Var<'t>,
        mask: Mask<'t>,
        cache: &mut Cache,
        rotates: bool,
    ) -> Var<'t> {
        let t = x.tape();
        let h = s.heads;
        let (b, n) = (x.dim(0), x.dim(1));
        let qkvg = self.qkvg.forward(x);
        let mut inputs =
            vec![qkvg, t.scalar(s.query_scale, DType::F32), t.scalar(s.eps, DType::F32)];
        if rotates {
            let offset = f64::from(cache.offset());
            inputs.push(t.constant(Shape::new(&[1]), offset, DType::I32));
            inputs.push(t.scalar(f64::from(n), DType::I32));
            inputs.push(t.scalar(s.theta.log2(), DType::F32));
        }
        let kernel = if rotates { Kernel::QkNormRope } else { Kernel::QkNorm };
        let dtype = qkvg.dtype();
        let shape = |heads: u64| Shape::new(&[b, n, heads as u32, h.dim as u32]);
        let (q, k) = t.kernel(kernel, &inputs, (shape(h.query), dtype), (shape(h.kv), dtype));
        let (q_dim, kv_dim) = ((h.query * h.dim) as u32, (h.kv * h.dim) as u32);
        let v_at = q_dim.saturating_add(kv_dim);
        let gate_at = v_at.saturating_add(kv_dim);
        let v = qkvg.slice(-1, v_at, gate_at);
        let gate = qkvg.slice(-1, gate_at, u32::MAX);
        let q = q.transpose(&[0, 2, 1, 3]);
        let kv = cache.update(k.transpose(&[0, 2, 1, 3]), Heads::split(v, h.kv));
        let y = attend(q, kv, (h.dim as f64).powf(-0.5), mask, None);
        let eps = t.scalar(s.eps, DType::F32);
        let dtype = y.dtype();
        let joined = Shape::new(&[b, n, q_dim]);
        self.out.forward(t.kernel_one(Kernel::NormGate, &[y, gate, eps], joined, dtype))
    }
}

/// Added to the sum of the scores of the chosen experts.
const SCORE_EPS: f64 = 1e-15;

/// Routed experts between two projections.
struct Moe {
    gate: ModuleId,
    bias: ModuleId,
    before: Linear,
    norm: RmsNorm,
    experts: SwitchGlu,
    expert_norm: ModuleId,
    after: Linear,
}

impl Moe {
    fn new(p: &mut ParamBuilder, s: &Settings) -> Self {
        let n = s.experts.total;
        p.scope("mlp", |p| Self {
            gate: p.raw("gate.weight", &[n, s.width]),
            bias: p.raw("gate.e_score_correction_bias", &[n]),
            before: Linear::new(p, "pre_expert_proj", s.width, s.inner, false),
            norm: RmsNorm::new(p, "pre_expert_norm", s.inner, s.eps),
            experts: SwitchGlu::new(p, "experts", s.inner, s.hidden, n, false),
            expert_norm: p.raw("experts.post_expert_norm.weight", &[s.inner]),
            after: Linear::new(p, "post_expert_proj", s.inner, s.width, false),
        })
    }

    fn apply<'t>(&self, s: &Settings, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        let logits = x.astype(DType::F32).matmul(t.weight(self.gate).transpose(&[1, 0]));
        let bias = t.weight(self.bias);
        let constants = [s.multiplier, SCORE_EPS, s.route_scale].map(|x| t.scalar(x, DType::F32));
        let shape = logits.shape().with(-1, s.experts.chosen as u32);
        let mut inputs = vec![logits, bias];
        inputs.extend(constants);
        let kernel = Kernel::ExpertRouting;
        let (indices, weights) =
            t.kernel(kernel, &inputs, (shape, DType::U32), (shape, DType::F32));
        let h = self.norm.forward(self.before.forward(x));
        let y =
            self.experts.forward(h, indices, |gate, up| activations::precise_swiglu(up, gate, up));
        let norm = t.weight(self.expert_norm);
        let eps = t.scalar(s.post_eps, DType::F32);
        let (dtype, mut shape) = (y.dtype(), y.shape());
        shape.remove(shape.rank().saturating_sub(2));
        let y = t.kernel_one(Kernel::ExpertCombine, &[y, weights, norm, eps], shape, dtype);
        self.after.forward(y)
    }
}
