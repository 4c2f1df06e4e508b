import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitl.errors import InputError
from minitl.nn.cache import KeyValueCache, SlidingLayerCache


def new_cache(capacity: int, window: int | None = None) -> KeyValueCache:
    return KeyValueCache(3, 2, 1, capacity, 4, torch.float32, torch.device("cpu"), window)


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


@given(chunks=st.lists(st.integers(1, 40), min_size=1, max_size=12), window=st.integers(1, 30))
def test_a_window_keeps_what_the_next_chunk_sees(chunks: list[int], window: int) -> None:
    layer = new_cache(1000, window).layers[0]
    places, size = layer.keys.data_ptr(), layer.keys.shape
    text, past = torch.arange(sum(chunks)).expand(2, 1, 4, -1).transpose(2, 3).float(), 0
    for new in chunks:
        keys, values = layer.append(text[:, :, past : past + new], -text[:, :, past : past + new])
        assert torch.equal(keys, text[:, :, max(0, past - window + 1) : past + new])
        assert torch.equal(values, -keys)
        past += new
        assert layer.length == past
        assert (layer.keys.data_ptr(), layer.keys.shape) == (places, size)  # the same memory all along


@pytest.mark.parametrize("window", [1, 7, 8, 4096])
def test_a_window_takes_an_eighth_more_than_itself_however_long_the_text(window: int) -> None:
    for layer in new_cache(100_000, window).layers:
        assert layer.keys.shape == layer.values.shape == (2, 1, window + window // 8, 4)


def test_token_by_token_the_window_moves_once_in_an_eighth_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, moves = new_cache(1000, 80).layers[0], []
    restart = SlidingLayerCache._restart
    monkeypatch.setattr(SlidingLayerCache, "_restart", lambda *arguments: (moves.append(0), restart(*arguments)))
    token = torch.ones(2, 1, 1, 4)
    for _ in range(90 + 10 * 11):
        layer.append(token, token)
    assert len(moves) == 10


def test_texts_that_the_window_holds_are_kept_as_without_one() -> None:
    assert new_cache(8, window=8).layers[0].keys.shape[2] == 8
    with pytest.raises(InputError, match="holds 8 positions; 9 are needed"):
        new_cache(8, window=8).layers[0].append(torch.ones(2, 1, 9, 4), torch.ones(2, 1, 9, 4))
