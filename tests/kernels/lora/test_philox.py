"""The counter-based mask: the published generator, packed and unpacked."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from minitl_kernels.lora import philox as module
from minitl_kernels.lora.philox import pack_bits, philox, philox_keep, unpack_bits

# Known answers of Philox4x32 for a counter and a key of zeros: Random123, kat_vectors (Salmon et al. 2011).
KNOWN = {7: "5f6fb709 0d893f64 4f121f81 4f730a48", 10: "6627e8d5 e169c58d bc57ac4c 9b00dbd8"}


@pytest.mark.parametrize("rounds", KNOWN)
def test_the_words_are_the_published_ones(rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUNDS", rounds)
    zero = torch.zeros((), dtype=torch.int64)
    assert " ".join(f"{int(word):08x}" for word in philox(zero, zero)) == KNOWN[rounds]


@given(rows=st.integers(1, 9), columns=st.integers(1, 70), seed=st.integers(-(2**63), 2**63 - 1))
def test_packing_loses_nothing(rows: int, columns: int, seed: int) -> None:
    keep = philox_keep(torch.tensor(seed), rows, columns, 30000)
    bits = pack_bits(keep)
    assert bits.shape == (rows, -(-columns // 8))
    assert torch.equal(unpack_bits(bits, columns), keep)


@pytest.mark.parametrize("threshold", [1, 6554, 32768, 65535])
def test_as_many_are_dropped_as_the_threshold_says(threshold: int) -> None:
    keep = philox_keep(torch.tensor(7), 512, 1024, threshold)
    p = threshold / 65536
    deviation = (p * (1 - p) / keep.numel()) ** 0.5
    assert abs((~keep).double().mean().item() - p) < 5 * deviation


def test_seeds_rows_and_lanes_are_independent() -> None:
    first, second = (philox_keep(torch.tensor(seed), 256, 512, 32768).double() - 0.5 for seed in (0, 1))
    bound = 5 * 0.25 / first.numel() ** 0.5  # five standard deviations of a mean of products of ±½
    assert (first * second).mean().abs() < bound
    for shift in range(1, 17):
        assert (first[:, shift:] * first[:, :-shift]).mean().abs() < 1.1 * bound
    assert (first[1:] * first[:-1]).mean().abs() < 1.1 * bound
    assert (philox_keep(torch.tensor(1 << 40), 8, 8, 32768) != philox_keep(torch.tensor(0), 8, 8, 32768)).any()
