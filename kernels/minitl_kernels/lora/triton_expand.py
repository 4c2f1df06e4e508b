"""y = x Wᵀ + b + s · S Bᵀ in one product: the low rank joins the accumulator just before it leaves for memory.

      K          K                     R      R
    ┌────┐  ·  ┌────┐ᵀ  = total ─►   ┌──┐ · ┌──┐ᵀ      a program owns BLOCK_M × BLOCK_N outputs; it reads S and B once,
    │ x  │     │ W  │                │S │   │B │        after the loop over K, into shared memory that the loop has left
    └────┘     └────┘                └──┘   └──┘

Two kernels do the same. One computes the addresses of what it loads, so any strides will do. The other describes the
matrices to the chip's copy engine (TMA, from sm_90 on), which fetches whole tiles; its programs may take several tiles
each, so that the descriptors are made once a multiprocessor.
"""

import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.triton_common import (
    dot_precision,
    in_eights,
    multiprocessors,
    pieces,
    provide_scratch,
    vectorised,
)
from minitl_kernels.lora.triton_epilogue import WIDEST, add_bias, add_low_rank, scales
from minitl_kernels.lora.triton_tiles import ProductConfig, default_product_config, tile_of


@triton.jit(do_not_specialize=["M", "scale_down", "scale_low", "scale_up"])
def _expand_product_kernel(  # type: ignore[no-untyped-def]
    x, w, bias, s, b, y, M, N, K, rank, scale_down, scale_low, scale_up,
    x_stride_m, x_stride_k, w_stride_n, w_stride_k, b_stride_n, b_stride_r,
    R: tl.constexpr, WIDTH: tl.constexpr, HAS_BIAS: tl.constexpr, EVEN_K: tl.constexpr, EIGHTS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    tile_m, tile_n = tile_of(tl.program_id(0), tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N), GROUP)
    N, K = in_eights(N, EIGHTS), in_eights(K, EIGHTS)
    x_stride_m, w_stride_n = in_eights(x_stride_m, EIGHTS), in_eights(w_stride_n, EIGHTS)
    rows = tile_m.to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tile_n.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    x_tile = x + rows[:, None] * x_stride_m + inner[None, :].to(tl.int64) * x_stride_k
    w_tile = w + columns[:, None] * w_stride_n + inner[None, :].to(tl.int64) * w_stride_k
    step = tl.full((), BLOCK_K, tl.int64)

    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for k in range(0, K, BLOCK_K):
        inside = (k + inner < K)[None, :]
        x_mask = (rows < M)[:, None] if EVEN_K else (rows < M)[:, None] & inside
        w_mask = (columns < N)[:, None] if EVEN_K else (columns < N)[:, None] & inside
        left = tl.load(x_tile, x_mask, 0.0)
        right = tl.load(w_tile, w_mask, 0.0)
        total = tl.dot(left, right.T, total, input_precision=PRECISION)
        x_tile += step * x_stride_k
        w_tile += step * w_stride_k

    total *= scale_down
    for first in tl.range(0, R, WIDTH, num_stages=1):
        low = tl.load(s + rows[:, None] * R + (first + tl.arange(0, WIDTH))[None, :], (rows < M)[:, None], 0.0)
        total = add_low_rank(
            total, low, b, columns, N, first, rank, scale_low, b_stride_n, b_stride_r, WIDTH, PRECISION
        )  # fmt: skip
    total = add_bias(total * scale_up, bias, columns, N, HAS_BIAS)
    inside_y = (rows < M)[:, None] & (columns < N)[None, :]
    tl.store(y + rows[:, None] * N + columns[None, :], total.to(y.dtype.element_ty), inside_y)


@triton.jit(do_not_specialize=["M", "scale_down", "scale_low", "scale_up"])
def _expand_product_tma_kernel(  # type: ignore[no-untyped-def]
    x, w, bias, s, b, y, M, N, K, rank, scale_down, scale_low, scale_up,
    x_stride_m, w_stride_n, b_stride_n, b_stride_r,
    R: tl.constexpr, WIDTH: tl.constexpr, HAS_BIAS: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, FLATTEN: tl.constexpr,
):  # fmt: skip
    x_tiles = tl.make_tensor_descriptor(x, [M, K], [x_stride_m, 1], [BLOCK_M, BLOCK_K])
    w_tiles = tl.make_tensor_descriptor(w, [N, K], [w_stride_n, 1], [BLOCK_N, BLOCK_K])
    s_tiles = tl.make_tensor_descriptor(s, [M, R], [R, 1], [BLOCK_M, WIDTH])
    y_tiles = tl.make_tensor_descriptor(y, [M, N], [N, 1], [BLOCK_M, BLOCK_N])
    tiles_m, tiles_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    for index in tl.range(tl.program_id(0), tiles_m * tiles_n, tl.num_programs(0), flatten=FLATTEN):
        tile_m, tile_n = tile_of(index, tiles_m, tiles_n, GROUP)
        row, column = tile_m * BLOCK_M, tile_n * BLOCK_N
        total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for k in range(0, K, BLOCK_K):
            left = x_tiles.load([row, k])
            right = w_tiles.load([column, k])
            total = tl.dot(left, right.T, total, input_precision=PRECISION)
        columns = column + tl.arange(0, BLOCK_N)
        total *= scale_down
        for first in tl.range(0, R, WIDTH, num_stages=1):
            total = add_low_rank(
                total, s_tiles.load([row, first]), b, columns, N, first, rank, scale_low, b_stride_n, b_stride_r,
                WIDTH, PRECISION,
            )  # fmt: skip
        total = add_bias(total * scale_up, bias, columns, N, HAS_BIAS)
        y_tiles.store([row, column], total.to(y.dtype.element_ty))


def expand_product(
    x: Tensor, weight: Tensor, bias: Tensor | None, s: Tensor, lora_b: Tensor, scaling: float,
    config: ProductConfig | None = None,
) -> Tensor:  # fmt: skip
    """y [M, N] = x Wᵀ + b + s · S Bᵀ in x's dtype, accumulated in float32.

    x [M, K] and weight [N, K] of any strides, but `aligned` where the configuration asks for descriptors; bias [N] or
    None; s [M, R] contiguous; lora_b [N, r], float32 or x's dtype.
    """
    (m, k), (n, rank), padded = x.shape, lora_b.shape, s.shape[1]
    y = x.new_empty((m, n))
    config = config or default_product_config(x, weight, y, rank)
    tiles = pieces(m, config.block_m) * pieces(n, config.block_n)
    shared = (x, weight, bias, s, lora_b, y, m, n, k, rank, *scales(scaling))
    sizes = {
        "R": padded, "WIDTH": min(padded, WIDEST), "HAS_BIAS": bias is not None, "PRECISION": dot_precision(x.dtype),
        "BLOCK_M": config.block_m, "BLOCK_N": config.block_n, "BLOCK_K": config.block_k, "GROUP": config.group,
        "num_warps": config.warps, "num_stages": config.stages,
    }  # fmt: skip
    if config.tma:
        provide_scratch()
        programs = min(tiles, multiprocessors(x.device)) if config.persistent else tiles
        strides = (x.stride(0), weight.stride(0), *lora_b.stride())
        _expand_product_tma_kernel[(programs,)](*shared, *strides, FLATTEN=config.persistent, **sizes)
    else:
        strides = (*x.stride(), *weight.stride(), *lora_b.stride())
        even, eights = k % config.block_k == 0, vectorised(x, weight, y)
        _expand_product_kernel[(tiles,)](*shared, *strides, EVEN_K=even, EIGHTS=eights, **sizes)
    return y
