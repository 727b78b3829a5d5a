"""Fine-tuning runs as vectors for `tests/conformance/training.rs`.

    python training_vectors.py MODELS.json OUT.json [FILTER]
    python training_vectors.py --mixed SEED OUT.json [FILTER]

With --mixed, every family gets a random configuration and every option is drawn by itself: what is trained, which modules
(of those that the model has), rank, layers, optimizer, checkpointing, accumulation, batch, lengths, versions, format.

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


FORMATS = [
    *["bf16"] * 4, *["affine_4_g64"] * 3, "affine_2_g64", "affine_3_g64", "affine_5_g64", "affine_6_g64", "affine_8_g64",
    "affine_4_g32", "affine_4_g128", "affine_8_g32", "mxfp4", "nvfp4", "mxfp8", "mixed_2_6", "mixed_3_4", "mixed_3_6",
    "mixed_4_6", "mxfp4_q8",
]  # fmt: skip


def modules_of(config, scheme):
    """The paths that `lora_parameters.keys` can name: of matrices in blocks relative to them, of others whole."""
    model = sizes.load(config, scheme)
    kinds = ("Linear", "SwitchLinear", "Embedding")
    named = [n for n, m in model.named_modules() if type(m).__name__.removeprefix("Quantized") in kinds]
    prefix = next(n for n, m in model.named_modules() if m is model.layers[0])[:-1]
    inside = {n[len(prefix) :].split(".", 1)[1] for n in named if n.startswith(prefix)}
    return sorted(inside), [n for n in named if not n.startswith(prefix)]


def mixed_cases(seed):
    """Every family once, with every option drawn by itself."""
    for family in sorted(randomcfg.FAMILIES):
        dice = random.Random(f"mixed {family} {seed}")
        config = randomcfg.random_config(family, 1000 + seed)
        kind = dice.choice(["lora"] * 5 + ["dora", "dora", "full", "full", "full"])
        scheme = "bf16" if kind == "full" and dice.random() < 0.9 else dice.choice(FORMATS)
        options = {"longest": dice.choice([4, 20, 63, 64, 65, 90, 130, 200, 333, 500]), "fine_tune_type": kind}
        options |= {"batch_size": dice.choice([1, 1, 2, 3, 4]), "num_layers": dice.choice([-1, -1, 0, 1, 2, 3])}
        options |= {"optimizer": dice.choice(list(train.OPTIMIZERS)), "rank": dice.choice([1, 2, 4, 8, 8, 16, 64])}
        options |= {"grad_checkpoint": dice.random() < 0.35, "grad_accumulation_steps": dice.choice([1, 1, 1, 2, 3, 5])}
        options |= {"loss": dice.choice(["fused"] * 3 + ["bf16", "bf16", "float32"])}
        options |= {"attention": "fused" if options["loss"] == "float32" and dice.random() < 0.7 else "unfused"}
        if dice.random() < 0.25:
            options["max_seq_length"] = dice.choice([64, 65, 100, 257])
        if kind != "full" and dice.random() < 0.4:
            try:
                inside, outside = modules_of(config, scheme)
            except (ValueError, RuntimeError) as e:
                print(family, scheme, e, file=sys.stderr)
                continue
            options["keys"] = dice.sample(inside, min(len(inside), dice.choice([1, 2, 3])))
            options["keys"] += [m for m in outside if dice.random() < 0.3]
        yield f"{family}_{1000 + seed}", config, scheme, options, dice.choice("gsd"), dice.random() < 0.2


def main() -> None:
    mixed = sys.argv[1] == "--mixed"
    source, out = sys.argv[2 if mixed else 1 :][:2]
    only = (sys.argv[3 + mixed :] or [""])[0]
    known = {} if mixed else {m["id"]: m for m in json.load(open(source))["models"]}
    if mixed:
        cases = list(mixed_cases(int(source)))
    else:
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
