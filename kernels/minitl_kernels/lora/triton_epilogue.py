"""What a product does with its accumulator once the loop over K has ended: the low rank, the scaling, the bias.

    y = up · (down · total + S (low · B)ᵀ) + b        with down = 1 / s, low = 1, up = s

The accumulator is scaled down and up again so that S Bᵀ can be added in place, with its factor s in float32: a second
accumulator would double the registers. Where s is zero nothing may be divided by it: down = up = 1 and low = 0.
"""

import triton
import triton.language as tl

WIDEST = 32  # columns of S that are multiplied at a time: more would not leave the accumulator its registers
_SMALLEST = 2.0**-100  # an s nearer to zero adds nothing to a float32, but dividing by it would overflow


def scales(scaling: float) -> tuple[float, float, float]:
    """(down, low, up) for a scaling s."""
    return (1.0, 0.0, 1.0) if abs(scaling) < _SMALLEST else (1.0 / scaling, 1.0, scaling)


@triton.jit
def add_low_rank(  # type: ignore[no-untyped-def]
    total, low, b, columns, N, first, rank, scale_low, b_stride_n, b_stride_r,
    WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """total [m, n] += low [m, WIDTH] B[columns, first : first + WIDTH]ᵀ, B rounded to low's data type as it is read."""
    ranks = first + tl.arange(0, WIDTH)
    mask = (columns < N)[:, None] & (ranks < rank)[None, :]
    up = tl.load(b + columns[:, None] * b_stride_n + ranks[None, :] * b_stride_r, mask, 0.0)
    return tl.dot(low, (up * scale_low).to(low.dtype).T, total, input_precision=PRECISION)


@triton.jit
def add_bias(total, bias, columns, N, HAS_BIAS: tl.constexpr):  # type: ignore[no-untyped-def]
    """total [m, n] + bias[columns], in float32."""
    if HAS_BIAS:
        total += tl.load(bias + columns, columns < N, 0.0).to(tl.float32)[None, :]
    return total
