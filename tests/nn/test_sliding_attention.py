from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitl.nn import sliding_attention
from minitl.nn.masks import causal_window_mask
from minitl.nn.sliding_attention import SlidingSelfAttention, StripMask, sliding_mask

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _short_strips() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sliding_attention, "STRIP", 3)
        yield


def attention() -> SlidingSelfAttention:
    torch.manual_seed(0)
    return SlidingSelfAttention(12, 6, 0.0, kv_heads=2).eval()


@pytest.mark.parametrize("want_weights", [False, True], ids=["fused", "plain"])
@given(
    queries=st.integers(1, 14),
    past=st.integers(0, 9),
    window=st.integers(1, 16),
    padding=st.one_of(st.none(), st.lists(st.integers(0, 12), min_size=2, max_size=2)),
    seed=st.integers(0, 1000),
)
def test_strip_by_strip_gives_the_numbers_of_the_whole(
    want_weights: bool, queries: int, past: int, window: int, padding: list[int] | None, seed: int
) -> None:
    layer = attention()
    torch.manual_seed(seed)
    keys = min(past, window - 1) + queries
    query, key, value = torch.randn(2, 6, queries, 2), torch.randn(2, 2, keys, 2), torch.randn(2, 2, keys, 2)
    real = None
    if padding is not None:
        real = (torch.arange(past + queries) >= torch.tensor(padding)[:, None]).long()
    strips = sliding_mask(real, queries, past, window, CPU)
    whole = causal_window_mask(real, queries, past, window, CPU)
    assert isinstance(strips, StripMask) == (queries > 3 and keys > window)
    context, weights = layer.attend(query, key, value, strips, want_weights)
    expected, expected_weights = layer.attend(query, key, value, whole, want_weights)
    torch.testing.assert_close(context, expected)
    if want_weights:
        torch.testing.assert_close(weights, expected_weights)
    else:
        assert weights is None


@given(queries=st.integers(4, 40), past=st.integers(0, 20), window=st.integers(1, 12))
def test_a_strip_looks_at_no_more_keys_than_its_tokens_see(queries: int, past: int, window: int) -> None:
    mask = sliding_mask(None, queries, past, window, CPU)
    if not isinstance(mask, StripMask):
        assert min(past, window - 1) + queries <= window
        return
    covered = []
    for rows, keys, part in mask.strips:
        height, width = rows.stop - rows.start, keys.stop - keys.start
        covered += range(rows.start, rows.stop)
        assert width <= height + window - 1
        cells = part.cells(height, width, CPU)
        assert cells is None or cells[0, 0].any(0).all()
    assert covered == list(range(queries))


def test_texts_as_long_as_the_window_stay_whole_and_implicit() -> None:
    assert sliding_mask(None, 9, 0, 9, CPU).causal
    assert sliding_mask(torch.ones(2, 12), 9, 3, 12, CPU).cells(9, 12, CPU).shape == (1, 1, 9, 12)
    assert isinstance(sliding_mask(None, 9, 0, 8, CPU), StripMask)


def test_gradients_pass_through_the_strips() -> None:
    layer, x = attention(), torch.randn(2, 10, 12)
    gradients = []
    for mask in (sliding_mask(None, 10, 0, 4, CPU), causal_window_mask(None, 10, 0, 4, CPU)):
        inputs = x.clone().requires_grad_()
        layer(inputs, mask)[0].square().sum().backward()
        gradients.append(inputs.grad)
    torch.testing.assert_close(*gradients)
