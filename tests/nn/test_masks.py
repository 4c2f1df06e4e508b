import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minitl.nn.masks import bidirectional_mask, causal_mask, causal_window_mask, positions_from_mask, window_mask

CPU = torch.device("cpu")
padding_masks = st.lists(st.lists(st.integers(0, 1), min_size=6, max_size=6), min_size=1, max_size=4).map(torch.tensor)


def cells(mask: object, queries: int, keys: int, rows: int) -> Tensor:
    """The mask written out, [rows, query, key]."""
    allowed = mask.cells(queries, keys, CPU)
    if allowed is None:
        return torch.ones(rows, queries, keys, dtype=torch.bool)
    return allowed.expand(rows, 1, queries, keys)[:, 0]


@settings(deadline=None)
@given(mask=padding_masks)
def test_nobody_looks_at_padding_unless_there_is_nothing_else(mask: Tensor) -> None:
    seen = cells(bidirectional_mask(mask), 6, 6, len(mask))
    for row, real in zip(seen, mask.bool(), strict=True):
        assert torch.equal(row, (real if real.any() else ~real).expand(6, 6))


@settings(deadline=None)
@given(mask=padding_masks, queries=st.integers(1, 6))
def test_a_causal_mask_is_the_real_past_and_oneself(mask: Tensor, queries: int) -> None:
    seen = cells(causal_mask(mask, queries, 6, CPU), queries, 6, len(mask))
    for row in range(len(mask)):
        for query in range(queries):
            place = 6 - queries + query
            expected = [key == place or (key < place and bool(mask[row, key])) for key in range(6)]
            assert seen[row, query].tolist() == expected


@settings(deadline=None)
@given(mask=padding_masks, reach=st.integers(0, 6))
def test_a_window_is_the_real_neighbours_on_both_sides_and_oneself(mask: Tensor, reach: int) -> None:
    seen = cells(window_mask(mask, 6, reach, CPU), 6, 6, len(mask))
    whole = cells(bidirectional_mask(mask), 6, 6, len(mask))
    for row, real in enumerate(mask.bool()):
        for query in real.nonzero().flatten().tolist():
            expected = [bool(real[key]) and abs(query - key) <= reach for key in range(6)]
            assert seen[row, query].tolist() == expected
        assert seen[row].any(-1).all()  # a padded query has something to look at
    if reach >= 5:
        assert torch.equal(seen, whole)


@settings(deadline=None)
@given(mask=padding_masks, queries=st.integers(1, 6), window=st.integers(1, 8))
def test_a_causal_window_is_the_nearest_real_past_and_oneself(mask: Tensor, queries: int, window: int) -> None:
    past = 6 - queries
    first = max(0, past - window + 1)  # the earliest key that any query sees
    seen = cells(causal_window_mask(mask, queries, past, window, CPU), queries, 6 - first, len(mask))
    for row in range(len(mask)):
        for query in range(queries):
            place = past + query
            near = [place - key < window for key in range(6)]
            expected = [key == place or (key < place and near[key] and bool(mask[row, key])) for key in range(6)]
            assert seen[row, query].tolist() == expected[first:]


def test_a_causal_window_that_hides_nothing_costs_nothing() -> None:
    for mask in (None, torch.ones(3, 6, dtype=torch.long)):
        assert causal_window_mask(mask, 6, 0, 6, CPU) == causal_mask(mask, 6, 6, CPU)
        assert causal_window_mask(mask, 1, 5, 3, CPU).cells(1, 3, CPU) is None  # one new token sees all that is kept
    left = torch.tensor([[0, 0, 1, 1, 1, 1]])
    assert causal_window_mask(left, 1, 5, 3, CPU).cells(1, 3, CPU) is None  # the padding is out of sight


def test_a_window_without_padding_is_one_band_for_all_texts() -> None:
    band = torch.ones(6, 6).tril(2).triu(-2).bool()
    for mask in (None, torch.ones(3, 6, dtype=torch.long)):
        assert torch.equal(window_mask(mask, 6, 2, CPU).allowed, band[None, None])
        assert window_mask(mask, 6, 5, CPU).allowed is None  # nothing is further away than five


def test_without_padding_the_masks_stay_implicit() -> None:
    for mask in (None, torch.ones(3, 6, dtype=torch.long)):
        assert bidirectional_mask(mask).cells(6, 6, CPU) is None
        assert causal_mask(mask, 6, 6, CPU).causal
        assert causal_mask(mask, 6, 6, CPU).allowed is None
        assert causal_mask(mask, 1, 6, CPU).cells(1, 6, CPU) is None  # one new token sees all that came before
        assert torch.equal(cells(causal_mask(mask, 2, 6, CPU), 2, 6, 1)[0], torch.ones(2, 6).tril(4).bool())


@settings(deadline=None)
@given(mask=padding_masks, new=st.integers(1, 6))
def test_positions_count_the_real_tokens_before(mask: Tensor, new: int) -> None:
    positions = positions_from_mask(mask, new, 6 - new, CPU)
    assert positions.shape == (len(mask), new)
    for row in range(len(mask)):
        for place in range(6 - new, 6):
            if mask[row, place]:
                assert positions[row, place - (6 - new)] == mask[row, :place].sum()
    assert positions.min() >= 0


def test_positions_without_a_mask_go_on_where_the_cache_ends() -> None:
    assert positions_from_mask(None, 3, 4, CPU).tolist() == [[4, 5, 6]]
