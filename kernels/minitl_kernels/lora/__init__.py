"""LoRA's linear layer as one operation: y = xWᵀ + b + s · dropout(x)AᵀBᵀ.

operator    lora_linear: checks, autograd, registration
multi       lora_linear_multi: the same with an adapter for every row
mask        the dropout mask as a function of a seed
paths       plain PyTorch, processor, GPU
"""

from minitl_kernels.lora.mask import dropout_mask
from minitl_kernels.lora.multi import lora_linear_multi
from minitl_kernels.lora.operator import lora_linear
from minitl_kernels.lora.paths import force_path

__all__ = ["dropout_mask", "force_path", "lora_linear", "lora_linear_multi"]
