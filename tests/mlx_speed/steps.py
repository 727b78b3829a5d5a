"""Decode speed of mlx-lm, in turns: steps.py MODEL_FOLDER PROMPT_TOKENS; each line on standard input is a number of
tokens, which are generated; prints the wall clock's seconds per token after the first, and the CPU seconds of all threads
but this one.
"""

import sys
import time

import mlx.core as mx
from mlx_lm import load
from mlx_lm.generate import generate_step

model, _ = load(sys.argv[1])
prompt = mx.array([i % 64 + 1 for i in range(int(sys.argv[2]))])


def clock():
    return time.perf_counter(), time.process_time() - time.thread_time()


def run(tokens):
    steps = generate_step(prompt, model, max_tokens=tokens + 1)
    next(steps)
    begin = clock()
    for _ in steps:
        pass
    end = clock()
    return [(b - a) / tokens for a, b in zip(begin, end)]


run(2)
print("ready", flush=True)
for line in sys.stdin:
    wall, cpu = run(int(line))
    print(wall, cpu, flush=True)
