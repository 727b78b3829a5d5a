//! Layers with one matrix.

use super::adapted;
use crate::graph::params::{ModuleId, ParamBuilder, Part};
use crate::graph::tape::linalg::Packed;
use crate::graph::tape::{Tape, Var};
use crate::model::DType;

/// The packed tensors of a module, or `None` when its weight is plain.
fn packed<'t>(t: &'t Tape<'t>, id: ModuleId) -> Option<Packed<'t>> {
    let packing = t.params().module(id).packing?;
    Some(Packed {
        weight: t.param(id, Part::Weight),
        scales: t.param(id, Part::Scales),
        biases: packing.has_biases().then(|| t.param(id, Part::Biases)),
        packing,
    })
}

/// The signed Hadamard rotation of the input of a packed matrix, or its inverse; `x` itself for other matrices.
fn rotated(id: ModuleId, x: Var<'_>, inverse: bool) -> Var<'_> {
    let t = x.tape();
    let prepacked = t.params().module(id).prepacked;
    let Some((signs, block)) = prepacked.and_then(|p| p.rotation) else { return x };
    let (shape, dtype) = (x.shape(), x.dtype());
    let signs = t.weight(signs);
    let mut x = x.astype(DType::F32);
    if !inverse {
        x = x * signs;
    }
    let x = x.reshape(&[-1, i64::from(block)]).hadamard(f64::from(block).powf(-0.5));
    let dims = shape.signed();
    let mut x = x.reshape(&dims);
    if inverse {
        x = x * signs;
    }
    x.astype(dtype)
}

/// `nn.Linear` or, after quantization, `nn.QuantizedLinear`.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    id: ModuleId,
    bias: bool,
}

impl Linear {
    /// Declares a matrix of `outputs` rows and `inputs` columns.
    pub fn new(p: &mut ParamBuilder, name: &str, inputs: u64, outputs: u64, bias: bool) -> Self {
        Self { id: p.linear(name, inputs, outputs, bias), bias }
    }

    /// Declares a matrix without bias that keeps float32 in a 16-bit model.
    pub fn new_f32(p: &mut ParamBuilder, name: &str, inputs: u64, outputs: u64) -> Self {
        Self { id: p.linear_f32(name, inputs, outputs), bias: false }
    }

    /// `x W^T (+ b)`, with an adapter in a training step.
    pub fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        let Some(adapter) = t.adapter(self.id) else { return self.plain(x) };
        let Some(magnitude) = adapter.magnitude else {
            return adapted::linear(adapter, x, self.plain(x));
        };
        let w = packed(t, self.id).map_or_else(|| t.weight(self.id), |w| t.dequantize(w));
        let out = adapted::rescaled(adapter, magnitude, x, w);
        if self.bias { out + t.param(self.id, Part::Bias) } else { out }
    }

    fn plain<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        if let Some(w) = packed(t, self.id) {
            let y = rotated(self.id, x, false).quantized_matmul(w, true);
            if !self.bias {
                return y;
            }
            return y + t.param(self.id, Part::Bias);
        }
        let w = t.param(self.id, Part::Weight).transpose(&[1, 0]);
        if self.bias { t.param(self.id, Part::Bias).addmm(x, w) } else { x.matmul(w) }
    }
}

/// `nn.Embedding` or `nn.QuantizedEmbedding`.
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    id: ModuleId,
}

impl Embedding {
    /// Declares a table of `count` rows.
    pub fn new(p: &mut ParamBuilder, name: &str, count: u64, width: u64) -> Self {
        Self { id: p.embedding(name, count, width) }
    }

    /// Whether the table is packed.
    #[must_use]
    pub fn is_packed(&self, t: &Tape<'_>) -> bool {
        t.params().module(self.id).packing.is_some()
    }

    /// The rows of the token ids.
    pub fn forward<'t>(&self, ids: Var<'t>) -> Var<'t> {
        match ids.tape().adapter(self.id) {
            None => self.rows(ids),
            Some(adapter) => adapted::rows(adapter, ids, self.rows(ids)),
        }
    }

    fn rows<'t>(&self, ids: Var<'t>) -> Var<'t> {
        let t = ids.tape();
        match packed(t, self.id) {
            None => t.param(self.id, Part::Weight).take(ids),
            Some(w) if t.params().module(self.id).prepacked.is_some() => self.unpacked_rows(ids, w),
            Some(w) => {
                let rows = Packed {
                    weight: w.weight.take(ids),
                    scales: w.scales.take(ids),
                    biases: w.biases.map(|b| b.take(ids)),
                    packing: w.packing,
                };
                t.dequantize(rows)
            }
        }
    }

    /// The rows of a table that only exists packed, in float16: a flat list of ids, rotated back.
    fn unpacked_rows<'t>(&self, ids: Var<'t>, w: Packed<'t>) -> Var<'t> {
        let mut dims = ids.shape().signed();
        dims.push(-1);
        let ids = ids.reshape(&[-1]);
        let rows = Packed {
            weight: w.weight.take(ids),
            scales: w.scales.take(ids),
            biases: w.biases.map(|b| b.take(ids)),
            packing: w.packing,
        };
        let rows = ids.tape().dequantize(rows).reshape(&dims).astype(DType::F16);
        rotated(self.id, rows, true)
    }

    /// The table as an output head.
    pub fn as_linear<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        let y = match packed(t, self.id) {
            Some(w) => rotated(self.id, x, false).quantized_matmul(w, true),
            None => x.matmul(t.weight(self.id).transpose(&[1, 0])),
        };
        match t.adapter(self.id) {
            None => y,
            Some(adapter) => adapted::head(adapter, x, y, t.weight(self.id)),
        }
    }
}

/// `MultiLinear`: one small matrix per head.
#[derive(Clone, Copy, Debug)]
pub struct MultiLinear {
    id: ModuleId,
}

impl MultiLinear {
    /// Declares `heads` matrices of `outputs` rows and `inputs` columns.
    pub fn new(p: &mut ParamBuilder, name: &str, inputs: u64, outputs: u64, heads: u64) -> Self {
        Self { id: p.multi_linear(name, inputs, outputs, heads) }
    }

    /// `x W^T` per head, or `x W` when not `transpose`.
    pub fn forward<'t>(&self, x: Var<'t>, transpose: bool) -> Var<'t> {
        let t = x.tape();
        if let Some(w) = packed(t, self.id) {
            return x.quantized_matmul(w, transpose);
        }
        let w = t.param(self.id, Part::Weight);
        let w = if transpose { w.swapaxes(-1, -2) } else { w };
        x.matmul(w)
    }
}

/// `nn.Conv1d` without padding.
#[derive(Clone, Copy, Debug)]
pub struct Conv1d {
    weight: ModuleId,
    bias: Option<ModuleId>,
    groups: u32,
}

impl Conv1d {
    /// Declares a depth-wise convolution over `channels` with `kernel` taps.
    pub fn depthwise(
        p: &mut ParamBuilder,
        name: &str,
        channels: u64,
        kernel: u64,
        bias: bool,
    ) -> Self {
        let weight = p.raw(&format!("{name}.weight"), &[channels, kernel, 1]);
        let bias = bias.then(|| p.raw(&format!("{name}.bias"), &[channels]));
        Self { weight, bias, groups: u32::try_from(channels).unwrap_or(1) }
    }

    /// The convolution of `x [batch, length, channels]`.
    pub fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        let y = x.conv1d(t.weight(self.weight), self.groups);
        match self.bias {
            None => y,
            Some(b) => y + t.weight(b),
        }
    }
}
