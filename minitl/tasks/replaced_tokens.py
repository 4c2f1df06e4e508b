"""Tell which tokens a generator has replaced (ELECTRA, Clark et al. 2020, sections 2 and 3.2, two-stage training).

    text        the   chef  cooked  the  meal
    hidden      the  [MASK] cooked  the [MASK]         15% of the tokens
                       │                   │           a masked language model that is taught no more: it draws
    reads       the   chef  cooked  the   car
    targets      0     0      0      0     1           replaced or not, of each token; what was drawn right is not

Every token is a target, not only the hidden ones. The generator is the first of the paper's two stages, a masked-lm
training, and stays as that left it. (Taught together, both losses are added, the generator's and 50 times this one;
where only one of them is left, such a factor is a matter of the learning rate.)
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.data import Example
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tasks.blocks import Block
from minitl.tasks.masked_lm import MaskedLM
from minitl.tasks.task import NO_TARGET, Task, TrainingBatch
from minitl.tokenization import Tokenizer


class Detected(NamedTuple):
    """Of an item's tokens: how far the model takes each for replaced (a logit), and which are."""

    logits: npt.NDArray[np.float32]
    replaced: npt.NDArray[np.bool_]


class ReplacedTokens(Task[Example, Block]):
    """loss = -log p(replaced or not), p = sigmoid(logit), summed over all real tokens, special ones among them.

    So a training takes its mean over them, as the published one does.

    tokenizer    from `load_tokenizer`, with a mask token
    generator    a masked-lm model with the tokenizer's vocabulary, see `load_generator`; it is only asked
    max_length   tokens of a block
    share        of the tokens that are hidden from the generator
    """

    name = "replaced-token-detection"
    metric = "auc"
    redraws = True

    def __init__(self, tokenizer: Tokenizer, generator: Model, max_length: int = 128, share: float = 0.15) -> None:
        self.blocks = MaskedLM(tokenizer, max_length, share)
        self.tokenizer, self.generator = tokenizer, generator.eval()
        self.max_length, self.share = max_length, share

    def check_example(self, example: Example) -> str | None:
        return self.blocks.check_example(example)

    def is_labelled(self, example: Example) -> bool:  # noqa: ARG002
        return True  # what is replaced is drawn here

    def encode(self, examples: Sequence[Example]) -> list[Block]:
        return self.blocks.encode(examples)

    def collate(self, items: Sequence[Block]) -> TrainingBatch:
        """ "replaced" [batch, length]: 1 where the token is another than the text's, else 0; NO_TARGET at padding."""
        inputs = self.tokenizer.pad([item.row for item in items])
        ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
        chosen = (torch.rand(ids.shape) < self.share) & mask & ~torch.isin(ids, self.blocks.specials)
        read = ids.masked_scatter(chosen, self._drawn(inputs, chosen))
        replaced = (read != ids).long().masked_fill(~mask, NO_TARGET)
        return TrainingBatch({**inputs, "input_ids": read}, {"replaced": replaced})

    @torch.no_grad()
    def _drawn(self, inputs: Mapping[str, Tensor], chosen: Tensor) -> Tensor:
        """What the generator puts in the places `chosen` of a text in which all of them are masked, [chosen]."""
        masked = inputs["input_ids"].masked_fill(chosen, self.tokenizer.mask_token_id or 0)
        device = next(self.generator.parameters()).device
        hidden = self.generator.encode(**{k: v.to(device) for k, v in {**inputs, "input_ids": masked}.items()})
        here = hidden.last_hidden_state[chosen.to(device)][None]  # [1, chosen, hidden]: a head looks at one place
        logits = self.generator.head(Output(here), None).logits
        assert logits is not None  # a language model's head
        return torch.multinomial(logits[0].float().softmax(-1).cpu(), 1)[:, 0] if chosen.any() else masked[chosen]

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        assert output.logits is not None
        here = targets["replaced"] != NO_TARGET
        replaced = targets["replaced"][here].float()
        return F.binary_cross_entropy_with_logits(output.logits[here].float(), replaced, reduction="sum"), len(replaced)

    def answers(self, output: Output, batch: TrainingBatch) -> list[Detected]:
        assert output.logits is not None
        logits, replaced = output.logits.float().cpu().numpy(), batch.targets["replaced"].cpu().numpy()
        here = replaced != NO_TARGET
        return [Detected(values[h], r[h] == 1) for values, r, h in zip(logits, replaced, here, strict=True)]

    def score(self, predictions: Sequence[Detected], examples: Sequence[Example]) -> dict[str, float]:  # noqa: ARG002
        """auc, how often a replaced token is suspected more than one that is not; of what is suspected more than not,
        f1, precision and recall, and accuracy over all tokens.

        A model that begins to learn suspects nothing, six tokens of seven being as they were: then auc alone tells.
        """
        from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score

        logits = np.concatenate([one.logits for one in predictions])
        replaced = np.concatenate([one.replaced for one in predictions])
        said = logits > 0
        auc = roc_auc_score(replaced, logits) if 0 < replaced.sum() < len(replaced) else 0.5
        precision, recall, f1, _ = precision_recall_fscore_support(replaced, said, average="binary", zero_division=0.0)
        scores = {
            "auc": auc,
            "f1": f1,
            "precision": precision,
            "recall": recall,
            "accuracy": accuracy_score(replaced, said),
        }
        return {name: float(value) for name, value in scores.items()}

    def describe(self) -> dict[str, Any]:
        told = {"max_length": self.max_length, "share": self.share, "generator": self.generator.source}
        return {"task": "replaced-tokens", **told}


def load_generator(source: str, model: Model, tokenizer: Tokenizer, max_length: int) -> Model:
    """The masked-lm model in the folder or hub id `source`, on the device of `model`, to draw tokens for it.

    InputError: it has no such head, another vocabulary than `tokenizer`, or no positions for `max_length` tokens.
    """
    from minitl.models.loading import load_model
    from minitl.tokenization import load_tokenizer

    generator = load_model(source, "masked-lm", device=next(model.parameters()).device)
    if generator.untaught:
        raise InputError(
            f"generator {source}: it has no masked-lm head that was taught: {generator.untaught[0]} is new"
        )
    its = load_tokenizer(source)
    if not (its.is_part_of(tokenizer) and tokenizer.is_part_of(its)):
        raise InputError(f"generator {source}: its vocabulary is not that of the model which is to tell what it drew")
    limit = generator.position_limit
    if limit is not None and max_length > limit:
        raise InputError(f"generator {source}: it has positions for {limit} tokens, and max_length is {max_length}")
    return generator.requires_grad_(False)


def suspicions(model: Model, tokenizer: Tokenizer, text: str) -> list[tuple[str, float]]:
    """The tokens of a text as it is, cut to what the model reads, each with the probability that it was replaced."""
    batch = tokenizer([text], max_length=model.position_limit)
    with torch.inference_mode():
        logits = model(**{name: batch[name].to(next(model.parameters()).device) for name in batch}).logits
    assert logits is not None  # the head's
    ids = batch["input_ids"][0].tolist()
    return [(str(tokenizer.id_to_token(i)), p) for i, p in zip(ids, logits[0].float().sigmoid().tolist(), strict=True)]
