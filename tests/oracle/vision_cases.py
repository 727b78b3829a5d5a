"""Configurations that nobody published: those of golden_vlm.json with other sizes, flags and missing keys.

    python vision_cases.py GOLDEN_VLM.json OUT.json

For every model type, copies of its published configurations are changed at random (fixed seed) and built by
``vlm.py``. Those that mlx-vlm refuses are left out. Text parts shrink, so that the file stays small and quick.
"""

from __future__ import annotations

import copy
import json
import random
import sys
from typing import Any

import vlm

SCHEMES = ["bf16", "affine_4_g64", "nvfp4"]
IMAGES = [(1, 1), (37, 911), (333, 333), (800, 601), (1919, 1079), (2400, 3200), (6000, 4000)]
PER_TYPE = 2

#: Keys that may go, because mlx-vlm has a default for them, and values that others may take.
FLAGS = [
    "use_clipped_linears", "standardize", "qkv_bias", "qk_normalization", "projector_bias",
    "multimodal_projector_bias", "projector_use_layernorm", "use_thumbnail", "linear_bias",
    "attn_bias", "patch_embed_proj_bias", "tie_word_embeddings",
]  # fmt: skip


def changed(config: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A copy with other sizes of the towers."""
    config = copy.deepcopy(config)
    for key in ("vision_config", "audio_config"):
        part = config.get(key)
        if not isinstance(part, dict):
            continue
        width = rng.choice([256, 384, 640, 768, 1152])
        for name, value in list(part.items()):
            if isinstance(value, bool):
                part[name] = rng.random() < 0.5 if name in FLAGS else value
            elif name in ("hidden_size", "embed_dim", "vt_hidden_size", "mm_hidden_size", "width"):
                part[name] = width if isinstance(value, int) else value
            elif name in ("intermediate_size", "vt_intermediate_size"):
                part[name] = rng.choice([512, 1000, 3072, 3420])
            elif name in ("depth", "num_hidden_layers", "vt_num_hidden_layers", "layers",
                          "conf_num_hidden_layers"):  # fmt: skip
                part[name] = rng.choice([1, 2, 5])
            elif name in ("patch_size",) and isinstance(value, int):
                part[name] = rng.choice([14, 16])
            elif name == "image_size" and isinstance(value, int):
                part[name] = rng.choice([224, 336, 448])
            elif name in ("out_hidden_size", "projection_dim", "text_hidden_size"):
                part[name] = rng.choice([512, 2048])
            elif name == "num_position_embeddings":
                part[name] = rng.choice([1024, 2304])
            elif name == "deepstack_visual_indexes" and value:
                part[name] = value[: rng.randint(1, len(value))]
            elif name == "spatial_merge_size":
                part[name] = rng.choice([1, 2, 3])
        for name in list(part):
            if name not in ("model_type", "hidden_size", "num_attention_heads", "num_heads") and (
                rng.random() < 0.1
            ):
                del part[name]
    for name in ("spatial_merge_size", "scale_factor", "downsample_factor"):
        if name in config:
            config[name] = rng.choice([1, 2, 3])
    for name in FLAGS:
        if name in config:
            config[name] = rng.random() < 0.5
    for key in ("text_config", "llm_config", "language_config"):
        if isinstance(config.get(key), dict) and "num_hidden_layers" in config[key]:
            config[key]["vocab_size"] = rng.choice([1024, 32064])
            if not any(isinstance(v, list) for v in config[key].values()):
                config[key]["num_hidden_layers"] = rng.choice([4, 8])
    return config


def main() -> None:
    golden = json.load(open(sys.argv[1]))["models"]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for model in golden:
        kinds.setdefault(model["model_type"], []).append(model)
    out = []
    for kind, models in kinds.items():
        rng, found = random.Random(kind), 0
        for _ in range(12):
            if found == PER_TYPE:
                break
            model = rng.choice(models)
            config = changed(model["config"], rng)
            pre = model.get("preprocessor")
            try:
                report = vlm.report(config, None, SCHEMES)
            except Exception:
                continue
            tokens = {}
            for width, height in IMAGES:
                try:
                    t = vlm.image_tokens(config, pre, width, height)
                except Exception:
                    continue
                tokens[f"{width}x{height}"] = [t["image_tokens"], t["prompt_tokens"]]
            case = {"id": f"{kind} {found}", "model_type": kind, "config": config,
                    "params": report["params"], "n_tensors_bf16": report["n_tensors_bf16"],
                    "weight_bytes_by_part": report["weight_bytes_by_part"]}  # fmt: skip
            if pre:
                case["preprocessor"] = pre
            if tokens:
                case["image_tokens"] = tokens
            out.append(case)
            found += 1
            json.dump({"models": out}, open(sys.argv[2], "w"), separators=(",", ":"))


if __name__ == "__main__":
    main()
