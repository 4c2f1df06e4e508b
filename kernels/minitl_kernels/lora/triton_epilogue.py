"""What a product does with its accumulator once the loop over K has ended: the low rank, the scaling, the bias.

    y = up · (down · total + S (low · B)ᵀ) + b        with down = 1 / s, low = 1, up = s

The accumulator is scaled down and up again so that S Bᵀ can be added in place, with its factor s in float32: a second
accumulator would double the registers. Where s is zero nothing may be divided by it: down = up = 1 and low = 0.
"""

import triton
import triton.language as tl

_SMALLEST = 2.0**-100  # an s nearer to zero adds nothing to a float32, but dividing by it would overflow


def scales(scaling: float) -> tuple[float, float, float]:
    """(down, low, up) for a scaling s."""
    return (1.0, 0.0, 1.0) if abs(scaling) < _SMALLEST else (1.0 / scaling, 1.0, scaling)


@triton.jit
def expand(  # type: ignore[no-untyped-def]
    total, low, b, bias, columns, N, rank, scale_down, scale_low, scale_up, b_stride_n, b_stride_r,
    R: tl.constexpr, HAS_BIAS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """total [m, n] float32, low = S [m, R] in the compute dtype, B's rows `columns` [n] -> y [m, n] float32."""
    ranks = tl.arange(0, R)
    b_mask = (columns < N)[:, None] & (ranks < rank)[None, :]
    up = tl.load(b + columns[:, None] * b_stride_n + ranks[None, :] * b_stride_r, b_mask, 0.0)
    up = (up * scale_low).to(low.dtype)
    total = tl.dot(low, up.T, total * scale_down, input_precision=PRECISION) * scale_up
    if HAS_BIAS:
        total += tl.load(bias + columns, columns < N, 0.0).to(tl.float32)[None, :]
    return total
