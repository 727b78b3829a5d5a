"""What one of several Macs holds: mlx-lm's own `shard` and `pipeline` under a group that only says its size and rank.

    python shards.py types                  files of mlx_lm/models whose classes have them, as JSON
    python shards.py OUT.json MODELS.json ...    bytes of weights by rank, or why there are none

A file of models has a list of `{id or name, config}`, perhaps under `models`: those of `data` and `tests/data`. Up to three
models of every type are taken, with different heads. `mlx.nn.layers.distributed` asks a group for nothing but its size and rank, so that models stay lazy and
no second machine is needed.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any

import sizes
from mlx_lm import models as lm_models

NODES = [2, 3, 4, 8]


class Group:
    """What `shard` and `pipeline` ask of `mx.distributed.Group`."""

    def __init__(self, size: int, rank: int) -> None:
        self._size, self._rank = size, rank

    def size(self) -> int:
        return self._size

    def rank(self) -> int:
        return self._rank


def can(model: Any) -> dict[str, bool]:
    """The questions of `mlx_lm.utils.sharded_load`."""
    return {
        "tensor": hasattr(model, "shard"),
        "pipeline": hasattr(model, "model") and hasattr(model.model, "pipeline"),
    }


def types() -> dict[str, list[str]]:
    """Files of mlx_lm/models whose model class can be sharded, and those with a pipeline somewhere in them."""
    tensor, pipeline = [], []
    for info in pkgutil.iter_modules(lm_models.__path__):
        try:
            module = importlib.import_module(f"mlx_lm.models.{info.name}")
        except SystemExit:  # a file that ends the program where its own package is missing
            continue
        if hasattr(getattr(module, "Model", None), "shard"):
            tensor.append(info.name)
        kinds = [k for k in vars(module).values() if isinstance(k, type)]
        own = [k for k in kinds if k.__module__ == module.__name__]
        if any(hasattr(k, "pipeline") for k in own):
            pipeline.append(info.name)
    return {"tensor": tensor, "pipeline": [p for p in pipeline if p != "pipeline"]}


def tensor(config: sizes.Config, scheme: str, nodes: int) -> dict[str, Any]:
    """Bytes of every rank under `Model.shard`; all hold the same, so that the first and the last are made."""
    out = []
    for rank in (0, nodes - 1) if nodes == 2 else (0,):
        model = sizes.load(config, scheme)
        try:
            model.shard(Group(nodes, rank))
        except (ValueError, AssertionError, ZeroDivisionError, IndexError) as e:
            return {"error": f"{type(e).__name__}: {e}"[:160]}
        out.append([sizes.tensor_bytes(model), sizes.active_bytes(model)])
    if out[0] != out[-1]:
        raise ValueError(f"ranks differ: {out}")
    return {"bytes": out[0][0], "active_bytes": out[0][1]}


def pipeline(config: sizes.Config, scheme: str, nodes: int) -> dict[str, Any]:
    """Bytes of every rank under `pipeline`, rank 0 first."""
    out = []
    for rank in range(nodes):
        model = sizes.load(config, scheme)
        try:
            model.model.pipeline(Group(nodes, rank))
        except (ValueError, TypeError, StopIteration) as e:
            return {"error": f"{type(e).__name__}: {e}"[:160]}
        out.append([sizes.tensor_bytes(model), sizes.active_bytes(model)])
    return {"bytes": [o[0] for o in out], "active_bytes": [o[1] for o in out]}


def schemes(config: sizes.Config) -> list[str]:
    """Four bits, as gpt-oss is published, and 16 bits of small models, many of which cannot be split in groups."""
    out = ["affine_4_g64"]
    if config["model_type"] == "gpt_oss":
        out.append("mxfp4_q8")
    if config.get("hidden_size", 1 << 20) <= 1280:
        out.append("bf16")
    return out


def row(id: str, config: sizes.Config) -> dict[str, Any]:
    """A model's shares."""
    able = can(sizes.build(config))
    out: dict[str, Any] = {"id": id, "model_type": config["model_type"]} | able
    out["shares"] = []
    if not any(able.values()):
        return out
    for scheme in schemes(config):
        for nodes in NODES:
            share: dict[str, Any] = {"scheme": scheme, "nodes": nodes}
            if able["tensor"]:
                share["tensor"] = tensor(config, scheme, nodes)
            if able["pipeline"]:
                share["pipeline"] = pipeline(config, scheme, nodes)
            out["shares"].append(share)
    return out


def shape(config: sizes.Config) -> str:
    """What makes two models of a type split alike or not."""
    text = config.get("text_config") or config
    keys = ("num_attention_heads", "num_key_value_heads", "tie_word_embeddings", "num_experts")
    return json.dumps([config["model_type"]] + [text.get(k) for k in keys])


def read(path: str) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8") as f:
        found = json.load(f)
    return found if isinstance(found, list) else found["models"]


def rows(models: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The shares of up to three models of every type that can be divided, and that others cannot."""
    seen: dict[str, int] = {}
    shapes: set[str] = set()
    for model in models:
        config, name = model["config"], model.get("id") or model["name"]
        kind = config["model_type"]
        if shape(config) in shapes or seen.get(kind, 0) >= 3:
            continue
        try:
            found = row(name, config)
        except (sizes.OracleError, NotImplementedError, SystemExit) as e:
            print(f"{name}: {e}", file=sys.stderr)
            continue
        shapes.add(shape(config))
        # One of those that cannot is enough.
        seen[kind] = seen.get(kind, 0) + (1 if found["shares"] else 3)
        print(name, file=sys.stderr, flush=True)
        yield found


def main() -> int:
    match sys.argv[1:]:
        case ["types"]:
            print(json.dumps(types()))
        case [out, *files] if files:
            found = rows([model for path in files for model in read(path)])
            with open(out, "w", encoding="utf-8") as f:
                f.write(f'{{"types": {json.dumps(types())},\n"models": [\n')
                f.write(",\n".join(json.dumps(r) for r in found))
                f.write("\n]}\n")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
