"""Kernels for the operations that decide minitl's speed; they know torch and triton, and nothing of minitl."""

from minitl_kernels.dropout import dropout
from minitl_kernels.packed import PackedLinears

__all__ = ["PackedLinears", "dropout"]
