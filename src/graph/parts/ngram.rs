//! The n-gram embedding of LongCat Flash: the embedding of a token plus those of hashes of the last tokens.

use crate::graph::prelude::*;

/// One hashed table of n-grams.
#[derive(Debug)]
struct Table {
    /// Tokens that are hashed together.
    ngram: u32,
    /// Rows of the table, which is also the modulus of the hash.
    rows: u64,
    /// Factors of the earlier tokens, nearest first.
    factors: Vec<u64>,
    embedding: Embedding,
    projection: Linear,
}

/// `model.ngram_embeddings`.
pub struct NgramEmbedding {
    words: Box<dyn Embed>,
    tables: Vec<Table>,
    /// Tokens that are hashed together at most.
    longest: u32,
}

impl NgramEmbedding {
    /// Declares the tables beside that of the words.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn new(
        c: &Config,
        p: &mut ParamBuilder,
        words: Box<dyn Embed>,
        vocabulary: u64,
        width: u64,
    ) -> Result<Self, ConfigError> {
        let base = c.dim_or("ngram_vocab_size_ratio", 78)?.saturating_mul(vocabulary);
        let splits = c.dim_or("emb_split_num", 4)?;
        let longest = c.dim_or("emb_neighbor_num", 4)?;
        if !(1..=64).contains(&splits) {
            return Err(c.invalid("emb_split_num", "a whole number from 1 to 64"));
        }
        if !(2..=64).contains(&longest) {
            return Err(c.invalid("emb_neighbor_num", "a whole number from 2 to 64"));
        }
        let count = splits * (longest - 1);
        let features = width / count;
        Ok(p.scope("ngram_embeddings", |p| {
            let tables = (0..count).map(|i| {
                let rows = base.saturating_add(2 * i + 1);
                let ngram = 2 + i / splits;
                Table {
                    ngram: ngram as u32,
                    rows,
                    factors: factors(vocabulary, rows, ngram - 1),
                    embedding: Embedding::new(p, &format!("embedders.{i}"), rows, features),
                    projection: Linear::new(p, &format!("post_projs.{i}"), features, width, false),
                }
            });
            let tables = tables.collect();
            Self { words, tables, longest: longest as u32 }
        }))
    }
}

impl Embed for NgramEmbedding {
    /// The cache keeps the last tokens of earlier calls.
    fn embed<'t>(&self, tokens: Var<'t>, cache: Option<&mut Cache>) -> Var<'t> {
        let Some(cache) = cache else {
            return tokens.tape().fail("no cache for the n-gram embedding");
        };
        let length = tokens.dim(-1);
        let ids = tokens.astype(DType::I64);
        let context = match cache.state(tokens.tape(), 0) {
            None => ids,
            Some(earlier) => concat([earlier, ids], -1),
        };
        let kept = context.last(-1, (self.longest - 1).min(context.dim(-1)));
        cache.set_state(0, kept);
        let shifted: Vec<Var<'_>> = (1..self.longest).map(|n| shift_right(context, n)).collect();
        let mut x = self.words.embed(ids, None);
        for table in &self.tables {
            let hash = table.hash(context, &shifted).last(-1, length);
            x = x + table.projection.forward(table.embedding.forward(hash));
        }
        x / (1 + self.tables.len() as i64)
    }

    fn cache(&self) -> Option<CacheKind> {
        Some(CacheKind::Arrays(1))
    }
}

impl Table {
    fn hash<'t>(&self, context: Var<'t>, shifted: &[Var<'t>]) -> Var<'t> {
        let mut ids = context;
        let earlier = shifted.iter().zip(&self.factors).take(self.ngram as usize - 1);
        for (&token, &factor) in earlier {
            let term = token * factor as i64;
            ids = ids + term;
        }
        ids.remainder(self.rows as i64)
    }
}

/// Powers of the vocabulary's size modulo `rows`, from the first on.
fn factors(vocabulary: u64, rows: u64, count: u64) -> Vec<u64> {
    let mut power: u64 = 1;
    (0..count)
        .map(|_| {
            let next = u128::from(power) * u128::from(vocabulary) % u128::from(rows.max(1));
            power = u64::try_from(next).unwrap_or(0); // smaller than `rows`
            power
        })
        .collect()
}

/// The ids `n` places further right, with zeros in front.
fn shift_right(ids: Var<'_>, n: u32) -> Var<'_> {
    let (shape, dtype) = (ids.shape(), ids.dtype());
    let length = shape.dim(-1);
    if length <= n {
        return ids.zeros_like();
    }
    let zeros = ids.tape().full(Shape::new(&[shape.dim(0), n]), 0.0, dtype);
    let front = ids.slice(-1, 0, length - n);
    concat([zeros, front], -1)
}

#[cfg(test)]
mod tests {
    use super::factors;

    #[test]
    fn factors_are_powers_of_the_vocabulary_modulo_the_rows() {
        assert_eq!(factors(1000, 78_001, 3), [1000, 1_000_000 % 78_001, 1_000_000_000 % 78_001]);
        assert_eq!(factors(u64::MAX, 0, 1), [0]);
    }
}
