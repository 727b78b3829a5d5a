"""Random configurations of models with recurrent layers, and of their relatives."""

from __future__ import annotations

from random_dice import Config, Dice
from random_experts import mla, qwen3_moe


def linear_attention(d: Dice) -> Config:
    groups = d.pick(1, 2, 4, 8)
    return {
        "linear_num_key_heads": groups,
        "linear_num_value_heads": groups * d.pick(1, 2, 4),
        "linear_key_head_dim": d.pick(64, 128, 128, 192),
        "linear_value_head_dim": d.pick(64, 128, 128),
        "linear_conv_kernel_dim": d.pick(3, 4),
        "full_attention_interval": d.pick(2, 3, 4),
    }


def qwen3_next(d: Dice, kind: str) -> Config:
    c = qwen3_moe(d, kind) | linear_attention(d)
    c.update(
        shared_expert_intermediate_size=d.width(64, 640),
        partial_rotary_factor=d.pick(0.25, 0.5),
        attention_bias=False,
    )
    c["head_dim"] = d.pick(64, 128, 256)
    c["num_hidden_layers"] = d.layers(4, 9)
    return c


def qwen3_5(d: Dice, kind: str) -> Config:
    c = d.dense(kind + "_text", "always") | linear_attention(d)
    c["head_dim"] = d.pick(64, 128, 256)
    c["num_hidden_layers"] = d.layers(4, 9)
    c["tie_word_embeddings"] = d.coin()
    if kind == "qwen3_5_moe":
        c["num_experts"], c["num_experts_per_tok"] = d.experts()
        c.update(
            moe_intermediate_size=d.width(64, 640),
            shared_expert_intermediate_size=d.width(64, 640),
        )
        c.pop("intermediate_size")
    return {"model_type": kind, "text_config": c}


def granite(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "never")
    c.update(
        attention_bias=d.coin(0.3),
        mlp_bias=d.coin(0.3),
        logits_scaling=8.0,
        attention_multiplier=0.015625,
        embedding_multiplier=12.0,
        residual_multiplier=0.22,
        rope_scaling=None,
    )
    if d.coin(0.7):
        c["tie_word_embeddings"] = d.coin()
    if kind == "granitemoe":
        c["num_local_experts"], c["num_experts_per_tok"] = d.experts()
    return c


def mamba2(d: Dice) -> tuple[int, int, int, int]:
    """(heads, head size, groups, state size)."""
    groups = d.pick(1, 1, 2, 4)
    return groups * d.pick(2, 4, 6, 8), d.pick(32, 64, 80), groups, d.pick(16, 64, 128)


def granitemoehybrid(d: Dice, kind: str) -> Config:
    c = granite(d, kind)
    n = c["num_hidden_layers"]
    every = d.pick(2, 3, 5)
    c["layer_types"] = ["attention" if i % every == 1 else "mamba" for i in range(n)]
    heads, size, groups, state = mamba2(d)
    c.update(
        mamba_n_heads=heads,
        mamba_d_head=size,
        mamba_n_groups=groups,
        mamba_d_state=state,
        mamba_d_conv=d.pick(3, 4),
        mamba_conv_bias=d.coin(0.7),
        mamba_proj_bias=d.coin(0.3),
        shared_intermediate_size=d.width(128, 1280),
        position_embedding_type=d.pick("nope", "rope"),
        num_local_experts=0,
        mlp_bias=False,
    )
    if d.coin(0.6):
        c["num_local_experts"], c["num_experts_per_tok"] = d.experts()
    return c


def nemotron_h(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "always")
    n = c["num_hidden_layers"] = d.layers(5, 12)
    heads, size, groups, state = mamba2(d)
    moe = d.coin()
    c["hybrid_override_pattern"] = (
        "M*"
        + ("E" if moe else "-")
        + "".join(d.pick("M", "M", "*", "E" if moe else "-") for _ in range(n - 3))
    )
    c.update(
        attention_bias=d.coin(0.3),
        mlp_bias=d.coin(0.3),
        use_bias=d.coin(0.3),
        use_conv_bias=d.coin(0.7),
        mamba_proj_bias=d.coin(0.3),
        mamba_num_heads=heads,
        mamba_head_dim=size,
        n_groups=groups,
        ssm_state_size=state,
        conv_kernel=d.pick(3, 4),
        layer_norm_epsilon=1e-5,
        time_step_limit=[0.0, float("1e30")],
        tie_word_embeddings=False,
    )
    if moe:
        experts, chosen = d.experts()
        c.update(
            n_routed_experts=experts,
            num_experts_per_tok=chosen,
            n_shared_experts=1,
            moe_intermediate_size=d.width(64, 640),
            moe_shared_expert_intermediate_size=d.width(64, 1280),
            n_group=1,
            topk_group=1,
            norm_topk_prob=True,
            routed_scaling_factor=2.5,
        )
        if d.coin(0.4):
            c["moe_latent_size"] = d.width(64, 512)
    return c


def lfm2(d: Dice, kind: str) -> Config:
    c = d.dense(kind, "never")
    n = c["num_hidden_layers"]
    picks = sorted(d.rng.sample(range(n), d.rng.randint(1, n - 1)))
    c.update(norm_eps=1e-5, conv_bias=d.coin(0.3), conv_L_cache=d.pick(3, 4))
    c.pop("rms_norm_eps")
    if d.coin():
        c["full_attn_idxs"] = picks
    else:
        c["layer_types"] = [
            "full_attention" if i in picks else "conv" for i in range(n)
        ]
    if kind == "lfm2":
        c.update(
            block_dim=c["hidden_size"],
            block_ff_dim=d.width(512, 4096),
            block_multiple_of=d.pick(32, 64, 256),
            block_ffn_dim_multiplier=d.pick(1.0, 1.3, 0.75),
            block_auto_adjust_ff_dim=d.coin(0.7),
        )
    else:
        c["num_experts"], c["num_experts_per_tok"] = d.experts()
        c.update(
            moe_intermediate_size=d.width(64, 640),
            num_dense_layers=d.pick(0, 1, 2),
            use_expert_bias=d.coin(),
            norm_topk_prob=d.coin(),
        )
    return c


def kimi_linear(d: Dice, kind: str) -> Config:
    c = mla(d, kind)
    n = c["num_hidden_layers"] = d.layers(4, 9)
    every = d.pick(2, 3, 4)
    full = [i for i in range(1, n + 1) if i % every == 0] or [n]
    c["num_experts"] = c.pop("n_routed_experts")
    c["num_experts_per_token"] = c.pop("num_experts_per_tok")
    c["num_shared_experts"] = c.pop("n_shared_experts")
    c.pop("topk_group")
    c.pop("n_group")
    c.update(
        head_dim=72,
        q_lora_rank=None,
        model_max_length=131072,
        num_expert_group=1,
        topk_group=1,
        mla_use_nope=True,
        tie_word_embeddings=d.coin(),
        linear_attn_config={
            "full_attn_layers": full,
            "kda_layers": [i for i in range(1, n + 1) if i not in full],
            "head_dim": d.pick(64, 128),
            "num_heads": d.pick(2, 4, 8),
            "short_conv_kernel_size": 4,
        },
    )
    return c
