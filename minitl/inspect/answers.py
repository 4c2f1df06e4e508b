"""The number F whose causes an attribution looks for: what a model answers, by its head.

sequence-classification    the score of the class that it chooses
token-classification,      the score of the class that it chooses for one token, or that the token was replaced
replaced-token-detection
question-answering         the scores of the best beginning and of the best end
masked-lm, causal-lm,      the log-probability of the token that it finds likeliest at one place
seq2seq-lm
backbone                   how far the mean of the token vectors reaches in the direction that it has
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from minitl.errors import InputError
from minitl.inspect.attribution import Answer
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tokenization import Tokenizer


@dataclass(frozen=True)
class Question:
    """F, and what it is in words; `at` is the token that it is about, None = the whole text."""

    answer: Answer
    title: str
    at: int | None = None


def question_of(model: Model, tokenizer: Tokenizer, output: Output, at: int | None, usual: int) -> Question:
    """What there is to explain in `output`, of one text.

    at      of a head that answers token by token: the token meant, counted from 0; None = `usual`, or the last one
            of a text that is written
    InputError: there is no such token.
    """
    if output.start_logits is not None and output.end_logits is not None:
        return _span(output.start_logits[0], output.end_logits[0])
    if output.logits is None:
        return _direction(output.last_hidden_state[0])
    if model.task == "sequence-classification":
        return _class(output.logits[0], model.config.labels)
    length = output.logits.shape[1]
    writes = model.task in ("causal-lm", "seq2seq-lm")
    at = (length - 1 if writes else usual) if at is None else at
    if not 0 <= at < length:
        raise InputError(f"token {at}: the text has {length}, counted from 0")
    if model.task.endswith("-lm"):
        return _word(output.logits[0, at], tokenizer, at, writes)
    if model.task == "replaced-token-detection":
        return Question(lambda out: _logits(out)[:, at], f"the score of token {at} being replaced", at)
    best = int(output.logits[0, at].argmax())
    name = model.config.labels[best]
    return Question(lambda out: _logits(out)[:, at, best], f"the score of {name} for token {at}", at)


def _class(scores: Tensor, names: list[str]) -> Question:
    if len(names) == 1:
        return Question(lambda out: _logits(out)[:, 0], "the score")
    best = int(scores.argmax())
    return Question(lambda out: _logits(out)[:, best], f"the score of {names[best]}")


def _word(scores: Tensor, tokenizer: Tokenizer, at: int, writes: bool) -> Question:
    best = int(scores.argmax())
    place = f"after token {at}" if writes else f"at token {at}"
    title = f"the log-probability of {shown(tokenizer, best)!r} {place}"
    return Question(lambda out: _logits(out)[:, at].log_softmax(-1)[:, best], title, at)


def _span(starts: Tensor, ends: Tensor) -> Question:
    first, last = int(starts.argmax()), int(ends.argmax())

    def answer(out: Output) -> Tensor:
        assert out.start_logits is not None
        assert out.end_logits is not None
        return out.start_logits[:, first] + out.end_logits[:, last]

    return Question(answer, f"the scores of an answer from token {first} to token {last}")


def _direction(states: Tensor) -> Question:
    way = torch.nn.functional.normalize(states.detach().mean(0), dim=0)
    title = "how far the mean of the token vectors reaches in its own direction"
    return Question(lambda out: out.last_hidden_state.mean(1) @ way, title)


def _logits(output: Output) -> Tensor:
    assert output.logits is not None
    return output.logits


def shown(tokenizer: Tokenizer, token: int) -> str:
    """A token as people read it: without a vocabulary's signs for bytes and spaces, with the ## of the middle of a
    word."""
    piece = tokenizer.id_to_token(token) or f"[{token}]"
    if piece.startswith("##"):
        return piece
    text = tokenizer.decode([token])
    return text if text.strip() and "\ufffd" not in text else piece
