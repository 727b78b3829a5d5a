"""Bytes of prompt caches that mlx-lm really holds and saves: tests/data/saved_caches.json.

Runs mlx-lm on small models with random weights (a dense one, a hybrid one and one with windows) and on SmolLM2-135M, whose
folder is the only argument:

    target/mlx/venv/bin/python tests/oracle/saved_caches.py target/mlx/models/SmolLM2-135M-Instruct-4bit \
        > tests/data/saved_caches.json
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
from mlx_lm.generate import generate_step
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache, save_prompt_cache
from mlx_lm.utils import _get_classes, load_model

COMMON = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 256,
    "vocab_size": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "max_position_embeddings": 16384,
    "tie_word_embeddings": True,
}
HYBRID = COMMON | {
    "model_type": "qwen3_next",
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 2,
    "num_experts": 0,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
    "decoder_sparse_step": 1,
    "norm_topk_prob": True,
    "mlp_only_layers": [],
    "partial_rotary_factor": 0.25,
}
WINDOWS = COMMON | {
    "model_type": "gemma3_text",
    "sliding_window": 512,
    "sliding_window_pattern": 2,
    "query_pre_attn_scalar": 64,
    "rope_local_base_freq": 10000.0,
}
# Prompt and generated tokens; SmolLM2 decodes eight tokens a second on a CPU.
RUNS = [(1, 0), (255, 3), (300, 0), (510, 4), (1025, 0), (2049, 2)]
FEW = [(255, 3), (300, 0)]


def model_of(config: dict):
    """A model of a configuration with random weights in bfloat16."""
    model_class, args_class = _get_classes(config)
    model = model_class(args_class.from_dict(config))
    model.set_dtype(mx.bfloat16)
    mx.eval(model.parameters())
    return model


def rows(name: str, model, runs: list[tuple[int, int]]) -> list[dict]:
    """What caches of prompts and outputs hold, and the files of them."""
    found = []
    for prompt, generated in runs:
        cache = make_prompt_cache(model)
        tokens = mx.arange(prompt) % 500
        steps = generate_step(tokens, model, max_tokens=max(generated, 1), prompt_cache=cache)
        # The model has been called with every token but the one that is yielded last; the step after it is under way.
        for n, _ in enumerate(steps, 1):
            if n >= generated:
                break
        del steps
        mx.eval([c.state[0] for c in cache if c.state[0] is not None])
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "cache.safetensors")
            save_prompt_cache(path, cache)
            size = os.path.getsize(path)
        found.append(
            {
                "model": name,
                "prompt": prompt,
                "generated": generated,
                "offset": max(getattr(c, "offset", 0) for c in cache),
                "cache_bytes": sum(c.nbytes for c in cache),
                "file_bytes": size,
                "trimmable": can_trim_prompt_cache(cache),
            }
        )
    return found


def main() -> None:
    """Prints the vectors."""
    folder = Path(sys.argv[1])
    smol, config = load_model(folder)[:2]
    smol_config = {k: v for k, v in config.items() if not k.startswith("quantization")}
    models = {"smollm2": smol_config, "hybrid": HYBRID, "windows": WINDOWS}
    found = rows("smollm2", smol, FEW)
    for name in ("hybrid", "windows"):
        mx.random.seed(7)
        found += rows(name, model_of(models[name]), RUNS)
    lines = ",\n  ".join(json.dumps(row) for row in found)
    print('{"method": "tests/oracle/saved_caches.py with mlx-lm 0.32.2",')
    print(f' "models": {json.dumps(models)},')
    print(f' "rows": [\n  {lines}\n]}}')


if __name__ == "__main__":
    main()
