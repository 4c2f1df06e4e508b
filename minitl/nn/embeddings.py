"""Lookup tables that say which id was out of range, rather than that some index was."""

import torch
from torch import Tensor, nn

from minitl.errors import InputError


class Embedding(nn.Embedding):
    """`torch.nn.Embedding` whose rows are named in errors: `what` is "token id", "position", "token type".

    Raises InputError where an id is used that has no row. (A published tokenizer may know tokens the model has no row
    for; only using one is an error.) On a GPU the check would wait for the device; CUDA's own assertion stands there.
    """

    def __init__(self, rows: int, size: int, what: str, padding_idx: int | None = None) -> None:
        # A padding row outside the table is a config's way of saying that there is none.
        inside = padding_idx if padding_idx is not None and 0 <= padding_idx < rows else None
        super().__init__(rows, size, padding_idx=inside)
        self.what = what

    def forward(self, ids: Tensor) -> Tensor:  # [...] -> [..., size]
        try:
            return self.look_up(ids)
        except IndexError as error:
            worst = int(ids[(ids < 0) | (ids >= self.num_embeddings)].flatten()[0])
            raise InputError(
                f"{self.what} {worst} is beyond the embedding, which has rows 0 to {self.num_embeddings - 1}"
            ) from error

    def look_up(self, ids: Tensor) -> Tensor:
        """The rows of ids that were not checked."""
        return super().forward(ids)


def as_ids(ids: Tensor, name: str = "input_ids") -> Tensor:
    """Token ids [batch, length], checked: InputError for another shape, a type that is no integer, or no token."""
    if not isinstance(ids, Tensor):
        raise InputError(f"{name} must be a tensor of integers [batch, length], got {type(ids).__name__}")
    if ids.dim() != 2 or ids.dtype not in (torch.int64, torch.int32):
        raise InputError(f"{name} must be integers [batch, length], got {ids.dtype} {list(ids.shape)}")
    if ids.shape[1] == 0:
        raise InputError(f"{name} holds no token: every text needs at least one")
    return ids
