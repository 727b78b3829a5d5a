"""Random configurations of models with experts."""

from __future__ import annotations

from random_dice import Config, Dice
from random_dense import glm4, qwen3


def qwen2_moe(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "never")
    c["num_experts"], c["num_experts_per_tok"] = d.experts()
    c.update(
        moe_intermediate_size=d.width(64, 640),
        shared_expert_intermediate_size=d.width(128, 1280),
    )
    if d.coin(0.7):
        c["tie_word_embeddings"] = d.coin()
    return c


def qwen3_moe(d: Dice, kind: str) -> Config:
    c = qwen3(d, kind)
    c["num_experts"], c["num_experts_per_tok"] = d.experts()
    n = c["num_hidden_layers"]
    c.update(
        moe_intermediate_size=d.width(64, 640),
        decoder_sparse_step=d.pick(1, 1, 2),
        mlp_only_layers=d.pick([], [], [0], [0, n - 1]),
        norm_topk_prob=d.coin(),
    )
    return c


def mixtral(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "never")
    c["num_local_experts"], c["num_experts_per_tok"] = d.experts()
    if d.coin(0.7):
        c["tie_word_embeddings"] = d.coin()
    return c


def phimoe(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "never")
    c["num_local_experts"], c["num_experts_per_tok"] = d.experts()
    c["rope_scaling"] = None
    return c


def mla(d: Dice, kind: str) -> Config:
    c = d.base(kind)
    heads = d.pick(2, 4, 5, 8, 16)
    experts, chosen = d.experts()
    c.update(
        hidden_size=d.width(),
        num_attention_heads=heads,
        num_key_value_heads=heads,
        q_lora_rank=d.pick(None, d.width(64, 512)),
        kv_lora_rank=d.pick(64, 96, 128, 192, 512),
        qk_nope_head_dim=d.pick(32, 64, 96, 128),
        qk_rope_head_dim=d.pick(16, 32, 64),
        v_head_dim=d.pick(32, 64, 96, 128),
        moe_intermediate_size=d.width(64, 640),
        n_routed_experts=experts,
        n_shared_experts=d.pick(1, 1, 2, 3),
        num_experts_per_tok=chosen,
        first_k_dense_replace=d.pick(0, 1, 2),
        moe_layer_freq=1,
        n_group=1,
        topk_group=1,
        routed_scaling_factor=1.0,
        rope_scaling=None,
        attention_bias=d.coin(0.2),
    )
    return c


def deepseek_v2(d: Dice, kind: str) -> Config:
    c = mla(d, kind)
    c.update(topk_method="greedy", moe_layer_freq=d.pick(1, 1, 2))
    # its rope frequencies are only defined with a yarn block
    c["rope_scaling"] = {
        "type": "yarn",
        "factor": 40.0,
        "original_max_position_embeddings": 4096,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": 0.707,
        "mscale_all_dim": 0.707,
    }
    return c


def deepseek_v3(d: Dice, kind: str) -> Config:
    c = mla(d, kind)
    c.update(topk_method="noaux_tc", scoring_func="sigmoid", norm_topk_prob=d.coin())
    if kind == "glm4_moe_lite":
        c["tie_word_embeddings"] = False
    if kind == "deepseek_v32":
        c.update(
            q_lora_rank=d.width(64, 512),
            index_n_heads=d.pick(2, 4, 8),
            index_head_dim=d.pick(64, 128),
            index_topk=d.pick(256, 2048),
        )
    return c


def gpt_oss(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "always")
    n = c["num_hidden_layers"] = d.layers(2, 8)
    c["num_local_experts"], c["num_experts_per_tok"] = d.experts()
    c.update(
        head_dim=d.pick(32, 64, 128),
        sliding_window=d.pick(128, 256, 1000),
        layer_types=["sliding_attention", "full_attention"] * (n // 2)
        + ["sliding_attention"] * (n % 2),
        rope_scaling={
            "rope_type": "yarn",
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "original_max_position_embeddings": 4096,
        },
    )
    return c


def glm4_moe(d: Dice, kind: str) -> Config:
    c = glm4(d, kind)
    experts, chosen = d.experts()
    c.update(
        moe_intermediate_size=d.width(64, 640),
        n_routed_experts=experts,
        num_experts_per_tok=chosen,
        n_shared_experts=d.pick(1, 1, 2),
        first_k_dense_replace=d.pick(0, 1, 2, 3),
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        routed_scaling_factor=1.0,
        rope_scaling=None,
        use_qk_norm=d.coin(),
        tie_word_embeddings=d.coin(),
    )
    return c


def dots1(d: Dice, kind: str) -> Config:
    c = glm4_moe(d, kind)
    for key in ("use_qk_norm", "partial_rotary_factor"):
        c.pop(key)
    c["mlp_bias"] = d.coin(0.3)
    return c


def llama4(d: Dice, kind: str) -> Config:
    c = d.dense("llama4_text", "always")
    c["num_local_experts"], c["num_experts_per_tok"] = d.experts()
    c.update(
        num_experts_per_tok=1,
        attention_chunk_size=d.pick(1024, 2048, 8192),
        interleave_moe_layer_step=d.pick(1, 2),
        intermediate_size=d.width(128, 1024),
        intermediate_size_mlp=d.width(256, 2048),
        attention_bias=d.coin(0.3),
        use_qk_norm=d.coin(),
        rope_scaling=None,
    )
    c["num_hidden_layers"] = d.pick(4, 5, 6, 8)
    return {"model_type": kind, "text_config": c}


def ernie(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "always")
    c.update(use_bias=d.coin(0.3), tie_word_embeddings=d.coin())
    if kind == "ernie4_5_moe":
        c["moe_num_experts"], c["moe_k"] = d.experts()
        c.update(
            moe_intermediate_size=d.width(64, 640),
            moe_layer_start_index=d.pick(0, 1, 2),
            moe_layer_interval=d.pick(1, 1, 2),
            moe_num_shared_experts=d.pick(0, 1, 2),
            moe_use_aux_free=d.coin(),
        )
    return c


def minimax(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "always")
    c["num_local_experts"], c["num_experts_per_tok"] = d.experts()
    c["intermediate_size"] = d.width(64, 640)
    c.update(
        rotary_dim=d.pick(16, 32),
        shared_intermediate_size=0,
        use_qk_norm=d.coin(),
        scoring_func="sigmoid",
        tie_word_embeddings=d.coin(),
    )
    return c
