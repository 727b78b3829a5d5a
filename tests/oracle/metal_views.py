"""Operations of which MLX makes views: which need a copy, and with what strides."""

from __future__ import annotations

from ops import Shape
from metal_arrays import Array, Node, contiguity, row_strides


class Views:
    """The views of `Machine`."""

    # -- views -----------------------------------------------------------------------

    def _view(self, node: Node) -> None:
        kind, args, out = node.op.kind, node.op.args, node.outputs[0]
        x = node.inputs[0]
        if kind in ("Reshape", "Flatten", "Unflatten"):
            strides = self._reshaped(x, out.shape)
            if strides is None:
                node.is_view = False
                self._allocate(out)
                self._dispatch([x, out])
                node.copied_bytes += out.nbytes
                return
            flags = (x.contiguous, x.row, x.col)
            if x.row:
                flags = (
                    x.contiguous,
                    True,
                    out.size <= 1 or out.size == max(out.shape),
                )
            self._share(out, x, strides, flags)
        elif kind == "Transpose":
            strides = [x.strides[a] for a in args[0]]
            flags = (x.contiguous, x.row, x.col)
            if x.contiguous and x.data_size == x.size:
                flags = (True, *contiguity(out.shape, strides)[1:])
            self._share(out, x, strides, flags)
        elif kind == "ExpandDims":
            strides = list(x.strides)
            for axis in args[0]:
                strides.insert(axis, 1)
            self._share(out, x, strides)
        elif kind == "Squeeze":
            self._share(
                out, x, [s for i, s in enumerate(x.strides) if i not in args[0]]
            )
        elif kind in ("Broadcast", "BroadcastAxes"):
            pad = len(out.shape) - len(x.shape)
            strides = [0] * pad + [
                0 if d == 1 else s for d, s in zip(x.shape, x.strides)
            ]
            flags = (x.contiguous, x.row, x.col)
            if out.size > x.size:
                flags = (x.contiguous, False, False)
            self._share(out, x, strides, flags)
        elif kind == "Slice":
            steps = args[2] if len(args) > 2 else [1] * len(out.shape)
            strides = [s * t for s, t in zip(x.strides, steps)]
            extent = 1 + sum(abs(s) * (d - 1) for s, d in zip(strides, out.shape))
            size, row, col = contiguity(out.shape, strides)
            self._share(out, x, strides, (size == extent, row, col), extent)
        elif kind == "Split":
            for part in node.outputs:
                size, row, col = contiguity(part.shape, x.strides)
                whole = x.contiguous
                if size == 1:
                    whole = True
                elif size != x.data_size:
                    whole = whole and (row or col)
                self._share(part, x, x.strides, (whole, row, col), size)
        elif kind == "AsStrided":
            size, row, col = contiguity(out.shape, args[1])
            self._share(out, x, args[1], (size == x.data_size, row, col), x.data_size)
        elif kind == "NumberOfElements":
            self._allocate(out)
        elif kind == "View":
            scale = x.item_size / out.item_size
            strides = [int(s * scale) for s in x.strides[:-1]] + list(x.strides[-1:])
            self._share(out, x, strides, None, int(x.data_size * scale))
        elif kind == "Depends":
            for o, i in zip(node.outputs, node.inputs):
                self._share(o, i)
        else:
            self._share(out, x)

    @staticmethod
    def _reshaped(x: Array, shape: Shape) -> Shape | None:
        """``prepare_reshape``: strides of the view, or None when a copy is needed."""
        if x.size == 0 or x.row:
            return row_strides(shape)
        if not x.shape:
            return (0,) * len(shape)
        dims: list[list[int]] = []  # merged axes: [length, stride]
        for d, s in zip(x.shape, x.strides):
            if d == 1:
                continue
            if dims and dims[-1][1] == d * s:
                dims[-1] = [dims[-1][0] * d, s]
            else:
                dims.append([d, s])
        if not dims:
            dims = [[1, 0]]
        out: list[int] = []
        j = 0
        for n in shape:
            if j < len(dims) and dims[j][0] % n == 0:
                dims[j][0] //= n
                out.append(dims[j][0] * dims[j][1])
                j += dims[j][0] == 1
            elif n == 1:
                out.append(out[-1])
            else:
                return None
        return tuple(out)
