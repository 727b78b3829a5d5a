"""Fine-tunes with the real mlx_lm.lora: training.py CASES_FOLDER; writes what comes out beside each case.

A folder holds what logits.py reads, and training.json: the options of mlx_lm.lora, the batches in their order with what of
them counts, and the names of the trained arrays, whose first values stand in start.bin one after the other in float32.
Only the order of the batches and the first values are given; everything else is mlx-lm's own. Written: trained.bin in the
same order, and facts.json with losses, trained parameters and bytes of the optimizer.
"""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import types

import mlx.core as mx
import numpy as np
from logits import build
from mlx.utils import tree_flatten
from mlx_lm import lora
from mlx_lm.tuner import trainer
from mlx_lm.tuner.callbacks import TrainingCallback

# Compiled, every step is built by a C++ compiler first, which takes minutes; what it computes is the same.
mx.disable_compile()


class Losses(TrainingCallback):
    def __init__(self):
        self.all = []

    def on_train_loss_report(self, train_info):
        self.all.append(float(train_info["train_loss"]))


def run(folder):
    case = json.loads((folder / "training.json").read_text())
    args = types.SimpleNamespace(**json.loads(json.dumps(lora.CONFIG_DEFAULTS)))
    for name, value in case["options"].items():
        if name in ("rank", "keys"):
            args.lora_parameters[name] = value
        else:
            setattr(args, name, value)
    args.iters, args.steps_per_report = len(case["batches"]), 1
    losses, found = Losses(), {}

    def batches(**_):
        for ids, lengths in case["batches"]:
            yield mx.array(ids), mx.array(lengths)

    def train(model, optimizer, args, train_dataset, val_dataset, training_callback):
        trained = dict(tree_flatten(model.trainable_parameters()))
        assert sorted(trained) == sorted(case["names"]), (sorted(trained), sorted(case["names"]))
        values, at, start = np.fromfile(folder / "start.bin", np.float32), 0, []
        for name in case["names"]:
            shape = trained[name].shape
            start.append((name, mx.array(values[at : at + trained[name].size]).reshape(shape)))
            at += trained[name].size
        model.load_weights(start, strict=False)
        trainer.train(
            model=model,
            optimizer=optimizer,
            train_dataset=train_dataset,
            args=args,
            iterate_batches=batches,
            training_callback=training_callback,
        )
        trained = dict(tree_flatten(model.trainable_parameters()))
        found["trained"] = [np.array(trained[n].astype(mx.float32)).reshape(-1) for n in case["names"]]
        found["parameters"] = sum(v.size for v in trained.values())
        found["optimizer_bytes"] = sum(v.nbytes for _, v in tree_flatten(optimizer.state))

    lora.train = train
    with tempfile.TemporaryDirectory() as adapters, contextlib.redirect_stdout(io.StringIO()):
        args.adapter_path = adapters
        lora.train_model(args, build(folder), [[0]] * args.batch_size, [], losses)
    np.concatenate(found.pop("trained")).astype(np.float32).tofile(folder / "trained.bin")
    (folder / "facts.json").write_text(json.dumps({"losses": losses.all, **found}))


for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        run(folder)
    except Exception as error:
        (folder / "error.txt").write_text(f"{type(error).__name__}: {error}")
