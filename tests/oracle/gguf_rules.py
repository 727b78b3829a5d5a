"""Tensor types and bytes of GGUF files that llama.cpp's `llama-quantize` writes.

    from gguf_rules import file_bytes, dense, qwen_moe
    file_bytes(dense(config), "Q4_K_M", arch="qwen3")

States in own words the rules by which llama.cpp chooses a type for every tensor (read in
`src/llama-quant.cpp` at commit 007dbbf3; checked against published bits per weight). It gives the
sum of tensor bytes; a file is larger by its header and tokenizer (5 to 12 MB) and by
alignment. Recipes of publishers that pass --tensor-type, --output-tensor-type or
--token-embedding-type are not covered.
"""

from __future__ import annotations

from typing import Any

#: Bytes and weights of a block.
BLOCK = {
    "F32": (4, 1), "F16": (2, 1), "BF16": (2, 1), "Q8_0": (34, 32), "Q6_K": (210, 256),
    "Q5_K": (176, 256), "Q4_K": (144, 256), "Q3_K": (110, 256), "Q2_K": (84, 256),
    "Q5_0": (22, 32), "Q5_1": (24, 32), "Q4_0": (18, 32), "Q4_1": (20, 32),
    "IQ1_S": (50, 256), "IQ1_M": (56, 256), "IQ2_XXS": (66, 256), "IQ2_XS": (74, 256),
    "IQ2_S": (82, 256), "IQ3_XXS": (98, 256), "IQ3_S": (110, 256), "IQ4_NL": (18, 32),
    "IQ4_XS": (136, 256), "TQ1_0": (54, 256), "TQ2_0": (66, 256), "MXFP4": (17, 32),
    "NVFP4": (36, 64),
}  # fmt: skip
#: File type -> type of a tensor without a rule.
DEFAULT = {
    "F32": "F32", "F16": "F16", "BF16": "BF16", "Q8_0": "Q8_0", "Q6_K": "Q6_K",
    "Q5_K_M": "Q5_K", "Q5_K_S": "Q5_K", "Q4_K_M": "Q4_K", "Q4_K_S": "Q4_K",
    "Q3_K_L": "Q3_K", "Q3_K_M": "Q3_K", "Q3_K_S": "Q3_K", "Q2_K": "Q2_K",
    "Q2_K_S": "Q2_K", "Q4_0": "Q4_0", "Q4_1": "Q4_1", "Q5_0": "Q5_0", "Q5_1": "Q5_1",
    "IQ1_S": "IQ1_S", "IQ1_M": "IQ1_M", "IQ2_XXS": "IQ2_XXS", "IQ2_XS": "IQ2_XS",
    "IQ2_S": "IQ2_XS", "IQ2_M": "IQ2_S", "IQ3_XXS": "IQ3_XXS", "IQ3_XS": "IQ3_S",
    "IQ3_S": "IQ3_S", "IQ3_M": "IQ3_S", "IQ4_NL": "IQ4_NL", "IQ4_XS": "IQ4_XS",
    "TQ1_0": "TQ1_0", "TQ2_0": "TQ2_0", "MXFP4_MOE": "MXFP4",
}  # fmt: skip
_FALLBACK = {
    "IQ1_S": "IQ4_NL", "IQ1_M": "IQ4_NL", "IQ2_XXS": "IQ4_NL", "IQ2_XS": "IQ4_NL",
    "IQ2_S": "IQ4_NL", "IQ3_XXS": "IQ4_NL", "IQ3_S": "IQ4_NL", "IQ4_XS": "IQ4_NL",
    "Q2_K": "Q4_0", "Q3_K": "Q4_0", "TQ1_0": "Q4_0", "TQ2_0": "Q4_0", "Q4_K": "Q5_0",
    "Q5_K": "Q5_1", "Q6_K": "Q8_0",
}  # fmt: skip
_KEEP = (
    "_norm.weight", "ffn_gate_inp.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight",
    "indexer.q_proj.weight", "attn_rel_b.weight", ".position_embd", ".patch_embd",
    "ssm_alpha.weight", "ssm_beta.weight",  # F32 in published qwen35 files
)  # fmt: skip
_LOW = ("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ2_S", "IQ2_M", "IQ1_M")

Tensor = tuple[str, tuple[int, ...]]


def category(name: str) -> str:
    """llama.cpp's tensor_get_category."""
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "token_embd"
    for key in ("attn_qkv", "attn_kv_b", "attn_v", "attn_k", "attn_q", "attn_output"):
        if key + ".weight" in name:
            return key
    for key in ("ffn_up", "ffn_gate", "ffn_down"):
        if key in name:
            return key
    return "other"


def types(
    tensors: list[Tensor], ftype: str, arch: str, n_gqa: int = 1, n_expert: int = 0,
    imatrix: bool = True, old_qkv: bool = False, large_ends: bool = False,
) -> dict[str, str]:  # fmt: skip
    """Type of every tensor. Shapes are (rows, columns) or (experts, rows, columns).

    ``old_qkv``: before the categories were introduced a fused attn_qkv got its own rule
    (Q5_K in Q4_K_M, Q6_K in Q5_K_M, Q4_K in Q3_K_M/L) instead of that of attn_v.
    ``large_ends``: embedding and head in Q8_0, as in files called Q4_K_L, Q5_K_L, Q6_K_L
    and Q3_K_XL (the mixes Q4_K_M, Q5_K_M, Q6_K and Q3_K_L).
    """
    def layer(name: str) -> int:
        return int(name.split(".")[1]) if name.startswith("blk.") else -1

    tensors = sorted(tensors, key=lambda t: (layer(t[0]), t[0]))
    n_layer = 1 + max(layer(n) for n, _ in tensors)
    tied = not any(n == "output.weight" for n, _ in tensors)
    v_like = ("attn_v", "attn_kv_b") if old_qkv else ("attn_v", "attn_qkv", "attn_kv_b")
    n_v = sum(category(n) in ("attn_v", "attn_qkv", "attn_kv_b") for n, _ in tensors)
    i_v = i_down = 0
    out = {}
    more = lambda i, n: i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2  # noqa: E731
    big = n_layer == 80 and arch in ("llama", "qwen2")  # LLM_TYPE_70B
    for name, shape in tensors:
        if len(shape) < 2 or not name.endswith("weight") or any(k in name for k in _KEEP):
            small = ("norm", "inp", "conv", "ssm_alpha", "ssm_beta")
            keep = len(shape) < 2 or any(k in name for k in small)
            out[name] = "F32" if keep else "F16"
            continue
        t, c = DEFAULT[ftype], category(name)
        if t in ("F32", "F16", "BF16"):
            out[name] = t
            continue
        at = layer(name)
        if large_ends and c in ("output", "token_embd"):
            t = "Q8_0"
        elif c == "output" or (tied and c == "token_embd"):
            if ftype == "MXFP4_MOE" or arch == "falcon" or shape[-1] % BLOCK[t][1]:
                t = "Q8_0"
            elif ftype in ("IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ2_S", "IQ2_M", "IQ1_M"):
                t = "Q5_K"
            elif t != "Q8_0":
                t = "Q6_K"
        elif ftype == "MXFP4_MOE":
            t = "MXFP4" if len(shape) == 3 else "Q8_0"
        elif c == "token_embd":
            if ftype in ("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"):
                t = "Q2_K"
            elif ftype in ("IQ2_S", "IQ2_M", "IQ3_XXS"):
                t = "IQ3_S"
            elif ftype in ("TQ1_0", "TQ2_0"):
                t = "Q4_K"
        elif ftype in _LOW:
            two = ftype in ("IQ2_S", "IQ2_M")
            if c in v_like:
                t = "Q4_K" if n_gqa >= 4 or n_expert >= 4 else ("IQ3_S" if two else "Q2_K")
                i_v += 1
            elif n_expert == 8 and c == "attn_k":
                t = "Q4_K"
            elif c == "ffn_down":
                if i_down < n_layer // 8:
                    t = "IQ3_S" if two else "Q2_K"
                i_down += 1
            elif c == "attn_output":
                if n_expert == 8:
                    t = "Q5_K"
                elif ftype in ("IQ1_S", "IQ1_M"):
                    t = "IQ2_XXS"
                elif two:
                    t = "IQ3_S"
        elif c in v_like:
            if ftype == "Q2_K":
                t = "Q4_K" if n_gqa >= 4 else "Q3_K"
            elif ftype == "Q2_K_S" and n_gqa >= 4:
                t = "Q4_K"
            elif ftype == "IQ3_XXS":
                t = "Q4_K" if n_gqa >= 4 else ("IQ3_XXS" if imatrix else "IQ3_S")
            elif ftype in ("IQ3_XS", "IQ3_S") and n_gqa >= 4 or ftype == "IQ3_M":
                t = "Q4_K"
            elif ftype == "Q3_K_M":
                t = "Q5_K" if i_v < 2 else "Q4_K"
            elif ftype == "Q3_K_L":
                t = "Q5_K"
            elif ftype in ("IQ4_NL", "IQ4_XS") and n_gqa >= 4:
                t = "Q5_K"
            elif ftype in ("Q4_K_M", "Q5_K_M") and more(i_v, n_v):
                t = "Q6_K"
            elif ftype == "Q4_K_S" and i_v < 4:
                t = "Q5_K"
            if big and t in ("Q3_K", "Q4_K"):
                t = "Q5_K"
            if n_expert == 8:
                t = "Q8_0"
            i_v += 1
        elif c == "attn_k":
            if n_expert == 8:
                t = "Q8_0"
            elif ftype in ("IQ3_XS", "IQ3_XXS"):
                t = "IQ3_XXS" if ftype == "IQ3_XS" else "IQ2_S"
        elif c == "attn_q":
            if ftype in ("IQ3_XS", "IQ3_XXS"):
                t = "IQ3_XXS" if ftype == "IQ3_XS" else "IQ2_S"
        elif c == "ffn_down":
            i = at if n_expert > 1 else i_down
            if ftype == "Q2_K":
                t = "Q3_K"
            elif ftype == "Q2_K_S":
                t = "Q4_K" if i < n_layer // 8 else t
            elif ftype == "IQ3_XXS" and not imatrix:
                t = "Q4_K" if i < n_layer // 8 else "Q3_K"
            elif ftype == "Q3_K_M":
                t = "Q5_K" if i < n_layer // 16 else "Q4_K"
            elif ftype == "IQ3_M" and (i < n_layer // 8 or n_expert == 8 and more(i, n_layer)):
                t = "Q4_K"
            elif ftype == "Q3_K_L":
                t = "Q5_K"
            elif ftype in ("Q4_K_M", "Q5_K_M"):
                t = "Q6_K" if more(i, n_layer) else t
            elif i < n_layer // 8 and ftype in ("IQ4_NL", "IQ4_XS") and not imatrix:
                t = "Q5_K"
            elif ftype == "Q4_K_S" and i < n_layer // 8:
                t = "Q5_K"
            elif ftype in ("Q4_0", "Q5_0") and imatrix and i < n_layer // 8:
                t = "Q4_1" if ftype == "Q4_0" else "Q5_1"
            i_down += 1
        elif c == "attn_output":
            if n_expert == 8:
                if ftype in ("Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL",
                             "Q4_K_S", "Q4_K_M", "IQ3_S", "IQ3_M", "IQ4_XS"):  # fmt: skip
                    t = "Q5_K"
            else:
                t = {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K",
                     "IQ3_M": "Q4_K"}.get(ftype, t)  # fmt: skip
        elif c == "attn_qkv":  # only with old_qkv
            t = {"Q3_K_M": "Q4_K", "Q3_K_L": "Q4_K", "IQ3_M": "Q4_K", "Q4_K_M": "Q5_K",
                 "Q5_K_M": "Q6_K"}.get(ftype, t)  # fmt: skip
        elif c in ("ffn_gate", "ffn_up") and ftype == "IQ3_XS":
            i = at
            if n_layer // 8 <= i < 7 * n_layer // 8:
                t = "IQ3_XXS"
        if shape[-1] % BLOCK[t][1]:
            t = _FALLBACK[t]
            if shape[-1] % BLOCK[t][1]:
                t = "F16"
        out[name] = t
    return out


def tensor_bytes(shape: tuple[int, ...], kind: str) -> int:
    size, weights = BLOCK[kind]
    n = 1
    for d in shape:
        n *= d
    return n // weights * size


def file_bytes(tensors: list[Tensor], ftype: str, arch: str, **more: Any) -> int:
    """Sum of the bytes of all tensors of the file."""
    kinds = types(tensors, ftype, arch, **more)
    return sum(tensor_bytes(s, kinds[n]) for n, s in tensors)


def _ends(c: dict[str, Any], out: list[Tensor]) -> list[Tensor]:
    h, v = c["hidden_size"], c["vocab_size"]
    out += [("token_embd.weight", (v, h)), ("output_norm.weight", (h,))]
    if not c.get("tie_word_embeddings"):
        out.append(("output.weight", (v, h)))
    return out


def _attention(c: dict[str, Any], p: str, out: list[Tensor]) -> None:
    h, heads = c["hidden_size"], c["num_attention_heads"]
    kv, d = c.get("num_key_value_heads", heads), c.get("head_dim") or h // heads
    kind = c["model_type"]
    out += [(p + "attn_q.weight", (heads * d, h)), (p + "attn_k.weight", (kv * d, h)),
            (p + "attn_v.weight", (kv * d, h)), (p + "attn_output.weight", (h, heads * d)),
            (p + "attn_norm.weight", (h,)), (p + "ffn_norm.weight", (h,))]  # fmt: skip
    if kind.startswith("qwen3"):
        out += [(p + "attn_q_norm.weight", (d,)), (p + "attn_k_norm.weight", (d,))]
    if kind == "qwen2":
        out += [(p + "attn_q.bias", (heads * d,)), (p + "attn_k.bias", (kv * d,)),
                (p + "attn_v.bias", (kv * d,))]  # fmt: skip


def dense(c: dict[str, Any]) -> list[Tensor]:
    """Tensors of a plain decoder (llama, mistral, qwen2, qwen3)."""
    out: list[Tensor] = []
    h, f = c["hidden_size"], c["intermediate_size"]
    for i in range(c["num_hidden_layers"]):
        p = f"blk.{i}."
        _attention(c, p, out)
        out += [(p + "ffn_gate.weight", (f, h)), (p + "ffn_up.weight", (f, h)),
                (p + "ffn_down.weight", (h, f))]  # fmt: skip
    if (c.get("rope_scaling") or {}).get("rope_type") == "llama3":
        d = c.get("head_dim") or h // c["num_attention_heads"]
        out.append(("rope_freqs.weight", (d // 2,)))
    return _ends(c, out)


def qwen_moe(c: dict[str, Any]) -> list[Tensor]:
    """Tensors of qwen3moe."""
    out: list[Tensor] = []
    h, f, e = c["hidden_size"], c["moe_intermediate_size"], c["num_experts"]
    for i in range(c["num_hidden_layers"]):
        p = f"blk.{i}."
        _attention(c, p, out)
        out += [(p + "ffn_gate_exps.weight", (e, f, h)), (p + "ffn_up_exps.weight", (e, f, h)),
                (p + "ffn_down_exps.weight", (e, h, f)), (p + "ffn_gate_inp.weight", (e, h))]  # fmt: skip
    return _ends(c, out)


def qwen35(c: dict[str, Any]) -> list[Tensor]:
    """Tensors of qwen35 and qwen35moe (Qwen3.5, 3.6, 3.8; the text part)."""
    c = c.get("text_config", c)
    out: list[Tensor] = []
    h, d = c["hidden_size"], c["head_dim"]
    heads, kv = c["num_attention_heads"], c["num_key_value_heads"]
    nk, nv = c["linear_num_key_heads"], c["linear_num_value_heads"]
    dk, dv = c["linear_key_head_dim"], c["linear_value_head_dim"]
    for i in range(c["num_hidden_layers"]):
        p = f"blk.{i}."
        out += [(p + "attn_norm.weight", (h,)), (p + "post_attention_norm.weight", (h,))]
        if (i + 1) % c.get("full_attention_interval", 4) == 0:
            out += [(p + "attn_q.weight", (2 * heads * d, h)), (p + "attn_k.weight", (kv * d, h)),
                    (p + "attn_v.weight", (kv * d, h)), (p + "attn_output.weight", (h, heads * d)),
                    (p + "attn_q_norm.weight", (d,)), (p + "attn_k_norm.weight", (d,))]  # fmt: skip
        else:
            conv = 2 * nk * dk + nv * dv
            out += [(p + "attn_qkv.weight", (conv, h)), (p + "attn_gate.weight", (nv * dv, h)),
                    (p + "ssm_alpha.weight", (nv, h)), (p + "ssm_beta.weight", (nv, h)),
                    (p + "ssm_conv1d.weight", (conv, c["linear_conv_kernel_dim"])),
                    (p + "ssm_dt.bias", (nv,)), (p + "ssm_a", (nv,)), (p + "ssm_norm.weight", (dv,)),
                    (p + "ssm_out.weight", (h, nv * dv))]  # fmt: skip
        if c.get("num_experts"):
            e, f, s = c["num_experts"], c["moe_intermediate_size"], c["shared_expert_intermediate_size"]
            out += [(p + "ffn_gate_exps.weight", (e, f, h)), (p + "ffn_up_exps.weight", (e, f, h)),
                    (p + "ffn_down_exps.weight", (e, h, f)), (p + "ffn_gate_inp.weight", (e, h)),
                    (p + "ffn_gate_shexp.weight", (s, h)), (p + "ffn_up_shexp.weight", (s, h)),
                    (p + "ffn_down_shexp.weight", (h, s)), (p + "ffn_gate_inp_shexp.weight", (h,))]  # fmt: skip
        else:
            f = c["intermediate_size"]
            out += [(p + "ffn_gate.weight", (f, h)), (p + "ffn_up.weight", (f, h)),
                    (p + "ffn_down.weight", (h, f))]  # fmt: skip
    return _ends(c, out)
