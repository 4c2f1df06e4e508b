"""How alike layers are: linear centred kernel alignment (Kornblith et al. 2019, arXiv:1905.00414).

    CKA(X, Y) = |Yᵀ X|² / (|Xᵀ X| |Yᵀ Y|)      X, Y [words, hidden] less their means; Frobenius norms (table 1)
              = <X Xᵀ, Y Yᵀ> / (|X Xᵀ| |Y Yᵀ|)     the same number (equation 1)

1 where one is the other turned and scaled, 0 where nothing in one varies with anything in the other. Before and after
fine-tuning it shows which layers changed. Of many words the first form is the cheap one, and they need not be in memory
together; of few, with fewer of them than dimensions, the second.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from minitl.errors import InputError
from minitl.probing.representations import Representations

AT_A_TIME = 4096  # words


def linear_cka(left: Representations, right: Representations, all_pairs: bool = False) -> Tensor:
    """The similarity of word vectors layer by layer: float64 [layers], or of all pairs [layers, layers of `right`].

    The words are read in parts, twice: for the means, then for the products of what is left when they are taken off
    (taking the product of the means off at the end would lose all digits where a dimension hardly varies).
    2 · words · hidden² operations a product, three products a layer or for all pairs layers · layers + 2 · layers.

    InputError: other texts, numbers of layers that differ, or fewer than two words with vectors in both.
    """
    if left.corpus.texts != right.corpus.texts:
        raise InputError(f"similarity is of one corpus: got {left.corpus.name} and {right.corpus.name}")
    if not all_pairs and len(left.layers) != len(right.layers):
        raise InputError(f"{len(left.layers)} layers and {len(right.layers)}: expected as many of each, or all_pairs")
    words = _words_of_both(left, right)
    if len(words) < 2:
        raise InputError(f"similarity takes at least two words with vectors in both, got {len(words)}")
    means = [torch.stack([p.double().sum(1) for p in _parts(one, words)]).sum(0) / len(words) for one in (left, right)]
    sides = [_Side(one, words, mean) for one, mean in zip((left, right), means, strict=True)]
    own = [_squared_product(side, side).sqrt() for side in sides]
    if all_pairs:  # a layer of the left at a time, for the products of all pairs would fill the memory
        above = torch.stack([_squared_product(sides[0].layer(i), sides[1]) for i in range(len(left.layers))])
        below = own[0][:, None] * own[1]
    else:
        above, below = _squared_product(*sides), own[0] * own[1]
    return _share(above, below)


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


@dataclass(frozen=True, eq=False)
class _Side:
    """Vectors of `words`, from which `mean` [layers, hidden] is taken off."""

    representations: Representations
    words: Tensor
    mean: Tensor
    layers: slice = field(default_factory=lambda: slice(None))

    def layer(self, number: int) -> "_Side":
        return replace(self, layers=slice(number, number + 1))

    def __iter__(self) -> Iterator[Tensor]:
        """float64 [layers, words, hidden], some words at a time."""
        for part in _parts(self.representations, self.words, self.layers):
            yield part.double() - self.mean[self.layers, None]


def _squared_product(left: _Side, right: _Side) -> Tensor:
    """|Yᵀ X|² for each layer: [layers]; one layer on the left goes with all on the right."""
    products: Tensor | None = None
    for x, y in zip(left, right, strict=True):
        new = x.mT @ y  # [layers, hidden, hidden of the right]
        products = new if products is None else products.add_(new)
    assert products is not None  # there are words
    return products.square().sum((-2, -1))


def _words_of_both(left: Representations, right: Representations) -> Tensor:
    readable = left.readable & right.readable
    lengths = left.corpus.starts.diff()
    return torch.repeat_interleave(readable, lengths).nonzero()[:, 0]


def _parts(representations: Representations, words: Tensor, layers: slice = slice(None)) -> Iterator[Tensor]:
    return (representations.words(part, layers) for part in words.split(AT_A_TIME))
