"""`lora_linear` on a processor."""

from minitl_kernels.lora.plain import backward, forward, saved_shapes

__all__ = ["backward", "forward", "saved_shapes"]
