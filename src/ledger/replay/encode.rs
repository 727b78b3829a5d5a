//! One operation of a replay, as MLX encodes it.

use super::memory::{ArrayId, NodeId};
use super::purpose::Purpose;
use super::{Cost, Encoded, Read, Replay};
use crate::graph::op::{Binary, Op};
use std::rc::Rc;

impl Replay<'_> {
    /// Encodes an operation whose inputs have been, and lets go of what it alone needed.
    pub(super) fn run(&mut self, id: NodeId) {
        self.current = Cost::default();
        let (inputs, outputs) = (self.node_inputs(id), self.node_outputs(id));
        if self.observer.is_some() {
            self.note_reads(inputs.clone());
        }
        // A second owner of the trace lets the rules read it while they change the arrays.
        let pending = self.nodes[id.index()];
        let trace = Rc::clone(&self.traces[pending.trace as usize]);
        let node = &trace.nodes()[pending.node as usize];
        self.renew_stand_ins_at(node.stage);
        let purposes = self.purposes.get(pending.trace as usize).map(Rc::clone);
        let made = trace.outputs(node);
        let peak = self.buffers.peak;
        self.buffers.allocating = match &purposes {
            Some(purposes) => purposes[made[0].index()],
            None if node.scores => Purpose::Scores,
            None => Purpose::Other,
        };
        self.encode(&node.op, inputs.clone(), outputs.clone());
        self.buffers.allocating = Purpose::Other;
        if self.buffers.peak > peak {
            self.peak_at = Some((pending.trace, made[0]));
        }
        if let Some(purposes) = &purposes
            && self.current.dispatches > 0
        {
            for (i, v) in outputs.clone().zip(made) {
                let buffer = self.arrays[self.links[i].index()].buffer;
                self.buffers.mark(buffer, purposes[v.index()]);
            }
        }
        if let Some(observer) = &mut self.observer {
            observer(Encoded {
                trace: &trace,
                node: pending.node as usize,
                dispatches: self.current.dispatches,
                copied_bytes: self.current.copied_bytes,
                reads: &self.reads,
            });
        }
        self.hold_inputs(inputs, outputs.clone());
        for i in outputs.clone() {
            self.users[self.links[i].index()].maker = NodeId::NONE;
        }
        self.detach(id);
        for i in outputs {
            self.drop_if_unread(self.links[i]);
        }
        self.commit_when_full();
    }

    fn note_reads(&mut self, inputs: std::ops::Range<usize>) {
        self.reads.clear();
        for i in inputs {
            let a = &self.arrays[self.links[i].index()];
            self.reads.push(Read { origin: a.origin, bytes: a.distinct_elements() * a.item() });
        }
    }

    /// Allocates the outputs of an operation and counts its kernels.
    fn encode(&mut self, op: &Op, inputs: std::ops::Range<usize>, outputs: std::ops::Range<usize>) {
        let ins: smallvec::SmallVec<[ArrayId; 12]> = self.links[inputs].into();
        let outs: smallvec::SmallVec<[ArrayId; 4]> = self.links[outputs].into();
        let out = outs[0];
        match op {
            Op::Reshape | Op::Flatten | Op::Unflatten => self.reshape(ins[0], out),
            Op::Transpose(axes) => self.transpose(ins[0], out, axes),
            Op::ExpandDims(axes) => self.expand_dims(ins[0], out, axes),
            Op::Squeeze(axes) => self.squeeze(ins[0], out, axes),
            Op::Broadcast => self.broadcast(ins[0], out),
            Op::Slice(spec) => self.slice(ins[0], out, &spec.1),
            Op::Split(..) => self.split(ins[0], &outs),
            Op::Unary(_) | Op::AsType | Op::ConvertFp8 { .. } => self.unary(ins[0], out),
            Op::Select => self.select(&ins, out),
            Op::Compiled(_) => self.compiled(&ins, &outs),
            Op::RmsNorm { .. } | Op::LayerNorm { .. } => self.rowwise(&ins, out, true),
            Op::Hadamard { .. } => self.hadamard(ins[0], out),
            Op::Softmax { .. } => self.rowwise(&ins, out, false),
            Op::LogSumExp => self.logsumexp(ins[0], out),
            Op::Rope(rope) => self.rope(&ins, out, rope.dims),
            Op::Attention { .. } => self.attention(&ins, out),
            Op::QuantizedMatmul { packing, transpose } => {
                self.quantized_matmul(&ins, out, packing.group, *transpose);
            }
            Op::GatherQmm { .. } => self.gather_qmm(&ins, out),
            Op::Matmul | Op::AddMm => self.matmul(&ins, out),
            Op::Convolution { .. } => self.convolution(&ins, out),
            Op::Custom(_) | Op::Dequantize(_) | Op::Quantize(_) => self.custom(&ins, &outs),
            Op::Depends => self.share(out, ins[0]),
            Op::Contiguous => self.contiguous(ins[0], out),
            Op::Training(op) => self.training(*op, &ins, &outs),
            Op::Concatenate { .. } => self.concatenate(&ins, out),
            Op::SliceUpdate(_) | Op::SliceMultiply(_) => self.slice_update(&ins, out),
            Op::Full => self.full(out),
            Op::Reduce(..) => self.reduce(ins[0], out),
            Op::Scan { axis } => self.scan(ins[0], out, usize::from(*axis)),
            Op::Sort { axis }
            | Op::ArgSort { axis }
            | Op::Partition { axis, .. }
            | Op::ArgPartition { axis, .. } => self.sort(ins[0], out, usize::from(*axis)),
            Op::Pad(_) => self.pad(&ins, out),
            Op::Scatter(_) | Op::ScatterAxis { .. } => self.scatter(&ins, out),
            // A primitive of its own that never takes over the buffer of an input.
            Op::Binary(Binary::FloorDivide) => self.plain(&ins, &outs),
            Op::Binary(_) => self.binary(ins[0], ins[1], out),
            Op::ArgReduce { .. }
            | Op::Gather(_)
            | Op::GatherAxis { .. }
            | Op::GatherMm { .. }
            | Op::Arange { .. } => self.plain(&ins, &outs),
        }
    }

    /// A new dense output for every result, one kernel.
    fn plain(&mut self, ins: &[ArrayId], outs: &[ArrayId]) {
        outs.iter().for_each(|&o| self.allocate(o));
        self.dispatch(ins, outs, 1);
    }
}
