"""LoRA's linear layer as one operation: y = xWᵀ + b + s · dropout(x)AᵀBᵀ.

operator    lora_linear: checks, autograd, registration; checks.py what is refused
mask        the dropout mask as a function of a seed; philox.py draws it by counting
paths       which way is taken: plain.py (PyTorch), cpu.py, cuda.py (Triton and cuBLAS)
plans       on a GPU, which kernels: by a rule, or as tuned.py remembers what tuning.py measured
triton_*    the kernels, one idea each: shrink, expand, single; gradients, grad_x, grad_a, low_rank
multi       lora_linear_multi, an adapter for every row: multi_blocks, multi_segments, multi_cuda, triton_multi_*
"""

from minitl_kernels.lora.mask import dropout_mask
from minitl_kernels.lora.multi import lora_linear_multi
from minitl_kernels.lora.operator import lora_linear
from minitl_kernels.lora.paths import force_path

__all__ = ["dropout_mask", "force_path", "lora_linear", "lora_linear_multi"]
