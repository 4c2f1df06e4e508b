"""Kernels for the operations that decide minitl's speed; they know torch and triton, and nothing of minitl."""

from minitl_kernels.dropout import dropout

__all__ = ["dropout"]
