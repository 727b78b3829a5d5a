//! Kernels of `mx.fast` and custom Metal kernels.

/// Rotary position embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Features that are rotated.
    pub dims: u32,
    /// Adjacent pairs (true) or halves (false).
    pub traditional: bool,
    /// Base of the frequencies; `None` when a frequency table is an input.
    pub base: Option<f64>,
    /// Scale of the positions.
    pub scale: f64,
    /// Position of the first token.
    pub offset: u32,
}

/// What a custom Metal kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Gated delta rule: inputs q, k, v, g, beta, state; outputs y, state.
    GatedDelta,
    /// Product with a matrix of -1, 0 and 1 packed into bytes: inputs x, packed weight, scale; output y.
    BitLinear,
    /// Mamba-2 state update of one token: inputs x, A_log, B, C, D, dt, state; outputs y, state.
    SsmUpdate,
    /// RWKV-7 recurrence over all tokens: inputs r, w, k, v, a, b, state, tokens; outputs y, state.
    Wkv7,
    /// Mixes of hyper-connections: inputs streams, logits, scale, base; outputs the collapsed streams, the weights of
    /// the output, the mix between the streams.
    HyperCollapse {
        /// Rounds of the Sinkhorn iteration.
        rounds: u32,
        /// Epsilon in billionths.
        eps_nano: u32,
    },
    /// Sinkhorn normalization of small matrices: inputs matrices, epsilon.
    Sinkhorn {
        /// Rounds of the iteration.
        rounds: u32,
    },
    /// Softmax mix of residual sums: inputs sums, inverse root mean squares, running sum, query, epsilon, rows.
    ResidualMix,
    /// Norms over query and key heads: inputs the joint projection, scale of the queries, epsilon; outputs q, k.
    QkNorm,
    /// The same and a rotation: three more inputs, position of the first token, tokens, binary logarithm of the base.
    QkNormRope,
    /// A norm over each head times the sigmoid of a gate: inputs x, gate, epsilon; output y with the heads joined.
    NormGate,
    /// Choice of experts: inputs logits, correction bias, factor on the logits, epsilon, factor on the scores; outputs
    /// indices, scores.
    ExpertRouting,
    /// A gated residual sum and the norm of it: inputs branch, stream, their weights, scale of the branch, its epsilon,
    /// weight and epsilon of the norm; outputs stream, normed stream.
    NormAddNorm,
    /// A gated residual sum: the first six inputs of the above; output stream.
    NormAdd,
    /// Norms and weighted sum of the outputs of experts: inputs outputs, scores, scale, epsilon; output y.
    ExpertCombine,
    /// Attention of every query over the keys chosen for it: inputs q, k, v, indices; output y.
    SparseAttention,
}
