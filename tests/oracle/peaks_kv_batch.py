"""Peaks of batches and of quantized KV caches, as vectors for `tests/conformance/peaks.rs`.

    python peaks_kv_batch.py MODELS.json OUT.json [FILTER]

The oracle's command `peak` knows neither. This script drives its process with more than one sequence, and does after
every model call what `generate_step` of mlx-lm does for `--kv-bits`: it runs mlx-lm's own `maybe_quantize_kv_cache`.
FILTER keeps the cases whose model contains it.

One rule is added to those of the oracle: `Quantize` copies an input that is not row contiguous first, as
`quantize_impl` of mlx/backend/metal/quantized.cpp does (values come transposed out of their projection).
"""

import json
import sys
import time

import simulate  # noqa: E402  (before mlx_lm: it replaces functions of mlx.core)
import sizes  # noqa: E402
from metal import Machine  # noqa: E402
from mlx_lm.generate import maybe_quantize_kv_cache  # noqa: E402
from mlx_lm.models.cache import QuantizedKVCache  # noqa: E402

GROUP = 64
DECODE_STEPS = 3

# (model, [(scheme, prompt, prefill step, class, matrix units, batch, bits of the cache, tokens from which it is
# quantized)])
CASES = {
    "Qwen/Qwen3-0.6B": [
        ("affine_4_g64", 300, 2048, "g", False, 2, None, 0),
        ("affine_8_g64", 5000, 2048, "s", False, 4, None, 0),
        ("bf16", 2100, 256, "d", False, 2, None, 0),
        ("affine_4_g64", 300, 256, "s", False, 1, 4, 0),
        ("affine_4_g64", 9000, 2048, "s", False, 1, 8, 0),
        ("bf16", 4200, 256, "g", False, 1, 8, 0),
        ("affine_4_g64", 3000, 2048, "s", True, 1, 4, 0),
        ("affine_4_g64", 9000, 2048, "g", False, 1, 4, 5000),
        ("affine_4_g64", 3000, 2048, "s", False, 2, 8, 0),
        ("affine_4_g64", 255, 16, "g", False, 4, None, 0),
        ("affine_4_g64", 9000, 512, "s", False, 1, 4, 0),
    ],
    "meta-llama/Llama-3.2-1B-Instruct": [
        ("affine_4_g64", 1000, 256, "s", False, 4, None, 0),
        ("mxfp4", 9000, 2048, "d", False, 2, None, 0),
        ("affine_4_g64", 1000, 2048, "d", False, 1, 8, 0),
        ("affine_8_g64", 5000, 256, "s", False, 1, 4, 0),
        ("affine_4_g64", 9000, 2048, "s", True, 1, 8, 5000),
        ("affine_4_g64", 2100, 2048, "g", False, 4, 4, 0),
    ],
    "microsoft/Phi-3-mini-4k-instruct": [
        ("affine_4_g64", 2100, 2048, "s", False, 2, None, 0),
        ("affine_4_g64", 700, 256, "g", False, 4, None, 0),
    ],
    "microsoft/Phi-4-mini-instruct": [
        ("affine_4_g64", 2100, 2048, "s", False, 1, 8, 0),
        ("affine_4_g64", 1500, 256, "d", False, 1, 4, 0),
    ],
    "allenai/OLMo-2-1124-7B-Instruct": [
        ("affine_4_g64", 1000, 2048, "d", False, 2, None, 0),
        ("affine_4_g64", 3000, 256, "g", False, 4, None, 0),
        ("affine_4_g64", 3000, 2048, "s", False, 1, 4, 0),
        ("affine_4_g64", 500, 256, "g", False, 1, 8, 0),
    ],
    "google/gemma-3-1b-it": [
        ("affine_4_g64", 600, 2048, "s", False, 2, None, 0),
        ("affine_4_g64", 5000, 2048, "g", False, 4, None, 0),
        ("bf16", 2100, 256, "d", False, 2, None, 0),
        ("affine_4_g64", 300, 2048, "s", False, 1, 8, 0),
    ],
    "allenai/OLMoE-1B-7B-0924-Instruct": [
        ("affine_4_g64", 300, 2048, "s", False, 2, None, 0),
        ("affine_4_g64", 4200, 2048, "g", False, 4, None, 0),
        ("affine_4_g64", 3000, 2048, "s", False, 1, 8, 0),
        ("affine_4_g64", 700, 256, "d", False, 1, 4, 0),
    ],
    "openai/gpt-oss-20b": [
        ("mxfp4", 2100, 2048, "s", False, 2, None, 0),
        ("mxfp4", 600, 256, "d", False, 4, None, 0),
        ("mxfp4", 300, 2048, "s", False, 1, 8, 0),
    ],
    "Qwen/Qwen3-30B-A3B": [
        ("affine_4_g64", 1000, 2048, "s", False, 2, None, 0),
        ("affine_4_g64", 1000, 2048, "g", False, 1, 4, 0),
        ("affine_4_g64", 2100, 2048, "s", False, 1, 8, 0),
    ],
    "LiquidAI/LFM2-1.2B": [
        ("affine_4_g64", 2100, 2048, "s", False, 2, None, 0),
        ("bf16", 700, 256, "g", False, 4, None, 0),
        ("affine_4_g64", 3000, 2048, "d", False, 1, 4, 0),
    ],
    "Qwen/Qwen3.5-0.8B": [
        ("affine_4_g64", 1000, 2048, "s", False, 2, None, 0),
        ("affine_4_g64", 2100, 256, "d", False, 4, None, 0),
        ("affine_4_g64", 3000, 2048, "s", False, 1, 8, 0),
    ],
    "Qwen/Qwen3-Coder-Next": [
        ("affine_4_g64", 1000, 2048, "s", False, 2, None, 0),
    ],
    "google/gemma-2-2b-it": [
        ("affine_4_g64", 1000, 2048, "s", False, 2, None, 0),
        ("affine_4_g64", 2100, 256, "g", False, 4, None, 0),
        ("affine_4_g64", 9000, 512, "s", False, 1, None, 0),
        ("affine_4_g64", 300, 256, "s", False, 1, 4, 0),
    ],
    "Qwen/Qwen2.5-0.5B-Instruct": [
        ("affine_4_g64", 9000, 2048, "g", False, 2, None, 0),
        ("affine_4_g64", 2100, 2048, "g", False, 1, 4, 0),
        ("affine_8_g64", 6000, 256, "s", False, 1, 8, 5000),
    ],
    "HuggingFaceTB/SmolLM3-3B": [
        ("affine_4_g64", 700, 256, "s", False, 4, None, 0),
        ("affine_4_g64", 5000, 2048, "d", False, 1, 4, 0),
    ],
    "stabilityai/stablelm-2-zephyr-1_6b": [
        ("affine_4_g64", 2100, 2048, "g", False, 2, None, 0),
        ("affine_4_g64", 2100, 2048, "s", False, 1, 8, 0),
    ],
    "ibm-granite/granite-4.1-3b": [
        ("affine_4_g64", 1000, 2048, "d", False, 2, None, 0),
        ("affine_4_g64", 1000, 256, "s", False, 1, 4, 0),
    ],
    "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct": [
        ("affine_4_g64", 1000, 2048, "s", False, 2, None, 0),
        ("affine_4_g64", 1000, 2048, "s", False, 1, 8, 0),
    ],
}


class QuantizingMachine(Machine):
    """The oracle's machine with the copies that quantization makes."""

    def _do_Quantize(self, node):
        self._do_CustomKernel(node)


class QuantizingModel:
    """A model whose caches are quantized after every call, as in `generate_step`."""

    def __init__(self, model, bits, start):
        self._model, self._bits, self._start = model, bits, start

    def __call__(self, tokens, cache):
        logits = self._model(tokens, cache=cache)
        maybe_quantize_kv_cache(cache, self._start, GROUP, self._bits)
        return logits

    def __getattr__(self, name):
        return getattr(self._model, name)


def _leaves(cache, plain=simulate._leaves):
    """The oracle's array slots; a quantized cache holds three arrays each for keys and values."""
    if not isinstance(cache, QuantizedKVCache):
        return plain(cache)
    cache.keys, cache.values = list(cache.keys), list(cache.values)
    return [(part, i) for part in (cache.keys, cache.values) for i in range(len(part))]


simulate._leaves = _leaves
simulate.Machine = QuantizingMachine


def peak(config, scheme, prompt, prefill_step, arch, nax, batch, bits, start):
    """Peak of `generate_step`, in bytes: prefill, the first token, and two more."""
    process = simulate.Process(sizes.load(config, scheme), arch, nax)
    process.model = QuantizingModel(process.model, bits, start)
    return generation_peak(process, prompt, prefill_step, batch)


def generation_peak(process, prompt, prefill_step, batch, before_step=lambda _: None):
    """Peak of a prompt, the first token, and two more; `before_step` is called with the number of each of these."""
    machine = process.machine
    prompt_array = machine.constant((batch, prompt), "int32")
    for n in simulate._prefill_lengths(prompt, prefill_step):
        state, _ = process.call(_view(prompt_array, batch, n), batch, n, sample=False)
        machine.evaluate(state)
    tokens, previous, marks = _view(prompt_array, batch, 1), [], []
    for i in range(DECODE_STEPS):
        before_step(i)
        results, _ = process.call(tokens, batch, 1, sample=True)
        machine.evaluate(results, wait=False)
        marks.append(machine.command_buffers)
        if i:  # the token of the step before is read now
            machine.wait(machine.command_buffers - marks[i - 1])
        for a in previous:
            machine.drop(a)
        previous, tokens = results, results[0]
    machine.wait()
    return machine.peak


def _view(tokens, batch, n):
    """The first n tokens of every sequence."""
    a = simulate.Array((batch, n), tokens.dtype)
    a.buffer, a.strides, a.data_size = tokens.buffer, (n, 1), batch * n
    a.buffer.refs += 1
    a.handles = 1
    return a


def main():
    _, models, out, *wanted = sys.argv
    with open(models, encoding="utf-8") as f:
        configs = {m["id"]: m["config"] for m in json.load(f)["models"]}
    vectors = []
    for model, cases in CASES.items():
        if wanted and wanted[0] not in model:
            continue
        for scheme, prompt, step, arch, nax, batch, bits, start in cases:
            began = time.monotonic()
            try:
                found = peak(
                    configs[model], scheme, prompt, step, arch, nax, batch, bits, start
                )
            except (sizes.OracleError, NotImplementedError) as e:
                print(f"{model}: {e}", file=sys.stderr)
                found = None
            vector = {
                "model": model,
                "model_type": configs[model]["model_type"],
                "scheme": scheme,
                "prompt": prompt,
                "prefill_step": step,
                "arch_class": arch,
                "matrix_units": nax,
                "batch": batch,
                "kv_bits": bits,
                "kv_start": start,
                "peak_bytes": found,
            }
            vectors.append(vector)
            print(f"{time.monotonic() - began:.1f} s {vector}", file=sys.stderr, flush=True)
    with open(out, "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(v) for v in vectors) + "\n]\n")


if __name__ == "__main__":
    main()
