"""Models of natural language inference: which label's hypothesis follows from the text? (Yin et al. 2019,
arXiv:1909.00161)

    "A fine film."  │ "This example is positive." ─ model ─► contradiction, neutral, [entailment]
    (premise)         (hypothesis)

One label a text: the softmax of the labels' entailment logits. Any number of labels: each by itself, entailment against
contradiction. Which output is which, config.json's label names say: published checkpoints order them in every way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.prompting.fitting import without_room
from minitl.prompting.scorer import UNCUT, Wording, check_distinct, device_of, padded
from minitl.prompting.template import Template
from minitl.tokenization import Tokenizer
from minitl.tokenization.batch import Batch

TEMPLATE = "This example is {}."


@dataclass(frozen=True)
class Pairs:
    """A text with each hypothesis in turn, as rows of ids, and of token types where the tokenizer has them."""

    rows: list[dict[str, list[int]]]

    @property
    def tokens(self) -> int:
        return max(len(row["input_ids"]) for row in self.rows)


class EntailmentScorer:
    """logits = the entailment logit of each label's hypothesis; with `multi_label`, less its contradiction logit."""

    calibrates = False  # a trained answer to a question, not the likelihood of a word

    def __init__(
        self, model: Model, tokenizer: Tokenizer, wording: Wording, limit: int | None, multi_label: bool = False
    ) -> None:
        self.model, self.tokenizer, self.limit, self.multi_label = model, tokenizer, limit, multi_label
        self.entailment, self.contradiction = _outputs(model.config.labels)
        if wording.examples:
            raise InputError("an entailment model judges one pair of texts: it takes no examples")
        template = Template(wording.template or TEMPLATE, "{}")
        self.hypotheses = [template.fill({"{}": words}) for words in wording.words.values()]
        check_distinct(self.hypotheses, tokenizer.encode(self.hypotheses, max_length=UNCUT))

    def read(self, text: str) -> Pairs:
        own = len(_places(self.tokenizer([text], truncation=False)))
        return Pairs([self._row(text, hypothesis, own) for hypothesis in self.hypotheses])

    def _row(self, text: str, hypothesis: str, own: int) -> dict[str, list[int]]:
        """The pair without those of the `own` tokens of its text that are too many, on the tokenizer's truncation_side.

        Here whole tokens are taken out, which leaves no word to be read anew: as published pipelines do it.
        """
        batch = self.tokenizer([text], [hypothesis], truncation=False)
        length = batch["input_ids"].shape[1]
        excess = 0 if self.limit is None else max(0, length - self.limit)
        if excess > own:
            raise without_room(length - own, self.limit)
        premise = _places(batch)[:own]
        cut = premise[:excess] if self.tokenizer.truncation_side == "left" else premise[own - excess :]
        kept = [place for place in range(length) if place not in cut]
        return {name: batch[name][0, kept].tolist() for name in ("input_ids", "token_type_ids") if name in batch}

    def logits(self, prompts: Sequence[Pairs]) -> Tensor:
        rows = [row for prompt in prompts for row in prompt.rows]
        side, device = self.tokenizer.padding_side, device_of(self.model)
        ids, real = padded([row["input_ids"] for row in rows], side, self.tokenizer.pad_token_id or 0, device)
        inputs = {"input_ids": ids, "attention_mask": real.long()}
        if "token_type_ids" in rows[0]:
            inputs["token_type_ids"], _ = padded([row["token_type_ids"] for row in rows], side, 0, device)
        output = self.model(**inputs).logits.float().unflatten(0, (len(prompts), -1))
        logits: Tensor = output[..., self.entailment]  # [prompts, labels]
        return logits - output[..., self.contradiction] if self.multi_label else logits


def _places(batch: Batch) -> list[int]:
    """Where in the first row of a batch the text stands, without the special tokens around it."""
    return [place for place, word in enumerate(batch.word_ids[0]) if word is not None]


def _outputs(labels: Sequence[str]) -> tuple[int, int]:
    """Which outputs are entailment and contradiction; of two, the other one ("not_entailment") is contradiction."""
    entailment = [i for i, label in enumerate(labels) if label.lower().startswith("entail")]
    contradiction = [i for i, label in enumerate(labels) if label.lower().startswith("contra")]
    if len(labels) == 2 and len(entailment) == 1:
        contradiction = [1 - entailment[0]]
    if len(entailment) != 1 or len(contradiction) != 1:
        raise InputError(
            "zero-shot classification needs a classifier of natural language inference, with the labels entailment and "
            f"contradiction; this one's are {', '.join(labels)}"
        )
    return entailment[0], contradiction[0]
