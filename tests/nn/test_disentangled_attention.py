import math

import pytest
import torch
from torch import Tensor, nn

from minitl.nn.disentangled_attention import DisentangledSelfAttention, RelativePositions
from minitl.nn.masks import Mask, bidirectional_mask

HIDDEN, HEADS, LENGTH = 12, 3, 7
MASK = torch.tensor([[1] * 5 + [0] * 2, [1] * LENGTH])


def table(furthest: int, buckets: int | None, hidden: int = 1) -> RelativePositions:
    return RelativePositions(hidden, furthest, buckets, nn.Identity())


def places(positions: RelativePositions, length: int) -> Tensor:
    """The table's row of each pair [query, key], read off a table whose rows are their own numbers."""
    with torch.no_grad():
        positions.table.weight.copy_(
            torch.arange(2.0 * positions.span)[:, None].expand(-1, positions.table.embedding_dim)
        )
        distances = positions(length)
    return distances.rows[0, distances.index, 0].long()


def test_a_distance_is_counted_from_the_key_to_the_query_and_the_middle_of_the_table_is_none() -> None:
    rows = places(table(5, None), 9)
    for query in range(9):
        for key in range(9):
            assert rows[query, key] == min(max(query - key + 5, 0), 9)


@pytest.mark.parametrize(
    ("distance", "row"),
    # the published base model: exact up to 128, then ceil(log(distance / 128) / log(511 / 128) · 127) + 128
    [(0, 256), (1, 257), (-1, 255), (128, 384), (129, 385), (130, 386), (200, 425), (-200, 87), (510, 511), (511, 511)],
)
def test_far_distances_share_rows_on_a_logarithmic_scale(distance: int, row: int) -> None:
    assert int(table(512, 256)._row_of(torch.tensor([distance]))) == row


def test_a_text_longer_than_the_furthest_distance_keeps_to_the_table() -> None:
    rows = places(table(512, 256), 2000)
    assert rows.min() == 0
    assert rows.max() == 511
    steps = rows[1000].diff()  # along the keys, the distance falls
    assert steps.le(0).all()


def test_only_rows_that_occur_are_computed_with_and_learn() -> None:
    positions = RelativePositions(8, 512, 256, nn.LayerNorm(8))
    rows = positions(10).rows[0]
    assert rows.shape == (19, 8)
    rows.square().sum().backward()
    learned = positions.table.weight.grad.ne(0).any(-1).nonzero().flatten()
    assert learned.tolist() == list(range(256 - 9, 256 + 10))


def test_what_was_kept_of_another_length_type_or_mode_is_never_used() -> None:
    positions = table(16, 6, hidden=4)
    for length in (5, 9, 5, 1):
        assert positions(length).index.shape == (length, length)
    with torch.inference_mode():
        expected = positions(8).index.clone()
    distances = positions(8)
    scores = torch.randn(8, distances.rows.shape[1], requires_grad=True)
    scores.gather(-1, distances.index).sum().backward()  # would fail with an index that inference made
    assert torch.equal(distances.index, expected)
    half = positions.to(torch.bfloat16)(8)
    assert half.rows.dtype == torch.bfloat16
    assert torch.equal(half.index, expected)
    assert positions.to("meta")(8).index.is_meta


@pytest.mark.parametrize("mask", [Mask(), bidirectional_mask(MASK)], ids=["no mask", "padding"])
@pytest.mark.parametrize("terms", [(), ("c2p",), ("p2c",), ("c2p", "p2c")], ids="+".join)
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own projections"])
@torch.no_grad()
def test_attention_is_its_formula_pair_by_pair(mask: Mask, terms: tuple[str, ...], shared: bool) -> None:
    attention = DisentangledSelfAttention(HIDDEN, HEADS, 0.0, terms, shared, 0.0)
    positions = table(10, 6, HIDDEN)
    x, rows, size = torch.randn(2, LENGTH, HIDDEN), places_of_pairs(positions), HIDDEN // HEADS
    row_keys = (attention.position_key or attention.key)(positions.table.weight)
    row_queries = (attention.position_query or attention.query)(positions.table.weight)
    query, key, value = attention.query(x), attention.key(x), attention.value(x)
    scores = torch.empty(2, HEADS, LENGTH, LENGTH)
    for head in range(HEADS):
        own = slice(head * size, (head + 1) * size)
        for i in range(LENGTH):
            for j in range(LENGTH):
                score = (query[:, i, own] * key[:, j, own]).sum(-1)
                if "c2p" in terms:
                    score = score + query[:, i, own] @ row_keys[rows[i, j], own]
                if "p2c" in terms:
                    score = score + key[:, j, own] @ row_queries[rows[i, j], own]
                scores[:, head, i, j] = score / math.sqrt((1 + len(terms)) * size)
    if mask.allowed is not None:
        scores = scores.masked_fill(~mask.allowed, -math.inf)
    context = (scores.softmax(-1) @ value.unflatten(-1, (HEADS, size)).transpose(1, 2)).transpose(1, 2).flatten(2)
    distances = positions(LENGTH) if terms else None
    fused, nothing = attention(x, mask, False, distances)
    plain, weights = attention(x, mask, True, distances)
    assert nothing is None
    torch.testing.assert_close(weights, scores.softmax(-1))
    torch.testing.assert_close(plain, attention.output(context))
    torch.testing.assert_close(fused, plain)


def places_of_pairs(positions: RelativePositions) -> Tensor:
    """`places`, the table's own random rows left as they are."""
    kept = positions.table.weight.detach().clone()
    rows = places(positions, LENGTH)
    positions.table.weight.copy_(kept)
    return rows


def test_projections_of_distances_are_there_only_where_they_are_used() -> None:
    def names(terms: tuple[str, ...], shared: bool) -> set[str]:
        attention = DisentangledSelfAttention(HIDDEN, HEADS, 0.0, terms, shared, 0.0)
        return {name.rpartition(".")[0] for name, _ in attention.named_parameters()}

    content = {"query", "key", "value", "output"}
    assert names(("c2p", "p2c"), True) == content
    assert names(("c2p", "p2c"), False) == content | {"position_key", "position_query"}
    assert names(("c2p",), False) == content | {"position_key"}
    assert names(("p2c",), False) == content | {"position_query"}
    assert names((), False) == content
