//! Nemotron-NAS (Llama-Nemotron Super and Ultra): Llama's block, where the search has removed attention or MLP of
//! some layers, replaced them by a single matrix, or changed their size.

use crate::graph::parts::prelude::*;

/// What stands in one half of a block; the number is `n_heads_in_group` or the hidden size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Nothing,
    Matrix,
    Full(u64),
}

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let width = c.dim_or("hidden_size", 8192)?;
    let query = c.dim_or("num_attention_heads", 64)?;
    if query == 0 || width % query != 0 {
        return Err(c.invalid("num_attention_heads", "a divisor of hidden_size"));
    }
    let dim = width / query;
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let vocabulary = c.dim_or("vocab_size", 128_256)?;
    let bias = c.bool_or("attention_bias", false)?;
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let tied = c.bool_or("tie_word_embeddings", false)?;
    let max_context = c.dim_or("max_position_embeddings", 131_072)?;
    let theta = c.number_or("rope_theta", 500_000.0)?;
    let scaling = RopeScaling::read(c, "rope_scaling")?;
    let rope = RopeModule::new(dim, theta, false, scaling.as_ref(), Some(max_context))?;
    let activation = activation(c)?;
    let blocks = blocks(c, width, query)?;

    let (embed, layers, norm) = p.scope("model", |p| {
        let embed = Embedding::new(p, "embed_tokens", vocabulary, width);
        let layers = blocks.iter().enumerate().map(|(i, block)| {
            p.scope(&format!("layers.{i}"), |p| {
                let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, width, eps);
                let mixer: Option<Box<dyn Mixer>> = match block[0] {
                    Half::Nothing => None,
                    Half::Matrix => Some(Box::new(Matrix::new(p, "self_attn", width, bias))),
                    Half::Full(group) => {
                        let heads = Heads { query, kv: query / group, dim };
                        let (biases, rope) = (Biases::all(bias), Some(rope.clone()));
                        let name = "self_attn";
                        Some(Box::new(Attention::new(p, name, width, heads, biases, rope)))
                    }
                };
                let mlp: Option<Box<dyn FeedForward>> = match block[1] {
                    Half::Nothing => None,
                    Half::Matrix => Some(Box::new(Matrix::new(p, "mlp", width, mlp_bias))),
                    Half::Full(hidden) => {
                        let mlp = GatedMlp::new(p, "mlp", width, hidden, mlp_bias);
                        Some(Box::new(mlp.with_activation(activation)))
                    }
                };
                Layer {
                    mixer: mixer.map(|m| (norm(p, "input_layernorm"), m)),
                    mlp: mlp.map(|m| (norm(p, "post_attention_layernorm"), m)),
                }
            })
        });
        let layers: Vec<Layer> = layers.collect();
        (embed, layers, RmsNorm::new(p, "norm", width, eps))
    });
    let head = Head::new(p, embed, tied, width, vocabulary);
    let cached = layers.iter().filter(|l| l.mixer.is_some()).count();
    Ok(Built {
        layers: layers.len() as u64,
        network: Box::new(Searched { embed, layers, norm, head }),
        caches: vec![CacheKind::Kv; cached],
        experts: None,
        max_context: Some(max_context),
    })
}

/// `act(gate) * x`, not fused.
type GatedFn = fn(&Tape<'_>, Var, Var) -> Var;

fn activation(c: &Config) -> Result<GatedFn, ConfigError> {
    fn gate(t: &Tape<'_>, gate: Var, x: Var, activation: Activation) -> Var {
        let g = activation(t, gate);
        t.mul(g, x)
    }
    Ok(match c.opt_str("hidden_act")?.unwrap_or("silu") {
        "silu" => |t, g, x| gate(t, g, x, activations::silu),
        "relu" => |t, g, x| gate(t, g, x, activations::relu),
        "gelu" => |t, g, x| gate(t, g, x, activations::gelu),
        "gelu_new" | "gelu_fast" => |t, g, x| gate(t, g, x, activations::gelu_approx),
        _ => return Err(c.invalid("hidden_act", "silu, relu, gelu, gelu_new or gelu_fast")),
    })
}

/// Attention and MLP of every block of `block_configs`.
fn blocks(c: &Config, width: u64, query: u64) -> Result<Vec<[Half; 2]>, ConfigError> {
    let layers = c.dim_or("num_hidden_layers", 80)?;
    let listed = c.opt_objects("block_configs")?.unwrap_or_default();
    if listed.len() as u64 != layers {
        return Err(c.invalid("block_configs", format!("{layers} blocks, one per layer")));
    }
    listed.iter().map(|block| Ok([mixer(block, query)?, mlp(block, width)?])).collect()
}

fn replaced(half: &Config) -> Result<Option<Half>, ConfigError> {
    Ok(if half.bool_or("no_op", false)? {
        Some(Half::Nothing)
    } else if half.bool_or("replace_with_linear", false)? {
        Some(Half::Matrix)
    } else {
        None
    })
}

fn mixer(block: &Config, query: u64) -> Result<Half, ConfigError> {
    let half =
        block.opt_object("attention")?.ok_or_else(|| block.invalid("attention", "an object"))?;
    if let Some(half) = replaced(&half)? {
        return Ok(half);
    }
    let group = half.positive("n_heads_in_group")?;
    if query % group != 0 {
        return Err(half.invalid("n_heads_in_group", format!("a divisor of the {query} heads")));
    }
    Ok(Half::Full(group))
}

fn mlp(block: &Config, width: u64) -> Result<Half, ConfigError> {
    let half = block.opt_object("ffn")?.ok_or_else(|| block.invalid("ffn", "an object"))?;
    if let Some(half) = replaced(&half)? {
        return Ok(half);
    }
    let wrong = || half.invalid("ffn_mult", "a positive number");
    let multiplier = half.opt_number("ffn_mult")?.filter(|m| *m > 0.0).ok_or_else(wrong)?;
    // Rounded to six decimals first, like Python's round().
    let multiplier: f64 = format!("{multiplier:.6}").parse().map_err(|_| wrong())?;
    let hidden = (2.0 * multiplier * width as f64 / 3.0) as u64;
    Ok(Half::Full(hidden.checked_next_multiple_of(256).ok_or_else(wrong)?))
}

/// One matrix in place of attention or MLP.
struct Matrix(Linear);

impl Matrix {
    fn new(p: &mut ParamBuilder, name: &str, width: u64, bias: bool) -> Self {
        p.scope(name, |p| Self(Linear::new(p, "linear", width, width, bias)))
    }
}

impl Mixer for Matrix {
    fn mix(&self, t: &Tape<'_>, x: Var, _: Mask, _: &mut Cache) -> Var {
        self.0.forward(t, x)
    }
}

impl FeedForward for Matrix {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        self.0.forward(t, x)
    }
}

struct Layer {
    mixer: Option<(RmsNorm, Box<dyn Mixer>)>,
    mlp: Option<(RmsNorm, Box<dyn FeedForward>)>,
}

struct Searched {
    embed: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Head,
}

impl Network for Searched {
    fn forward(&self, t: &Tape<'_>, tokens: Var, caches: &mut [Cache]) -> Var {
        let mut h = self.embed.forward(t, tokens);
        let n = t.dim(tokens, 1);
        let mask = match caches.first() {
            Some(cache) => cache.mask(t, n, None, false),
            None => return t.fail("a model without any attention layer"),
        };
        let mut caches = caches.iter_mut();
        for (i, layer) in self.layers.iter().enumerate() {
            t.layer(i);
            if let Some((norm, mixer)) = &layer.mixer
                && let Some(cache) = caches.next()
            {
                let r = norm.norm(t, h);
                let r = mixer.mix(t, r, mask, cache);
                h = t.add(h, r);
            }
            if let Some((norm, mlp)) = &layer.mlp {
                let r = norm.norm(t, h);
                let r = mlp.apply(t, r);
                h = t.add(h, r);
            }
        }
        t.set_stage(Stage::Head);
        let h = self.norm.forward(t, h);
        self.head.forward(t, h)
    }
}
