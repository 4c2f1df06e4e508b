"""Trees over words as distances and depths, and back: what the structural probe learns from and is judged by.

A tree is what each of n words hangs on, -1 for the root; its distance is the number of edges between two words, its
depth the number of edges to the root (Hewitt & Manning 2019, N19-1419, sections 2 and 3).
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from minitl.data.treebank import depths
from minitl.errors import DataError

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def depths_of(heads: Integers, where: str = "a tree") -> Integers:
    """[n] -> [n]. DataError, beginning with `where`: no root or several, a head out of range, a circle."""
    roots = np.flatnonzero(heads < 0)
    if len(roots) != 1:
        raise DataError(f"{where}: {len(roots)} roots among {len(heads)} words, expected one")
    if (heads >= len(heads)).any():
        raise DataError(f"{where}: a word hangs on word {heads.max()}, and there are {len(heads)}")
    found = np.array(depths(np.maximum(heads, -1).tolist()))
    if (found < 0).any():
        raise DataError(f"{where}: word {int(np.argmin(found))} does not lead to the root: a circle")
    return found


def distances_of(heads: Integers, where: str = "a tree") -> Integers:
    """[n] -> [n, n]. Errors as in `depths_of`."""
    distances = np.zeros((len(heads), len(heads)), dtype=np.int64)
    seen: list[int] = []
    for word in np.argsort(depths_of(heads, where), kind="stable"):  # each after its head
        if seen:
            distances[word, seen] = distances[seen, word] = distances[heads[word], seen] + 1
        seen.append(int(word))
    return distances


def edges_among(distances: Integers, words: Sequence[int]) -> set[tuple[int, int]]:
    """The tree of these distances [n, n] over some of its words, in rising order: its edges, the lower word first.

    Their least spanning tree by Kruskal's algorithm, of equal distances the lower words first. Of all words, or of some
    that hang together, it is the tree's own edges; what hung together through others is joined by the shortest ways.
    """
    tree_of = {word: word for word in words}
    edges = set()
    for _, a, b in sorted((distances[a, b], a, b) for a, b in combinations(words, 2)):
        left, right = tree_of[a], tree_of[b]
        if left != right:
            edges.add((a, b))
            tree_of = {word: left if tree == right else tree for word, tree in tree_of.items()}
    return edges


def spanning_trees(distances: Floats) -> Integers:
    """The least spanning tree of each of many distance matrices [trees, n, n]: its edges [trees, n - 1, 2].

    Prim's algorithm on all of them in step, each growing from its word 0: n - 1 passes over [trees, n]. Of equal
    distances the lower word wins, so that the result is one and the same. (A sparse matrix, as scipy takes, cannot
    tell the distance 0, that of two equal vectors, from no edge.)
    """
    trees, n, _ = distances.shape
    if n < 2:
        return np.zeros((trees, 0, 2), dtype=np.int64)
    every = np.arange(trees)
    near, through = distances[:, 0].copy(), np.zeros((trees, n), dtype=np.int64)  # to the tree, and by which word of it
    near[:, 0] = np.inf
    outside = np.ones((trees, n), dtype=bool)
    outside[:, 0] = False
    edges = np.zeros((trees, n - 1, 2), dtype=np.int64)
    for step in range(n - 1):
        new = np.where(outside, near, np.inf).argmin(-1)  # [trees]
        edges[:, step, 0], edges[:, step, 1] = through[every, new], new
        outside[every, new] = False
        closer = (distances[every, new] < near) & outside
        near, through = np.where(closer, distances[every, new], near), np.where(closer, new[:, None], through)
    return edges
