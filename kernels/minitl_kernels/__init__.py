"""Kernels for the operations that decide minitl's speed; they know torch and triton, and nothing of minitl."""

from minitl_kernels.dropout import dropout
from minitl_kernels.lora import dropout_mask, force_path, lora_linear, lora_linear_multi
from minitl_kernels.packed import PackedLinears

__all__ = ["PackedLinears", "dropout", "dropout_mask", "force_path", "lora_linear", "lora_linear_multi"]
