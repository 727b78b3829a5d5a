//! Random tensors: values of the size that trained ones have, so that activations stay finite.

use super::{Result, TensorSpec};
use crate::engine::mlx::ops::{Array, Ops};
use crate::graph::params::{ModuleKind, Part};
use crate::graph::shape::Shape;
use crate::model::{DType, Mode};

/// A xorshift64* generator.
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Bytes with `f` applied to every 64 random bits.
    fn fill(&mut self, bytes: u64, f: impl Fn(u64) -> u64) -> Vec<u8> {
        let mut out = Vec::with_capacity((bytes as usize).next_multiple_of(8));
        while (out.len() as u64) < bytes {
            out.extend_from_slice(&f(self.next()).to_ne_bytes());
        }
        out.truncate(bytes as usize);
        out
    }

    /// A tensor of the given kind.
    pub fn tensor(&mut self, ops: &Ops, spec: &TensorSpec<'_>) -> Result<Array> {
        let bytes = spec.shape.elements() * spec.dtype.bytes();
        let data = match (spec.part, spec.module.packing) {
            (Part::Weight, Some(p)) if p.mode == Mode::Mxfp8 => {
                // Without the bit that would make NaN of an 8-bit float.
                self.fill(bytes, |r| r & 0x7777_7777_7777_7777)
            }
            (Part::Weight, Some(_)) => self.fill(bytes, |r| r),
            (Part::Scales, Some(p)) => self.scales(spec, p.mode, p.bits, bytes),
            (Part::Biases, Some(_)) => self.floats(spec.dtype, bytes, range(spec), Sign::Minus),
            (Part::Bias, _) => self.floats(spec.dtype, bytes, 0.02, Sign::Both),
            (Part::Weight | Part::Scales | Part::Biases, _) => self.plain(spec, bytes),
        };
        ops.host_array(&data, &spec.shape, spec.dtype)
    }

    /// An array that is no tensor of a model: activations, caches, masks that hide nothing.
    pub fn array(&mut self, ops: &Ops, shape: &Shape, dtype: DType) -> Result<Array> {
        let bytes = shape.elements() * dtype.bytes();
        let data = match dtype {
            DType::Bool => vec![1; bytes as usize],
            // Packed words of a quantized cache; positions, of which the first always exists.
            DType::U32 | DType::U8 => self.fill(bytes, |r| r),
            DType::I32 | DType::I64 => vec![0; bytes as usize],
            dtype => self.floats(dtype, bytes, 0.5, Sign::Both),
        };
        ops.host_array(&data, shape, dtype)
    }

    /// Scales that, together with the biases, spread the packed values over ± [`range`].
    fn scales(&mut self, spec: &TensorSpec<'_>, mode: Mode, bits: u32, bytes: u64) -> Vec<u8> {
        let range = range(spec);
        match mode {
            Mode::Affine => {
                let steps = f64::from((1u32 << bits.min(31)) - 1);
                self.floats(spec.dtype, bytes, 2.0 * range / steps, Sign::Plus)
            }
            // One byte of exponent, 127 for 1; the largest 4-bit float is 6, of ours in 8 bits 240.
            Mode::Mxfp4 => vec![exponent_byte(range / 6.0); bytes as usize],
            Mode::Mxfp8 => vec![exponent_byte(range / 240.0); bytes as usize],
            // 4 bits of exponent with a bias of 7, 3 of mantissa.
            Mode::Nvfp4 => {
                let e = ((range / 6.0).log2().floor() + 7.0).clamp(1.0, 14.0);
                vec![(e as u8) << 3; bytes as usize]
            }
        }
    }

    fn plain(&mut self, spec: &TensorSpec<'_>, bytes: u64) -> Vec<u8> {
        let vector = spec.shape.rank() <= 1;
        match spec.dtype {
            DType::U8 => self.fill(bytes, |r| r),
            DType::Bool | DType::U32 | DType::I32 | DType::I64 => vec![0; bytes as usize],
            // Norm weights, decays, steps.
            dtype if vector => self.floats(dtype, bytes, 0.7, Sign::Plus),
            dtype => self.floats(dtype, bytes, range(spec), Sign::Both),
        }
    }

    /// Floats whose absolute values lie between about 0.7 and 1.4 times `size`.
    fn floats(&mut self, dtype: DType, bytes: u64, size: f64, sign: Sign) -> Vec<u8> {
        let exponent = (size * std::f64::consts::FRAC_1_SQRT_2).log2().round();
        // Per lane: bits that stay random, and bits that are set.
        let (random, set, minus, lanes) = match dtype {
            DType::F16 => {
                let e = (exponent + 15.0).clamp(1.0, 30.0) as u64;
                (0x03ff, e << 10, 1 << 15, 0x0001_0001_0001_0001)
            }
            DType::BF16 => {
                let e = (exponent + 127.0).clamp(1.0, 254.0) as u64;
                (0x007f, e << 7, 1 << 15, 0x0001_0001_0001_0001)
            }
            _ => {
                let e = (exponent + 127.0).clamp(1.0, 254.0) as u64;
                (0x007f_ffff, e << 23, 1 << 31, 0x0000_0001_0000_0001)
            }
        };
        let (keep, set) = match sign {
            Sign::Plus => (random, set),
            Sign::Minus => (random, set | minus),
            Sign::Both => (random | minus, set),
        };
        self.fill(bytes, move |r| (r & (keep * lanes)) | (set * lanes))
    }
}

#[derive(Clone, Copy)]
enum Sign {
    Plus,
    Minus,
    Both,
}

/// Size of the values of a matrix that keeps the length of its input: one over the root of its inputs.
fn range(spec: &TensorSpec<'_>) -> f64 {
    let shape = spec.module.shape;
    let inputs = match spec.module.kind {
        // Convolutions are [channels, taps, channels per group].
        ModuleKind::Raw => shape.elements() / u64::from(shape.dim(0)).max(1),
        // Rows are looked up, not multiplied.
        ModuleKind::Embedding => 1,
        _ => u64::from(shape.dim(-1)),
    };
    let spread = if spec.module.packing.is_some() { 3f64.sqrt() } else { 1.0 };
    spread / (inputs.max(1) as f64).sqrt()
}

fn exponent_byte(x: f64) -> u8 {
    (x.log2().round() + 127.0).clamp(1.0, 254.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_have_the_asked_size() {
        let mut r = Random::new(7);
        for (size, sign) in [(0.02, Sign::Both), (1.0, Sign::Plus), (3.0, Sign::Minus)] {
            for chunk in r.floats(DType::F32, 4000, size, sign).chunks_exact(4) {
                let x = f32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
                let ratio = f64::from(x.abs()) / size;
                assert!((0.49..2.01).contains(&ratio), "{x} for {size}");
                match sign {
                    Sign::Plus => assert!(x > 0.0),
                    Sign::Minus => assert!(x < 0.0),
                    Sign::Both => {}
                }
            }
        }
        let halves = r.floats(DType::F16, 4000, 0.05, Sign::Both);
        for chunk in halves.chunks_exact(2) {
            let x = half::f16::from_ne_bytes([chunk[0], chunk[1]]).to_f64().abs();
            assert!((0.02..0.11).contains(&x), "{x}");
        }
    }
}
