"""How alike two models' layers are: linear centred kernel alignment (Kornblith et al. 2019, arXiv:1905.00414).

    CKA(X, Y) = |Yᵀ X|² / (|Xᵀ X| |Yᵀ Y|)      X, Y [words, hidden] less their means; Frobenius norms (equation 3)

1 where one is the other turned and scaled, 0 where nothing in one varies with anything in the other. Before and after
fine-tuning it shows which layers changed.
"""

from collections.abc import Iterator

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
    products: list[Tensor] = []
    for parts in zip(_parts(left, words), _parts(right, words), strict=True):
        x, y = (
            part.double() - mean[:, None] for part, mean in zip(parts, means, strict=True)
        )  # [layers, words, hidden]
        new = (torch.einsum("anh,bng->abhg", x, y) if all_pairs else x.mT @ y, x.mT @ x, y.mT @ y)
        products = [*new] if not products else [old.add_(more) for old, more in zip(products, new, strict=True)]
    crossed, own_left, own_right = products
    return _ratio(crossed, own_left, own_right, all_pairs)


def _ratio(crossed: Tensor, left: Tensor, right: Tensor, all_pairs: bool) -> Tensor:
    norms = left.norm(dim=(-2, -1)), right.norm(dim=(-2, -1))
    below = norms[0][:, None] * norms[1] if all_pairs else norms[0] * norms[1]
    above = crossed.square().sum((-2, -1))
    return torch.where(below > 0, above / below.clamp(min=torch.finfo(below.dtype).tiny), 0.0)


def _words_of_both(left: Representations, right: Representations) -> Tensor:
    readable = left.readable & right.readable
    lengths = left.corpus.starts.diff()
    return torch.repeat_interleave(readable, lengths).nonzero()[:, 0]


def _parts(representations: Representations, words: Tensor) -> Iterator[Tensor]:
    return (representations.words(part) for part in words.split(AT_A_TIME))
