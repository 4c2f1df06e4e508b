"""How alike layers are: linear centred kernel alignment (Kornblith et al. 2019, arXiv:1905.00414).

    CKA(X, Y) = |Yᵀ X|² / (|Xᵀ X| |Yᵀ Y|)      X, Y [words, hidden] less their means; Frobenius norms (table 1)
              = <X Xᵀ, Y Yᵀ> / (|X Xᵀ| |Y Yᵀ|)     the same number (equation 1)

1 where one is the other turned and scaled, 0 where nothing in one varies with anything in the other. Before and after
fine-tuning it shows which layers changed. Of many words the first form is the cheap one, and they need not be in memory
together; of few, with fewer of them than dimensions, the second.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from minitl.errors import InputError
from minitl.probing.representations import Representations

AT_A_TIME = 4096  # words


def linear_cka(left: Representations, right: Representations) -> Tensor:
    """The similarity of word vectors layer by layer: float64 [layers].

    The words are read in parts, twice: for the means, then for the products of what is left when they are taken off
    (taking the product of the means off at the end would lose all digits where a dimension hardly varies).
    Three products a layer, of 2 · words · hidden² operations each.

    InputError: other texts, numbers of layers that differ, or fewer than two words with vectors in both.
    """
    if left.corpus.texts != right.corpus.texts:
        raise InputError(f"similarity is of one corpus: got {left.corpus.name} and {right.corpus.name}")
    if len(left.layers) != len(right.layers):
        raise InputError(f"{len(left.layers)} layers and {len(right.layers)}: expected as many of each")
    words = _words_of_both(left, right)
    if len(words) < 2:
        raise InputError(f"similarity takes at least two words with vectors in both, got {len(words)}")
    x, y = (_Centred(one, words) for one in (left, right))
    return _share(_squared_product(x, y), _squared_product(x, x).sqrt() * _squared_product(y, y).sqrt())


def linear_cka_of_few(x: Tensor) -> Tensor:
    """The similarity of all pairs of layers of a few vectors [layers, n, hidden]: float64 [layers, layers].

    2 · n² · hidden operations a layer, and n² a pair.
    """
    centred = x.double() - x.double().mean(1, keepdim=True)
    grams = (centred @ centred.mT).flatten(1)  # [layers, n · n]
    products = grams @ grams.T
    own = products.diagonal().sqrt()
    return _share(products, own[:, None] * own)


def _share(above: Tensor, below: Tensor) -> Tensor:
    """0 where a side does not vary."""
    return torch.where(below > 0, above / below.clamp(min=torch.finfo(below.dtype).tiny), 0.0)


class _Centred:
    """The vectors of `words` less their mean: float64 [layers, words, hidden], some words at a time."""

    def __init__(self, representations: Representations, words: Tensor) -> None:
        self._read = lambda: (representations.words(part).double() for part in words.split(AT_A_TIME))
        sums = torch.stack([part.sum(1, keepdim=True) for part in self._read()])  # [parts, layers, 1, hidden]
        self._mean = sums.sum(0) / len(words)

    def __iter__(self) -> Iterator[Tensor]:
        return (part - self._mean for part in self._read())


def _squared_product(left: _Centred, right: _Centred) -> Tensor:
    """|Yᵀ X|² for each layer: [layers]."""
    product = sum(x.mT @ y for x, y in zip(left, right, strict=True))  # [layers, hidden, hidden of the right]
    assert isinstance(product, Tensor)  # there are words
    return product.square().sum((-2, -1))


def _words_of_both(left: Representations, right: Representations) -> Tensor:
    readable = left.readable & right.readable
    lengths = left.corpus.starts.diff()
    return torch.repeat_interleave(readable, lengths).nonzero()[:, 0]
