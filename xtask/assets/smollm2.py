"""Turns SmolLM2-135M-Instruct's GGUF file into the folder that mlx-lm reads: smollm2.py MODEL.gguf FOLDER.

The quantised weights (4 bits, the embedding 8) are kept bit for bit; only tensor names, the order of rows in the query and key projections (GGUF
interleaves the two halves that rotary embedding pairs) and the type of scales and biases (float32, the one that MLX's
CPU backend is fast with) change.
"""

import json
import sys
from pathlib import Path

import mlx.core as mx
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

BITS, GROUP = 4, 32
CONTROL_TOKEN = 3
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def new_name(name):
    """`blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight` at Hugging Face."""
    *block, part, kind = name.split(".")
    layer = f"model.layers.{block[1]}." if block else ""
    return f"{layer}{NAMES[part]}.{kind}"


def halves_apart(array, heads):
    """Undoes GGUF's interleaving of each head's rows."""
    rows, columns = array.shape
    return array.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def weights(tensors, heads, kv_heads):
    out = {}
    for name, array in tensors.items():
        if ".attn_q." in name:
            array = halves_apart(array, heads)
        elif ".attn_k." in name:
            array = halves_apart(array, kv_heads)
        out[new_name(name)] = array if array.dtype == mx.uint32 else array.astype(mx.float32)
    return out


def quantization(tensors):
    """The default, and the tensors that have other bits."""
    settings = {"group_size": GROUP, "bits": BITS}
    for name, scales in tensors.items():
        if name.endswith(".scales"):
            module = name.removesuffix(".scales")
            bits = 32 * tensors[f"{module}.weight"].shape[1] // (scales.shape[1] * GROUP)
            if bits != BITS:
                settings[module] = {"group_size": GROUP, "bits": bits}
    return settings


def config(meta, tensors):
    def number(key):
        return meta[f"llama.{key}"].item()

    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": number("embedding_length"),
        "intermediate_size": number("feed_forward_length"),
        "max_position_embeddings": number("context_length"),
        "num_attention_heads": number("attention.head_count"),
        "num_hidden_layers": number("block_count"),
        "num_key_value_heads": number("attention.head_count_kv"),
        # Stored as float32; six digits give back the 1e-05 that was meant.
        "rms_norm_eps": float(f"{number('attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": number("rope.freq_base"),
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": number("vocab_size"),
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"].item(),
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"].item(),
        "quantization": quantization(tensors),
    }


def tokenizer(meta):
    tokens = meta["tokenizer.ggml.tokens"]
    kinds = meta["tokenizer.ggml.token_type"].tolist()
    merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tok.decoder = decoders.ByteLevel()
    control = [t for t, kind in zip(tokens, kinds) if kind == CONTROL_TOKEN]
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in control])
    return tok


def tokenizer_config(meta):
    tokens = meta["tokenizer.ggml.tokens"]

    def token(kind):
        return tokens[meta[f"tokenizer.ggml.{kind}_token_id"].item()]

    return {
        "tokenizer_class": "GPT2Tokenizer",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": meta["llama.context_length"].item(),
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "pad_token": token("padding"),
        "unk_token": token("unknown"),
        "chat_template": meta["tokenizer.chat_template"],
    }


def main(gguf, folder):
    tensors, meta = mx.load(gguf, return_metadata=True)
    heads, kv_heads = (meta[f"llama.attention.head_count{kind}"].item() for kind in ("", "_kv"))
    tensors = weights(tensors, heads, kv_heads)
    folder.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(folder / "model.safetensors"), tensors, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config(meta, tensors), indent=2) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(meta), indent=2) + "\n")
    tokenizer(meta).save(str(folder / "tokenizer.json"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
