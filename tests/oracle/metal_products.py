"""Matrix products on Metal: kernels, splits along the inner dimension, copies of operands."""

from __future__ import annotations

from metal_arrays import Array, Node


class Products:
    """The products of `Machine`."""

    # -- matrix products -------------------------------------------------------------

    def _vector_limit(self, k: int, n: int) -> int:
        """``get_qmv_batch_limit``; below it a product is run as vector products."""
        small, middle = k <= 2048 and n <= 2048, k <= 4096 and n <= 4096
        if self.arch == "d":
            return 32 if small else 18 if middle else 12
        if self.nax:
            return 33 if small else 25 if middle else 13
        return 13 if small else 15 if middle else 13

    def _do_QuantizedMatmul(self, node: Node) -> None:
        out = node.outputs[0]
        self._allocate(out)
        bound = [self._matrix_contiguous(x) for x in node.inputs]
        x, w = bound[:2]
        group, transposed = node.op.args[0], node.op.args[3]
        k, n = x.shape[-1], out.shape[-1]
        m = x.size // k if len(w.shape) == 2 and x.row else x.shape[-2]
        if transposed and m >= self._vector_limit(k, n) and out.size == m * n:
            parts = max(1, 512 // (-(-n // 32) * -(-m // 32)))
            align = max(group, 32)
            parts = min(parts, k // align)
            while parts > 1 and k % (parts * align):
                parts -= 1
            if parts > 1:
                partial = self._temporary((parts, *out.shape), out.dtype)
                self._dispatch([*bound, partial])
                self._dispatch([partial, out])
                return
        elif not transposed and m < 4 and k >= 1024:
            parts = 32 if k > 8192 else 8
            partial = self._temporary((parts, *out.shape), out.dtype)
            self._dispatch([*bound, partial])
            self._dispatch([partial, out])
            return
        self._dispatch([*bound, out])

    def _do_GatherQMM(self, node: Node) -> None:
        out = node.outputs[0]
        self._allocate(out)
        arrays = [self._matrix_contiguous(x) for x in node.inputs[:-2]]
        self._dispatch([*arrays, *node.inputs[-2:], out])

    def _do_GatherMM(self, node: Node) -> None:
        out = node.outputs[0]
        self._allocate(out)
        self._dispatch([*node.inputs, out])

    def _do_Matmul(self, node: Node) -> None:
        a, b = node.inputs[:2]
        out = node.outputs[0]
        self._allocate(out)
        m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
        a, a_t = self._transposable(a, m == 1)
        b, b_t = self._transposable(b, n == 1)
        batch = out.size // max(1, m * n)
        outer = [s for d, s in zip(b.shape[:-2], b.strides[:-2]) if d != 1]
        if batch > 1 and not a_t and a.row and not any(outer):
            m, batch = m * batch, 1
        if min(m, n) > 1 and batch == 1:
            parts = self._split_k(m, n, k)
            if parts > 1:
                partial = self._temporary((parts, m, n), "float32")
                self._dispatch([a, b, partial])
                self._dispatch([partial, out])
                return
        self._dispatch([a, b, *node.inputs[2:], out])

    def _do_AddMM(self, node: Node) -> None:
        self._do_Matmul(node)

    def _transposable(self, x: Array, vector: bool) -> tuple[Array, bool]:
        """``check_transpose``: a matrix may be row or column major, else it is copied."""
        row, col = x.strides[-2], x.strides[-1]
        if col == 1 and (not vector or row == x.shape[-1]):
            return x, False
        if row == 1 and (not vector or col == x.shape[-2]):
            return x, True
        return self._copied(x), False

    def _split_k(self, m: int, n: int, k: int) -> int:
        """Number of partial results of a product with a long inner dimension."""
        if self.nax:
            wide = max(m, n)
            if not (k >= 3 * wide or (wide <= 1024 and k > 2 * wide)):
                return 1
            part = 4096
            if k <= 1024:
                part = k // 2
            elif k <= 2048:
                part = 1024
            elif k <= 4096:
                part = 2048
            return -(-k // part)
        tiles, steps = -(-m // 16) * -(-n // 16), k // 16
        limit = 2048 if self.arch in "sd" else 1024
        if tiles > limit or steps < 8 or k < max(m, n):
            return 1
        ratio = max(1, steps // tiles)
        return min(max(2, 1 << (ratio - 1).bit_length()), 32)
