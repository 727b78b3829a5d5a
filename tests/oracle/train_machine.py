"""Memory of a training process by purpose."""

from __future__ import annotations

from collections import Counter
from typing import Any

from metal import Array, Buffer, Machine, Node, page_round


class _Labeled(Buffer):
    """A buffer that knows what it is for and how many command buffers keep it."""

    __slots__ = ("label", "held")

    def __init__(self, size: int, label: str) -> None:
        super().__init__(size)
        self.label, self.held = label, 0


class TrainingMachine(Machine):
    """`Machine` with a ledger: bytes by purpose, also at the moment of the peak."""

    def __init__(self, arch: str = "s", nax: bool = False) -> None:
        super().__init__(arch, nax)
        self.label = "other"
        self.labels: dict[str, str] = {}  # value name -> label, of the present graph
        self.ledger: Counter[str] = Counter()
        self.at_peak: dict[str, int] = {}

    def _malloc(self, nbytes: int) -> Buffer:
        buffer = _Labeled(page_round(nbytes), self.label)
        self.active += buffer.size
        self.ledger[buffer.label] += buffer.size
        if self.active > self.peak:
            self.peak = self.active
            self.at_peak = dict(self.ledger)
        return buffer

    def relabel(self, buffer: Any, label: str) -> None:
        self.ledger[buffer.label] -= buffer.size
        self.ledger[label] += buffer.size
        buffer.label = label

    def _unref(self, buffer: Any) -> None:
        buffer.refs -= 1
        if buffer.refs == 0:
            self.active -= buffer.size
            self.ledger[buffer.label] -= buffer.size
        elif buffer.refs == buffer.held and buffer.label != "run_ahead":
            self.relabel(buffer, "run_ahead")

    def _hold(self, buffer: Any) -> None:
        buffer.held += 1
        super()._hold(buffer)

    def _temporary(self, shape: tuple[int, ...], dtype: str) -> Array:
        before, self.label = self.label, "run_ahead"
        t = super()._temporary(shape, dtype)
        t.buffer.held += 1
        self.label = before
        return t

    def _complete_one(self) -> None:
        for buffer in self._in_flight[0][0]:
            buffer.held -= 1
        super()._complete_one()

    def _run(self, node: Node) -> None:
        outputs = list(node.outputs)
        names = [o[0] for o in node.op.outputs]
        self.label = self.labels.get(names[0], "other")
        super()._run(node)
        if node.is_view:
            return
        for name, out in zip(names, outputs):
            if out.buffer is not None:
                label = self.labels.get(name, "other")
                if out.buffer.label != label:
                    self.relabel(out.buffer, label)

    # -- kernels of training -----------------------------------------------------------

    def _view(self, node: Node) -> None:
        if node.op.kind != "CustomTransforms":
            super()._view(node)
            return
        for out, x in zip(node.outputs, node.inputs[-len(node.outputs) :]):
            self._share(out, x)

    def _norm_gradient(self, node: Node, rows_per_group: bool) -> None:
        """``RMSNormVJP`` and ``LayerNormVJP`` (mlx/backend/metal/normalization.cpp)."""
        x, g = node.inputs[0], node.inputs[-1]
        gx = node.outputs[0]
        bound = []
        reuse = None
        for a in (x, g):
            if a.row:
                ok = self._free_to_reuse(a)
                bound.append(a)
            else:
                a = self._copied(a)
                ok = False
                bound.append(a)
            if reuse is None and ok:
                reuse = a
        if reuse is not None:
            self._share(gx, reuse)
        else:
            self._allocate(gx)
        width = x.shape[-1]
        rows = x.size // width
        has_weight = bool(node.inputs[1].shape)
        scratch = []
        if has_weight:
            groups = rows
            if rows_per_group and width <= 4096:
                groups = -(-rows // -(-rows // 512))
            scratch.append(self._temporary((groups, width), gx.dtype))
        for out in node.outputs[1:]:
            self._allocate(out)
        self._dispatch([*bound, node.inputs[1], gx, *scratch])
        if has_weight:
            self._dispatch([*scratch, node.outputs[1]])

    def _do_RMSNormVJP(self, node: Node) -> None:
        self._norm_gradient(node, rows_per_group=True)

    def _do_LayerNormVJP(self, node: Node) -> None:
        self._norm_gradient(node, rows_per_group=False)

    def _do_CrossEntropy(self, node: Node) -> None:
        x = self._row_contiguous(node.inputs[0])
        self._allocate(node.outputs[0])
        self._dispatch([x, node.inputs[1], node.outputs[0]])

    def _do_CrossEntropyVJP(self, node: Node) -> None:
        x, out = node.inputs[0], node.outputs[0]
        if not x.row:
            x = self._copied(x)
            self._allocate(out)
        elif self._free_to_reuse(x):
            self._share(out, x)
        else:
            self._allocate(out)
        self._dispatch([x, *node.inputs[1:], out])

    def _do_SegmentedMM(self, node: Node) -> None:
        self._allocate(node.outputs[0])
        self._dispatch([*node.inputs, node.outputs[0]])
