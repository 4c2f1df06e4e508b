"""y and S in one kernel, without dropout and for small ranks: the loop over K that multiplies x with W meets A as well.

  K          K  │ K              every program recomputes S for its rows; for r ≤ 16 that costs less than reading x
┌────┐  ·  ┌────┬──┐ᵀ            once more. The programs of the first column of tiles store S for the backward pass.
│ x  │     │ W  │A │
└────┘     └────┴──┘

In the loop the small product comes first: its operand, A, is rounded on the way and so has to be waited for, while the
large product stays in flight into the next round.
"""

import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.ranks import padded_rank
from minitl_kernels.lora.triton_common import (
    dot_precision,
    in_eights,
    multiprocessors,
    pieces,
    provide_scratch,
    vectorised,
)
from minitl_kernels.lora.triton_epilogue import add_bias, add_low_rank, scales
from minitl_kernels.lora.triton_tiles import ProductConfig, default_product_config, tile_of


@triton.jit(do_not_specialize=["M", "scale_down", "scale_low", "scale_up"])
def _single_kernel(  # type: ignore[no-untyped-def]
    x, w, bias, a, b, s, y, M, N, K, rank, scale_down, scale_low, scale_up,
    x_stride_m, x_stride_k, w_stride_n, w_stride_k, a_stride_r, a_stride_k, b_stride_n, b_stride_r,
    R: tl.constexpr, HAS_BIAS: tl.constexpr, EVEN_K: tl.constexpr, EIGHTS: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    tile_m, tile_n = tile_of(tl.program_id(0), tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N), GROUP)
    N, K, a_stride_r = in_eights(N, EIGHTS), in_eights(K, EIGHTS), in_eights(a_stride_r, EIGHTS)
    x_stride_m, w_stride_n = in_eights(x_stride_m, EIGHTS), in_eights(w_stride_n, EIGHTS)
    rows = tile_m.to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tile_n.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    inner, ranks = tl.arange(0, BLOCK_K), tl.arange(0, R)
    x_tile = x + rows[:, None] * x_stride_m + inner[None, :].to(tl.int64) * x_stride_k
    w_tile = w + columns[:, None] * w_stride_n + inner[None, :].to(tl.int64) * w_stride_k
    a_tile = a + ranks[:, None] * a_stride_r + inner[None, :] * a_stride_k
    step = tl.full((), BLOCK_K, tl.int64)

    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    low = tl.zeros((BLOCK_M, R), tl.float32)
    for k in range(0, K, BLOCK_K):
        inside = (k + inner < K)[None, :]
        x_mask = (rows < M)[:, None] if EVEN_K else (rows < M)[:, None] & inside
        w_mask = (columns < N)[:, None] if EVEN_K else (columns < N)[:, None] & inside
        a_mask = (ranks < rank)[:, None] if EVEN_K else (ranks < rank)[:, None] & inside
        left = tl.load(x_tile, x_mask, 0.0)
        right = tl.load(w_tile, w_mask, 0.0)
        down = tl.load(a_tile, a_mask, 0.0).to(left.dtype)
        low = tl.dot(left, down.T, low, input_precision=PRECISION)
        total = tl.dot(left, right.T, total, input_precision=PRECISION)
        x_tile += step * x_stride_k
        w_tile += step * w_stride_k
        a_tile += step * a_stride_k

    rounded = low.to(y.dtype.element_ty)
    if tile_n == 0:
        tl.store(s + rows[:, None] * R + ranks[None, :], rounded, (rows < M)[:, None])
    total = add_low_rank(
        total * scale_down, rounded, b, columns, N, 0, rank, scale_low, b_stride_n, b_stride_r, R, PRECISION
    )
    total = add_bias(total * scale_up, bias, columns, N, HAS_BIAS)
    inside_y = (rows < M)[:, None] & (columns < N)[None, :]
    tl.store(y + rows[:, None] * N + columns[None, :], total.to(y.dtype.element_ty), inside_y)


@triton.jit(do_not_specialize=["M", "scale_down", "scale_low", "scale_up"])
def _single_tma_kernel(  # type: ignore[no-untyped-def]
    x, w, bias, a, b, s, y, M, N, K, rank, scale_down, scale_low, scale_up,
    x_stride_m, w_stride_n, a_stride_r, b_stride_n, b_stride_r,
    R: tl.constexpr, HAS_BIAS: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, FLATTEN: tl.constexpr,
):  # fmt: skip
    x_tiles = tl.make_tensor_descriptor(x, [M, K], [x_stride_m, 1], [BLOCK_M, BLOCK_K])
    w_tiles = tl.make_tensor_descriptor(w, [N, K], [w_stride_n, 1], [BLOCK_N, BLOCK_K])
    a_tiles = tl.make_tensor_descriptor(a, [rank, K], [a_stride_r, 1], [R, BLOCK_K])
    s_tiles = tl.make_tensor_descriptor(s, [M, R], [R, 1], [BLOCK_M, R])
    y_tiles = tl.make_tensor_descriptor(y, [M, N], [N, 1], [BLOCK_M, BLOCK_N])
    tiles_m, tiles_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    for index in tl.range(tl.program_id(0), tiles_m * tiles_n, tl.num_programs(0), flatten=FLATTEN):
        tile_m, tile_n = tile_of(index, tiles_m, tiles_n, GROUP)
        row, column = tile_m * BLOCK_M, tile_n * BLOCK_N
        total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        low = tl.zeros((BLOCK_M, R), tl.float32)
        for k in range(0, K, BLOCK_K):
            left = x_tiles.load([row, k])
            low = tl.dot(left, a_tiles.load([0, k]).to(left.dtype).T, low, input_precision=PRECISION)
            total = tl.dot(left, w_tiles.load([column, k]).T, total, input_precision=PRECISION)
        rounded = low.to(y.dtype.element_ty)
        if tile_n == 0:
            s_tiles.store([row, 0], rounded)
        columns = column + tl.arange(0, BLOCK_N)
        total = add_low_rank(
            total * scale_down, rounded, b, columns, N, 0, rank, scale_low, b_stride_n, b_stride_r, R, PRECISION
        )
        total = add_bias(total * scale_up, bias, columns, N, HAS_BIAS)
        y_tiles.store([row, column], total.to(y.dtype.element_ty))


def single(
    x: Tensor, weight: Tensor, bias: Tensor | None, lora_a: Tensor, lora_b: Tensor, scaling: float,
    config: ProductConfig | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """y [M, N] = x Wᵀ + b + s · S Bᵀ and S [M, R] = x Aᵀ in x's dtype, accumulated in float32.

    x [M, K] and weight [N, K] of any strides, but `aligned`, as lora_a, where the configuration asks for descriptors;
    bias [N] or None; lora_a [r, K] and lora_b [N, r] float32 or x's dtype, each on its own; r ≤ 32.
    """
    (m, k), (n, rank), padded = x.shape, lora_b.shape, padded_rank(lora_b.shape[1])
    y, s = x.new_empty((m, n)), x.new_empty((m, padded))
    config = config or default_product_config(x, weight, y, rank, lora_a)
    tiles = pieces(m, config.block_m) * pieces(n, config.block_n)
    shared = (x, weight, bias, lora_a, lora_b, s, y, m, n, k, rank, *scales(scaling))
    sizes = {
        "R": padded, "HAS_BIAS": bias is not None, "PRECISION": dot_precision(x.dtype),
        "BLOCK_M": config.block_m, "BLOCK_N": config.block_n, "BLOCK_K": config.block_k, "GROUP": config.group,
        "num_warps": config.warps, "num_stages": config.stages,
    }  # fmt: skip
    if config.tma:
        provide_scratch()
        programs = min(tiles, multiprocessors(x.device)) if config.persistent else tiles
        strides = (x.stride(0), weight.stride(0), lora_a.stride(0), *lora_b.stride())
        _single_tma_kernel[(programs,)](*shared, *strides, FLATTEN=config.persistent, **sizes)
    else:
        strides = (*x.stride(), *weight.stride(), *lora_a.stride(), *lora_b.stride())
        even, eights = k % config.block_k == 0, vectorised(x, weight, y, lora_a)
        _single_kernel[(tiles,)](*shared, *strides, EVEN_K=even, EIGHTS=eights, **sizes)
    return y, s
