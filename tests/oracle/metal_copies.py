"""Convolutions, copies, reductions, scans and sorting on Metal."""

from __future__ import annotations

from metal_arrays import Node, PAGE


class Copies:
    """The remaining operations of `Machine`."""

    def _do_Convolution(self, node: Node) -> None:
        out = node.outputs[0]
        self._allocate(out)
        self._dispatch([*(self._row_contiguous(x) for x in node.inputs), out])

    def _do_CustomKernel(self, node: Node) -> None:
        for out in node.outputs:
            self._allocate(out)
        bound = [self._row_contiguous(x) for x in node.inputs]
        self._dispatch([*bound, *node.outputs])

    def _do_Dequantize(self, node: Node) -> None:
        self._do_CustomKernel(node)

    # -- copies, reductions, sorting -------------------------------------------------

    def _do_Contiguous(self, node: Node) -> None:
        x, out = node.inputs[0], node.outputs[0]
        if x.row and x.buffer.size <= out.nbytes + PAGE:
            node.is_view = True
            self._share(out, x)
        else:
            self._allocate(out)
            self._dispatch([x, out])
            node.copied_bytes += out.nbytes

    def _do_Concatenate(self, node: Node) -> None:
        out = node.outputs[0]
        self._allocate(out)
        for x in node.inputs:
            self._dispatch([x, out])

    def _do_SliceUpdate(self, node: Node) -> None:
        """In place when the target is not used by anyone else, else copied first."""
        x, out = node.inputs[0], node.outputs[0]
        if x.contiguous and x.size == x.data_size and self._reusable(x, out):
            self._share(out, x)
        else:
            if x.contiguous and x.size == x.data_size and x.size > 1:
                self._allocate(out, like=x)
            else:
                self._allocate(out)
            self._dispatch([x, out])
            node.copied_bytes += out.nbytes
            out.origin = x.origin
        self._dispatch([node.inputs[1], out])

    def _do_DynamicSliceUpdate(self, node: Node) -> None:
        self._do_SliceUpdate(node)
        self._dispatch([node.inputs[2]])

    def _do_Full(self, node: Node) -> None:
        out = node.outputs[0]
        self._allocate(out)
        self._dispatch([out])

    def _do_Reduce(self, node: Node) -> None:
        x, out = node.inputs[0], node.outputs[0]
        if out.size == x.size:
            self._do_unary(node)
            return
        if not x.contiguous:
            x = self._copied(x)
        self._allocate(out, nbytes=max(out.nbytes, 4))
        self._dispatch([x, out])

    def _do_Scan(self, node: Node) -> None:
        x, out = node.inputs[0], node.outputs[0]
        if x.contiguous and x.strides[node.op.args[1]] != 0:
            if self._free_to_reuse(x) and x.item_size == out.item_size:
                self._share(out, x)
            else:
                self._allocate(out, like=x)
        else:
            self._allocate(out)
            self._dispatch([x, out])
            node.copied_bytes += out.nbytes
        self._dispatch([x, out])

    def _sort(self, node: Node, axis: int) -> None:
        """Up to 512 * 4 elements per row in one kernel, otherwise a merge sort."""
        x, out = node.inputs[0], node.outputs[0]
        self._allocate(out)
        length = x.shape[axis]
        block = 2048 if x.item_size <= 4 else 1024
        blocks = -(-length // block)
        if blocks <= 1:
            self._dispatch([x, out])
            return
        scratch = [self._temporary(x.shape, x.dtype) for _ in range(2)]
        scratch += [self._temporary(x.shape, "uint32") for _ in range(2)]
        rounds = (blocks - 1).bit_length()
        self._dispatch([x, *scratch, out], 2 + 2 * rounds)

    def _do_ArgSort(self, node: Node) -> None:
        self._sort(node, node.op.args[-1])

    _do_Sort = _do_ArgPartition = _do_Partition = _do_ArgSort

    def _do_Pad(self, node: Node) -> None:
        out = node.outputs[0]
        self._allocate(out)
        self._dispatch([node.inputs[1], out])
        self._dispatch([node.inputs[0], out])

    def _do_Scatter(self, node: Node) -> None:
        out = node.outputs[0]
        x = node.inputs[0]
        if x.row and self._reusable(x, out):
            self._share(out, x)
        else:
            self._allocate(out)
            self._dispatch([x, out])
            node.copied_bytes += out.nbytes
        self._dispatch([*node.inputs[1:], out])

    _do_ScatterAxis = _do_Scatter
