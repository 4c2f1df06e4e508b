"""Word vectors: one vector a word, whatever stands around it.

    words ─ look up ─► word vectors ─ mean ─► text vector

word2vec (Mikolov et al. 2013, arXiv:1301.3781) and GloVe (Pennington et al. 2014, EMNLP) learn them in different ways;
what they publish is the same table. The mean is the simplest vector of a text, and the baseline that anything deeper
must beat (Wieting et al. 2016, arXiv:1511.08198).
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitl.checkpoints.word_vectors import read_word_vectors, write_word_vectors
from minitl.errors import InputError
from minitl.models.meta import LeaveEmpty
from minitl.nn.embeddings import Embedding, as_ids
from minitl.nn.output import Output
from minitl.nn.pooling import pool_mean
from minitl.tokenization.characters import check_words

log = logging.getLogger("minitl")

UNKNOWN = -1  # the id of a word that has no vector, and of padding


class WordVectors(nn.Module):
    """What `load_word_vectors` returns: the table, and a model that reads texts by it.

    words        the words, in the file's order: the most frequent first
    embeddings   their vectors, a parameter like any other: frozen by `requires_grad_(False)`, else trained
    unknown      the word whose vector stands for words that are not there; None = they have none, and count in no mean
    """

    def __init__(self, words: Sequence[str], vectors: Tensor, unknown: str | None = None) -> None:
        """`vectors` [words, size]. InputError: not one for each word, or a word twice."""
        super().__init__()
        if vectors.dim() != 2 or vectors.shape[0] != len(words):
            raise InputError(f"{len(words)} words need as many vectors, got {list(vectors.shape)}")
        self.words = list(words)
        self._ids = {word: i for i, word in enumerate(self.words)}
        if len(self._ids) < len(self.words):
            raise InputError("a word stands in the table twice")
        with torch.device("meta"), LeaveEmpty():
            self.embeddings = Embedding(vectors.shape[0], vectors.shape[1], "word id")
        self.embeddings.weight = nn.Parameter(vectors)
        self.unknown = unknown
        self._unknown_id = UNKNOWN if unknown is None else self._id(unknown)

    @property
    def vectors(self) -> Tensor:
        """All vectors [words, size], float32 unless the model was cast."""
        return self.embeddings.weight

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __getitem__(self, word: str) -> Tensor:
        """The vector [size] of a word as the file spells it; InputError where it has none."""
        return self.vectors[self._id(word)]

    def _id(self, word: str) -> int:
        if not isinstance(word, str):
            raise InputError(f"a word must be a string, got {type(word).__name__}")
        if word not in self._ids:
            near = f"; there is {word.lower()!r}" if word.lower() in self._ids else ""
            raise InputError(f"{word!r} is not among the {len(self)} words{near}")
        return self._ids[word]

    def encode(self, words: Sequence[str]) -> list[int]:
        """The id of each word, or that of `unknown`, or -1. Spelling and case are the file's: the caller's to match."""
        return [self._ids.get(word, self._unknown_id) for word in words]

    def batch(self, texts: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """The inputs of `forward` for texts given as lists of words, padded on the right.

        InputError: a text that is no list of strings, or no word in any of them.
        """
        check_words(texts)
        longest = max(map(len, texts), default=0)
        if longest == 0:
            raise InputError("texts holds no word")
        device = self.vectors.device
        ids = [self.encode(text) + [UNKNOWN] * (longest - len(text)) for text in texts]
        mask = [[1] * len(text) + [0] * (longest - len(text)) for text in texts]
        return {"input_ids": torch.tensor(ids, device=device), "attention_mask": torch.tensor(mask, device=device)}

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, output_hidden_states: bool = False
    ) -> Output:
        """Look the words up.

        input_ids        [batch, words], -1 = a word without a vector
        attention_mask   [batch, words], 1 = word, 0 = padding, on any side; None = no padding

        Returns the Output's last_hidden_state [batch, words, size], zeros where there is no vector, pooler_output
        [batch, size], the mean over the words that have one (zeros where none has), and on demand hidden_states, the
        one layer that there is. InputError: inputs of another shape, an id out of range.
        """
        known = as_ids(input_ids) >= 0
        if attention_mask is not None:
            if attention_mask.shape != input_ids.shape:
                wanted, got = list(input_ids.shape), list(attention_mask.shape)
                raise InputError(f"attention_mask must have the shape {wanted}, got {got}")
            known = known & attention_mask.bool()
        x = self.embeddings(input_ids.clamp(min=0)) * known[..., None]
        return Output(x, pool_mean(x, known), hidden_states=(x,) if output_hidden_states else None)

    @torch.no_grad()
    def nearest(self, word: str | Tensor, k: int = 10) -> list[tuple[str, float]]:
        """The `k` words whose vectors have the largest cosine with that of `word` (or a vector [size]), and the cosine.

        The word itself is not among them. InputError: a word that is not there, a vector of another size, k below 1.
        """
        if not isinstance(word, Tensor):
            return self._nearest(self[word], k, [word])
        size = self.vectors.shape[1]
        if word.shape != (size,):
            raise InputError(f"a vector must have the shape [{size}], got {list(word.shape)}")
        return self._nearest(word, k, [])

    @torch.no_grad()
    def analogy(self, a: str, b: str, c: str, k: int = 1) -> list[tuple[str, float]]:
        """`a` is to `b` as `c` is to what? The `k` best words, and their cosines.

        The word whose vector is nearest to b - a + c, all scaled to length 1 (Mikolov et al. 2013, NAACL, section 3;
        "3CosAdd" in Levy & Goldberg 2014); the three themselves are not among them. InputError for a word that is not
        there.
        """
        first, second, third = (F.normalize(self[word].float(), dim=0) for word in (a, b, c))
        return self._nearest(second - first + third, k, [a, b, c])

    def _nearest(self, vector: Tensor, k: int, but: Sequence[str]) -> list[tuple[str, float]]:
        if not isinstance(k, int) or k < 1:
            raise InputError(f"k must be an integer of at least 1, got {k!r}")
        table = self.vectors
        lengths = torch.linalg.vector_norm(table, dim=1).clamp(min=torch.finfo(table.dtype).tiny)
        cosines = (table @ F.normalize(vector.to(table), dim=0)) / lengths  # [words]
        cosines[[self._id(word) for word in but]] = -torch.inf
        best = cosines.topk(min(k, len(self) - len(set(but))))
        return [(self.words[i], cosine) for i, cosine in zip(best.indices.tolist(), best.values.tolist(), strict=True)]

    def save(self, path: str | Path, format: str = "word2vec") -> None:
        """Write the table as "word2vec" (binary), "word2vec-text" or "glove"; compressed where the name ends in .gz.

        InputError: another format, or a word that the format has no room for (one with a space, in binary).
        """
        vectors = self.vectors.detach().float().cpu().numpy()
        write_word_vectors(Path(path), self.words, vectors, format)


def load_word_vectors(
    path: str | Path,
    *,
    format: str | None = None,
    limit: int | None = None,
    unknown: str | None = None,
    device: str | torch.device = "cpu",
) -> WordVectors:
    """Load word2vec's binary or text file, or GloVe's text, compressed by gzip or not.

    format    "word2vec" (binary), "word2vec-text" or "glove"; None = what the file looks like
    limit     only the first, most frequent, so many rows; None = all
    unknown   the word whose vector stands for unknown ones ("<unk>", in files that have it); None = they have none

    A word that comes again is left out and announced on the "minitl" logger, as other readers do: glove.840B has one.

    Raises CheckpointError, naming file and line or byte (a file cut off, a header that does not fit what follows, a
    line with another number of numbers, a number that is not finite, a word that is not UTF-8), and InputError (an
    unknown word that the file does not have).
    """
    words, vectors, repeated = read_word_vectors(Path(path), format, limit)
    if repeated:
        log.warning("%s: %d rows repeat a word and were left out; the first of each stands", path, repeated)
    return WordVectors(words, torch.from_numpy(vectors).to(device), unknown)
