"""The parts of `python -m benchmarks.lora_kernels`, in the order in which a row is made.

cases         which layers are measured
problem       one of them as tensors: x and dY several times over, W, b, A, B
peers         the layers of other libraries; lorafusion.py holds the one that needs Triton
arms          everything that is timed on a case: the limit, ours, each of our paths forced, the peers
timing        eager and in CUDA graphs, the arms taking turns
memory        what is saved for the backward pass, and the peak
numerics      errors against float64, determinism, masks
rows          one case measured
targets       what is to hold, and whether it does
report        the table of the page on speed, and the plot
"""
