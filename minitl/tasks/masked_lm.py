"""Say what is hidden (Devlin et al. 2019, section 3.1): a text in blocks, some tokens masked anew each time.

    reads     [CLS] a [MASK] to remember [SEP]      of the chosen 15%: four fifths [MASK], a tenth another token,
    targets     -   -  film  -     -       -        a tenth as they are

Masks are drawn when a batch is made, so that an epoch hides other tokens than the one before (RoBERTa, Liu et al. 2019,
section 4.1); with whole words, all tokens of a word are chosen together.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitl.data import Example
from minitl.errors import InputError
from minitl.tasks.blocks import Block, blocks
from minitl.tasks.likelihood import Likelihood
from minitl.tasks.task import NO_TARGET, TrainingBatch
from minitl.tokenization import Tokenizer


class MaskedLM(Likelihood[Block]):
    """loss = -log softmax(logits)[hidden token], summed over the chosen places.

    tokenizer     from `load_tokenizer`, with a mask token
    max_length    tokens of a block
    share         of the tokens that are chosen
    whole_words   whether the tokens of a word are chosen together
    """

    name = "masked-lm"
    redraws = True

    def __init__(
        self, tokenizer: Tokenizer, max_length: int = 128, share: float = 0.15, whole_words: bool = False
    ) -> None:
        if tokenizer.mask_token_id is None:
            raise InputError("this tokenizer has no mask token: it was not made for masked language modelling")
        if not 0 < share < 1:
            raise InputError(f"share must lie between 0 and 1, got {share}")
        self.tokenizer = tokenizer
        self.max_length, self.share, self.whole_words = max_length, share, whole_words
        specials = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
        self.specials = torch.tensor(sorted({i for i in specials if i is not None}))

    def encode(self, examples: Sequence[Example]) -> list[Block]:
        first = self.tokenizer.cls_token_id if self.tokenizer.cls_token_id is not None else self.tokenizer.bos_token_id
        last = self.tokenizer.sep_token_id if self.tokenizer.sep_token_id is not None else self.tokenizer.eos_token_id
        return blocks(self.tokenizer, examples, self.max_length, first, last)

    def collate(self, items: Sequence[Block]) -> TrainingBatch:
        """ "tokens" [batch, length]: what is hidden, NO_TARGET elsewhere."""
        inputs = self.tokenizer.pad([item.row for item in items])
        ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
        chosen = self._chosen(items, mask) & ~torch.isin(ids, self.specials)
        fate = torch.rand(ids.shape)
        hidden = ids.masked_fill(chosen & (fate < 0.8), self.tokenizer.mask_token_id or 0)
        other = torch.randint(self.tokenizer.vocab_size, ids.shape)
        hidden = torch.where(chosen & (fate >= 0.8) & (fate < 0.9), other, hidden)
        return TrainingBatch({**inputs, "input_ids": hidden}, {"tokens": ids.masked_fill(~chosen, NO_TARGET)})

    def _chosen(self, items: Sequence[Block], mask: Tensor) -> Tensor:
        """Which places are chosen, [batch, length]: each token, or each word, with the probability `share`."""
        if not self.whole_words:
            return (torch.rand(mask.shape) < self.share) & mask
        words = np.zeros(mask.shape, dtype=np.int64)  # the number of each place's word in its row
        words[mask.numpy()] = np.concatenate([np.cumsum(item.begins) for item in items])
        drawn = torch.rand(mask.shape[0], int(words.max(initial=0)) + 1) < self.share
        return drawn.gather(1, torch.from_numpy(words)) & mask

    def describe(self) -> dict[str, Any]:
        names = ("max_length", "share", "whole_words")
        return {"task": self.name, **{name: getattr(self, name) for name in names}}
