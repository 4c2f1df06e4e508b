import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from minitl.errors import InputError
from minitl.nn.absolute_positions import LearnedPositions, Sinusoids, StoredSinusoids


def stored(limit: int, hidden: int) -> StoredSinusoids:
    table = StoredSinusoids(limit, hidden)
    table.fill()
    return table


def test_a_learned_table_begins_two_rows_early() -> None:
    table = LearnedPositions(5, 3)
    assert table.weight.shape == (7, 3)
    assert torch.equal(table(torch.tensor([[0, 4]])), table.weight[None, [2, 6]])
    table(torch.tensor([[0, 1, 2, 3, 4]])).sum().backward()
    assert table.weight.grad.ne(0).any(-1).tolist() == [False, False, *[True] * 5]


@pytest.mark.parametrize("make", [LearnedPositions, stored])
def test_a_text_longer_than_the_table_is_refused_by_its_length(make: type[nn.Module]) -> None:
    table = make(5, 4)
    assert table(torch.arange(5)[None]).shape == (1, 5, 4)
    with pytest.raises(InputError, match="a text of 7 tokens is too long: this model has positions for 5"):
        table(torch.arange(7)[None])


@given(position=st.integers(0, 40), half=st.integers(2, 9))
def test_waves_of_a_stored_table_turn_by_the_papers_angles(position: int, half: int) -> None:
    """Vaswani et al. 2017, section 3.5: PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) the cosine of the same."""
    hidden = 2 * half
    angles = [position / 10000 ** (2 * i / hidden) for i in range(half)]
    expected = torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
    torch.testing.assert_close(stored(41, hidden)(torch.tensor([[position]]))[0, 0], expected)


@given(position=st.integers(0, 3000), half=st.integers(2, 9), first=st.integers(0, 3))
def test_waves_without_an_end_spread_from_1_to_10000(position: int, half: int, first: int) -> None:
    angles = [(position + first) / 10000 ** (i / (half - 1)) for i in range(half)]
    expected = torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
    actual = Sinusoids(2 * half, first)(torch.tensor([[position]]))[0, 0]
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-3)  # angles of thousands, in float32


def test_an_odd_size_leaves_a_wave_without_its_cosine_or_a_column_without_a_wave() -> None:
    table, free = stored(3, 5), Sinusoids(5, 0)
    ones = torch.ones(1, 1, dtype=torch.long)
    # three sines, two cosines
    torch.testing.assert_close(table(ones)[0, 0, 2], torch.tensor(math.sin(10000 ** (-4 / 5))))
    torch.testing.assert_close(table(ones)[0, 0, 3], torch.tensor(math.cos(1.0)))
    # two sines, two cosines, nothing
    torch.testing.assert_close(free(ones)[0, 0, 2], torch.tensor(math.cos(1.0)))
    assert free(ones)[0, 0, 4] == 0


def test_what_is_computed_is_no_parameter() -> None:
    table, free = stored(3, 4), Sinusoids(4, 0)
    assert not list(table.parameters())
    assert [name for name, _ in table.named_buffers()] == ["weight"]
    assert not free.state_dict()
