"""Element-wise and row-wise kernels and attention on Metal."""

from __future__ import annotations

from collections.abc import Sequence

from metal_arrays import Array, Node, count


class Kernels:
    """The kernels of `Machine`."""

    # -- element-wise ----------------------------------------------------------------

    def _do_plain(self, node: Node) -> None:
        for out in node.outputs:
            self._allocate(out)
        self._dispatch([*node.inputs, *node.outputs])

    def _do_unary(self, node: Node) -> None:
        x, out = node.inputs[0], node.outputs[0]
        if not x.contiguous:
            self._allocate(out)
        elif self._reusable(x, out):
            self._share(out, x)
        else:
            self._allocate(out, like=x)
        self._dispatch([x, out])

    def _do_AsType(self, node: Node) -> None:
        self._do_unary(node)

    def _do_binary(self, node: Node) -> None:
        a, b = node.inputs[:2]
        out = node.outputs[0]
        if a.data_size == 1 and b.data_size == 1:
            self._allocate(out, like=a)
        elif a.data_size == 1 and b.contiguous:
            self._one_of(out, [b], b)
        elif b.data_size == 1 and a.contiguous:
            self._one_of(out, [a], a)
        elif (a.row and b.row) or (a.col and b.col):
            self._one_of(out, [a, b], a)
        else:
            same = [x for x in (a, b) if x.row and x.size == out.size]
            self._one_of(out, same, None)
        out.origin = ""
        self._dispatch([a, b, out])

    def _one_of(
        self, out: Array, candidates: Sequence[Array], like: Array | None
    ) -> None:
        for x in candidates:
            if self._reusable(x, out):
                self._share(out, x)
                return
        self._allocate(out, like=like)

    def _do_Select(self, node: Node) -> None:
        out, inputs = node.outputs[0], node.inputs
        rows = all(x.row for x in inputs)
        if all(x.data_size == 1 for x in inputs):
            self._allocate(out, like=inputs[1])
        elif rows or all(x.col for x in inputs):
            self._one_of(out, inputs, inputs[1])
        else:
            self._one_of(out, [x for x in inputs if x.row], None)
        self._dispatch([*inputs, out])

    def _do_compiled(self, node: Node) -> None:
        """``compiled_allocate_outputs`` (mlx/backend/common/compiled.cpp)."""
        shape = node.outputs[0].shape
        real = [x for x in node.inputs if x.shape]
        same = [x for x in real if x.shape == shape]
        flat = bool(real) and len(same) == len(real)
        if len(real) == 1:
            flat = flat and real[0].contiguous
        elif flat:
            flat = all(x.row for x in real) or all(x.col for x in real)
        todo = list(node.outputs)
        for x in real:
            if not todo:
                break
            out = todo[0]
            ok = x.item_size == out.item_size and self._free_to_reuse(x)
            if ok and (flat or (x.row and x.size == out.size)):
                self._share(todo.pop(0), x)
        like = next((x for x in real if x.size == node.outputs[0].size), None)
        for out in todo:
            self._allocate(out, like=like if flat else None)
        self._dispatch([*node.inputs, *node.outputs])

    # -- normalization, rope, softmax ------------------------------------------------

    def _rowwise(self, node: Node, check_rows: bool) -> None:
        x, out = node.inputs[0], node.outputs[0]
        ok = x.contiguous and (not x.strides or x.strides[-1] == 1)
        if ok and check_rows and len(x.shape) > 1:
            s = x.strides[-2]
            ok = s == 0 or s == x.shape[-1] or x.shape[-2] == 1
        if not ok:  # the copy becomes the output
            self._allocate(out)
            self._dispatch([x, out])
            node.copied_bytes += out.nbytes
        elif self._free_to_reuse(x) and x.item_size == out.item_size:
            self._share(out, x)
        else:
            self._allocate(out, like=x)
        self._dispatch([x, *node.inputs[1:], out])

    def _do_RMSNorm(self, node: Node) -> None:
        self._rowwise(node, check_rows=True)

    def _do_LayerNorm(self, node: Node) -> None:
        self._rowwise(node, check_rows=True)

    def _do_Softmax(self, node: Node) -> None:
        self._rowwise(node, check_rows=False)

    def _do_LogSumExp(self, node: Node) -> None:
        x, out = node.inputs[0], node.outputs[0]
        if not (x.contiguous and x.strides[-1] == 1):
            x = self._copied(x)
        self._allocate(out)
        self._dispatch([x, out])

    def _do_RoPE(self, node: Node) -> None:
        x, out = node.inputs[0], node.outputs[0]
        dims = node.op.params["dims"]
        length, width = x.shape[-2], x.shape[-1]
        heads = count(x.shape[1:-2])
        lead = len(x.shape)
        while lead > 3 and x.shape[-lead] == 1:
            lead -= 1
        swapped = (
            len(x.shape) == 4
            and x.strides[0] == length * heads * width
            and x.strides[1] == width
            and x.strides[2] == heads * width
        )
        if dims < width:  # partial rotation: copy first
            if x.row and self._reusable(x, out):
                self._share(out, x)
            else:
                self._allocate(out)
                self._dispatch([x, out])
                node.copied_bytes += out.nbytes
        elif x.row and self._free_to_reuse(x):
            self._share(out, x)
        elif x.row or lead == 3 or swapped:
            self._allocate(out)
        else:
            self._allocate(out)
            self._dispatch([x, out])
            node.copied_bytes += out.nbytes
        self._dispatch([*node.inputs, out])

    # -- attention -------------------------------------------------------------------

    def _do_Attention(self, node: Node) -> None:
        q, k, v = node.inputs[:3]
        out = node.outputs[0]
        if q.shape[2] > 8:
            bound = [x if x.strides[-1] == 1 else self._copied(x) for x in (q, k, v)]
            b, h, n, d = out.shape
            self._allocate(out, strides=(n * h * d, d, h * d, 1))
            out.row = out.col = False
            self._dispatch([*bound, *node.inputs[3:], out])
            return
        if not q.row:
            one = 1 if q.shape[0] == 1 else 0
            ok = (q.shape[0] == 1 or q.shape[1] == 1) and (
                q.strides[3] == 1
                and q.strides[2] == q.shape[3] * q.shape[one]
                and q.strides[one] == q.shape[3]
            )
            if not ok:
                q = self._copied(q)
        bound = [q]
        for x in (k, v):
            ok = x.strides[-1] == 1 and (
                1 in x.shape[:2] or x.strides[0] == x.strides[1] * x.shape[1]
            )
            bound.append(x if ok else self._copied(x))
        if (
            q is node.inputs[0]
            and q.row
            and q.size == out.size
            and self._free_to_reuse(q)
        ):
            self._share(out, q)
        else:
            self._allocate(out)
        keys, groups = k.shape[2], q.shape[1] // k.shape[1]
        two_pass = (self.arch in "ds" and keys >= 1024) or (groups > 1 and keys >= 4096)
        if two_pass:
            blocks = self._attention_blocks(keys, groups * q.shape[2])
            shape = (*out.shape[:3], blocks)
            extra = [self._temporary((*shape, out.shape[3]), q.dtype)]
            extra += [self._temporary(shape, "float32") for _ in range(2)]
            self._dispatch([*bound, *node.inputs[3:], *extra, out], 2)
        else:
            self._dispatch([*bound, *node.inputs[3:], out])

    def _attention_blocks(self, keys: int, simds: int) -> int:
        if self.arch == "s":
            if keys <= 1024 or simds <= 4:
                return 64
            for limit, blocks in ((8192, 128), (32768, 256), (65536, 512)):
                if keys <= limit:
                    return blocks
            return 1024
        if self.arch == "d":
            if simds <= 2 and keys > 8192:
                return 256
            if simds >= 6 and keys >= 16384:
                return 512 if keys < 65536 else 1024
            return 128
        return 64 if simds >= 4 else 32
