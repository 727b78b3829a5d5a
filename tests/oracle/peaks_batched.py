"""Peaks of mlx_lm.server's batched caches, as vectors for `tests/conformance/peaks.rs`.

    python peaks_batched.py MODELS.json OUT.json [FILTER]

The server reads prompts in a `PromptProcessingBatch`, whose caches are merged (`BatchKVCache`, `BatchRotatingKVCache`),
and takes those that are read out of it (`filter`), which copies their keys and values, into a `GenerationBatch`. This
script drives the oracle's process with such caches. FILTER keeps the cases whose model contains it.

Values are never computed here, so that paddings are not known: all sequences are of one length, and `filter` keeps all.
"""

import json
import sys
import time

import simulate  # noqa: E402  (before mlx_lm: it replaces functions of mlx.core)
import sizes  # noqa: E402
from peaks_kv_batch import QuantizingMachine, generation_peak  # noqa: E402
from sizes import mx  # noqa: E402

from mlx_lm.generate import _merge_caches  # noqa: E402
from mlx_lm.models import cache as lm_cache  # noqa: E402

# (model, [(scheme, prompt, prefill step, class, matrix units, sequences)])
CASES = {
    "Qwen/Qwen3-0.6B": [
        ("affine_4_g64", 5000, 2048, "s", False, 1),
        ("affine_4_g64", 9000, 2048, "g", False, 4),
        ("bf16", 2100, 512, "d", False, 2),
    ],
    "meta-llama/Llama-3.2-1B-Instruct": [
        ("affine_4_g64", 9000, 2048, "s", True, 1),
        ("affine_8_g64", 3000, 256, "g", False, 8),
    ],
    "Qwen/Qwen3-30B-A3B": [
        ("affine_4_g64", 6000, 2048, "s", False, 1),
    ],
    "openai/gpt-oss-20b": [
        ("mxfp4", 5000, 2048, "s", False, 1),
        ("mxfp4", 2100, 512, "d", False, 4),
    ],
    "google/gemma-3-1b-it": [
        ("affine_4_g64", 5000, 2048, "s", False, 1),
        ("affine_4_g64", 3000, 512, "g", False, 3),
    ],
    "Qwen/Qwen3.5-0.8B": [
        ("affine_4_g64", 9000, 2048, "s", False, 1),
        ("affine_4_g64", 4200, 2048, "s", False, 4),
    ],
    "LiquidAI/LFM2-1.2B": [
        ("affine_4_g64", 9000, 2048, "g", False, 1),
    ],
    "google/gemma-2-2b-it": [
        ("affine_4_g64", 6000, 2048, "s", False, 1),
    ],
    "Qwen/Qwen2.5-0.5B-Instruct": [
        ("affine_4_g64", 12000, 2048, "g", False, 2),
    ],
}


class MovingModel:
    """A model whose caches are taken out of the batch of prompts in the next call, once."""

    def __init__(self, model):
        self._model, self.moves, self.batch = model, False, 1

    def __call__(self, tokens, cache):
        if self.moves:
            for c in cache:
                _filter(c, list(range(self.batch)))
        return self._model(tokens, cache=cache)

    def __getattr__(self, name):
        return getattr(self._model, name)


def _filter(cache, keep):
    """`filter` without the shift to the left, which needs values: there is no padding."""
    if isinstance(cache, lm_cache.ArraysCache):
        cache.cache = [c[keep] if c is not None else None for c in cache.cache]
    elif cache.keys is not None:
        cache.keys, cache.values = cache.keys[keep], cache.values[keep]


def _placeholders(caches, plain=simulate._placeholders):
    """Positions and paddings are evaluated with the caches, so that the next call does not compute them again."""
    plain(caches)
    for o in simulate._objects(caches):
        for name in ("offset", "left_padding"):
            a = o.__dict__.get(name)
            if isinstance(a, mx.array):
                o.__dict__[name] = mx.array([0] * a.size)


simulate._placeholders = _placeholders
simulate.Machine = QuantizingMachine


def peak(config, scheme, prompt, prefill_step, arch, nax, batch):
    """Peak of a server with so many equal prompts at once, in bytes."""
    process = simulate.Process(sizes.load(config, scheme), arch, nax)
    process.model = model = MovingModel(process.model)
    model.batch = batch
    empty = [lm_cache.make_prompt_cache(model) for _ in range(batch)]
    process.caches = _merge_caches(empty)

    def move_first(step):
        model.moves = step == 0

    return generation_peak(process, prompt, prefill_step, batch, move_first)


def main():
    _, models, out, *wanted = sys.argv
    with open(models, encoding="utf-8") as f:
        configs = {m["id"]: m["config"] for m in json.load(f)["models"]}
    vectors = []
    for name, cases in CASES.items():
        if wanted and wanted[0] not in name:
            continue
        for scheme, prompt, step, arch, nax, batch in cases:
            began = time.monotonic()
            vector = {
                "model": name,
                "model_type": configs[name]["model_type"],
                "scheme": scheme,
                "prompt": prompt,
                "prefill_step": step,
                "arch_class": arch,
                "matrix_units": nax,
                "batch": batch,
                "pads_sequences": True,
                "peak_bytes": peak(configs[name], scheme, prompt, step, arch, nax, batch),
            }
            vectors.append(vector)
            print(f"{time.monotonic() - began:.1f} s {vector}", file=sys.stderr, flush=True)
    with open(out, "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(v) for v in vectors) + "\n]\n")


if __name__ == "__main__":
    main()
