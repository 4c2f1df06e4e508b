"""Encoder-decoders: how likely is each label as the answer to the prompt? (Sanh et al. 2022, arXiv:2110.08207)

    prompt ─ encoder ─► states ─┬─ decoder ─► log P("good </s>")
                (read once)     └─ decoder ─► log P("bad </s>")

A label is tokenised as every target is, end token included: the model was trained to end its answers, and without the
end "not" would always be likelier than "not good". Log-probabilities are summed, for the reasons in `continuation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.models.encoder_decoder import EncoderDecoder
from minitl.prompting.continuation import TEMPLATE, demonstrations
from minitl.prompting.fitting import fit
from minitl.prompting.scorer import Wording, check_distinct, check_known, device_of, encode, log_probabilities, padded
from minitl.prompting.template import Template
from minitl.tokenization import Tokenizer


@dataclass(frozen=True)
class SourcePrompt:
    """Ids of the source."""

    ids: list[int]

    @property
    def tokens(self) -> int:
        return len(self.ids)


class AnswerScorer:
    """logits = log P(label and its end | source)."""

    calibrates = True

    def __init__(self, model: Model, tokenizer: Tokenizer, wording: Wording, limit: int | None) -> None:
        assert isinstance(model, EncoderDecoder)  # the only ones with a "seq2seq-lm" head
        self.model, self.tokenizer, self.limit = model, tokenizer, limit
        self.template = Template(wording.template or TEMPLATE, "{text}")
        self.context = demonstrations(self.template, wording)
        words = list(wording.words.values())
        self.answers = encode(tokenizer, words, as_target=True)
        check_known(words, self.answers, tokenizer.unk_token_id)
        check_distinct(words, self.answers)
        longest = max(map(len, self.answers))
        if model.position_limit is not None and longest > model.position_limit:
            raise InputError(
                f"the longest label has {longest} tokens; this {model.config.model_type} model has positions for "
                f"{model.position_limit}"
            )

    def read(self, text: str) -> SourcePrompt:
        return fit(text, self._whole, self.tokenizer, self.limit)

    def _whole(self, text: str) -> SourcePrompt:
        (ids,) = encode(self.tokenizer, [self.context + self.template.fill({"{text}": text})])
        return SourcePrompt(ids)

    def logits(self, prompts: Sequence[SourcePrompt]) -> Tensor:
        model, device = self.model, device_of(self.model)
        filler = model.config.pad_token_id or 0
        ids, real = padded([prompt.ids for prompt in prompts], "right", filler, device)
        answers, counted = padded(self.answers, "right", filler, device)  # [labels, longest]
        targets = model.shift_right(answers).repeat(len(prompts), 1)  # a source's targets stand next to each other
        hidden = model.encode(ids, real, decoder_input_ids=targets).last_hidden_state
        scores = log_probabilities(model, hidden).unflatten(
            0, (-1, len(answers))
        )  # [prompts, labels, longest, vocabulary]
        chosen = scores.gather(-1, answers.expand(len(prompts), -1, -1)[..., None])[..., 0]
        return (chosen * counted).sum(-1)
