"""What random configurations are drawn with."""

from __future__ import annotations

import random
from typing import Any

Config = dict[str, Any]

HEADS = (32, 48, 64, 64, 72, 80, 96, 112, 128, 128, 128, 160, 192, 256)


class Dice:
    """Random choices shared by the families."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def pick(self, *values: Any) -> Any:
        return self.rng.choice(values)

    def coin(self, chance: float = 0.5) -> bool:
        return self.rng.random() < chance

    def layers(self, low: int = 3, high: int = 9) -> int:
        return self.rng.randint(low, high)

    def width(self, low: int = 128, high: int = 1536) -> int:
        """A matrix dimension; often not a multiple of 32, 64 or 128."""
        unit = self.pick(8, 16, 32, 64, 64, 128)
        return unit * self.rng.randint(-(-low // unit), high // unit)

    def vocab(self) -> int:
        return self.pick(
            1000, 4096, 32000, 32064, 50257, 100352, self.rng.randint(900, 70000)
        )

    def heads(self) -> tuple[int, int]:
        """(attention heads, key/value heads)."""
        kv = self.pick(1, 2, 3, 4, 6, 8)
        return kv * self.pick(1, 1, 2, 3, 4, 5, 7, 8), kv

    def plain_heads(self) -> tuple[int, int, int]:
        """(hidden size, heads, kv heads) where head_dim = hidden size / heads."""
        heads, kv = self.heads()
        head = self.pick(*(d for d in HEADS if d * heads <= 4096))
        return heads * head, heads, kv

    def experts(self) -> tuple[int, int]:
        """(routed experts, experts per token)."""
        n = self.pick(4, 6, 8, 16, 20, 32, 60, 64)
        return n, self.rng.randint(1, min(n - 1, 8))

    def base(self, kind: str) -> Config:
        return {
            "model_type": kind,
            "num_hidden_layers": self.layers(),
            "intermediate_size": self.width(256, 3072),
            "vocab_size": self.vocab(),
            "max_position_embeddings": self.pick(4096, 32768, 131072),
            "rms_norm_eps": 1e-6,
            "rope_theta": float(self.pick(10000, 500000, 1000000)),
        }

    def dense(self, kind: str, head_dim: str = "maybe") -> Config:
        """Keys of a llama-like model; head_dim is 'maybe', 'always' or 'never'."""
        c = self.base(kind)
        hidden, heads, kv = self.plain_heads()
        override = head_dim == "always" or (head_dim == "maybe" and self.coin())
        if override:
            c["head_dim"] = self.pick(*HEADS)
            hidden = self.width()
        c.update(hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv)
        return c

    def rope_scaling(self) -> Config | None:
        if self.coin(0.7):
            return None
        return {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }

    def layer_types(self, n: int, sliding: str, full: str, every: int) -> list[str]:
        return [full if (i + 1) % every == 0 else sliding for i in range(n)]
