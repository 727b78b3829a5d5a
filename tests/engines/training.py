"""What the real mlx_lm.lora does: `batches MODEL DATA BATCH LONGEST MASK` prints the tokens of every batch and how many of
them count; `run MODEL OUT` fine-tunes a model for a few iterations and prints what it took."""

import contextlib
import io
import json
import pathlib
import sys
import types

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm import lora
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.datasets import CacheDataset, load_local_dataset
from mlx_lm.tuner.trainer import iterate_batches
from mlx_lm.utils import load, load_tokenizer

# Compiled, every step is built by a C++ compiler first, which takes minutes; what it computes is the same.
mx.disable_compile()


def batches(model, data, batch, longest, mask):
    tokenizer = load_tokenizer(pathlib.Path(model))
    config = types.SimpleNamespace(mask_prompt=mask == "mask")
    train, _, _ = load_local_dataset(pathlib.Path(data), tokenizer, config)
    found = []
    # What is cut is said on standard output.
    with contextlib.redirect_stdout(sys.stderr):
        for ids, lengths in iterate_batches(CacheDataset(train), int(batch), int(longest)):
            tokens, lengths = ids.shape[1] - 1, np.array(lengths)
            steps = np.arange(1, tokens + 1)
            counted = (steps >= lengths[:, 0:1]) & (steps <= lengths[:, 1:])
            found.append([tokens, int(counted.sum())])
    print(json.dumps(sorted(found)))


class Losses(TrainingCallback):
    def __init__(self):
        self.all = []

    def on_train_loss_report(self, train_info):
        self.all.append(float(train_info["train_loss"]))


class Samples:
    """Equal samples of 33 tokens, as mlx-lm's data sets look."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return [(31 * index + 7 * i * i + 3 * i) % 5000 for i in range(33)]

    def process(self, sample):
        return sample, 0


def run(folder, out):
    model, _ = load(folder)
    mx.eval(model.parameters())
    loaded = mx.get_active_memory()
    args = types.SimpleNamespace(**json.loads(json.dumps(lora.CONFIG_DEFAULTS)))
    args.batch_size, args.iters, args.steps_per_report, args.adapter_path = 2, 3, 1, out
    args.learning_rate = 1e-3
    losses, optimizers = Losses(), []
    make = lora.optim.Adam
    lora.optim.Adam = lambda *a, **k: optimizers.append(make(*a, **k)) or optimizers[-1]
    with contextlib.redirect_stdout(io.StringIO()):
        lora.train_model(args, model, Samples(), [], losses)
    mx.synchronize()
    mx.clear_cache()
    trained = tree_flatten(model.trainable_parameters())
    state = [v for _, v in tree_flatten(optimizers[0].state)]
    facts = {
        "losses": losses.all,
        "parameters": sum(v.size for _, v in trained),
        "trained_bytes": sum(v.nbytes for _, v in trained),
        "optimizer_bytes": sum(v.nbytes for v in state),
        "adapter_file_bytes": (pathlib.Path(out) / "adapters.safetensors").stat().st_size,
        "loaded_bytes": loaded,
        "active_bytes": mx.get_active_memory(),
    }
    print(json.dumps(facts))


{"batches": batches, "run": run}[sys.argv[1]](*sys.argv[2:])
