"""A classifier made of a pretrained model and a question.

    text ─ template ─► prompt ─ model ─► logits of the labels ─ softmax ─ calibration ─► scores

Which kind of question a model can answer, its head says.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.data import batches_by_length
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.prompting.answer import AnswerScorer
from minitl.prompting.calibration import CONTENT_FREE, calibrated, log_prior
from minitl.prompting.continuation import ContinuationScorer
from minitl.prompting.entailment import EntailmentScorer
from minitl.prompting.fill_mask import FillMaskScorer
from minitl.prompting.fitting import room
from minitl.prompting.scorer import Scorer, Wording
from minitl.tokenization import Tokenizer
from minitl.tokenization.inputs import check_strings

SCORERS: dict[str, type[Any]] = {
    "causal-lm": ContinuationScorer,
    "seq2seq-lm": AnswerScorer,
    "masked-lm": FillMaskScorer,
    "sequence-classification": EntailmentScorer,
}


class PromptClassifier:
    """Label texts with a model that was never trained for these labels.

    model         with a head that can answer: "causal-lm", "seq2seq-lm", "masked-lm", or "sequence-classification"
                  trained on natural language inference
    words         label -> the words that stand for it (a sequence: each label stands for itself). Language models are
                  asked how likely the words are, at the mask for masked ones, where a label's word must be one token;
                  an entailment model, whether they fit the text
    template      the question. With the slot {text}; for a masked model with {text} and {mask}; for entailment, the
                  hypothesis with the slot {}. None: "{text}\\nLabel: ", "{text} This is {mask}." or
                  "This example is {}."
    examples      (text, label) pairs that are shown answered before the question, each followed by `separator`
    calibrate     divide out the preference for labels which the prompt has for texts without content
                  (`minitl.prompting.calibration`); None = for language models, not for entailment
    multi_label   of entailment models: any number of labels may be true of a text, each is scored by itself
    max_length    tokens of the longest prompt, its answer included; None = what model and tokenizer allow. Of a longer
                  one, the text is cut on the tokenizer's truncation_side; template and examples never are
    batch_size    texts read at once

    InputError: a model without a fitting head; fewer than two labels; words that are empty, or the same tokens as
    others'; a template with other slots; an example with an unknown label; a question with no room for any text.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        words: Mapping[str, str] | Sequence[str],
        template: str | None = None,
        examples: Sequence[tuple[str, str]] = (),
        *,
        calibrate: bool | None = None,
        multi_label: bool = False,
        separator: str = "\n\n",
        max_length: int | None = None,
        batch_size: int = 32,
    ) -> None:
        self.model, self.tokenizer, self.multi_label, self.batch_size = model, tokenizer, multi_label, batch_size
        wording = Wording(_checked_words(words, multi_label), template, examples, separator)
        self.labels = list(wording.words)
        check_strings("examples", [text for text, _ in examples])
        for i, (_, label) in enumerate(examples):
            if label not in wording.words:
                raise InputError(f"examples[{i}]: the label {label!r} is none of {', '.join(self.labels)}")
        self._scorer = _scorer(model, tokenizer, wording, room(model, tokenizer, max_length), multi_label)
        self._scorer.read("")  # tells what is wrong with the question before there is a text
        self.prior: Tensor | None = None  # log-probabilities [labels] that are taken out of every answer
        if self._scorer.calibrates and not multi_label if calibrate is None else calibrate:
            self.calibrate()

    def scores(self, texts: Sequence[str]) -> Tensor:
        """Log-probabilities of the labels, float32 [texts, labels] on the CPU, in the order of `labels`.

        Those of a text sum to probability 1; with `multi_label`, each label's is its own.
        """
        answers = self._log_probabilities(texts)
        return answers if self.prior is None else calibrated(answers, self.prior)

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The likeliest label of each text."""
        return [self.labels[i] for i in self.scores(texts).argmax(-1).tolist()]

    def calibrate(self, texts: Sequence[str] = CONTENT_FREE) -> None:
        """Measure the prior on `texts`: content-free ones, or unlabelled ones of the task (batch calibration)."""
        if self.multi_label:
            raise InputError("calibration is for labels that exclude each other: with multi_label there is none")
        if not texts:
            raise InputError("calibration needs at least one text")
        self.prior = log_prior(self._log_probabilities(texts))

    def logits(self, texts: Sequence[str]) -> Tensor:
        """What speaks for each label before anything is normalised, float32 [texts, labels] on the CPU.

        log P(words | prompt) of language models; of entailment models, the logit.
        """
        if isinstance(texts, str):
            raise InputError("texts must be a list of strings, found one string")
        check_strings("texts", texts)
        prompts = [self._scorer.read(text) for text in texts]
        answers = torch.empty(len(prompts), len(self.labels))
        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            for batch in batches_by_length([prompt.tokens for prompt in prompts], self.batch_size):
                answers[batch] = self._scorer.logits([prompts[i] for i in batch]).cpu()
        self.model.train(was_training)
        return answers

    def _log_probabilities(self, texts: Sequence[str]) -> Tensor:
        logits = self.logits(texts)
        return F.logsigmoid(logits) if self.multi_label else logits.log_softmax(-1)


def _scorer(model: Model, tokenizer: Tokenizer, wording: Wording, limit: int | None, multi_label: bool) -> Scorer[Any]:
    kind = SCORERS.get(model.task)
    if kind is None:
        raise InputError(
            f'this {model.config.model_type} model has the task "{model.task}", which answers no prompt; needed is one '
            f"of {', '.join(SCORERS)}"
        )
    if kind is EntailmentScorer:
        return EntailmentScorer(model, tokenizer, wording, limit, multi_label)
    if multi_label:
        raise InputError(f"multi_label needs an entailment model; this one's task is {model.task}")
    scorer: Scorer[Any] = kind(model, tokenizer, wording, limit)
    return scorer


def _checked_words(words: Mapping[str, str] | Sequence[str], multi_label: bool) -> dict[str, str]:
    if isinstance(words, str):
        raise InputError("words must map labels to words, or list them; found one string")
    known = dict(words) if isinstance(words, Mapping) else dict(zip(words, words, strict=True))
    if len(known) < len(words):
        raise InputError(f"each label must be named once, found {', '.join(words)}")
    if len(known) < (1 if multi_label else 2):
        raise InputError(
            f"a classifier needs {'one label' if multi_label else 'two labels'} or more, found {list(known)}"
        )
    for label, own in known.items():
        if not isinstance(own, str) or not own.strip():
            raise InputError(f"the label {label!r} has no words: found {own!r}")
    return known
