"""Greedy tokens of mlx-lm: greedy.py MODEL_FOLDER PROMPTS.json, a list of token lists; prints the generated lists."""

import json
import sys

import mlx.core as mx
from mlx_lm import load
from mlx_lm.generate import generate_step

model, _ = load(sys.argv[1])
out = []
for prompt in json.load(open(sys.argv[2])):
    steps = generate_step(mx.array(prompt), model, max_tokens=64)
    out.append([int(token) for token, _ in steps])
print(json.dumps(out))
