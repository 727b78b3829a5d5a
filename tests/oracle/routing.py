"""Which attention MLX runs in one kernel on Metal."""

from __future__ import annotations

from dataclasses import dataclass

from ops import Shape


@dataclass
class AttentionRouting:
    """Which attention shapes have a fused Metal kernel that MLX really uses.

    Rule: ``has_fused_kernel`` and ``use_fallback`` of
    mlx/backend/metal/scaled_dot_product_attention.cpp. ``nax`` stands for the matrix
    units of M5 and later chips. While gradients are recorded (``training``) the fused
    kernels are never used.
    """

    nax: bool = False
    training: bool = False

    def fused(
        self, q: Shape, k: Shape, v: Shape, has_array_mask: bool, causal: bool
    ) -> bool:
        if self.training:
            return False
        length, head, value = q[2], q[3], v[3]
        if length > 8:
            if head != value or head not in (64, 72, 80, 96, 128, 192, 256):
                return False
            if causal and not has_array_mask and length > k[2]:
                return False
            if self.nax and length >= 1024 and head == 256 and causal:
                return True
            return head not in (192, 256)
        known = (head == value and head in (64, 96, 128, 256)) or (
            head == 192 and value == 128
        )
        return known and length <= k[2] and length * (q[1] // k[1]) <= 32


routing = AttentionRouting()
