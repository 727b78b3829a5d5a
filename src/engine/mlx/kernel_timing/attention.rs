//! Attention over keys and values that change from call to call.

use super::super::ops::{AttentionMask, eval};
use super::{Array, Class, DType, Kernel, Ops, Result, Scale, Shape, held, random_array};

/// Attention of one query.
pub(super) fn of_step(
    ops: &Ops,
    [heads, kv, tokens, width]: [u32; 4],
    scale: Scale,
    dtype: DType,
) -> Result<Kernel> {
    let shape = Shape::new(&[1, kv, tokens, width]);
    let bytes = 2 * shape.elements() * dtype.bytes();
    let copies = scale.copies_of(bytes);
    let caches = caches(ops, &shape, copies, dtype)?;
    let q = random_array(ops, &Shape::new(&[1, heads, 1, width]), dtype, 1)?;
    let run = move |ops: &Ops| {
        let mut q = q.clone();
        for (k, v) in &caches {
            let [k, v] = [held(ops, k, &shape)?, held(ops, v, &shape)?];
            q = ops.attention([&q, &k, &v], 0.1, &AttentionMask::None, None)?;
        }
        eval(&[&q])
    };
    let counts = counts([heads, 1, tokens, width]);
    Ok(Kernel::new(Class::Attention(dtype), counts, copies, Box::new(run)))
}

/// Attention of the last `queries` of `tokens`.
pub(super) fn of_prompt(
    ops: &Ops,
    [heads, kv, queries, tokens, width]: [u32; 5],
    dtype: DType,
) -> Result<Kernel> {
    const COPIES: u32 = 3;
    let shape = Shape::new(&[1, kv, tokens, width]);
    let caches = caches(ops, &shape, COPIES, dtype)?;
    let q = random_array(ops, &Shape::new(&[1, heads, queries, width]), dtype, 1)?;
    let run = move |ops: &Ops| {
        let mut q = q.clone();
        for (k, v) in &caches {
            let [k, v] = [held(ops, k, &shape)?, held(ops, v, &shape)?];
            q = ops.attention([&q, &k, &v], 0.1, &AttentionMask::Causal, None)?;
        }
        eval(&[&q])
    };
    let counts = counts([heads, queries, tokens, width]);
    Ok(Kernel::new(Class::AttentionPrompt(dtype), counts, COPIES, Box::new(run)))
}

/// Buffers with room for more tokens than they hold, as caches have.
fn caches(ops: &Ops, shape: &Shape, copies: u32, dtype: DType) -> Result<Vec<(Array, Array)>> {
    let buffer = shape.with(2, shape.dim(2) + 128);
    let random = |seed: u64| random_array(ops, &buffer, dtype, seed);
    (0..u64::from(copies)).map(|i| Ok((random(2 * i + 1)?, random(2 * i + 2)?))).collect()
}

/// Launches, heads, scores, multiplications.
fn counts([heads, queries, tokens, width]: [u32; 4]) -> Vec<f64> {
    let heads = f64::from(heads);
    let scores = heads * f64::from(queries) * f64::from(tokens);
    vec![1.0, heads, scores, scores * 2.0 * f64::from(width)]
}
