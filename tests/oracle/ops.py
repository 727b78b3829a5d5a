"""A recorded graph: operations and the values that they make."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

Shape = tuple[int, ...]


@dataclass
class Op:
    """One primitive: names of its inputs, and (name, shape, dtype) of its outputs."""

    kind: str
    inputs: list[str]
    outputs: list[tuple[str, Shape, str]]
    args: list[Any] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class Graph:
    """A traced function. Every value has a name; ``info`` maps it to (shape, dtype)."""

    inputs: list[str]
    outputs: list[str]
    constants: list[str]
    ops: list[Op]
    info: dict[str, tuple[Shape, str]]
    values: dict[str, mx.array] = field(default_factory=dict)  # of the constants


def dtype_name(dtype: Any) -> str:
    """'bfloat16' for mlx.core.bfloat16."""
    return str(dtype).rsplit(".", 1)[-1]
