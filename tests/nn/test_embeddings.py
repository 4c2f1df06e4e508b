import pytest
import torch

from minitl.errors import InputError
from minitl.nn.embeddings import Embedding, as_ids


@pytest.mark.parametrize("bad", [5, 99, -1])
def test_an_id_without_a_row_is_named(bad: int) -> None:
    table = Embedding(5, 3, "token type")
    with pytest.raises(InputError, match=rf"token type {bad} is beyond the embedding, which has rows 0 to 4"):
        table(torch.tensor([[0, 4, bad, 1]]))


def test_the_padding_row_gets_no_gradient() -> None:
    table = Embedding(5, 3, "token id", padding_idx=2)
    table(torch.tensor([[1, 2, 2]])).sum().backward()
    assert table.weight.grad.ne(0).any(-1).tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("padding", [None, 5, 1000, -1, -5])
def test_a_padding_row_outside_the_table_means_none(padding: int | None) -> None:
    assert Embedding(5, 3, "token id", padding_idx=padding).padding_idx is None


def test_ids_pass_the_check_as_they_are() -> None:
    for dtype in (torch.int64, torch.int32):
        ids = torch.ones(2, 3, dtype=dtype)
        assert as_ids(ids) is ids
