"""Speculative decoding of mlx-lm against plain greedy decoding, with random weights.

Prints a JSON object: the window, the drafts a round, and for a model with sliding windows and one without the position of the first token
that differs (null where none does). The drafts come from other random weights, so that nearly all are rejected and caches
go back in every round.
"""

import json

import mlx.core as mx
from mlx.utils import tree_map
from mlx_lm.generate import generate_step, speculative_generate_step
from mlx_lm.models import gemma3_text, qwen3

WINDOW = 32
PROMPT = 12
TOKENS = 60
DRAFTS = 3
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "vocab_size": 256,
}


def gemma(seed):
    args = gemma3_text.ModelArgs(
        model_type="gemma3_text",
        query_pre_attn_scalar=16,
        sliding_window=WINDOW,
        sliding_window_pattern=2,
        **SIZES,
    )
    return with_random_weights(gemma3_text.Model(args), seed)


def qwen(seed):
    args = qwen3.ModelArgs(
        model_type="qwen3",
        tie_word_embeddings=False,
        rope_theta=10000.0,
        max_position_embeddings=512,
        **SIZES,
    )
    return with_random_weights(qwen3.Model(args), seed)


def with_random_weights(model, seed):
    """Weights that are large enough for logits to lie apart."""
    mx.random.seed(seed)
    model.update(tree_map(lambda p: 0.3 * mx.random.normal(p.shape) if p.ndim > 1 else p, model.parameters()))
    mx.eval(model.parameters())
    return model


def first_difference(make):
    main, draft = make(1), make(2)
    prompt = mx.array([7 * i % 250 + 1 for i in range(PROMPT)])
    plain = [int(token) for token, _ in generate_step(prompt, main, max_tokens=TOKENS)]
    rounds = speculative_generate_step(prompt, main, draft, num_draft_tokens=DRAFTS, max_tokens=TOKENS)
    drafted = [int(token) for token, _, _ in rounds]
    assert len(plain) == len(drafted) == TOKENS
    differing = (PROMPT + i for i, (a, b) in enumerate(zip(plain, drafted)) if a != b)
    return next(differing, None)


found = {"window": WINDOW, "drafts": DRAFTS, "with_windows": first_difference(gemma), "without": first_difference(qwen)}
print(json.dumps(found))
