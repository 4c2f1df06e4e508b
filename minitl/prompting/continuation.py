"""Causal language models: how likely is each label as what comes next? (Brown et al. 2020, arXiv:2005.14165)

    prompt ─ model ─► keys and values ─┬─ " good" ─► log P( good | prompt)
                      (read once)      ├─ " bad"  ─► log P( bad | prompt)
                                       └─ …

The log-probabilities of a label's tokens are summed: the score is the probability of the label itself. The mean per
token, which Brown et al. take on most of their tasks, is none: it raises " New York" for how well "York" follows "New".
That a sum favours short labels is a preference which is the same for every text, and calibration takes it out. With one
content-free text the score is then the pointwise mutual information of Holtzman et al. (2021, arXiv:2104.08315), with
the content-free prompt as their domain premise.

Prompt and label are tokenised together, as the model would meet them. What all labels then share is the prompt; where a
label changes how the prompt's end is cut into tokens (a space that joins the word behind it), that end counts as part
of the labels. So "Sentiment:" with " good" and "Sentiment: " with "good" are one question.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.prompting.fitting import fit
from minitl.prompting.scorer import (
    NEUTRAL,
    Wording,
    check_distinct,
    check_known,
    common,
    device_of,
    encode,
    log_probabilities,
    padded,
)
from minitl.prompting.template import Template
from minitl.tokenization import Tokenizer

TEMPLATE = "{text}\nLabel: "


@dataclass(frozen=True)
class SharedPrompt:
    """Ids: what every label follows, and for each label what follows."""

    shared: list[int]
    endings: list[list[int]]

    @property
    def tokens(self) -> int:
        return len(self.shared) + max(map(len, self.endings))


class ContinuationScorer:
    """logits = log P(label | prompt)."""

    calibrates = True

    def __init__(self, model: Model, tokenizer: Tokenizer, wording: Wording, limit: int | None) -> None:
        self.model, self.tokenizer, self.limit = model, tokenizer, limit
        self.words = list(wording.words.values())
        self.template = Template(wording.template or TEMPLATE, "{text}")
        self.context = demonstrations(self.template, wording)
        endings = self.read(NEUTRAL).endings
        check_known(self.words, endings, tokenizer.unk_token_id)
        check_distinct(self.words, endings)

    def read(self, text: str) -> SharedPrompt:
        return fit(text, self._whole, self.tokenizer, self.limit)

    def _whole(self, text: str) -> SharedPrompt:
        prompt = self.context + self.template.fill({"{text}": text})
        alone, *whole = encode(self.tokenizer, [prompt, *(prompt + words for words in self.words)])
        shared = common(alone, *whole)
        if not shared:
            raise InputError(
                f"the prompt {prompt!r:.60} leaves no token for the labels to follow: write more into the template"
            )
        endings = [ids[shared:] for ids in whole]
        if not all(endings):
            raise InputError(f"the words {self.words[endings.index([])]!r} come to no token after {prompt[-20:]!r}")
        return SharedPrompt(alone[:shared], endings)

    def logits(self, prompts: Sequence[SharedPrompt]) -> Tensor:
        model, device, labels = self.model, device_of(self.model), len(self.words)
        ids, real = padded([prompt.shared for prompt in prompts], "left", 0, device)
        endings, counted = padded([ending for prompt in prompts for ending in prompt.endings], "right", 0, device)
        cache = model.new_cache(len(prompts), ids.shape[1] + endings.shape[1] - 1)
        hidden = model.encode(ids, real, cache=cache).last_hidden_state[:, -1]
        first = log_probabilities(model, hidden)  # [prompts, vocabulary]
        total = first.gather(-1, endings[:, 0].view(-1, labels))  # [prompts, labels]
        if endings.shape[1] == 1:
            return total
        parent = torch.arange(len(prompts), device=device).repeat_interleave(labels)
        cache.select(parent)
        # The padding behind short labels is hidden, so that it moves no position; nothing real looks at it anyway.
        known = torch.cat((real[parent], counted[:, :-1]), dim=1)
        hidden = model.encode(endings[:, :-1], known, cache=cache).last_hidden_state
        rest = log_probabilities(model, hidden).gather(-1, endings[:, 1:, None])[
            ..., 0
        ]  # [prompts · labels, longest - 1]
        return total + (rest * counted[:, 1:]).sum(-1).view(-1, labels)


def demonstrations(template: Template, wording: Wording) -> str:
    """The examples, answered, as the prompt begins with them: the answer stands behind the template."""
    shown = (template.fill({"{text}": text}) + wording.words[label] for text, label in wording.examples)
    return "".join(example + wording.separator for example in shown)
