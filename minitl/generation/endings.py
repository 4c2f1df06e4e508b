"""When a text is finished: at an end token, or where it contains a string to stop at."""

from collections.abc import Sequence

import torch
from torch import Tensor

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.nn.embeddings import Embedding
from minitl.tokenization import Tokenizer


def vocabulary_rows(model: Model) -> int:
    """How many tokens the model has rows for."""
    embedding = model.get_submodule("embeddings.token")
    assert isinstance(embedding, Embedding)  # in every family that writes
    return embedding.num_embeddings


class Endings:
    """What ends a text, and what stands behind its end.

    ends     the end tokens: those given, else the config's; None where there are none
    filler   config.pad_token_id, or the end token where there is none or the model has no row for it
    """

    def __init__(
        self,
        model: Model,
        device: torch.device,
        ends: int | list[int] | None,
        strings: Sequence[str],
        tokenizer: Tokenizer | None,
    ) -> None:
        end, pad = model.config.eos_token_id if ends is None else ends, model.config.pad_token_id
        rows = range(vocabulary_rows(model))  # an id without a row is a config's way of saying that there is none
        listed = [one for one in ([end] if isinstance(end, int) else end or []) if one in rows]
        self.ends = torch.tensor(listed, device=device) if listed else None
        # 0 where nothing ends a text before its last token: then nothing stays filled
        self.filler = pad if pad is not None and pad in rows else listed[0] if listed else 0
        if strings and tokenizer is None:
            raise InputError("stop_strings are found in the text: give the tokenizer, too")
        if any(not string for string in strings):
            raise InputError("stop_strings must hold no empty string: every text contains it")
        self._strings, self._tokenizer = tuple(strings), tokenizer
        # A character may take four tokens, one a byte, and special tokens have none.
        self._reach = 4 * max((len(string) for string in strings), default=0) + 8

    def ended(self, written: Tensor) -> Tensor:
        """Whether the latest token ends the text: `written` [rows, new] -> bool [rows]."""
        latest = written[:, -1]
        ended = torch.zeros_like(latest, dtype=torch.bool) if self.ends is None else torch.isin(latest, self.ends)
        if self._strings:
            assert self._tokenizer is not None
            texts = [self._tokenizer.decode(row) for row in written[:, -self._reach :].tolist()]
            found = [any(string in text for string in self._strings) for text in texts]
            ended |= torch.tensor(found, device=ended.device)
        return ended

    @property
    def can_end(self) -> bool:
        """Whether a text can end before it is as long as it may be."""
        return self.ends is not None or bool(self._strings)
