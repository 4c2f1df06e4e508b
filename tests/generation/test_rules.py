"""The rules, each against its definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from minitl.generation import generate
from minitl.generation.rules import Rules, forbid_repeated_ngrams, keep_top_k, keep_top_p, penalize_repetition
from minitl.models.base import Model
from tests.generation.conftest import VOCABULARY

scores_of_a_row = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=12, unique=True).map(torch.tensor)


@given(scores_of_a_row, st.integers(1, 15))
def test_top_k_keeps_the_k_highest(scores: Tensor, k: int) -> None:
    kept = keep_top_k(scores[None], k)[0].isfinite()
    assert set(kept.nonzero()[:, 0].tolist()) == set(scores.argsort(descending=True)[:k].tolist())


@given(scores_of_a_row, st.floats(0.01, 1.0))
def test_the_nucleus_reaches_p_and_would_not_without_its_least_likely_token(scores: Tensor, p: float) -> None:
    kept = keep_top_p(scores[None], p)[0].isfinite()
    probabilities = scores.softmax(-1)
    inside = probabilities[kept]
    assert inside.sum() >= p - 1e-5
    assert inside.sum() - inside.min() < p + 1e-5
    assert inside.min() >= probabilities[~kept].max() if not kept.all() else True


@given(scores_of_a_row, st.floats(1.01, 3.0), st.data())
def test_the_penalty_lowers_the_tokens_of_the_text_and_no_others(
    scores: Tensor, penalty: float, data: st.DataObject
) -> None:
    text = data.draw(st.lists(st.integers(0, len(scores) - 1), min_size=1, max_size=8))
    lowered = penalize_repetition(scores[None], torch.tensor([text]), penalty)[0]
    for token, (before, after) in enumerate(zip(scores.tolist(), lowered.tolist(), strict=True)):
        if token not in text:
            assert after == before
        else:
            assert after == pytest.approx(before / penalty if before > 0 else before * penalty, rel=1e-5)


texts = st.lists(st.integers(0, 3), min_size=1, max_size=12)


@given(texts, st.integers(1, 4), st.integers(0, 4))
def test_what_would_repeat_an_ngram_is_hidden_and_nothing_else(text: list[int], size: int, padding: int) -> None:
    padding = min(padding, len(text) - 1)
    real = torch.arange(len(text)) >= padding
    scores = forbid_repeated_ngrams(torch.zeros(1, 4), torch.tensor([text]), real[None], size)[0]
    words = text[padding:]
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    latest = words[len(words) - size + 1 :]
    for token in range(4):
        enough = len(words) >= size - 1
        assert bool(scores[token].isinf()) == (enough and (*latest, token) in grams)


def test_a_token_that_ends_several_ngrams_is_hidden_if_one_is_repeated() -> None:
    scores = forbid_repeated_ngrams(torch.zeros(1, 9), torch.tensor([[1, 5, 2, 5, 1]]), None, 2)[0]
    assert scores.isinf().nonzero()[:, 0].tolist() == [5]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_text_holds_an_ngram_twice(any_model: Model, beams: int, size: int) -> None:
    ids = torch.randint(VOCABULARY, (3, 4))
    options = {"num_beams": beams, "no_repeat_ngram_size": size}
    for row, free in zip(
        generate(any_model, ids, max_new_tokens=16, **options).tolist(),
        generate(any_model, ids, max_new_tokens=16, num_beams=beams).tolist(),
        strict=True,
    ):
        prompt = 1 if any_model.task == "seq2seq-lm" else 4
        grams = [tuple(row[i : i + size]) for i in range(len(row) - size + 1)]
        new = grams[max(0, prompt - size + 1) :]
        assert len(set(new)) == len(new)
        assert len(row) == len(free)


@pytest.mark.parametrize("beams", [1, 3])
def test_first_and_last_token_are_as_forced(any_model: Model, beams: int) -> None:
    ids = torch.randint(VOCABULARY, (2, 4))
    written = generate(any_model, ids, max_new_tokens=6, num_beams=beams, forced_bos_token_id=7, forced_eos_token_id=9)[
        :, -6:
    ]
    assert written[:, 0].tolist() == [7, 7]
    assert written[:, -1].tolist() == [9, 9]


def test_no_end_before_the_least_number_of_tokens() -> None:
    rules = Rules(ends=torch.tensor([2, 5]), max_new_tokens=9, min_new_tokens=3)
    scores, text = torch.zeros(1, 8), torch.tensor([[1, 1]])
    for written in range(5):
        hidden = rules.apply(scores, text, None, written)[0].isinf().nonzero()[:, 0].tolist()
        assert hidden == ([2, 5] if written < 3 else [])
