"""The fusion of `mx.compile`: which operations of a compiled region become one kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ops import Op, Shape

_FUSABLE = set(
    """Abs ArcCos ArcCosh ArcSin ArcSinh ArcTan ArcTanh AsType Ceil Cos Conjugate Cosh
    Remainder Erf ErfInv Exp Floor Log Log1p LogicalNot Negative Round Sigmoid Sign Sin
    Sinh Square Sqrt Rsqrt Tan Tanh Expm1 Real Imag BitwiseInvert Add Divide Equal
    Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr LogAddExp Maximum Minimum
    Multiply NotEqual Power Subtract BitwiseBinary ArcTan2 Select Broadcast""".split()
)
_MAX_DEPTH, _MAX_ARRAYS = 11, 24


def fuse_region(
    ops: list[Op],
    enter: dict[str, int],
    leaving: list[str],
    info: dict[str, tuple[Shape, str]],
) -> list[Op]:
    """Fuse element-wise chains of one compiled function.

    Rule: ``compile_fuse`` in mlx/compile.cpp. Going backwards, an operation is merged
    into its consumer when all its consumers are in the group, depth and number of
    inputs are within limits, and it is element-wise. A broadcast that others need too is
    duplicated, but what it broadcasts then stays outside. A group of one stays as it is.
    """
    producer = {o[0]: op for op in ops for o in op.outputs}
    inside: set[int] = set()
    stack = list(leaving)
    while stack:
        op = producer.get(stack.pop())
        if op is not None and id(op) not in inside:
            inside.add(id(op))
            stack.extend(i for i in op.inputs if i not in enter)
    region = [op for op in ops if id(op) in inside]
    consumers: dict[str, set[int]] = {}
    for op in region:
        for i in op.inputs:
            consumers.setdefault(i, set()).add(id(op))
    exits = set(leaving)
    done: set[int] = set()
    replaced: set[int] = set()
    fused: dict[int, Op] = {}  # last op of a group -> replacement
    for last in reversed(region):
        if id(last) in done or last.kind == "Broadcast" or len(last.outputs) != 1:
            continue

        def mergeable(name: str, op: Op, shape: Shape = last.outputs[0][1]) -> bool:
            return (
                id(op) in inside
                and id(op) not in done
                and op.kind in _FUSABLE
                and (name not in exits or info[name][0] == shape)
            )

        group = _group(last, producer, enter, consumers, mergeable)
        if len(group) <= 1:
            continue
        members = [op for op in region if id(op) in group]
        outs = [o for op in members for o in op.outputs if op is last or o[0] in exits]
        name = "Compiled" + "".join(op.kind for op in members if op.kind != "Broadcast")
        fused[id(last)] = Op(name, _group_inputs(last, members, producer), outs)
        done.update(id(op) for op in members if op.kind != "Broadcast")
        replaced.update(id(op) for op in members if op.outputs[0][0] in exits)
    # Members that nothing reads any more are removed by the caller; one that another
    # region shares (the export merges equal constants) has to stay.
    return [
        fused.get(id(op), op) for op in ops if id(op) in fused or id(op) not in replaced
    ]


def _group(
    last: Op,
    producer: dict[str, Op],
    enter: dict[str, int],
    consumers: dict[str, set[int]],
    mergeable: Callable[[str, Op], bool],
) -> set[int]:
    """The operations (by id) that are merged into ``last``, including itself."""
    group: set[int] = set()
    copied: set[int] = set()  # broadcasts that other groups use as well
    inputs: set[str] = set()

    def visit(name: str, depth: int) -> None:
        op = producer.get(name)
        if op is None or name in enter:
            inputs.add(name)
            return
        if id(op) in group:
            return
        ok = depth < _MAX_DEPTH and mergeable(name, op)
        if ok and depth and not consumers[name] <= group - copied:
            ok = op.kind == "Broadcast" and len(inputs) < _MAX_ARRAYS
            if ok:
                copied.add(id(op))
        if not ok:
            inputs.add(name)
            return
        inputs.discard(name)
        if len(inputs) >= _MAX_ARRAYS:
            return
        group.add(id(op))
        for i in op.inputs:
            visit(i, depth + 1)

    visit(last.outputs[0][0], 0)
    return group


def _group_inputs(
    last: Op, members: Sequence[Op], producer: dict[str, Op]
) -> list[str]:
    """What the fused operation reads, in the order MLX collects it."""
    own = {op.outputs[0][0] for op in members}
    order: list[str] = []
    stack = [last.outputs[0][0]]
    while stack:
        name = stack.pop()
        if name in own:
            stack.extend(reversed(producer[name].inputs))
        elif name not in order:
            order.append(name)
    return order
