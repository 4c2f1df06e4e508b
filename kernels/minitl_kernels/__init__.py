"""Kernels for the operations that decide minitl's speed; they know torch and triton, and nothing of minitl."""

from minitl_kernels.dropout import dropout
from minitl_kernels.packed import packed_linears

__all__ = ["dropout", "packed_linears"]
