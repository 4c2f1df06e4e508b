"""Centred kernel alignment: the formula, and what it does not see."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitl.errors import InputError
from minitl.probing import similarity
from minitl.probing.representations import Unread
from minitl.probing.similarity import linear_cka, linear_cka_of_few
from tests.probing.made import representations_of

LENGTHS = [4, 6, 5, 7]


def cka(x, y):
    """From kernels, not products of features: tr(KHLH) / sqrt(tr(KHKH) tr(LHLH))."""
    n = len(x)
    centre = torch.eye(n, dtype=torch.float64) - 1 / n
    k, kernel = (centre @ (a.double() @ a.double().T) @ centre for a in (x, y))
    return (k * kernel).sum() / (k.square().sum() * kernel.square().sum()).sqrt()


def test_layer_by_layer_it_is_that_of_the_kernels(monkeypatch):
    monkeypatch.setattr(similarity, "AT_A_TIME", 5)
    left, right = torch.randn(2, 22, 6) + 3, torch.randn(2, 22, 4)
    found = linear_cka(representations_of(left, LENGTHS), representations_of(right, LENGTHS, shards=2))
    assert found.tolist() == pytest.approx([float(cka(x, y)) for x, y in zip(left, right, strict=True)], rel=1e-6)


@pytest.mark.parametrize("words", [5, 22])
def test_of_few_it_is_of_all_pairs_of_layers(words):
    x = torch.randn(3, words, 8) + 2
    x[2] = 1.5  # does not vary
    found = linear_cka_of_few(x)
    for turn in range(3):
        turned = linear_cka(representations_of(x, [words]), representations_of(x.roll(-turn, 0), [words]))
        torch.testing.assert_close(found[torch.arange(3), (torch.arange(3) + turn) % 3], turned)
    assert found.diagonal().tolist() == pytest.approx([1, 1, 0])


@given(st.integers(0, 2**31), st.floats(0.01, 100), st.integers(2, 6))
def test_turning_scaling_and_moving_change_nothing(seed, scale, size):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 22, size, generator=generator)
    turn = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
    y = torch.randn(1, 22, 3, generator=generator)
    moved = scale * (x @ turn) + torch.randn(size, generator=generator)
    a, b, c = (representations_of(values, LENGTHS) for values in (x, moved, y))
    assert float(linear_cka(a, b)) == pytest.approx(1, abs=1e-4)
    assert float(linear_cka(a, c)) == pytest.approx(float(linear_cka(b, c)), abs=1e-4)
    assert -1e-9 <= float(linear_cka(a, c)) <= 1 + 1e-9


def test_a_dimension_far_from_zero_loses_no_digits():
    x = torch.randn(1, 22, 3)
    far = x + torch.tensor([10_000.0, 0, 0])
    assert float(linear_cka(representations_of(x, LENGTHS), representations_of(far, LENGTHS))) == pytest.approx(
        1, abs=1e-5
    )


def test_vectors_that_do_not_vary_are_like_nothing():
    a, b = representations_of(torch.ones(1, 22, 3), LENGTHS), representations_of(torch.randn(1, 22, 3), LENGTHS)
    assert linear_cka(a, b).tolist() == [0.0]


def test_words_without_vectors_in_either_do_not_count():
    x, y = torch.randn(1, 22, 3), torch.randn(1, 22, 3)
    a = representations_of(x, LENGTHS, unread=[Unread(0, "")])
    b = representations_of(y, LENGTHS, unread=[Unread(2, "")])
    kept = [*range(4, 10), *range(15, 22)]
    assert float(linear_cka(a, b)) == pytest.approx(float(cka(x[0, kept], y[0, kept])), rel=1e-6)


def test_other_texts_or_layers_are_refused():
    a = representations_of(torch.randn(2, 22, 3), LENGTHS)
    with pytest.raises(InputError, match="similarity is of one corpus"):
        linear_cka(a, representations_of(torch.randn(2, 22, 3), LENGTHS[::-1]))
    with pytest.raises(InputError, match="2 layers and 1: expected as many of each"):
        linear_cka(a, representations_of(torch.randn(1, 22, 3), LENGTHS))
