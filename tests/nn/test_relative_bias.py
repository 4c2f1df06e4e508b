"""The buckets of relative distances against their definition, written out distance by distance."""

import math

import pytest
import torch

from minitl.nn.relative_bias import RelativeBias


def expected_bucket(distance: int, buckets: int, furthest: int, bidirectional: bool) -> int:
    """Raffel et al. 2020, section 2.1: exact up to half of a side's buckets, then logarithmic up to `furthest`."""
    first = 0
    if bidirectional:
        buckets //= 2
        first = buckets if distance > 0 else 0
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    exact = buckets // 2
    if distance < exact:
        return first + distance
    return first + min(exact + int(steps(distance, exact, buckets, furthest)), buckets - 1)


def steps(distance: int, exact: int, buckets: int, furthest: int) -> float:
    return math.log(distance / exact) / math.log(furthest / exact) * (buckets - exact)


def lies_on_a_border(distance: int, buckets: int, furthest: int, bidirectional: bool) -> bool:
    """Whether rounding decides the bucket, of which nothing is promised."""
    buckets = buckets // 2 if bidirectional else buckets
    exact = buckets // 2
    if not exact < abs(distance) < furthest:
        return False
    step = steps(abs(distance), exact, buckets, furthest)
    return abs(step - round(step)) < 1e-5


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (8, 20), (4, 9)])
def test_each_distance_has_its_bucket(buckets: int, furthest: int, bidirectional: bool) -> None:
    bias = RelativeBias(2, buckets, furthest, bidirectional)
    distances = [d for d in range(-200, 200) if not lies_on_a_border(d, buckets, furthest, bidirectional)]
    expected = [expected_bucket(d, buckets, furthest, bidirectional) for d in distances]
    assert bias.bucket(torch.tensor(distances)).tolist() == expected
    assert set(expected) == set(range(buckets)) - ({buckets // 2} if bidirectional else set())


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_last_queries_have_the_last_rows(bidirectional: bool) -> None:
    bias = RelativeBias(3, 8, 6, bidirectional)
    whole, last = bias(9, 9), bias(2, 9)
    assert whole.shape == (1, 3, 9, 9)
    assert torch.equal(last, whole[:, :, 7:])
    for query, key in ((0, 5), (8, 2), (4, 4)):
        bucket = expected_bucket(key - query, 8, 6, bidirectional)
        assert torch.equal(whole[0, :, query, key], bias.table.weight[bucket])
