"""Random configurations of dense models."""

from __future__ import annotations

from random_dice import Config, Dice


def llama(d: Dice, kind: str) -> Config:
    c = d.dense(kind)
    c.update(
        attention_bias=d.coin(0.3), mlp_bias=d.coin(0.3), rope_scaling=d.rope_scaling()
    )
    if d.coin(0.8):
        c["tie_word_embeddings"] = d.coin()
    if d.coin(0.3):
        c["sliding_window"] = d.pick(256, 700, 4096)
        if kind == "llama":
            every = d.pick(2, 3, 4)
            c["layer_types"] = d.layer_types(
                c["num_hidden_layers"], "sliding_attention", "full_attention", every
            )
            c["layer_types"][-1] = "full_attention"
            c["layer_types"][0] = "sliding_attention"
    return c


def smollm3(d: Dice, kind: str) -> Config:
    c = d.dense(kind)
    c.update(no_rope_layer_interval=d.pick(2, 3, 4), tie_word_embeddings=d.coin())
    return c


def qwen2(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "never")
    if d.coin(0.8):
        c["tie_word_embeddings"] = d.coin()
    return c


def qwen3(d: Dice, kind: str) -> Config:
    return d.dense(kind, "always") | {"tie_word_embeddings": d.coin()}


def gemma2(d: Dice, kind: str) -> Config:
    return d.dense(kind, "always")


def gemma3_text(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "always")
    c["num_hidden_layers"] = d.layers(4, 13)
    c.update(
        sliding_window=d.pick(256, 512, 1024, 3000),
        sliding_window_pattern=d.pick(2, 3, 6),
        query_pre_attn_scalar=256,
        rope_local_base_freq=10000.0,
    )
    return c


def gemma3(d: Dice, kind: str) -> Config:
    text = gemma3_text(d, "gemma3_text")
    return {"model_type": kind, "text_config": text, "vocab_size": text["vocab_size"]}


def gemma4(d: Dice, kind: str) -> Config:
    c = d.dense("gemma4_text", "always")
    n = c["num_hidden_layers"] = d.layers(5, 12)
    every = d.pick(3, 5, 6)
    types = d.layer_types(n, "sliding_attention", "full_attention", every)
    types[-1] = "full_attention"
    c.update(
        layer_types=types,
        sliding_window=d.pick(256, 512, 1024),
        global_head_dim=d.pick(128, 256, 512),
        hidden_size_per_layer_input=d.pick(0, 0, 64, 96),
        vocab_size_per_layer_input=c["vocab_size"],
        num_kv_shared_layers=0,
        use_double_wide_mlp=d.coin(),
        attention_k_eq_v=d.coin(),
        enable_moe_block=d.coin(0.4),
        tie_word_embeddings=True,
        rope_parameters={
            "full_attention": {
                "partial_rotary_factor": 0.25,
                "rope_theta": 1000000.0,
                "rope_type": "proportional",
            },
            "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
        },
    )
    if d.coin():
        c["num_global_key_value_heads"] = d.pick(
            *(k for k in range(1, 9) if c["num_attention_heads"] % k == 0)
        )
    if c["enable_moe_block"]:
        c["num_experts"], c["top_k_experts"] = d.experts()
        c["moe_intermediate_size"] = d.width(64, 640)
    elif d.coin() and not c["attention_k_eq_v"]:
        # the shared layers reuse the last cached layer of each kind
        first = next(i for i, t in enumerate(types) if t == "full_attention")
        c["num_kv_shared_layers"] = max(0, d.rng.randint(0, n - 1 - max(first, 1)))
    return {"model_type": kind, "text_config": c, "vocab_size": c["vocab_size"]}


def phi3(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "never")
    c["rope_scaling"] = None
    if d.coin(0.7):
        c["tie_word_embeddings"] = d.coin()
    if d.coin():
        c["sliding_window"] = 2047
    return c


def olmo2(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "never")
    if d.coin(0.7):
        c["tie_word_embeddings"] = d.coin()
    if kind == "olmo3":
        every = d.pick(2, 4)
        c["sliding_window"] = d.pick(256, 1024, 4096)
        c["layer_types"] = d.layer_types(
            c["num_hidden_layers"], "sliding_attention", "full_attention", every
        )
        c["layer_types"][-1] = "full_attention"
    if kind == "olmoe":
        c["num_experts"], c["num_experts_per_tok"] = d.experts()
    return c


def glm4(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "always")
    c.update(attention_bias=d.coin(), partial_rotary_factor=0.5)
    return c


def cohere(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "never")
    c.update(
        layer_norm_eps=1e-5,
        layer_norm_bias=d.coin(0.3),
        attention_bias=d.coin(0.3),
        logit_scale=0.0625,
    )
    if kind == "cohere2":
        c["head_dim"] = c["hidden_size"] // c["num_attention_heads"]
        c.update(
            sliding_window=d.pick(256, 1024, 4096),
            sliding_window_pattern=d.pick(2, 3, 4),
        )
        c["num_hidden_layers"] = d.layers(4, 9)
    else:
        c["use_qk_norm"] = d.coin()
    return c


def seed_oss(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "always")
    c.update(attention_bias=d.coin(), attention_out_bias=d.coin(), mlp_bias=d.coin(0.3))
    c["tie_word_embeddings"] = False  # mlx-lm cannot run a tied quantized one
    return c


def hunyuan(d: Dice, kind: str) -> Config:
    c = d.dense(kind)
    c.update(use_qk_norm=d.coin(), attention_bias=d.coin(0.3))
    c["rope_scaling"] = None
    if d.coin(0.7):
        c["tie_word_embeddings"] = d.coin()
    return c


def exaone4(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "always")
    c.update(
        tie_word_embeddings=d.coin(),
        rope_scaling=None,
        sliding_window=None,
        sliding_window_pattern=None,
    )
    if d.coin():
        c.update(sliding_window=d.pick(256, 1024, 4096), sliding_window_pattern="LLLG")
        c["num_hidden_layers"] = d.layers(5, 9)
    return c


def starcoder2(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "never")
    c["norm_epsilon"] = 1e-5
    if d.coin(0.7):
        c["tie_word_embeddings"] = d.coin()
    return c


def apertus(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "never")
    c.update(
        attention_bias=False,
        mlp_bias=d.coin(0.3),
        post_norm=False,
        qk_norm=True,
        tie_word_embeddings=d.coin(),
        rope_scaling=d.rope_scaling(),
    )
    return c


def internlm3(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "never")
    c["head_dim"] = c["hidden_size"] // c["num_attention_heads"]
    c.update(bias=d.coin(0.3), qkv_bias=d.coin(0.3), rope_scaling=None)
    if d.coin(0.7):
        c["tie_word_embeddings"] = d.coin()
    return c


def mistral3(d: Dice, kind: str) -> Config:
    text = llama(d, "mistral")
    tied = text.pop("tie_word_embeddings", None)
    c: Config = {"model_type": kind, "text_config": text}
    if tied is not None:
        text["tie_word_embeddings"] = tied
    return c


def stablelm(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "never")
    c.update(
        partial_rotary_factor=0.25,
        layer_norm_eps=1e-5,
        use_qkv_bias=d.coin(),
        qk_layernorm=False,
        use_parallel_residual=False,
    )
    return c
