"""Logits of mlx-lm on the weights of a folder per case: logits.py CASES_FOLDER; writes want.bin beside them.

A folder holds config.json, model.safetensors under mlx-lm's own names, scheme.txt (may be empty) and tokens.json, the
token lists of the calls.
"""

import json
import pathlib
import sys

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import _get_classes

# mlx-lm 0.32.2 passes an argument (always None here) that MLX 0.32.2, which mlx-rs binds, does not have yet.
gather_qmm = mx.gather_qmm
mx.gather_qmm = lambda *args, global_scale=None, **kwargs: gather_qmm(*args, **kwargs)


def build(folder):
    config = json.loads((folder / "config.json").read_text())
    model_class, args_class = _get_classes(config)
    model = model_class(args_class.from_dict(config))
    weights = mx.load(str(folder / "model.safetensors"))
    # What `sanitize` of Gemma 3 does when the embedding is the head.
    text = getattr(model, "language_model", model)
    if config["model_type"].startswith("gemma3") and not any("lm_head" in name for name in weights):
        text.tie_word_embeddings = True
        text.pop("lm_head", None)
    scheme = (folder / "scheme.txt").read_text()

    def packing(path, module):
        if not hasattr(module, "to_quantized") or path + ".scales" not in weights:
            return False
        columns = module.weight.shape[-1]
        words = weights[path + ".weight"].shape[-1]
        groups = weights[path + ".scales"].shape[-1]
        mode = "affine" if path + ".biases" in weights else scheme
        return {"group_size": columns // groups, "bits": words * 32 // columns, "mode": mode}

    if scheme:
        nn.quantize(model, class_predicate=packing)
    model.load_weights(list(weights.items()), strict=True)
    return model


def main():
    for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        try:
            model = build(folder)
            cache = make_prompt_cache(model)
            out = []
            for ids in json.loads((folder / "tokens.json").read_text()):
                logits = model(mx.array([ids]), cache=cache)
                mx.eval(logits)
                out.append(np.array(logits.astype(mx.float32)).reshape(-1))
            np.concatenate(out).tofile(folder / "want.bin")
        except Exception as error:
            (folder / "error.txt").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
