"""Say what comes next (Radford et al. 2018, equation 1): a text in blocks, each token but the first a target.

reads     A    film  to   remember  E  Two  hours
targets   film to    rem… E         Two hours  -
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from minitl.data import Example
from minitl.nn.output import Output
from minitl.tasks.blocks import Block, blocks
from minitl.tasks.likelihood import Counted, counted, scores, summed_loss
from minitl.tasks.task import NO_TARGET, Task, TrainingBatch
from minitl.tokenization import Tokenizer


class CausalLM(Task[Example, Block]):
    """loss = -log softmax(logits[t])[token t + 1], summed over the tokens.

    tokenizer    from `load_tokenizer`
    max_length   tokens of a block
    """

    name = "causal-lm"
    metric = "log_likelihood"

    def __init__(self, tokenizer: Tokenizer, max_length: int = 128) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length

    def check_example(self, example: Example) -> str | None:
        return None if example.text.strip() else "a document without text"

    def is_labelled(self, example: Example) -> bool:  # noqa: ARG002
        return True

    def encode(self, examples: Sequence[Example]) -> list[Block]:
        return blocks(self.tokenizer, examples, self.max_length, self.tokenizer.bos_token_id, None)

    def collate(self, items: Sequence[Block]) -> TrainingBatch:
        """ "tokens" [batch, length]: at each place the next token, NO_TARGET at the last and at padding."""
        inputs = self.tokenizer.pad([item.row for item in items])
        following = inputs["input_ids"].roll(-1, dims=1).masked_fill(inputs["attention_mask"] == 0, NO_TARGET)
        ends = inputs["attention_mask"].roll(-1, dims=1) == 0
        ends[:, -1] = True
        return TrainingBatch(inputs, {"tokens": following.masked_fill(ends, NO_TARGET)})

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        return summed_loss(output, targets)

    def answers(self, output: Output, batch: TrainingBatch) -> list[Counted]:
        return counted(output, batch.targets)

    def score(self, predictions: Sequence[Counted], examples: Sequence[Example]) -> dict[str, float]:  # noqa: ARG002
        """log_likelihood of a token, in nats, and perplexity."""
        return scores(predictions)

    def describe(self) -> dict[str, Any]:
        return {"task": self.name, "max_length": self.max_length}
