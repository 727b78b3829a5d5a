"""What one iteration of training computes: operations, bytes and kernels."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gradients import ancestors
from metal import Node, count
from ops import Graph

_PRODUCTS = (
    "Matmul",
    "AddMM",
    "QuantizedMatmul",
    "GatherQMM",
    "GatherMM",
    "SegmentedMM",
)


class Work:
    """Floating point operations, bytes and kernels of one replayed iteration."""

    def __init__(self) -> None:
        self.nodes: list[tuple[Node, int, int]] = []

    def before(self, node: Node) -> None:
        read = sum(
            count(d for d, s in zip(x.shape, x.strides) if s) * x.item_size
            for x in {id(x): x for x in node.inputs}.values()
        )
        written = sum(o.nbytes for o in node.outputs)
        self.nodes.append((node, _flops(node), read + written))

    def report(self, recorded: Graph, command_buffers: int) -> dict[str, Any]:
        forward = ancestors(recorded, recorded.outputs[0])
        flops: Counter[str] = Counter()
        moved = dispatches = 0
        for node, operations, nbytes in self.nodes:
            dispatches += node.dispatches
            if operations:
                part = "forward" if node.op.outputs[0][0] in forward else "backward"
                kind = "attention" if _is_attention(node) else node.op.kind
                flops[f"{part} {kind}"] += operations
            elif not node.is_view:
                moved += nbytes
        return {
            "flops": dict(sorted(flops.items())),
            "elementwise_bytes": moved,
            "dispatches": dispatches,
            "command_buffers": command_buffers,
        }


def _is_attention(node: Node) -> bool:
    return node.op.kind == "Matmul" and len(node.op.outputs[0][1]) >= 4


def _flops(node: Node) -> int:
    kind, shape = node.op.kind, node.op.outputs[0][1]
    if kind not in _PRODUCTS:
        return 0
    inner = node.inputs[0].shape[-1]
    if kind == "SegmentedMM":  # every row belongs to one expert
        return 2 * shape[-1] * shape[-2] * inner
    return 2 * count(shape) * inner
