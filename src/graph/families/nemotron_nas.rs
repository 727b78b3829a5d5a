//! Nemotron-NAS (Llama-Nemotron Super and Ultra): Llama's block, where the search has removed attention or MLP of
//! some layers, replaced them by a single matrix, or changed their size.

use crate::graph::parts::prelude::*;

/// What stands in one half of a block; the number is `n_heads_in_group` or the hidden size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
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
    let rope = RopeModule::read_as(c, dim, 500_000.0, false, Some(max_context))?;
    let activation = activation(c)?;
    let blocks = blocks(c, width, query)?;
    let o = Outline {
        head: HeadKind::tied(tied),
        eps,
        max_context: Some(max_context),
        ..Outline::new(width, blocks.len() as u64, vocabulary)
    };
    let rules: Vec<MaskRule> = blocks.iter().map(rule).collect();
    let mut decoder = o.layered(p, &rules, |p, i| {
        let norm = |p: &mut ParamBuilder, name| Norms::before(RmsNorm::new(p, name, width, eps));
        let mut halves = Vec::new();
        let mixer: Option<Box<dyn Mixer>> = match blocks[i][0] {
            Kept::Nothing => None,
            Kept::Matrix => Some(Box::new(Matrix::new(p, "self_attn", width, bias))),
            Kept::Full(group) => {
                let heads = Heads { query, kv: query / group, dim };
                let (biases, rope) = (Biases::all(bias), Some(rope.clone()));
                Some(Box::new(Attention::new(p, "self_attn", width, heads, biases, rope)))
            }
        };
        halves.extend(mixer.map(|m| Half::mixer(norm(p, "input_layernorm"), m)));
        let mlp: Option<Box<dyn FeedForward>> = match blocks[i][1] {
            Kept::Nothing => None,
            Kept::Matrix => Some(Box::new(Matrix::new(p, "mlp", width, mlp_bias))),
            Kept::Full(hidden) => {
                let mlp = GatedMlp::new(p, "mlp", width, hidden, mlp_bias);
                Some(Box::new(mlp.with_activation(activation)))
            }
        };
        halves.extend(mlp.map(|m| Half::mlp(norm(p, "post_attention_layernorm"), m)));
        halves
    });
    if rules.iter().all(|rule| *rule == MaskRule::Stateless) {
        decoder = decoder.with_logits(|x| x.tape().fail("a model without any attention layer"));
    }
    Ok(decoder.built())
}

/// A layer has a cache, unused by a single matrix, wherever something stands in the place of attention.
fn rule(block: &[Kept; 2]) -> MaskRule {
    if block[0] == Kept::Nothing { MaskRule::Stateless } else { MaskRule::Full }
}

/// `act(gate) * x`, not fused.
type GatedFn = for<'t> fn(Var<'t>, Var<'t>) -> Var<'t>;

fn activation(c: &Config) -> Result<GatedFn, ConfigError> {
    fn gate<'t>(gate: Var<'t>, x: Var<'t>, activation: Activation) -> Var<'t> {
        activation(gate) * x
    }
    Ok(match c.opt_str("hidden_act")?.unwrap_or("silu") {
        "silu" => |g, x| gate(g, x, activations::silu),
        "relu" => |g, x| gate(g, x, activations::relu),
        "gelu" => |g, x| gate(g, x, activations::gelu),
        "gelu_new" | "gelu_fast" => |g, x| gate(g, x, activations::gelu_approx),
        _ => return Err(c.invalid("hidden_act", "silu, relu, gelu, gelu_new or gelu_fast")),
    })
}

/// Attention and MLP of every block of `block_configs`.
fn blocks(c: &Config, width: u64, query: u64) -> Result<Vec<[Kept; 2]>, ConfigError> {
    let layers = c.dim_or("num_hidden_layers", 80)?;
    let listed = c.opt_objects("block_configs")?.unwrap_or_default();
    if listed.len() as u64 != layers {
        return Err(c.invalid("block_configs", format!("{layers} blocks, one per layer")));
    }
    listed.iter().map(|block| Ok([mixer(block, query)?, mlp(block, width)?])).collect()
}

fn replaced(half: &Config) -> Result<Option<Kept>, ConfigError> {
    Ok(if half.bool_or("no_op", false)? {
        Some(Kept::Nothing)
    } else if half.bool_or("replace_with_linear", false)? {
        Some(Kept::Matrix)
    } else {
        None
    })
}

fn mixer(block: &Config, query: u64) -> Result<Kept, ConfigError> {
    let half =
        block.opt_object("attention")?.ok_or_else(|| block.invalid("attention", "an object"))?;
    if let Some(half) = replaced(&half)? {
        return Ok(half);
    }
    let group = half.positive("n_heads_in_group")?;
    if query % group != 0 {
        return Err(half.invalid("n_heads_in_group", format!("a divisor of the {query} heads")));
    }
    Ok(Kept::Full(group))
}

fn mlp(block: &Config, width: u64) -> Result<Kept, ConfigError> {
    let half = block.opt_object("ffn")?.ok_or_else(|| block.invalid("ffn", "an object"))?;
    if let Some(half) = replaced(&half)? {
        return Ok(half);
    }
    let wrong = || half.invalid("ffn_mult", "a positive number");
    let multiplier = half.opt_number("ffn_mult")?.filter(|m| *m > 0.0).ok_or_else(wrong)?;
    // Rounded to six decimals first, like Python's round().
    let multiplier: f64 = format!("{multiplier:.6}").parse().map_err(|_| wrong())?;
    let hidden = (2.0 * multiplier * width as f64 / 3.0) as u64;
    Ok(Kept::Full(hidden.checked_next_multiple_of(256).ok_or_else(wrong)?))
}

/// One matrix in place of attention or MLP.
struct Matrix(Linear);

impl Matrix {
    fn new(p: &mut ParamBuilder, name: &str, width: u64, bias: bool) -> Self {
        p.scope(name, |p| Self(Linear::new(p, "linear", width, width, bias)))
    }
}

impl Mixer for Matrix {
    fn mix<'t>(&self, x: Var<'t>, _: Mask<'t>, _: &mut Cache) -> Var<'t> {
        self.0.forward(x)
    }
}

impl FeedForward for Matrix {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        self.0.forward(x)
    }
}
