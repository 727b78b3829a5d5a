//! Adapters around layers: `mlx_lm/tuner/lora.py` and `dora.py`.

use crate::graph::shape::Shape;
use crate::graph::tape::{Adapter, Var};

/// `y + scale * ((x @ a) @ b)`, the second part cast to the type of `like`.
fn add<'t>(y: Var<'t>, z: Var<'t>, scale: f64, like: Var<'t>) -> Var<'t> {
    y + (z * scale).astype(like.dtype())
}

/// `LoRALinear` over the output `y` of the layer.
pub(super) fn linear<'t>(adapter: Adapter<'t>, x: Var<'t>, y: Var<'t>) -> Var<'t> {
    add(y, x.matmul(adapter.a).matmul(adapter.b), adapter.scale, x)
}

/// `DoRALinear` with the plain matrix `w` of the layer: the adapted product, rescaled to learned lengths of its rows.
pub(super) fn rescaled<'t>(
    adapter: Adapter<'t>,
    magnitude: Var<'t>,
    x: Var<'t>,
    w: Var<'t>,
) -> Var<'t> {
    let y = x.matmul(w.transpose(&[1, 0]));
    let out = linear(adapter, x, y);
    let (a, b) = (adapter.a.transpose(&[1, 0]), adapter.b.transpose(&[1, 0]));
    let adapted = w + (b * adapter.scale).matmul(a);
    (magnitude / row_lengths(adapted)).astype(x.dtype()) * out
}

/// `mx.linalg.norm` of the last axis, through which no gradient passes.
fn row_lengths(x: Var<'_>) -> Var<'_> {
    x.square().sum(-1, false).sqrt().stop_gradient()
}

/// `LoRASwitchLinear` over the output `y` of the experts.
pub(super) fn experts<'t>(
    adapter: Adapter<'t>,
    x: Var<'t>,
    y: Var<'t>,
    indices: Var<'t>,
    sorted: bool,
) -> Var<'t> {
    let z = x.gather_mm(adapter.a.swapaxes(-1, -2), indices, sorted);
    let z = z.gather_mm(adapter.b.swapaxes(-1, -2), indices, sorted);
    add(y, z, adapter.scale, x)
}

/// `LoRAEmbedding` and `DoRAEmbedding` over the rows `y` of the table.
pub(super) fn rows<'t>(adapter: Adapter<'t>, ids: Var<'t>, y: Var<'t>) -> Var<'t> {
    let rows = adapter.a.take(ids);
    let Some(magnitude) = adapter.magnitude else {
        return add(y, rows.matmul(adapter.b), adapter.scale, y);
    };
    let z = (rows * adapter.scale).matmul(adapter.b);
    let out = y + z.astype(y.dtype());
    let scale = magnitude.take(ids) / row_lengths(y + z);
    scale.expand_dims(&[-1]) * out
}

/// The same table as an output head, over its logits `y`; `w` is the plain table, which DoRA reads.
pub(super) fn head<'t>(adapter: Adapter<'t>, x: Var<'t>, y: Var<'t>, w: Var<'t>) -> Var<'t> {
    let (a, b) = (adapter.a.transpose(&[1, 0]), adapter.b.transpose(&[1, 0]));
    let out = add(y, x.matmul(b).matmul(a), adapter.scale, x);
    match adapter.magnitude {
        None => out,
        Some(m) => {
            let adapted = w + (adapter.a * adapter.scale).matmul(adapter.b);
            m / row_lengths(adapted) * out
        }
    }
}

/// Shapes of the two matrices of an adapter of rank `r`: of a matrix `[out, in]`, of experts `[experts, out, in]`, or
/// of a table `[rows, width]`.
#[must_use]
pub fn adapter_shapes(weight: &Shape, table: bool, r: u32) -> [Shape; 2] {
    let (outputs, inputs) = (weight.dim(-2), weight.dim(-1));
    match weight.rank() {
        3 => {
            let experts = weight.dim(0);
            [Shape::new(&[experts, r, inputs]), Shape::new(&[experts, outputs, r])]
        }
        _ if table => [Shape::new(&[outputs, r]), Shape::new(&[r, inputs])],
        _ => [Shape::new(&[inputs, r]), Shape::new(&[r, outputs])],
    }
}
