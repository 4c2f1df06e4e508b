"""Token by token: the same text as at once, each piece as soon as it can be told."""

from pathlib import Path

import pytest
import torch

from minitl import generate, load_model, load_tokenizer, stream, stream_text
from minitl.errors import InputError
from minitl.generation import TextStream
from minitl.models.base import Model
from tests.generation.conftest import VOCABULARY


class Letters:
    """A tokenizer of one letter a token."""

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:  # noqa: ARG002
        return "".join(chr(97 + number % 26) for number in ids)


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "seed": 3}, {"repetition_penalty": 1.5}], ids=str)
def test_the_tokens_are_generates(any_model: Model, options: dict) -> None:
    ids = torch.randint(VOCABULARY, (3, 4))
    whole = generate(any_model, ids, max_new_tokens=8, **options)
    assert torch.equal(torch.stack(list(stream(any_model, ids, max_new_tokens=8, **options)), dim=1), whole[:, -8:])


def test_each_token_comes_before_the_next_is_computed(gpt2: Model) -> None:
    calls: list[int] = []
    gpt2.embeddings.register_forward_pre_hook(lambda *_: calls.append(1))
    tokens = stream(gpt2, torch.tensor([[1, 2]]), max_new_tokens=5)
    for count in range(1, 4):
        next(tokens)
        assert len(calls) == count


def test_gradients_are_on_between_tokens(gpt2: Model) -> None:
    tokens = stream(gpt2, torch.tensor([[1, 2]]), max_new_tokens=3)
    next(tokens)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_bad_options_are_refused_before_the_first_token(gpt2: Model) -> None:
    with pytest.raises(InputError, match="stream takes no num_beams"):
        stream(gpt2, torch.tensor([[1]]), num_beams=2)
    with pytest.raises(InputError, match="top_k must be at least 1"):
        stream(gpt2, torch.tensor([[1]]), top_k=0)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_text_ends_where_it_holds_a_stop_string(any_model: Model, beams: int) -> None:
    ids, letters = torch.randint(VOCABULARY, (3, 4)), Letters()
    start = 1 if any_model.task == "seq2seq-lm" else 4
    free = generate(any_model, ids, max_new_tokens=12, num_beams=beams)[:, start:].tolist()
    stop = letters.decode(free[0][3:5])
    options = {"num_beams": beams, "stop_strings": [stop], "tokenizer": letters}
    stopped = generate(any_model, ids, max_new_tokens=12, **options)[:, start:].tolist()
    for row in stopped:
        end = letters.decode(row).find(stop) + len(stop)
        assert end < len(stop) or set(row[end:]) <= {0}  # what follows is the filler
    if beams == 1:
        for row, wanted in zip(stopped, free, strict=True):
            end = letters.decode(wanted).find(stop) + len(stop)
            length = end if end >= len(stop) else 12
            assert row[:length] == wanted[:length]
        assert stop in letters.decode(stopped[0])


@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_a_stop_string_may_span_many_tokens(gpt2: Model, length: int) -> None:
    ids, letters = torch.randint(VOCABULARY, (1, 4)), Letters()
    free = letters.decode(generate(gpt2, ids, max_new_tokens=12)[0, 4:].tolist())
    stop = free[2 : 2 + length]
    stopped = generate(gpt2, ids, max_new_tokens=12, stop_strings=[stop], tokenizer=letters)[0, 4:]
    assert letters.decode(stopped.tolist()) == free[: free.index(stop) + length]


def test_a_stop_string_in_the_prompt_ends_nothing(gpt2: Model) -> None:
    ids, letters = torch.tensor([[0, 1, 2]]), Letters()
    free = generate(gpt2, ids, max_new_tokens=6)
    assert "abc" not in letters.decode(free[0, 3:].tolist())
    assert torch.equal(generate(gpt2, ids, max_new_tokens=6, stop_strings=["abc"], tokenizer=letters), free)


def test_characters_of_several_tokens_are_held_back_until_they_are_whole(assets: Path) -> None:
    tokenizer = load_tokenizer(assets / "tokenizers" / "gpt2")
    for text in ("Hello wörld, 東京 and 𓀀!", "ends with 𓀀"):
        ids, shown = tokenizer.encode(text)[0], TextStream(tokenizer)
        pieces = [shown.push(number) for number in ids]
        assert "".join(pieces) + shown.close() == text
        assert len(ids) > len([piece for piece in pieces if piece])
        assert not any("\ufffd" in piece for piece in pieces)


def test_what_never_becomes_a_character_is_shown_in_the_end(assets: Path) -> None:
    tokenizer = load_tokenizer(assets / "tokenizers" / "gpt2")
    shown = TextStream(tokenizer)
    half = tokenizer.encode("𓀀")[0][:1]
    assert [shown.push(number) for number in half] == [""]
    assert shown.close() == "\ufffd"


def test_text_streams_as_generate_writes_it(assets: Path) -> None:
    folder = assets / "weights" / "stories260K"
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    pieces = list(stream_text(model, tokenizer, "Once upon", max_new_tokens=20))
    ids = generate(model, **tokenizer("Once upon"), max_new_tokens=20)
    assert "".join(pieces) == tokenizer.decode(ids[0], skip_special_tokens=True)
    assert pieces[0].startswith("Once upon")
    assert len(pieces) > 10
