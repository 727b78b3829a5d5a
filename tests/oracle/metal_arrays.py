"""Arrays, buffers and operations as MLX holds them on Metal, without contents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ops import Op, Shape

PAGE = 16384
MAX_ACTIVE_TASKS = 10
TAPE_WIDTH = 20

ITEM_SIZE = {
    "bool": 1, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "float16": 2,
    "bfloat16": 2, "uint32": 4, "int32": 4, "float32": 4, "uint64": 8, "int64": 8,
    "complex64": 8,
}  # fmt: skip

#: suffix of the GPU architecture name -> (max kernels, max 2**20 elements) per command
#: buffer: g = base and Pro chips, s = Max, d = Ultra (metal/device.cpp)
ARCH_LIMITS = {"g": (40, 40), "s": (50, 50), "d": (50, 50)}

VIEWS = {
    "Transpose", "ExpandDims", "Squeeze", "Broadcast", "BroadcastAxes", "Slice",
    "Split", "StopGradient", "Copy", "Depends", "AsStrided", "View", "Reshape",
    "Flatten", "Unflatten", "NumberOfElements", "CustomTransforms",
}  # fmt: skip
UNARY = set(
    """Abs ArcCos ArcCosh ArcSin ArcSinh ArcTan ArcTanh Ceil Cos Cosh Erf ErfInv Exp
    Expm1 Floor Log Log1p LogicalNot Negative Round Sigmoid Sign Sin Sinh Square Sqrt
    Rsqrt Tan Tanh BitwiseInvert Conjugate Real Imag""".split()
)
BINARY = set(
    """Add Divide Remainder Equal Greater GreaterEqual Less LessEqual LogicalAnd
    LogicalOr LogAddExp Maximum Minimum Multiply NotEqual Power Subtract BitwiseBinary
    ArcTan2""".split()
)


def page_round(nbytes: int) -> int:
    """Bytes MLX's Metal allocator takes for a request of ``nbytes``."""
    return nbytes if nbytes <= PAGE else -(-nbytes // PAGE) * PAGE


def count(shape: Iterable[int]) -> int:
    """Number of elements of a shape."""
    n = 1
    for d in shape:
        n *= d
    return n


def row_strides(shape: Sequence[int]) -> Shape:
    """Strides, in elements, of a row-contiguous array."""
    out, n = [], 1
    for d in reversed(shape):
        out.append(n)
        n *= d
    return tuple(reversed(out))


def contiguity(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, bool, bool]:
    """(elements without broadcast axes, row contiguous, column contiguous)."""
    row = col = True
    forward = backward = size = 1
    for i in range(len(shape)):
        r = len(shape) - 1 - i
        col &= strides[i] == forward or shape[i] == 1
        row &= strides[r] == backward or shape[r] == 1
        forward *= shape[i]
        backward *= shape[r]
        if strides[i] > 0:
            size *= shape[i]
    return size, row, col


class Buffer:
    """A Metal buffer: size in bytes (page rounded) and number of holders."""

    __slots__ = ("size", "refs")

    def __init__(self, size: int) -> None:
        self.size, self.refs = size, 0


class Array:
    """An array of the replay: shape, layout, buffer and who still refers to it."""

    __slots__ = (
        "shape", "dtype", "node", "users", "handles", "buffer", "strides", "data_size",
        "contiguous", "row", "col", "origin",
    )  # fmt: skip

    def __init__(self, shape: Shape, dtype: str, node: Node | None = None) -> None:
        self.shape, self.dtype, self.node = shape, dtype, node
        self.users = 0  # unevaluated operations that read this array
        self.handles = 0  # references from Python
        self.buffer: Buffer | None = None
        self.strides: Shape = ()
        self.data_size = 0
        self.contiguous = self.row = self.col = True
        self.origin = ""  # name of the parameter or cache entry the data belongs to

    @property
    def item_size(self) -> int:
        return ITEM_SIZE[self.dtype]

    @property
    def size(self) -> int:
        return count(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.item_size

    @property
    def evaluated(self) -> bool:
        return self.buffer is not None


@dataclass(eq=False)
class Node:
    """An operation waiting for evaluation, and what its evaluation cost."""

    op: Op
    inputs: list[Array]
    outputs: list[Array] = field(default_factory=list)
    dispatches: int = 0
    copied_bytes: int = 0
    is_view: bool = False
