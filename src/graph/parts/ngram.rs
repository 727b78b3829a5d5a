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
    fn embed(&self, t: &Tape<'_>, tokens: Var, cache: Option<&mut Cache>) -> Var {
        let Some(cache) = cache else {
            return t.fail("no cache for the n-gram embedding");
        };
        let length = t.dim(tokens, -1);
        let ids = t.astype(tokens, DType::I64);
        let context = match cache.state(0) {
            None => ids,
            Some(earlier) => t.concat(&[earlier, ids], -1),
        };
        let kept = t.last(context, -1, (self.longest - 1).min(t.dim(context, -1)));
        cache.set_state(t, 0, kept);
        let shifted: Vec<Var> = (1..self.longest).map(|n| shift_right(t, context, n)).collect();
        let mut x = self.words.embed(t, ids, None);
        for table in &self.tables {
            let hash = t.last(table.hash(t, context, &shifted), -1, length);
            x = t.add(x, table.projection.forward(t, table.embedding.forward(t, hash)));
        }
        t.div(x, 1 + self.tables.len() as i64)
    }

    fn cache(&self) -> Option<CacheKind> {
        Some(CacheKind::Arrays(1))
    }
}

impl Table {
    fn hash(&self, t: &Tape<'_>, context: Var, shifted: &[Var]) -> Var {
        let mut ids = context;
        let earlier = shifted.iter().zip(&self.factors).take(self.ngram as usize - 1);
        for (&token, &factor) in earlier {
            let term = t.mul(token, factor as i64);
            ids = t.add(ids, term);
        }
        t.binary(Binary::Remainder, ids, self.rows as i64)
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
fn shift_right(t: &Tape<'_>, ids: Var, n: u32) -> Var {
    let (shape, dtype) = (t.shape(ids), t.dtype(ids));
    let length = shape.dim(-1);
    if length <= n {
        return t.zeros_like(ids);
    }
    let zeros = t.full(Shape::new(&[shape.dim(0), n]), 0.0, dtype);
    let front = t.slice(ids, -1, 0, length - n);
    t.concat(&[zeros, front], -1)
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
