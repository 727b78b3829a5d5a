"""Fine-tuning runs as vectors for `tests/conformance/training.rs`.

    python training_vectors.py MODELS.json OUT.json [FILTER]

Every case is a configuration (of a model of the catalog by its id, or a random one of a family), a scheme, and the
options of `mlx_lm.lora`; the answer is that of the oracle's command `train`, or null where mlx-lm refuses. FILTER keeps
the cases whose name contains it; rows that OUT holds already stay as they are.
"""

import json
import os
import random
import sys
import time

import graph  # noqa: F401, E402  (before mlx_lm: it replaces functions of mlx.core)
import randomcfg
import sizes
import train

QV = ["self_attn.q_proj", "self_attn.v_proj"]

# (model, scheme, options, class, matrix units)
REAL = [
    ("Qwen/Qwen3-0.6B", "affine_4_g64", {"longest": 300}, "s", False),
    ("Qwen/Qwen3-0.6B", "bf16", {"longest": 600, "batch_size": 1, "grad_checkpoint": True}, "g", False),
    ("Qwen/Qwen3-0.6B", "bf16", {"longest": 200, "fine_tune_type": "full", "num_layers": -1}, "s", False),
    ("Qwen/Qwen3-0.6B", "affine_4_g64", {"longest": 500, "optimizer": "muon", "rank": 16}, "d", False),
    ("Qwen/Qwen3-0.6B", "affine_8_g64", {"longest": 250, "grad_accumulation_steps": 4}, "s", False),
    ("Qwen/Qwen3-8B", "affine_4_g64", {"longest": 1024, "batch_size": 1}, "s", False),
    ("Qwen/Qwen3-8B", "affine_4_g64", {"longest": 1024, "batch_size": 1, "grad_checkpoint": True}, "s", False),
    ("Qwen/Qwen3-8B", "affine_4_g64", {"longest": 400, "loss": "bf16", "keys": QV}, "g", False),
    ("meta-llama/Llama-3.2-1B-Instruct", "bf16", {"longest": 500, "loss": "bf16"}, "s", False),
    ("meta-llama/Llama-3.2-1B-Instruct", "affine_4_g64", {"longest": 2048, "batch_size": 1}, "g", False),
    ("meta-llama/Llama-3.2-1B-Instruct", "bf16", {"longest": 300, "loss": "float32", "attention": "fused"}, "s", False),
    ("meta-llama/Llama-3.2-1B-Instruct", "bf16", {"longest": 128, "fine_tune_type": "dora", "num_layers": 4}, "s", False),
    ("meta-llama/Llama-3.1-8B-Instruct", "affine_4_g64", {"longest": 512, "optimizer": "adafactor"}, "d", False),
    ("meta-llama/Llama-3.1-70B-Instruct", "affine_4_g64", {"longest": 512, "batch_size": 1}, "d", False),
    ("google/gemma-3-1b-it", "affine_4_g64", {"longest": 700, "batch_size": 2}, "s", False),
    ("google/gemma-2-2b-it", "affine_4_g64", {"longest": 300, "batch_size": 1}, "g", False),
    ("microsoft/Phi-3-mini-4k-instruct", "affine_4_g64", {"longest": 256}, "s", False),
    ("microsoft/Phi-4-mini-instruct", "bf16", {"longest": 256, "batch_size": 1}, "g", True),
    ("allenai/OLMo-2-1124-7B-Instruct", "affine_4_g64", {"longest": 300, "batch_size": 2}, "s", False),
    ("Qwen/Qwen3-30B-A3B", "affine_4_g64", {"longest": 256, "batch_size": 1, "num_layers": 4}, "s", False),
    ("openai/gpt-oss-20b", "mxfp4_q8", {"longest": 256, "batch_size": 1, "num_layers": 4}, "s", False),
    ("allenai/OLMoE-1B-7B-0924-Instruct", "affine_4_g64", {"longest": 128, "num_layers": 4}, "g", False),
    ("deepseek-ai/DeepSeek-V2-Lite", "affine_4_g64", {"longest": 128, "num_layers": 4, "batch_size": 2}, "s", False),
    ("LiquidAI/LFM2-1.2B", "affine_4_g64", {"longest": 300, "batch_size": 2}, "s", False),
    ("HuggingFaceTB/SmolLM2-135M-Instruct", "bf16", {"longest": 256, "num_layers": -1}, "s", False),
    ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "bf16", {"longest": 96, "keys": QV, "loss": "bf16"}, "s", False),
    ("Qwen/Qwen2.5-7B-Instruct", "affine_4_g64", {"longest": 600, "batch_size": 2, "rank": 32}, "s", True),
    ("mistralai/Mistral-7B-Instruct-v0.3", "affine_4_g64", {"longest": 800, "batch_size": 1, "optimizer": "adamw"}, "s", False),
    ("Qwen/Qwen3-32B", "affine_4_g64", {"longest": 256, "batch_size": 1, "grad_checkpoint": True}, "d", False),
]  # fmt: skip

DENSE = [
    "llama", "smollm3", "qwen2", "qwen3", "gemma2", "gemma3_text", "gemma4", "phi3", "olmo2", "glm4", "granite",
    "starcoder2", "stablelm", "cohere", "cohere2", "exaone4", "internlm3", "mistral", "olmo3", "hunyuan_v1_dense", "apertus", "seed_oss", "ernie4_5",
]  # fmt: skip
OTHER = [
    "qwen2_moe", "qwen3_moe", "mixtral", "phimoe", "deepseek_v2", "deepseek_v3", "gpt_oss", "glm4_moe", "dots1",
    "olmoe", "granitemoe", "lfm2", "lfm2_moe", "minimax_m2", "llama4", "glm4_moe_lite", "granitemoehybrid", "qwen3_next", "nemotron_h", "kimi_linear", "ernie4_5_moe",
]  # fmt: skip
VARIANTS = [
    {}, {"grad_checkpoint": True}, {"keys": QV}, {"fine_tune_type": "full", "optimizer": "adamw"}, {"optimizer": "sgd"},
    {"optimizer": "muon"}, {"optimizer": "adafactor", "rank": 4}, {"grad_accumulation_steps": 2}, {"loss": "bf16"},
    {"num_layers": 2, "rank": 32}, {"fine_tune_type": "dora"}, {"loss": "float32", "attention": "fused"},
    {"fine_tune_type": "full", "grad_checkpoint": True},
]  # fmt: skip
SCHEMES = ["bf16", "affine_4_g64", "bf16", "affine_8_g64", "affine_4_g32"]


def random_cases():
    """Every family with some of the options, by a seed of its own."""
    for family in [*DENSE, *OTHER]:
        if family not in randomcfg.FAMILIES:
            continue
        dice = random.Random("training " + family)
        count = 3 if family in ("llama", "qwen3", "qwen3_moe") else 2
        for seed in range(count):
            options = {"longest": dice.choice([20, 90, 200, 500]), "batch_size": dice.choice([1, 2, 4])}
            options |= {"num_layers": -1} | dice.choice(VARIANTS)
            if family in OTHER and options.get("fine_tune_type") == "dora" and dice.random() < 0.7:
                options["fine_tune_type"] = "lora"
            config = randomcfg.random_config(family, 40 + seed)
            yield f"{family}_{seed}", config, dice.choice(SCHEMES), options, dice.choice("gsd"), dice.random() < 0.2


def main() -> None:
    models, out = sys.argv[1:3]
    only = sys.argv[3] if len(sys.argv) > 3 else ""
    known = {m["id"]: m for m in json.load(open(models))["models"]}
    cases = [(name, known[name]["config"] if name in known else None, *rest) for name, *rest in REAL]
    cases += list(random_cases())
    rows = json.load(open(out)) if os.path.exists(out) else []
    made = {(r["model"], r["scheme"], json.dumps(r["options"])) for r in rows}
    for name, config, scheme, options, arch, nax in cases:
        if only not in name or (name, scheme, json.dumps(options)) in made:
            continue
        if config is None:
            print("not in the catalog:", name, file=sys.stderr)
            continue
        start = time.time()
        row = {"model": name} if name in known else {"model": name, "config": config}
        row |= {"scheme": scheme, "options": options, "arch_class": arch, "matrix_units": nax}
        try:
            found = train.train_report(config, scheme, train.Options(**options), arch, nax)
            row |= {
                "trainable": found["trainable_params"],
                "optimizer_bytes": found["optimizer_state_bytes"],
                "flops": sum(found["work"]["flops"].values()),
                "dispatches": found["work"]["dispatches"],
                "peak_bytes": found["peak_bytes"],
            }
        except (ValueError, RuntimeError) as e:
            row |= {"refused": str(e)[:160], "peak_bytes": None}
        rows.append(row)
        print(name, scheme, options, row.get("peak_bytes"), f"{time.time() - start:.1f} s", file=sys.stderr, flush=True)
        with open(out, "w", encoding="utf-8") as f:
            f.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")


if __name__ == "__main__":
    main()
