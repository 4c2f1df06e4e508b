"""Word vectors against gensim, the field's reader: each loads what the other writes, and finds the same neighbours.

Runs where that library is installed beside minitl: `make test-reference`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from minitl.models.word_vectors import WordVectors, load_word_vectors

pytestmark = pytest.mark.reference
gensim = pytest.importorskip("gensim", reason="the peer library lives in an environment of its own")

from gensim.models import KeyedVectors  # noqa: E402 - it may be absent

WORDS = [*(f"word{i}" for i in range(50)), "naïve", "東京", "New_York", ",", "\u00a0x", "🙂"]
FORMATS = {
    "word2vec": {"binary": True},
    "word2vec-text": {"binary": False},
    "glove": {"binary": False, "no_header": True},
}


@pytest.fixture
def peer() -> KeyedVectors:
    vectors = KeyedVectors(20)
    vectors.add_vectors(WORDS, np.random.default_rng(0).standard_normal((len(WORDS), 20)).astype(np.float32))
    return vectors


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("format", FORMATS)
def test_gensim_reads_what_is_saved_here(peer: KeyedVectors, tmp_path: Path, format: str, suffix: str) -> None:
    path = tmp_path / f"vectors{suffix}"
    WordVectors(WORDS, torch.from_numpy(peer.vectors)).save(path, format)
    read = KeyedVectors.load_word2vec_format(str(path), **FORMATS[format])
    assert read.index_to_key == WORDS
    assert (read.vectors == peer.vectors).all()


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("format", FORMATS)
def test_what_gensim_saves_is_read_here(peer: KeyedVectors, tmp_path: Path, format: str, suffix: str) -> None:
    path = tmp_path / f"vectors{suffix}"
    peer.save_word2vec_format(str(path), binary=format == "word2vec", write_header=format != "glove")
    read = load_word_vectors(path)
    assert read.words == WORDS
    assert torch.equal(read.vectors, torch.from_numpy(peer.vectors))


def test_both_find_the_same_neighbours_and_analogies(peer: KeyedVectors) -> None:
    ours = WordVectors(WORDS, torch.from_numpy(peer.vectors))
    for word in WORDS[:5]:
        pairs = zip(ours.nearest(word, k=10), peer.most_similar(word, topn=10), strict=True)
        assert all(mine[0] == theirs[0] and abs(mine[1] - theirs[1]) < 1e-5 for mine, theirs in pairs)
    theirs = peer.most_similar(positive=["word1", "word2"], negative=["word0"], topn=5)
    for mine, other in zip(ours.analogy("word0", "word1", "word2", k=5), theirs, strict=True):
        assert mine[0] == other[0]
        assert abs(mine[1] - other[1]) < 1e-5
