"""What a probe reads at a place."""

import torch

from minitl.probing.task import Examples, Task
from minitl.probing.vectors import NOTHING, Buffer, Vectors, looked_up, pooled, spanned, standardize
from tests.probing.made import SPLITS, representations_of


def one_split(representations, spans, reads="words"):
    examples = Examples(spans, torch.zeros(len(spans), dtype=torch.long))
    splits = dict.fromkeys(SPLITS, examples)
    return Task("made", "", "form", representations.corpus, reads, ("a", "b"), splits), splits


def assert_standardized(vectors, raw):
    """That the vectors are `raw` [layers, n, size], standardised."""
    copy = raw.clone()
    standardize(copy, [])
    torch.testing.assert_close(vectors, copy, rtol=1e-4, atol=1e-5)


def test_a_place_of_several_words_is_their_mean():
    words = torch.randn(2, 7, 3)
    representations = representations_of(words, [4, 3], shards=2)
    task, splits = one_split(representations, torch.tensor([[[0, 3]], [[3, 4]], [[4, 6]]]))
    found = pooled(representations, task, splits, slice(None))["train"]
    assert_standardized(found.values, torch.stack([words[:, 0:3].mean(1), words[:, 3], words[:, 4:6].mean(1)], dim=1))


def test_two_places_are_joined_with_product_and_difference():
    words = torch.randn(2, 6, 3)
    representations = representations_of(words, [6])
    task, splits = one_split(representations, torch.tensor([[[0, 1], [5, 6]], [[2, 3], [1, 2]], [[3, 4], [4, 5]]]))
    u, v = words[:, [0, 2, 3]], words[:, [5, 1, 4]]
    found = pooled(representations, task, splits, slice(None))["train"]
    assert_standardized(found.values, torch.cat([u, v, u * v, (u - v).abs()], dim=-1))


def test_texts_are_places_too():
    words = torch.randn(2, 6, 3)
    representations = representations_of(words, [2, 1, 3])
    task, splits = one_split(representations, torch.tensor([[[0, 1]], [[2, 3]], [[1, 3]]]), reads="texts")
    texts = torch.stack([words[:, 0:2].mean(1), words[:, 2], words[:, 3:6].mean(1)], dim=1)
    expected = torch.stack([texts[:, 0], texts[:, 2], texts[:, 1:3].mean(1)], dim=1)
    assert_standardized(pooled(representations, task, splits, slice(None))["test"].values, expected)


def test_every_vector_of_a_span_is_there_and_nothing_else():
    words = torch.randn(2, 7, 3)
    representations = representations_of(words, [4, 3])
    spans = torch.tensor([[[0, 3], [3, 4]], [[4, 6], [5, 7]]])
    task, splits = one_split(representations, spans)
    found = spanned(representations, task, splits, slice(1, 2))["train"]
    x, real = found(torch.tensor([[1, 0]]))
    assert x.shape == (1, 1, 2, 2, 3, 3)  # layers, seeds, batch, places, longest, size
    assert real.tolist() == [[[[True, True, False], [True, True, False]], [[True, True, True], [True, False, False]]]]
    raw = words[1:2].clone()
    standardize(raw, [])  # every word is in some span
    torch.testing.assert_close(x[0, 0, 1, 0], raw[0, 0:3])
    torch.testing.assert_close(x[0, 0, 0, 1, :2], raw[0, 5:7])


def test_a_word_asked_for_often_is_kept_once():
    representations = representations_of(torch.randn(2, 9, 3), [9])
    numbers = torch.tensor([[7, 2, NOTHING], [2, 2, 7]])
    found = looked_up(representations, True, numbers, slice(None))
    assert found.values.shape == (2, 2, 3)
    assert found.places.tolist() == [[1, 0, NOTHING], [0, 0, 1]]


def test_each_seed_gets_its_own_examples():
    values = torch.arange(12.0).view(2, 3, 2)
    x, real = Vectors(values, torch.arange(3))(torch.tensor([[2, 0], [1, 1]]))
    assert torch.equal(x, values[:, [[2, 0], [1, 1]]])
    assert real.all()
    assert torch.equal(
        Vectors(values, torch.arange(3)).take(torch.tensor([2, 1]))(torch.tensor([[0]]))[0][:, 0], values[:, 2:]
    )


def test_a_buffer_holds_the_last_call_and_grows():
    values = torch.randn(2, 9, 3)
    vectors = Vectors(values, torch.arange(9), buffer=Buffer())
    first, _ = vectors(torch.tensor([[1, 2]]))
    assert torch.equal(first, values[:, None, 1:3])
    second, _ = vectors(torch.tensor([[5, 6]]))
    assert torch.equal(first, second)  # the same memory
    third, _ = vectors(torch.tensor([[0, 1, 2, 3]]))
    assert torch.equal(third, values[:, None, :4])
    assert torch.equal(second, values[:, None, 5:7])


def test_standardising_is_by_the_training_part_and_each_layer():
    train, test = torch.randn(2, 50, 3) * 5 + 100, torch.randn(2, 4, 3)
    mean, deviation = train.mean(1, keepdim=True), train.std(1, keepdim=True, correction=0)
    expected = (test - mean) / deviation
    standardize(train, [test])
    torch.testing.assert_close(test, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(train.mean(1), torch.zeros(2, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(train.std(1, correction=0), torch.ones(2, 3), atol=1e-4, rtol=0)


def test_a_dimension_that_does_not_vary_says_nothing():
    train, test = torch.full((1, 10, 1), 0.1), torch.full((1, 2, 1), 3.0)
    standardize(train, [test])
    assert not train.any()
    assert not test.any()
