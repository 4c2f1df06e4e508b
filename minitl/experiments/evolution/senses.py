"""How a model's vectors of one word lie in sentences of two senses.

occurrences ─ vectors of the layers that read the context, each of length 1, side by side ─┬─ cosines
                                                                                           ├─ nearest centroid
                                                                                           └─ two components
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.models.base import Model
from minitl.probing.reading import TransformerReader
from minitl.probing.representations import represent
from minitl.probing.task import Corpus
from minitl.tokenization import Tokenizer

LEVEL = 1e-6  # scores that differ by less are equal: the same vectors, but for rounding


def occurrences(model: Model, tokenizer: Tokenizer, senses: Mapping[str, Sequence[str]], word: str) -> Tensor:
    """The vector of `word` in each sentence, sense after sense: [sentences, size], of length 1.

    Of the model's layers all above the embeddings, each scaled to length 1, so that a cosine is the mean of the layers'
    own, and no layer is chosen; of a model without layers the embedding.
    """
    texts = tuple(tuple(sentence.split()) for sentences in senses.values() for sentence in sentences)
    corpus = Corpus(f"{word}, in sentences", texts)
    read = represent(TransformerReader(model, tokenizer), corpus)
    numbers = corpus.starts[:-1] + torch.tensor([text.index(word) for text in texts])
    layers = read.words(numbers)  # [layers, sentences, hidden]
    above = layers[1:] if len(layers) > 1 else layers
    return F.normalize(F.normalize(above, dim=-1).transpose(0, 1).flatten(1), dim=-1)


def told_apart(vectors: Tensor, sense: Tensor) -> dict[str, Any]:
    """Numbers of occurrences [n, size] whose senses are 0 or 1, [n], at least two of each.

    within, between   the mean cosine of two occurrences of one sense, of two senses
    right             how many are nearer to the centroid of their own sense's others than to that of the other sense;
                      as near to both counts half
    """
    cosines = F.normalize(vectors, dim=-1) @ F.normalize(vectors, dim=-1).T
    same = sense[:, None] == sense[None]
    pairs = ~torch.eye(len(sense), dtype=torch.bool)
    scores = _nearer_to_own(vectors - vectors.mean(0), sense)
    right = (scores > LEVEL).sum() + 0.5 * (scores.abs() <= LEVEL).sum()
    return {
        "within": float(cosines[same & pairs].mean()),
        "between": float(cosines[~same].mean()),
        "right": float(right),
        "occurrences": len(sense),
    }


def _nearer_to_own(vectors: Tensor, sense: Tensor) -> Tensor:
    """How much nearer each is, squared, to its own sense's centroid, itself left out, than to the other's: [n]."""
    sums = torch.stack([vectors[sense == one].sum(0) for one in (0, 1)])  # [2, size]
    counts = torch.stack([(sense == one).sum() for one in (0, 1)])[:, None]
    own = (sums[sense] - vectors) / (counts[sense] - 1)
    other = (sums / counts)[1 - sense]
    return (vectors - other).square().sum(-1) - (vectors - own).square().sum(-1)


def components(vectors: Tensor) -> list[list[float]]:
    """The two directions of the largest variance (PCA): [n, 2]; zeros where all vectors are one."""
    centred = vectors - vectors.mean(0)
    if centred.abs().max() <= LEVEL:
        return [[0.0, 0.0]] * len(vectors)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    return (centred @ directions[:2].T).tolist()


def sense_numbers(senses: Mapping[str, Sequence[str]]) -> Tensor:
    """Which sense each occurrence has, as `occurrences` orders them: [n]."""
    return torch.cat([torch.full((len(sentences),), i) for i, sentences in enumerate(senses.values())])
