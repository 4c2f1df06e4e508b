import torch

from minitl.nn.pooling import last_real_token, pool_mean


def test_the_last_real_token_is_found_whichever_side_is_padded() -> None:
    x = torch.arange(12.0).view(3, 4, 1)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0]])
    assert last_real_token(mask, x).flatten().tolist() == [1.0, 7.0, 10.0]
    assert last_real_token(None, x).flatten().tolist() == [3.0, 7.0, 11.0]


def test_with_a_cache_the_last_real_token_is_among_the_new_ones() -> None:
    x = torch.arange(4.0).view(2, 2, 1)  # two new tokens of five
    mask = torch.tensor([[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]])
    assert last_real_token(mask, x).flatten().tolist() == [0.0, 3.0]


def test_the_mean_is_of_the_real_tokens_and_of_none_it_is_zero() -> None:
    x = torch.arange(12.0).view(3, 4, 1)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]])
    assert pool_mean(x, mask).flatten().tolist() == [0.5, 6.5, 0.0]
