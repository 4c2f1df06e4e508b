"""Trees, distances and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree, shortest_path

from minitl.errors import DataError
from minitl.probing.trees import depths_of, distances_of, edges_among, spanning_trees

#       0 the   1 dog   2 saw   3 a   4 cat   5 there
HEADS = np.array([1, 2, -1, 4, 2, 4])


@st.composite
def trees(draw, least=2):
    """Any tree over up to 12 words: each hangs on one before it, then the words change places."""
    n = draw(st.integers(least, 12))
    heads = np.array([-1, *(draw(st.integers(0, i - 1)) for i in range(1, n))])
    order = np.array(draw(st.permutations(range(n))))
    moved = np.empty(n, dtype=np.int64)
    moved[order] = np.where(heads < 0, -1, order[heads])
    return moved


def edges_of(heads):
    return {(min(word, head), max(word, head)) for word, head in enumerate(heads.tolist()) if head >= 0}


def as_edges(found):
    return {(min(a, b), max(a, b)) for a, b in found.tolist()}


def test_distances_and_depths_of_a_tree_by_hand():
    assert depths_of(HEADS).tolist() == [2, 1, 0, 2, 1, 2]
    assert distances_of(HEADS).tolist() == [
        [0, 1, 2, 4, 3, 4],
        [1, 0, 1, 3, 2, 3],
        [2, 1, 0, 2, 1, 2],
        [4, 3, 2, 0, 1, 2],
        [3, 2, 1, 1, 0, 1],
        [4, 3, 2, 2, 1, 0],
    ]
    assert edges_of(HEADS) == {(0, 1), (1, 2), (3, 4), (2, 4), (4, 5)}
    assert edges_among(distances_of(HEADS), range(6)) == edges_of(HEADS)


def test_words_that_hung_together_through_others_are_joined_by_the_lower():
    """Without word 4, the root, words 1, 2 and 3 hang together no more, and word 0 on 3 as before."""
    distances = distances_of(np.array([3, 4, 4, 4, -1]))
    assert edges_among(distances, [0, 1, 2, 3]) == {(0, 3), (1, 2), (1, 3)}
    assert edges_among(distances, [0, 1, 4]) == {(1, 4), (0, 4)}  # two steps, as 0 is three from 1
    assert edges_among(distances, [2]) == set()


@given(trees(least=1))
def test_distances_are_shortest_paths(heads):
    n = len(heads)
    graph = np.zeros((n, n))
    for a, b in edges_of(heads):
        graph[a, b] = 1
    assert np.array_equal(distances_of(heads), shortest_path(graph, directed=False, unweighted=True))
    assert np.array_equal(depths_of(heads), distances_of(heads)[int(np.argmin(heads))])


@given(trees())
def test_a_tree_is_the_least_spanning_tree_of_its_distances(heads):
    distances = distances_of(heads)[None].astype(np.float32)
    assert as_edges(spanning_trees(distances)[0]) == edges_of(heads) == edges_among(distances[0], range(len(heads)))


@given(trees(), st.sets(st.integers(0, 11), min_size=1))
def test_some_words_of_a_tree_are_spanned_by_the_least_there_is(heads, some):
    words = sorted(word for word in some if word < len(heads))
    distances = distances_of(heads)
    edges = edges_among(distances, words)
    assert len(edges) == max(len(words) - 1, 0)
    least = minimum_spanning_tree(distances[np.ix_(words, words)]).sum() if words else 0
    assert sum(distances[edge] for edge in edges) == least
    assert {(a, b) for a, b in edges_of(heads) if a in words and b in words} <= edges


@given(st.integers(2, 9), st.integers(1, 3), st.integers(0, 2**31))
def test_spanning_trees_are_scipys(n, count, seed):
    rng = np.random.default_rng(seed)
    distances = rng.random((count, n, n)).astype(np.float32) + 0.1
    distances = (distances + distances.transpose(0, 2, 1)) / 2
    for one, found in zip(distances, spanning_trees(distances), strict=True):
        assert as_edges(found) == as_edges(np.argwhere(minimum_spanning_tree(one).toarray()))


@given(trees(), st.integers(0, 2**31), st.floats(0.1, 10), st.floats(0, 5))
def test_scale_shift_and_names_do_not_change_a_spanning_tree(heads, seed, scale, shift):
    n, rng = len(heads), np.random.default_rng(seed)
    distances = (distances_of(heads) + 0.3 * rng.random((n, n))).astype(np.float32)
    distances = np.minimum(distances, distances.T)
    expected = as_edges(spanning_trees(distances[None])[0])
    assert as_edges(spanning_trees((scale * distances + shift)[None])[0]) == expected
    names = rng.permutation(n)  # word i becomes word names[i]
    renamed = np.empty_like(distances)
    renamed[np.ix_(names, names)] = distances
    found = as_edges(spanning_trees(renamed[None])[0])
    assert found == {(min(a, b), max(a, b)) for a, b in ((names[x], names[y]) for x, y in expected)}


def test_words_at_distance_zero_are_joined():
    distances = np.array([[[0, 5, 0], [5, 0, 4], [0, 4, 0]]], dtype=np.float32)
    assert as_edges(spanning_trees(distances)[0]) == {(0, 2), (1, 2)}


@pytest.mark.parametrize("n", [0, 1])
def test_no_edges_span_one_word(n):
    assert spanning_trees(np.zeros((3, n, n), dtype=np.float32)).shape == (3, 0, 2)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([-1, 0, -1], "here: 2 roots among 3 words, expected one"),
        ([1, 0], "here: 0 roots among 2 words"),
        ([-1, 2, 1], "here: word 1 does not lead to the root: a circle"),
        ([-1, 3], "here: a word hangs on word 3, and there are 2"),
    ],
)
def test_what_is_no_tree_is_refused(heads, message):
    with pytest.raises(DataError, match=message):
        distances_of(np.array(heads), "here")
