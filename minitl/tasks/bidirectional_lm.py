"""Say what comes next, and what came before (Peters et al. 2018, section 3.1): one model reads each way.

reads     [CLS]  a    film  to    remember  [SEP]
next        a   film  to    rem…  [SEP]       -
before      -  [CLS]  a     film  to        rem…
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from minitl.data import Example
from minitl.errors import InputError
from minitl.tasks.blocks import Block, blocks
from minitl.tasks.likelihood import Likelihood
from minitl.tasks.task import NO_TARGET, TrainingBatch
from minitl.tokenization import Tokenizer


class BidirectionalLM(Likelihood[Block]):
    """loss = -log p(token t + 1 | up to t) - log p(token t - 1 | from t on), summed over the tokens of blocks.

    tokenizer    from `load_tokenizer`, with tokens that begin and end a text: the bounds of a block
    max_length   tokens of a block
    """

    name = "bidirectional-lm"

    def __init__(self, tokenizer: Tokenizer, max_length: int = 128) -> None:
        first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
        last = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
        if first is None or last is None:
            raise InputError("this tokenizer has no tokens that begin and end a text: the last words one way or other")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.bounds = first, last

    def encode(self, examples: Sequence[Example]) -> list[Block]:
        return blocks(self.tokenizer, examples, self.max_length, *self.bounds)

    def collate(self, items: Sequence[Block]) -> TrainingBatch:
        """ "tokens" [batch, length, 2]: at each place the next token and the one before; NO_TARGET where none is."""
        inputs = self.tokenizer.pad([item.row for item in items])
        tokens = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, NO_TARGET)
        none = torch.full_like(tokens[:, :1], NO_TARGET)
        both = torch.stack((torch.cat((tokens[:, 1:], none), 1), torch.cat((none, tokens[:, :-1]), 1)), dim=-1)
        return TrainingBatch(inputs, {"tokens": both.masked_fill((tokens == NO_TARGET)[..., None], NO_TARGET)})

    def wanted(self, targets: Mapping[str, Tensor]) -> None:
        """All of them."""

    def describe(self) -> dict[str, Any]:
        return {"task": self.name, "max_length": self.max_length}
