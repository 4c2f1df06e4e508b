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
from minitl.prompting.scorer import UNCUT, Wording, check_distinct, device_of
from minitl.prompting.template import Template
from minitl.tokenization import Tokenizer

TEMPLATE = "This example is {}."


@dataclass(frozen=True)
class Premise:
    text: str
    tokens: int  # of the longest pair with a hypothesis


class EntailmentScorer:
    """logits = the entailment logit of each label's hypothesis; with `multi_label`, less its contradiction logit."""

    calibrates = False  # a trained answer to a question, not the likelihood of a word

    def __init__(self, model: Model, tokenizer: Tokenizer, wording: Wording, multi_label: bool = False) -> None:
        self.model, self.tokenizer, self.multi_label = model, tokenizer, multi_label
        self.entailment, self.contradiction = _outputs(model.config.labels)
        if wording.examples:
            raise InputError("an entailment model judges one pair of texts: it takes no examples")
        template = Template(wording.template or TEMPLATE, "{}")
        self.hypotheses = [template.fill({"{}": words}) for words in wording.words.values()]
        check_distinct(self.hypotheses, tokenizer.encode(self.hypotheses, max_length=UNCUT))

    def read(self, text: str) -> Premise:
        pairs = self.tokenizer.encode([text] * len(self.hypotheses), self.hypotheses, max_length=UNCUT)
        return Premise(text, max(map(len, pairs)))

    def logits(self, prompts: Sequence[Premise]) -> Tensor:
        labels = len(self.hypotheses)
        texts = [prompt.text for prompt in prompts for _ in range(labels)]
        inputs = self.tokenizer(texts, self.hypotheses * len(prompts), truncation=False)
        output = self.model(**inputs.to(device_of(self.model))).logits.float().unflatten(0, (-1, labels))
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
