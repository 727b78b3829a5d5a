//! Kernels of training steps: gradients of norms and of the loss, products of segments, checkpoints.

use super::Replay;
use super::memory::{ArrayId, BufferId};
use super::purpose::Purpose;
use crate::graph::op::Training;
use crate::graph::params::{ModuleId, Part};
use crate::graph::shape::Shape;

/// Most groups of rows whose partial gradients of a norm's weight are added up
/// (`mlx/backend/metal/normalization.cpp`).
const NORM_GROUPS: u64 = 512;
/// Widest row that one group of threads takes whole.
const WIDE_ROW: u64 = 4096;

impl Replay<'_> {
    pub(super) fn training(&mut self, op: Training, ins: &[ArrayId], outs: &[ArrayId]) {
        let out = outs[0];
        match op {
            Training::RmsNormGradient { .. } => self.norm_gradient(ins, outs, true),
            Training::LayerNormGradient { .. } => self.norm_gradient(ins, outs, false),
            Training::RopeGradient(rope) => self.rope(ins, out, rope.dims),
            Training::CrossEntropy => {
                let logits = self.row_contiguous(ins[0]);
                self.allocate(out);
                self.dispatch(&[logits, ins[1]], &[out], 1);
            }
            Training::CrossEntropyGradient => self.cross_entropy_gradient(ins, out),
            Training::AttentionGradient => {
                outs.iter().for_each(|&o| self.allocate(o));
                self.dispatch(ins, outs, 2);
            }
            Training::SegmentedMm => {
                self.allocate(out);
                self.dispatch(ins, &[out], 1);
            }
            Training::ScatterAdd(_) => self.scatter(ins, out),
            Training::AsStrided => self.as_strided(ins[0], out),
            Training::Checkpoint => {
                let results = &ins[ins.len() - outs.len()..];
                outs.iter().zip(results).for_each(|(&o, &x)| self.share(o, x));
            }
            Training::Depends => outs.iter().zip(ins).for_each(|(&o, &x)| self.share(o, x)),
        }
    }

    /// `RMSNormVJP` and `LayerNormVJP` (`mlx/backend/metal/normalization.cpp`).
    fn norm_gradient(&mut self, ins: &[ArrayId], outs: &[ArrayId], by_groups: bool) {
        let (x, gradient, out) = (ins[0], ins[ins.len() - 1], outs[0]);
        let shape = self.arrays[x.index()].shape;
        let mut bound = smallvec::SmallVec::<[ArrayId; 4]>::new();
        let mut reuse = None;
        for a in [x, gradient] {
            if self.arrays[a.index()].flags.row {
                if reuse.is_none() && self.donatable(a) {
                    reuse = Some(a);
                }
                bound.push(a);
            } else {
                bound.push(self.copied(a));
            }
        }
        match reuse {
            Some(a) => self.share(out, a),
            None => self.allocate(out),
        }
        let width = u64::from(shape.dim(-1)).max(1);
        let rows = shape.elements() / width;
        let weighted = self.arrays[ins[1].index()].shape.rank() > 0;
        let mut partial = None;
        if weighted {
            let groups = if by_groups && width <= WIDE_ROW {
                rows.div_ceil(rows.div_ceil(NORM_GROUPS).max(1))
            } else {
                rows
            };
            let dtype = self.arrays[out.index()].dtype;
            partial = Some(self.temporary(Shape::new(&[groups as u32, width as u32]), dtype));
        }
        outs[1..].iter().for_each(|&o| self.allocate(o));
        bound.push(ins[1]);
        bound.extend(partial);
        self.dispatch(&bound, &[out], 1);
        if let Some(partial) = partial {
            self.dispatch(&[partial], &[outs[1]], 1);
        }
    }

    fn cross_entropy_gradient(&mut self, ins: &[ArrayId], out: ArrayId) {
        let mut bound: smallvec::SmallVec<[ArrayId; 4]> = ins.into();
        if !self.arrays[ins[0].index()].flags.row {
            bound[0] = self.copied(ins[0]);
            self.allocate(out);
        } else if self.donatable(ins[0]) {
            self.share(out, ins[0]);
        } else {
            self.allocate(out);
        }
        self.dispatch(&bound, &[out], 1);
    }

    /// Pairs of neighbors of a vector: `[n, 2]` with strides of one.
    fn as_strided(&mut self, x: ArrayId, out: ArrayId) {
        let from = self.arrays[x.index()];
        self.share(out, x);
        let a = &mut self.arrays[out.index()];
        a.strides[..2].copy_from_slice(&[1, 1]);
        let (size, flags) = super::layout::contiguity(&a.shape, &a.strides);
        a.data_size = from.data_size;
        a.flags = super::layout::Flags { contiguous: size == from.data_size, ..flags };
    }
}

/// Arrays that live from step to step.
impl Replay<'_> {
    /// From now on follows what buffers are for. All there are hold tensors of the model.
    pub fn follow_purposes(&mut self) {
        self.buffers.following = true;
        self.buffers.all_for(Purpose::Weights);
    }

    /// Says what the values of the call that is loaded next are for.
    pub fn expect(&mut self, purposes: Vec<Purpose>) {
        self.purposes.push(purposes.into());
    }

    /// Says what an array is for that the caller holds.
    pub fn mark(&mut self, a: ArrayId, purpose: Purpose) {
        self.buffers.mark(self.arrays[a.index()].buffer, purpose);
    }

    /// Gives back a tensor of the model, in whose place a trained array is held.
    pub fn release_tensor(&mut self, module: ModuleId, part: Part) {
        let tensor = &mut self.params[module.index()][part as usize];
        let buffer = std::mem::replace(tensor, BufferId::NONE);
        if buffer != BufferId::NONE {
            self.buffers.drop_ref(buffer);
        }
    }
}
