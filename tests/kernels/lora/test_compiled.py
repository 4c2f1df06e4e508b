"""Every Triton kernel of LoRA compiles for chips that are not at hand, spills nothing and fits them."""

from collections.abc import Iterator

import pytest
import torch
import triton
import triton.language as tl
from minitl_kernels.lora.triton_common import HOPPER, Chip, chip_of

from benchmarks.lora_compiled import (
    ALL,
    CORE,
    LAUNCHES,
    Case,
    Launch,
    Row,
    compiling,
    measure,
    measure_all,
    table,
)


def _check(rows: list[Row], cases: list[Case]) -> None:
    print(table(rows))
    assert {row.case for row in rows} == {str(case) for case in cases}
    assert not [row for row in rows if not row.fits]


# Minutes of compiling: one chip each time, the others in the slow tier.
EACH_CHIP = [pytest.param(case, marks=() if case.chip == HOPPER else pytest.mark.slow, id=str(case)) for case in CORE]


@pytest.mark.parametrize("case", EACH_CHIP)
def test_what_the_rules_choose_fits_every_chip(case: Case) -> None:
    _check(measure_all([case]), [case])


GROUPS = list(dict.fromkeys((case.chip, case.dtype) for case in ALL))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("chip", "dtype"), GROUPS, ids=[f"sm_{chip.capability}-{dtype}" for chip, dtype in GROUPS])
def test_every_candidate_fits_its_chip(chip: Chip, dtype: torch.dtype) -> None:
    cases = [case for case in ALL if (case.chip, case.dtype) == (chip, dtype)]
    _check([row for case in cases for launches in LAUNCHES for row in measure(case, launches)], cases)


@triton.jit
def _greedy_kernel(x, y, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Keeps a row in one warp, whose threads have not the registers for it."""
    places = tl.arange(0, SIZE)
    row = tl.load(x + places)
    tl.store(y + places, row - tl.sum(row))


def _greedy(_: Case) -> Iterator[Launch]:
    x = torch.empty(16384, device="meta")
    yield "one warp", lambda: _greedy_kernel[(1,)](x, x, 16384, num_warps=1)


@pytest.mark.parametrize("case", EACH_CHIP)
def test_a_kernel_that_spills_is_seen(case: Case) -> None:
    (row,) = measure(case, _greedy)
    assert row.spilled > 1000
    assert not row.fits


@pytest.mark.parametrize(
    "change",
    [{"spilled": 4}, {"shared": HOPPER.shared + 1}, {"tensor_memory": 513}],
    ids=lambda change: next(iter(change)),
)
def test_a_row_fits_only_within_all_limits(change: dict[str, int]) -> None:
    row = Row("case", "kernel", "config", 255, 0, HOPPER.shared, HOPPER.shared, 512)
    assert row.fits
    assert not row._replace(**change).fits
    assert "DOES NOT FIT" in table([row._replace(**change)])


def test_compiling_leaves_no_trace() -> None:
    run, before = triton.runtime.jit.JITFunction.run, chip_of(torch.device("meta"))
    with compiling(CORE[0].chip):
        assert chip_of(torch.device("meta")) == CORE[0].chip
    assert triton.runtime.jit.JITFunction.run is run
    assert chip_of(torch.device("meta")) == before
