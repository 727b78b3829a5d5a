//! Mistral 4: latent attention whose queries grow with the position (the Llama 4 scale), softmax routing with
//! optional groups, shared experts. Prompts attend over joined plain and rotated parts with a causal kernel.

use super::ministral3::QueryScale;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let settings = Settings::read(c)?;
    let moe = Routing::read(c)?;
    let count = layer_count(c)?;
    let first = c.dim("first_k_dense_replace")?;
    let width = settings.dims.width;
    let hidden = c.positive("intermediate_size")?;
    let o = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
        eps: c.number_or("rms_norm_eps", 1e-5)?,
        max_context: c.opt_dim("max_position_embeddings")?,
        ..Outline::new(width, count, c.positive("vocab_size")?)
    };
    let query_scale = settings.position_scale;
    let decoder = o.sharing(
        p,
        |p, i| {
            let layer = ScaledLayer {
                scale: settings.latent.scale,
                input_norm: RmsNorm::new(p, "input_layernorm", width, o.eps),
                attention: LatentAttention::with_settings(
                    p,
                    settings.dims,
                    settings.latent.clone(),
                ),
                post_norm: RmsNorm::new(p, "post_attention_layernorm", width, o.eps),
                mlp: match &moe {
                    Some(m) if i >= first => Box::new(m.layer(p, width)),
                    _ => Box::new(GatedMlp::new(p, "mlp", width, hidden, false)),
                },
            };
            Ok(Place::new(MaskRule::Full, layer))
        },
        move |call| (call.embedded, query_scale.at(&call)),
    )?;
    Ok(decoder.with_experts(moe.map(|m| m.experts)).built())
}

/// Settings of the attention layers.
struct Settings {
    dims: MlaDims,
    latent: LatentSettings,
    position_scale: QueryScale,
}

impl Settings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let dims = MlaDims::required(c, c.positive("hidden_size")?)?;
        let block = c.object("rope_parameters")?;
        let scaling = RopeScaling::read(c, "rope_parameters")?;
        let base = block.number_or("rope_theta", 100_000.0)?;
        let traditional = c.bool_or("rope_interleave", true)?;
        let max = c.opt_dim("max_position_embeddings")?;
        let scale = ((dims.nope + dims.rope) as f64).powf(-0.5);
        Ok(Self {
            dims,
            latent: LatentSettings {
                bias: c.bool_or("attention_bias", false)?,
                eps: 1e-6,
                rope: Some(RopeModule::new(dims.rope, base, traditional, scaling.as_ref(), max)?),
                scale: yarn_attention_scale(scale, scaling.as_ref())?,
                gated: false,
            },
            position_scale: QueryScale::read(&block)?,
        })
    }
}

/// Llama's layer with factors on the queries.
struct ScaledLayer {
    scale: f64,
    input_norm: RmsNorm,
    attention: LatentAttention,
    post_norm: RmsNorm,
    mlp: Box<dyn FeedForward>,
}

impl Layer<Var<'static>> for ScaledLayer {
    fn run<'t>(&self, x: Var<'t>, at: At<'_, 't, Var<'static>>) -> Var<'t> {
        let r = self.input_norm.forward(x);
        let h = x + self.attend(r, *at.shared, at.mask, at.cache);
        h + self.mlp.apply(self.post_norm.forward(h))
    }
}

impl ScaledLayer {
    /// Latent attention whose queries are multiplied by `factors`; that of a prompt rotates every head.
    fn attend<'t>(
        &self,
        x: Var<'t>,
        factors: Var<'t>,
        mask: Mask<'t>,
        cache: &mut Cache,
    ) -> Var<'t> {
        let (t, attention) = (x.tape(), &self.attention);
        let Latents { queries, rows: [latent, k_pe], .. } = attention.prepared(x, cache.offset());
        let queries = queries.map(|q| q * factors);
        let (latent, k_pe) = cache.update(latent, k_pe);
        let (latent, k_pe) = (latent.dense(t), k_pe.dense(t));
        let y = if x.dim(1) == 1 {
            attention.attend(queries, [latent, k_pe], mask)
        } else {
            let [k_nope, v] = attention.expanded(latent);
            let k_pe = k_pe.broadcast_to(k_pe.shape().with(1, k_nope.dim(1)));
            let k = concat([k_nope, k_pe], -1);
            concat(queries, -1).attention(k, v, self.scale, mask, None)
        };
        attention.project(Heads::join(y))
    }
}

/// Settings of the routed layers.
struct Routing {
    experts: Experts,
    hidden: u64,
    shared: Option<u64>,
    routing: ScoreRouting,
}

impl Routing {
    fn read(c: &Config) -> Result<Option<Self>, ConfigError> {
        if c.opt_dim("n_routed_experts")?.is_none() {
            return Ok(None);
        }
        let hidden = c.positive("moe_intermediate_size")?;
        let experts = experts(c, "n_routed_experts", "num_experts_per_tok")?;
        let mut routing = ScoreRouting::new(experts.chosen)
            .softmax()
            .divided(Divisor::sum_plus(c.bool("norm_topk_prob")?, 1e-20))
            .scaled(c.number_or("routed_scaling_factor", 1.0)?);
        let (groups, kept) = (c.dim("n_group")?, c.dim("topk_group")?);
        if groups > 1 {
            routing = routing.grouped(groups, kept, 0.0);
        }
        let shared = c.opt_dim("n_shared_experts")?.map(|n| n * hidden);
        Ok(Some(Self { experts, hidden, shared, routing }))
    }

    /// Routed experts whose choice is one compiled function (`mistral4_expert_select`), and shared ones.
    fn layer(&self, p: &mut ParamBuilder, width: u64) -> RoutedMlp {
        let n = self.experts.total;
        p.scope("mlp", |p| {
            let mlp = SwitchGlu::new(p, "switch_mlp", width, self.hidden, n, false);
            let gate = Gate::Linear(Linear::new(p, "gate", width, n, false));
            let shared = self.shared.map(|n| GatedMlp::new(p, "shared_experts", width, n, false));
            RoutedMlp::new(ScoreRouter::new(gate, None, self.routing).compiled(), mlp)
                .with_shared(shared)
        })
    }
}
