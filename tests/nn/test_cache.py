import pytest
import torch

from minitl.errors import InputError
from minitl.nn.cache import KeyValueCache


def new_cache(capacity: int) -> KeyValueCache:
    return KeyValueCache(3, 2, 1, capacity, 4, torch.float32, torch.device("cpu"))


def test_what_was_appended_comes_back_in_order() -> None:
    cache, pieces = new_cache(6), [torch.randn(2, 1, length, 4) for length in (3, 1, 2)]
    for count, piece in enumerate(pieces, start=1):
        for layer in cache.layers:
            keys, values = layer.append(piece, -piece)
            assert torch.equal(keys, torch.cat(pieces[:count], dim=2))
            assert torch.equal(values, -keys)
        assert cache.length == sum(piece.shape[2] for piece in pieces[:count])


def test_layers_do_not_share_what_they_hold() -> None:
    cache = new_cache(2)
    ones = torch.ones(2, 1, 2, 4)
    kept, _ = cache.layers[0].append(ones, ones)
    cache.layers[1].append(2 * ones, 2 * ones)
    assert torch.equal(kept, ones)


def test_a_full_cache_refuses_more_and_stays_as_it_is() -> None:
    layer = new_cache(4).layers[0]
    piece = torch.randn(2, 1, 3, 4)
    layer.append(piece, piece)
    with pytest.raises(InputError, match="holds 4 positions; 6 are needed"):
        layer.append(piece, piece)
    assert layer.length == 3
    last = torch.randn(2, 1, 1, 4)
    keys, _ = layer.append(last, last)
    assert torch.equal(keys, torch.cat((piece, last), dim=2))
