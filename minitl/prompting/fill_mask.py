"""Masked language models: which label's word fills the gap? (Schick and Schütze 2021, arXiv:2001.07676)

    "A fine film. It was [MASK]." ─ model ─► state at the mask ─ head ─► log P(good), log P(bad) …

Each word (a label's "verbaliser") must be one token, as there is one mask: the probabilities of several masks are not
those of one word. Which token a word is, the template decides: after a space it is another one than inside a word.
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
)
from minitl.prompting.template import Template
from minitl.tokenization import Tokenizer

TEMPLATE = "{text} This is {mask}."


@dataclass(frozen=True)
class GapPrompt:
    """A text with a gap; `masks_before`: how many mask tokens stand before the gap, in the text that is classified."""

    text: str
    masks_before: int
    tokens: int


class FillMaskScorer:
    """logits = log P(word at the mask), over the whole vocabulary."""

    calibrates = True

    def __init__(self, model: Model, tokenizer: Tokenizer, wording: Wording, limit: int | None) -> None:
        number = tokenizer.mask_token_id
        mask = None if number is None else tokenizer.id_to_token(number)
        if number is None or mask is None:
            raise InputError("this tokenizer has no mask token, which a masked language model's prompt needs")
        self.model, self.tokenizer, self.limit = model, tokenizer, limit
        self.mask, self.mask_id = mask, number
        self.template = Template(wording.template or TEMPLATE, "{text}", "{mask}")
        words = {label: word.strip() for label, word in wording.words.items()}  # the space is the template's
        shown = (self.template.fill({"{text}": text, "{mask}": words[label]}) for text, label in wording.examples)
        self.context = "".join(example + wording.separator for example in shown)
        self.verbalisers = [self._token(word) for word in words.values()]
        tokens = [[number] for number in self.verbalisers]
        check_known(list(words.values()), tokens, tokenizer.unk_token_id)
        check_distinct(list(words.values()), tokens)

    def _token(self, word: str) -> int:
        """The one token that stands where the mask would; InputError names the pieces where there are several."""
        prompts = (self.context + self.template.fill({"{text}": NEUTRAL, "{mask}": m}) for m in (self.mask, word))
        gap, filled = encode(self.tokenizer, list(prompts))
        start, end = common(gap, filled), common(gap[::-1], filled[::-1])
        pieces = [self.tokenizer.id_to_token(number) for number in filled[start : max(start, len(filled) - end)]]
        if len(pieces) != 1:
            raise InputError(
                f"the word {word!r} must be one token, as there is one mask, but this tokenizer makes {len(pieces)} of "
                f"it: {pieces}"
            )
        return filled[start]

    def read(self, text: str) -> GapPrompt:
        return fit(text, self._whole, self.tokenizer, self.limit)

    def _whole(self, text: str) -> GapPrompt:
        values = {"{text}": text, "{mask}": self.mask}
        prompt = self.context + self.template.fill(values)
        before = self.context + self.template.before("{mask}", values)
        (ids,) = encode(self.tokenizer, [prompt])
        return GapPrompt(prompt, before.count(self.mask), len(ids))

    def logits(self, prompts: Sequence[GapPrompt]) -> Tensor:
        device = device_of(self.model)
        inputs = self.tokenizer([prompt.text for prompt in prompts], truncation=False).to(device)
        masks = inputs["input_ids"] == self.mask_id
        wanted = torch.tensor([prompt.masks_before for prompt in prompts], device=device)[:, None]
        gap = masks & (masks.cumsum(-1) - 1 == wanted)  # [prompts, length], one True a row
        hidden = self.model.encode(**inputs).last_hidden_state[gap]  # the others' words would be thrown away
        return log_probabilities(self.model, hidden[:, None])[:, 0, self.verbalisers]
