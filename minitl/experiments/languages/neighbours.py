"""Whether texts of two languages that mean the same lie together: each looks for its own among all of the other.

texts ─ mean of a layer's vectors ─ less the mean of their language ─ cosines ─► rank of the translation
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.models.base import Model
from minitl.probing.reading import TransformerReader
from minitl.probing.representations import represent
from minitl.probing.task import Corpus
from minitl.tokenization import Tokenizer


def text_vectors(model: Model, tokenizer: Tokenizer, texts: Sequence[str], layer: int) -> Tensor:
    """The mean over each text's tokens in one layer, [texts, hidden], less the mean of all.

    What a language's texts have in common is the language (Libovický et al. 2020, arXiv:2004.05160, section 3).
    """
    corpus = Corpus("texts", tuple(tuple(text.split()) for text in texts))
    read = represent(TransformerReader(model, tokenizer), corpus, layers=[layer])
    vectors = read.texts(torch.arange(len(texts)))[0]
    return vectors - vectors.mean(0)


def found(source: Tensor, target: Tensor, most: int = 5) -> dict[str, Any]:
    """Of vectors [n, size], row i of both of which mean the same: how many have their own nearest, by cosine, and how
    many among the `most` nearest; a target as near counts as nearer."""
    cosines = F.normalize(source, dim=-1) @ F.normalize(target, dim=-1).T
    rank = (cosines >= cosines.diagonal()[:, None]).sum(1)  # from 1; itself is as near as itself
    return {"first": int((rank == 1).sum()), "among": int((rank <= most).sum()), "of": len(source), "most": most}
