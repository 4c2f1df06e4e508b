import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitl.nn.positions import RotaryPositions, rotary_frequencies, rotate

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
scalings = st.sampled_from([None, {"rope_type": "linear", "factor": 4.0}, LLAMA3])


def turned(x: torch.Tensor, position: int, positions: RotaryPositions) -> torch.Tensor:
    return rotate(x[None, None, None], *positions(torch.tensor([[position]]), x.dtype))[0, 0, 0]


@settings(max_examples=50, deadline=None)
@given(query_at=st.integers(0, 500), key_at=st.integers(0, 500), shift=st.integers(0, 500), scaling=scalings)
def test_scores_depend_on_the_distance_alone(query_at: int, key_at: int, shift: int, scaling: dict | None) -> None:
    positions = RotaryPositions(16, 10000.0, scaling)
    torch.manual_seed(query_at * 1000 + key_at)
    query, key = torch.randn(2, 16)
    score = turned(query, query_at, positions) @ turned(key, key_at, positions)
    moved = turned(query, query_at + shift, positions) @ turned(key, key_at + shift, positions)
    torch.testing.assert_close(score, moved, rtol=0, atol=2e-3)


@pytest.mark.parametrize("position", [0, 1, 77, 4000])
def test_turning_keeps_lengths_and_position_zero_turns_nothing(position: int) -> None:
    x, positions = torch.randn(16), RotaryPositions(16, 10000.0)
    y = turned(x, position, positions)
    torch.testing.assert_close(y.norm(), x.norm())
    assert torch.equal(y, x) == (position == 0)


def test_a_pair_is_an_element_and_its_partner_half_a_head_away() -> None:
    x = torch.zeros(8)
    x[1] = 1.0
    y = turned(x, 3, RotaryPositions(8, 10000.0))
    angle = 3 * 10000.0 ** (-2 / 8)
    expected = torch.zeros(8)
    expected[1], expected[5] = math.cos(angle), math.sin(angle)
    torch.testing.assert_close(y, expected)


def test_frequencies_fall_geometrically_from_one() -> None:
    frequencies = rotary_frequencies(64, 10000.0, {})
    assert frequencies.shape == (32,)
    assert frequencies[0] == 1.0
    torch.testing.assert_close(frequencies[1:] / frequencies[:-1], torch.full((31,), 10000.0 ** (-1 / 32)))


def test_linear_scaling_slows_every_turn_alike() -> None:
    plain = rotary_frequencies(64, 10000.0, {})
    assert torch.equal(rotary_frequencies(64, 10000.0, {"type": "linear", "factor": 4.0}), plain / 4)


def test_llama3_scaling_keeps_fast_turns_and_slows_slow_ones() -> None:
    plain, scaled = rotary_frequencies(128, 500000.0, {}), rotary_frequencies(128, 500000.0, LLAMA3)
    rounds = 8192 * plain / (2 * math.pi)  # completed within the original context
    fast, slow = rounds > 4.0, rounds < 1.0
    between = ~fast & ~slow
    assert fast.any()
    assert slow.any()
    assert between.any()
    torch.testing.assert_close(scaled[fast], plain[fast], rtol=1e-6, atol=0)
    torch.testing.assert_close(scaled[slow], plain[slow] / 8, rtol=1e-6, atol=0)
    assert (scaled[between] < plain[between]).all()
    assert (scaled[between] > plain[between] / 8).all()
    assert (scaled[1:] < scaled[:-1]).all()


def test_angles_are_taken_in_float32_whatever_the_type_of_the_model() -> None:
    positions = RotaryPositions(16, 10000.0)
    places = torch.tensor([[2048, 2049]])
    wide, narrow = positions(places, torch.float32), positions(places, torch.bfloat16)
    for exact, rounded in zip(wide, narrow, strict=True):
        assert rounded.dtype == torch.bfloat16
        assert torch.equal(rounded, exact.bfloat16())
