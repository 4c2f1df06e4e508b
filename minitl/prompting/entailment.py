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
from minitl.prompting.fitting import fit
from minitl.prompting.scorer import UNCUT, Wording, check_distinct, device_of
from minitl.prompting.template import Template
from minitl.tokenization import Tokenizer

TEMPLATE = "This example is {}."


@dataclass(frozen=True)
class Pair:
    """A premise and a hypothesis, with what they take together."""

    premise: str
    hypothesis: str
    tokens: int


@dataclass(frozen=True)
class Pairs:
    """A text with each hypothesis, cut for each by itself."""

    pairs: list[Pair]

    @property
    def tokens(self) -> int:
        return max(pair.tokens for pair in self.pairs)


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
        def pair(hypothesis: str) -> Pair:
            return fit(text, lambda premise: self._whole(premise, hypothesis), self.tokenizer, self.limit)

        return Pairs([pair(hypothesis) for hypothesis in self.hypotheses])

    def _whole(self, premise: str, hypothesis: str) -> Pair:
        (ids,) = self.tokenizer.encode(premise, hypothesis, max_length=UNCUT)
        return Pair(premise, hypothesis, len(ids))

    def logits(self, prompts: Sequence[Pairs]) -> Tensor:
        pairs = [pair for prompt in prompts for pair in prompt.pairs]
        premises, hypotheses = [pair.premise for pair in pairs], [pair.hypothesis for pair in pairs]
        inputs = self.tokenizer(premises, hypotheses, truncation=False).to(device_of(self.model))
        output = self.model(**inputs).logits.float().unflatten(0, (len(prompts), -1))
        logits: Tensor = output[..., self.entailment]  # [prompts, labels]
        return logits - output[..., self.contradiction] if self.multi_label else logits


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
