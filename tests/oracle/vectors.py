"""The oracle's answers as test vectors: makes the rows of tests/data, or compares stored ones with new answers.

    python vectors.py sample              a few rows of every file, made anew and compared
    python vectors.py all [TEXT]          every row (of models with TEXT in their names); hours
    python vectors.py small NAME CONFIG.json     a row of small_families.json
    python vectors.py family NAME CONFIG.json    the same with peaks
    python vectors.py golden ID CONFIG.json      a row of golden_sizes.json
    python vectors.py peaks ID CONFIG.json       rows of peaks.json
    python vectors.py shrink CONFIG.json         a configuration small enough to run, of the same type

The last line of a comparison is `N compared, M differ`; the exit status is 1 when any differ.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Iterator

import simulate
import sizes

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data"

SMALL_SCHEMES = ["bf16", "affine_4_g64", "mxfp4", "mixed_3_6"]
SMALL_TOKENS = [1, 300, 2500]
SMALL_STEPS = [("bf16", 300), ("affine_4_g64", 1500)]
#: Totals of a decode step that a graph without stages can give.
STEP_TOTALS = [
    "dispatches_per_step", "weight_bytes_streamed", "kv_bytes_read", "state_bytes_read",
    "cache_bytes_copied", "command_buffers",
]  # fmt: skip
#: (scheme, prompt, prefill step, class, matrix units) of a new model's peaks.
PEAKS = [
    ("affine_4_g64", 300, 2048, "s", False),
    ("affine_8_g64", 2100, 256, "g", False),
    ("bf16", 5000, 2048, "d", False),
    ("affine_4_g64", 3000, 2048, "s", True),
]
PEAK_KEYS = ["scheme", "prompt", "prefill_step", "arch_class", "matrix_units", "peak_bytes"]
#: Rows that `sample` makes anew: quick ones, of different kinds of attention, cache and experts.
SAMPLE = {
    "small_families.json": ["phi3_1", "gemma4_text_1", "olmo2_1", "qwen2_random0"],
    "golden_sizes.json": ["Qwen/Qwen3-0.6B"],
    "peaks.json": ["LiquidAI/LFM2-1.2B"],
}


def read(path: Path) -> Any:
    with open(path, encoding="utf-8") as f:
        return json.load(f)


# ------------------------------------------------------------------------- rows


def small(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Weights, cache and decode step of a model, as tests/conformance/families.rs reads them."""
    report = sizes.size_report(config, SMALL_SCHEMES, SMALL_TOKENS)
    out = {
        "name": name,
        "config": config,
        "params": report["params"],
        "tensors": report["n_tensors_bf16"],
        "weight_bytes": {s: report["weight_bytes"].get(s) for s in SMALL_SCHEMES},
        "cache_bytes": report["kv_bytes_after_n_tokens"],
        "steps": [],
    }
    for scheme, context in SMALL_STEPS:
        totals = simulate.step_report(config, scheme, context, list_ops=False)["totals"]
        step = {"scheme": scheme, "context": context}
        out["steps"].append(step | {key: totals[key] for key in STEP_TOTALS})
    return out


def golden(id: str, config: dict[str, Any]) -> dict[str, Any]:
    """Sizes of a model of the catalog, as tests/conformance/golden.rs reads them."""
    report = sizes.size_report(config, sizes.SCHEMES)
    embedding = report.pop("embedding_bytes")
    for key in ("active_memory_bytes", "scheme_errors"):
        report.pop(key, None)
    for scheme in ("affine_4_g64", "affine_8_g64"):
        report[f"embedding_bytes_{scheme}"] = embedding[scheme]
    return {"id": id} | report


def peak(id: str, config: dict[str, Any], case: tuple) -> dict[str, Any]:
    """One simulated generation, as tests/conformance/peaks.rs reads it."""
    scheme, prompt, step, arch, nax = case
    found = simulate.peak_report(config, scheme, prompt, step, arch, nax)
    return {
        "model": id,
        "model_type": config["model_type"],
        "scheme": scheme,
        "prompt": prompt,
        "prefill_step": step,
        "arch_class": arch,
        "matrix_units": nax,
        "peak_bytes": found["peak_bytes"],
    }


def family(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """A row of small_families.json with peaks, for a model that is not in the catalog."""
    peaks = [peak(name, config, case) for case in PEAKS]
    return small(name, config) | {"peaks": [{k: p[k] for k in PEAK_KEYS} for p in peaks]}


def case_of(row: dict[str, Any]) -> tuple:
    return tuple(row[key] for key in PEAK_KEYS[:-1])


# ------------------------------------------------------------------------- a small configuration

#: Largest values of the keys that only make a model large.
LIMITS = {
    "num_hidden_layers": 8, "num_layers": 8, "n_layer": 8, "n_layers": 8, "vocab_size": 300,
    "num_experts": 16, "num_local_experts": 16, "n_routed_experts": 16, "moe_num_experts": 16,
    "num_experts_per_tok": 4, "num_experts_per_token": 4, "top_k_experts": 4, "moe_k": 4,
    "moe_top_k": 4, "moe_topk": 4, "intermediate_size": 192, "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
}  # fmt: skip
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
KV_HEADS = ("num_key_value_heads", "n_kv_heads", "num_kv_heads")
WIDTHS = ("hidden_size", "n_embd", "d_model", "hidden_dim")


def shrink(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration of the same type with few layers, narrow matrices and few experts.

    Heads keep their size; lists with an entry for every layer are cut. mlx-lm has the last word on whether the result
    is a model: where it is none, write one by hand.
    """
    out = {}
    for key, value in config.items():
        if isinstance(value, dict):
            value = shrink(value)
        elif key in LIMITS and isinstance(value, int):
            value = min(value, LIMITS[key])
        out[key] = value
    heads = next((k for k in HEADS if isinstance(config.get(k), int)), None)
    width = next((k for k in WIDTHS if isinstance(config.get(k), int)), None)
    if heads and width:
        old, new = config[heads], min(config[heads], 4)
        head = config[width] // old
        out[heads], out[width] = new, min(head, 64) * new
        if isinstance(config.get("head_dim"), int):
            out["head_dim"] = min(config["head_dim"], 64)
        for key in KV_HEADS:
            if isinstance(config.get(key), int):
                out[key] = max(1, config[key] * new // old)
    layers = next((k for k in LIMITS if "layer" in k and k in config), None)
    if layers:
        count = config[layers]
        for key, value in out.items():
            if isinstance(value, list) and len(value) == count:
                out[key] = value[: out[layers]]
    return out


# ------------------------------------------------------------------------- comparing


def stored(wanted: dict[str, list[str]] | None, text: str) -> Iterator[tuple[str, Any, Any]]:
    """(name, stored row, function that makes it anew) of the rows of tests/data."""
    models = {m["id"]: m["config"] for m in read(ROOT / "data/models.json")["models"]}

    def chosen(file: str, name: str) -> bool:
        return text in name if wanted is None else name in wanted[file]

    for row in read(DATA / "small_families.json")["models"]:
        if chosen("small_families.json", row["name"]):
            make = family if "peaks" in row else small
            yield row["name"], row, lambda r=row, make=make: make(r["name"], r["config"])
    for row in read(DATA / "golden_sizes.json")["models"]:
        if chosen("golden_sizes.json", row["id"]):
            yield row["id"], row, lambda r=row: golden(r["id"], models[r["id"]])
    for row in read(DATA / "peaks.json"):
        if chosen("peaks.json", row["model"]):
            name = f"{row['model']} {case_of(row)}"
            yield name, row, lambda r=row: peak(r["model"], models[r["model"]], case_of(r))


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Keys of the new answer that the stored row has otherwise."""
    out = []
    for key, value in new.items():
        want = old.get(key)
        if isinstance(value, dict) and isinstance(want, dict):
            # A stored row may hold more schemes, or fewer, than are made today.
            same = all(value[k] == want[k] for k in value.keys() & want.keys())
        else:
            same = value == want
        if not same:
            out.append(f"{key}: {json.dumps(want)} is stored, {json.dumps(value)} is found")
    return out


def compare(wanted: dict[str, list[str]] | None, text: str) -> int:
    compared = wrong = 0
    for name, row, make in stored(wanted, text):
        try:
            found = differences(row, make())
        except (ValueError, NotImplementedError) as e:
            found = [str(e)]
        compared += 1
        wrong += bool(found)
        print(f"{name}: {'; '.join(found) or 'same'}", flush=True)
    print(f"{compared} compared, {wrong} differ")
    return int(wrong > 0 or compared == 0)


def main() -> int:
    match sys.argv[1:]:
        case ["sample"]:
            return compare(SAMPLE, "")
        case ["all"]:
            return compare(None, "")
        case ["all", text]:
            return compare(None, text)
        case ["small", name, path]:
            row = small(name, sizes.read_config(path))
        case ["family", name, path]:
            row = family(name, sizes.read_config(path))
        case ["golden", id, path]:
            row = golden(id, sizes.read_config(path))
        case ["peaks", id, path]:
            config = sizes.read_config(path)
            row = [peak(id, config, case) for case in PEAKS]
        case ["shrink", path]:
            row = shrink(sizes.read_config(path))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    print(json.dumps(row))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as e:
        print(f"vectors: {e}", file=sys.stderr)
        sys.exit(2)
