//! A table of hashed n-grams that a layer adds to its streams through a gate and a dilated convolution (PLE): Qwen4-Exp.

use super::stream_mix::{StreamMixDims, StreamNorm};
use crate::graph::prelude::*;

/// Largest table that is taken, in rows of one head.
const MOST_ROWS: u64 = 1 << 32;

/// Sizes of the tables.
#[derive(Clone, Debug)]
pub struct HashedTableSettings {
    streams: StreamMixDims,
    features: u64,
    kernel: u64,
    longest: u64,
    heads: u64,
    base: u64,
    divisor: u64,
    shards: u64,
}

impl HashedTableSettings {
    /// Reads the keys of the n-gram embedding.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn read(c: &Config, streams: StreamMixDims) -> Result<Self, ConfigError> {
        let s = Self {
            streams,
            features: c.dim_or("ple_embed_dim", streams.width)?,
            kernel: c.dim_or("ple_conv_kernel_size", 4)?,
            longest: c.dim_or("ngram_size", 3)?,
            heads: c.dim_or("heads_per_ngram", 8)?,
            base: c.dim_or("ngram_vocab_size_base", 20_000_000)?,
            divisor: c.dim_or("make_ngram_vocab_size_divisible_by", 128)?.max(1),
            shards: c.dim_or("split_ngram_parts", 128)?,
        };
        if !(2..=16).contains(&s.longest) || !(1..=64).contains(&s.heads) {
            return Err(c.invalid("ngram_size", "2 to 16, with 1 to 64 heads_per_ngram"));
        }
        if s.features % s.all_heads() != 0 || s.features < s.all_heads() {
            return Err(c.invalid("ple_embed_dim", "a multiple of the heads of all n-grams"));
        }
        if !(1..=4096).contains(&s.shards) || !(1..=MOST_ROWS).contains(&s.base) {
            return Err(c.invalid("split_ngram_parts", "1 to 4096 parts of at most 2^32 rows"));
        }
        if !(1..=64).contains(&s.kernel) {
            return Err(c.invalid("ple_conv_kernel_size", "a whole number from 1 to 64"));
        }
        Ok(s)
    }

    const fn all_heads(&self) -> u64 {
        (self.longest - 1) * self.heads
    }

    /// Rows of the heads of table number `at`: the primes behind the base, one after the other over all tables.
    fn head_rows(&self, at: u64) -> Vec<u64> {
        let skipped = (at * self.all_heads()) as usize;
        primes_from(self.base).skip(skipped).take(self.all_heads() as usize).collect()
    }
}

/// The primes from `start` on.
fn primes_from(start: u64) -> impl Iterator<Item = u64> {
    let is_prime = |n: &u64| *n >= 2 && (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0);
    (start..).filter(is_prime)
}

/// A table with what surrounds it, `ple`.
#[derive(Debug)]
pub struct HashedTable {
    settings: HashedTableSettings,
    hash: [ModuleId; 3],
    shards: Vec<Embedding>,
    rows: u64,
    key: Linear,
    value: Linear,
    norm_key: StreamNorm,
    norm_query: StreamNorm,
    norm_conv: StreamNorm,
    conv: ModuleId,
}

impl HashedTable {
    /// Declares table number `at` of the model.
    pub fn new(p: &mut ParamBuilder, s: &HashedTableSettings, at: u64) -> Self {
        let total: u64 = s.head_rows(at).iter().sum();
        let padded = total.div_ceil(s.divisor) * s.divisor;
        let all = s.streams.all();
        let features = s.features / s.all_heads();
        p.scope("ple", |p| {
            let (hash, shards) = p.scope("ple_embedding", |p| {
                let hash = [
                    p.raw_i64("layer_multipliers", &[s.longest]),
                    p.raw_i64("ngram_heads_vocab_sizes", &[s.all_heads()]),
                    p.raw_i64("ngram_heads_offsets", &[s.all_heads()]),
                ];
                let (each, more) = (padded / s.shards, padded % s.shards);
                let shard = |p: &mut ParamBuilder, i: u64| {
                    let rows = each + u64::from(i < more);
                    Embedding::new(p, &format!("ngram_embedding.shards.{i}"), rows, features)
                };
                (hash, (0..s.shards).map(|i| shard(p, i)).collect())
            });
            Self {
                hash,
                shards,
                rows: padded / s.shards,
                key: Linear::new(p, "key_proj", s.features, all, false),
                value: Linear::new(p, "value_proj", s.features, s.streams.width, false),
                norm_key: StreamNorm::new(p, "norm_key", s.streams),
                norm_query: StreamNorm::new(p, "norm_query", s.streams),
                norm_conv: StreamNorm::new(p, "norm_conv", s.streams),
                conv: p.raw("conv1d.weight", &[all, s.kernel, 1]),
                settings: s.clone(),
            }
        })
    }

    /// What the table adds to the streams `h`. The cache keeps inputs of the convolution and the last tokens.
    pub fn forward<'t>(&self, h: Var<'t>, tokens: Var<'t>, cache: &mut Cache) -> Var<'t> {
        let s = &self.settings;
        let (count, width) = (s.streams.streams as i64, s.streams.width as i64);
        let dims = h.shape().signed();
        let streams = |x: Var<'t>| x.unflatten(-1, &[count, width]);
        let rows = self.rows_of(tokens, cache);
        let keys = streams(self.norm_key.forward(self.key.forward(rows)));
        let values = self.value.forward(rows);
        let queries = streams(self.norm_query.forward(h));
        let gate = (keys * queries).sum(-1, true) / (width as f64).sqrt();
        let gate = (gate.abs().maximum(1e-6).sqrt() * gate.sign()).sigmoid();
        let gated = (gate * values.expand_dims(&[-2])).reshape(&dims);
        let normed = self.norm_conv.forward(gated);
        gated + self.convolved(normed, cache)
    }

    /// The embeddings of the n-grams that end at every token, side by side.
    fn rows_of<'t>(&self, tokens: Var<'t>, cache: &mut Cache) -> Var<'t> {
        let (t, s) = (tokens.tape(), &self.settings);
        let keep = s.longest as u32 - 1;
        let ids = tokens.astype(DType::I64);
        let before = cache
            .state(t, 3)
            .unwrap_or_else(|| t.full(Shape::new(&[ids.dim(0), keep]), 0.0, DType::I64));
        let history = concat([before, ids], -1);
        cache.set_state(3, history.last(-1, keep).contiguous());
        let [factors, sizes, offsets] = self.hash.map(|id| t.weight(id));
        let end = history.dim(-1);
        let mut mixed = ids * factors.slice(0, 0, 1);
        let blocks: Vec<Var<'t>> = (1..s.longest as u32)
            .map(|back| {
                let earlier = history.slice(-1, keep - back, end - back);
                mixed = mixed + earlier * factors.slice(0, back, back + 1);
                let at = (back - 1) * s.heads as u32;
                let to = at + s.heads as u32;
                mixed.expand_dims(&[-1]).remainder(sizes.slice(0, at, to))
                    + offsets.slice(0, at, to)
            })
            .collect();
        let ids = t.concat(&blocks, -1).remainder(self.rows.max(1) as i64);
        match self.shards.first() {
            Some(shard) => shard.forward(ids).flatten(-2, -1),
            None => t.fail("a table without shards"),
        }
    }

    /// A causal depth-wise convolution whose taps are `ngram_size` tokens apart, and SiLU.
    fn convolved<'t>(&self, x: Var<'t>, cache: &mut Cache) -> Var<'t> {
        let (t, s) = (x.tape(), &self.settings);
        let keep = ((s.kernel - 1) * s.longest) as u32;
        let past =
            cache.state(t, 2).unwrap_or_else(|| t.full(x.shape().with(1, keep), 0.0, x.dtype()));
        let input = concat([past, x], 1);
        cache.set_state(2, input.last(1, keep).contiguous());
        let (n, weight) = (x.dim(1), t.weight(self.conv));
        let taps = (0..s.kernel as u32).map(|tap| {
            let at = tap * s.longest as u32;
            input.slice(1, at, at + n) * weight.slice(1, tap, tap + 1).flatten(0, -1)
        });
        let sum = taps.reduce(|a, b| a + b).unwrap_or(x);
        activations::silu(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::primes_from;

    #[test]
    fn tables_have_prime_numbers_of_rows() {
        assert_eq!(primes_from(1000).take(3).collect::<Vec<u64>>(), [1009, 1013, 1019]);
        assert_eq!(primes_from(20_000_000).next(), Some(20_000_003));
    }
}
