"""Beam search against a plain one that reads every text anew and keeps lists."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from minitl.generation import generate
from minitl.models.base import Model
from tests.generation.conftest import VOCABULARY


def log_probs(model: Model, source: list[int], text: list[int]) -> Tensor:
    """Of the next token after `text`, which for a decoder begins with `source`."""
    with torch.no_grad():
        if model.task == "causal-lm":
            return model(torch.tensor([text])).logits[0, -1].log_softmax(-1)
        return model(torch.tensor([source]), decoder_input_ids=torch.tensor([text])).logits[0, -1].log_softmax(-1)


def plain_beam_search(
    model: Model, source: list[int], new: int, beams: int, penalty: float, end: int | list[int] | None
) -> list[int]:
    """Until as many texts as beams have ended, or all are as long as may be."""
    ends = end if isinstance(end, list) else [end]
    looked_at = max(2, 1 + len(ends)) * beams
    start = source if model.task == "causal-lm" else [model.start_token]
    running: list[tuple[float, list[int]]] = [(0.0, start)]
    finished: list[tuple[float, list[int]]] = []
    for written in range(1, new + 1):
        options = [
            (score + float(p), [*text, token])
            for score, text in running
            for token, p in enumerate(log_probs(model, source, text))
        ]
        options = sorted(options, reverse=True)[:looked_at]
        last = written == new
        done = [(s / written**penalty, t) for s, t in options[:beams] if last or t[-1] in ends]
        finished = sorted([*finished, *done], reverse=True)[:beams]
        running = [(s, t) for s, t in options if t[-1] not in ends][:beams]
        if len(finished) == beams:
            break
    return finished[0][1]


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("beams", [2, 5])
def test_the_best_text_is_the_plain_searchs(any_model: Model, beams: int, penalty: float) -> None:
    sources = torch.randint(VOCABULARY, (3, 4)).tolist()
    for end in (None, 3, 8, [3, 8, 11, 20]):
        any_model.config = replace(any_model.config, eos_token_id=end)
        found = generate(
            any_model,
            torch.tensor(sources),
            max_new_tokens=6,
            num_beams=beams,
            length_penalty=penalty,
            early_stopping=True,
        ).tolist()
        for source, text in zip(sources, found, strict=True):
            expected = plain_beam_search(any_model, source, 6, beams, penalty, end)
            assert text[: len(expected)] == expected
            assert set(text[len(expected) :]) <= {0 if end is None else end if isinstance(end, int) else end[0]}


@pytest.mark.parametrize("stopping", [True, False, "never"])
def test_rows_do_not_disturb_each_other(any_model: Model, stopping: object) -> None:
    any_model.config = replace(any_model.config, eos_token_id=4, pad_token_id=4)
    ids = torch.randint(VOCABULARY, (4, 5))
    options = {"max_new_tokens": 10, "num_beams": 3, "early_stopping": stopping}
    together = generate(any_model, ids, **options).tolist()
    for row, text in zip(ids, together, strict=True):
        alone = generate(any_model, row[None], **options)[0].tolist()
        assert text[: len(alone)] == alone
        assert set(text[len(alone) :]) <= {4}


def test_padding_changes_nothing(any_model: Model) -> None:
    side = "left" if any_model.task == "causal-lm" else "right"
    texts = [torch.randint(VOCABULARY, (length,)) for length in (6, 2, 4)]
    ids, mask = torch.full((3, 6), 9), torch.zeros(3, 6, dtype=torch.long)
    for row, text in enumerate(texts):
        place = slice(6 - len(text), 6) if side == "left" else slice(0, len(text))
        ids[row, place], mask[row, place] = text, 1
    together = generate(any_model, ids, mask, max_new_tokens=7, num_beams=3, no_repeat_ngram_size=2)
    for row, text in enumerate(texts):
        alone = generate(any_model, text[None], max_new_tokens=7, num_beams=3, no_repeat_ngram_size=2)
        assert torch.equal(together[row, -7:], alone[0, -7:])


def test_a_source_is_read_once_and_its_keys_are_not_repeated_for_the_beams(t5: Model) -> None:
    encoded: list[int] = []
    keys: list[tuple[int, ...]] = []
    t5.encoder.register_forward_hook(lambda _m, _i, output: encoded.append(len(output)))
    t5.decoder.layers[0].cross_attention.key.register_forward_hook(lambda _m, _i, output: keys.append(output.shape))
    generate(t5, torch.randint(VOCABULARY, (2, 5)), max_new_tokens=6, num_beams=4)
    assert encoded == [2]
    assert [shape[:2] for shape in keys] == [(2, 5)]


def test_a_prompt_is_read_once_for_all_beams(gpt2: Model) -> None:
    rows: list[tuple[int, ...]] = []
    gpt2.embeddings.register_forward_pre_hook(lambda _, arguments: rows.append(tuple(arguments[0].shape)))
    generate(gpt2, torch.randint(VOCABULARY, (2, 5)), max_new_tokens=4, num_beams=3)
    assert rows == [(2, 5), (6, 1), (6, 1), (6, 1)]


def test_never_stops_later_than_the_rule_that_looks_at_the_present_length() -> None:
    """A planted model: token 1 ends, and whatever was written, scores are log-probabilities of these."""
    from minitl.generation.beam import beam_search
    from minitl.generation.endings import Endings
    from minitl.generation.rules import Rules

    class Planted:
        prompt = torch.zeros(1, 1, dtype=torch.long)
        parts = ()

        def next_scores(self, ids: Tensor) -> Tensor:
            first = torch.tensor([0.02, 0.5, 0.48, 0.0]).log()
            later = torch.tensor([0.01, 0.02, 0.97, 0.0]).log()
            return torch.stack([first if len(row) == 1 else later for row in ids])

        def select(self, rows: Tensor) -> None:
            pass

        def real(self, _length: int) -> None:
            return None

    end = torch.tensor([1])
    endings = Endings.__new__(Endings)
    endings.ends, endings.filler, endings._strings = end, 1, ()
    texts = {
        stopping: beam_search(Planted(), Rules(ends=end, max_new_tokens=12), endings, 1, 1.0, stopping)[0].tolist()
        for stopping in (False, "never")
    }
    # -0.69 for ending at once; going on costs 0.73 + 0.03 a token: less per token the longer, and never in the present.
    assert texts[False] == [0, 1]
    assert texts["never"] == [0, *[2] * 12]
