"""Say what comes next (Radford et al. 2018, equation 1): a text in blocks, each token but the first a target.

reads     A    film  to   remember  E  Two  hours
targets   film to    rem… E         Two hours  -
"""

from collections.abc import Sequence
from typing import Any

from minitl.data import Example
from minitl.tasks.blocks import Block, blocks
from minitl.tasks.likelihood import Likelihood
from minitl.tasks.task import NO_TARGET, TrainingBatch
from minitl.tokenization import Tokenizer


class CausalLM(Likelihood[Block]):
    """loss = -log softmax(logits[t])[token t + 1], summed over the tokens.

    tokenizer    from `load_tokenizer`
    max_length   tokens of a block
    """

    name = "causal-lm"

    def __init__(self, tokenizer: Tokenizer, max_length: int = 128) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length

    def encode(self, examples: Sequence[Example]) -> list[Block]:
        return blocks(self.tokenizer, examples, self.max_length, self.tokenizer.bos_token_id, None)

    def collate(self, items: Sequence[Block]) -> TrainingBatch:
        """ "tokens" [batch, length]: at each place the next token, NO_TARGET at the last and at padding."""
        inputs = self.tokenizer.pad([item.row for item in items])
        following = inputs["input_ids"].roll(-1, dims=1).masked_fill(inputs["attention_mask"] == 0, NO_TARGET)
        ends = inputs["attention_mask"].roll(-1, dims=1) == 0
        ends[:, -1] = True
        return TrainingBatch(inputs, {"tokens": following.masked_fill(ends, NO_TARGET)})

    def describe(self) -> dict[str, Any]:
        return {"task": self.name, "max_length": self.max_length}
