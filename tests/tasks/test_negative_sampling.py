"""Neighbours against drawn tokens: which pairs there are, what is left out, and the loss by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from minitl import fit, load_tokenizer, new_model
from minitl.data import Example
from minitl.errors import DataError, InputError
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tasks.negative_sampling import NegativeSampling
from minitl.tasks.task import NO_TARGET
from minitl.tokenization import Tokenizer
from minitl.training import Settings, evaluate

WORDS = ["good", "bad", "film", "book", "food", "hotel", "was", "the", "very"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Tokenizer:
    tokenizer = load_tokenizer(tiny)
    tokenizer.token_types = False
    return tokenizer


def fresh(tokenizer: Tokenizer, size: int = 8) -> Model:
    torch.manual_seed(0)
    config = {"model_type": "skip-gram", "vocab_size": tokenizer.vocab_size, "hidden_size": size}
    return new_model(config, "negative-sampling")


def documents(texts: list[list[str]]) -> list[Example]:
    return [Example(" ".join(words)) for words in texts]


@examples(max_examples=30)
@given(TEXTS, st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**31))
def test_neighbours_are_on_both_sides_up_to_a_distance_that_each_centre_draws(
    tokenizer: Tokenizer, texts: list[list[str]], window: int, negatives: int, seed: int
) -> None:
    task = NegativeSampling(tokenizer, fresh(tokenizer), 8, window, negatives, threshold=1.0)
    items = task.encode(documents(texts))
    torch.manual_seed(seed)
    inputs, targets = task.collate(items)
    for row, item in enumerate(items):
        ids = item.row.ids.tolist()
        assert inputs["input_ids"][row, : len(ids)].tolist() == ids  # nothing is frequent enough to be left out
        for place in range(inputs["input_ids"].shape[1]):
            said = targets["neighbours"][row, place]
            there = said != NO_TARGET
            if place >= len(ids):
                assert not there.any()
                continue
            near = {o: int(said[i]) for i, o in enumerate(task.offsets.tolist()) if there[i]}
            assert all(ids[place + offset] == token for offset, token in near.items())
            reach = max(map(abs, near), default=0)
            inside = [o for o in task.offsets.tolist() if abs(o) <= reach and 0 <= place + o < len(ids)]
            assert sorted(near) == inside
            drawn = targets["drawn"][row, place]
            assert (drawn[~there] == NO_TARGET).all()
            assert set(drawn[there].flatten().tolist()) <= set(task.head.counts.nonzero().flatten().tolist())


def test_what_is_frequent_is_left_out_as_often_as_equation_5_says(tokenizer: Tokenizer) -> None:
    task = NegativeSampling(tokenizer, fresh(tokenizer), 100, threshold=0.04)
    items = task.encode([Example("the " * 8000 + "film " * 2000)])
    ids = torch.cat([inputs["input_ids"][inputs["attention_mask"].bool()] for inputs, _ in map(task.collate, [items])])
    the, film = (int(tokenizer.encode(word)[0][1]) for word in ("the", "film"))
    assert int((ids == the).sum()) / 8000 == pytest.approx(math.sqrt(0.04 / 0.8), abs=0.02)
    assert int((ids == film).sum()) / 2000 == pytest.approx(math.sqrt(0.04 / 0.2), abs=0.04)


def test_tokens_are_drawn_by_the_three_quarter_power_of_their_counts(tokenizer: Tokenizer) -> None:
    task = NegativeSampling(tokenizer, fresh(tokenizer), 50, threshold=1.0)
    items = task.encode([Example("the " * 1600 + "film " * 100)])
    _, targets = task.collate(items)
    drawn = targets["drawn"][targets["drawn"] != NO_TARGET]
    film = int(tokenizer.encode("film")[0][1])
    share = 100**0.75 / (100**0.75 + 1600**0.75 + 1)  # 1 is the end of the text
    assert float((drawn == film).float().mean()) == pytest.approx(share, abs=0.01)


def test_the_loss_is_equation_4_by_hand(tokenizer: Tokenizer) -> None:
    model = fresh(tokenizer)
    torch.nn.init.normal_(model.head.context.weight)
    task = NegativeSampling(tokenizer, model, 8, window=2, negatives=3, threshold=1.0)
    items = task.encode(documents([WORDS[:6], WORDS[3:]]))
    batch = task.collate(items)
    hidden = torch.randn(*batch.inputs["input_ids"].shape, 8)
    loss, count = task.loss(Output(hidden), batch.targets)
    expected, pairs = 0.0, 0
    second = model.head.context.weight.detach()
    for (row, place, slot), neighbour in np.ndenumerate(batch.targets["neighbours"].numpy()):
        if neighbour == NO_TARGET:
            continue
        pairs += 1
        centre = hidden[row, place]
        expected -= math.log(1 / (1 + math.exp(-float(second[neighbour] @ centre))))
        for other in batch.targets["drawn"][row, place, slot].tolist():
            if other != neighbour:
                expected -= math.log(1 / (1 + math.exp(float(second[other] @ centre))))
    assert count == pairs
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    said = task.score(task.answers(Output(hidden), batch), [])
    assert said == {"log_likelihood": pytest.approx(-expected / pairs, rel=1e-5)}


def test_words_of_one_topic_come_to_lie_together(tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    topics = (["good", "film", "very"], ["bad", "hotel", "food"])
    texts = documents([rng.choice(topics[i % 2], 20).tolist() for i in range(60)])
    model = fresh(tokenizer, 16)
    task = NegativeSampling(tokenizer, model, 20, threshold=1.0)
    before = evaluate(model, texts[:10], task=task)["log_likelihood"]
    settings = Settings(epochs=10, batch_size=8, learning_rate=1e-2, weight_decay=0.0)
    result = fit(model, texts[10:], texts[:10], task=task, settings=settings)
    assert result.metrics["log_likelihood"] > before + 1
    vectors = torch.nn.functional.normalize(model.embeddings.token.weight, dim=-1)
    ids = [[tokenizer.encode(word)[0][1] for word in topic] for topic in topics]
    one, other = vectors[ids[0]], vectors[ids[1]]
    assert float((one @ one.T).min()) > float((one @ other.T).max())


def test_the_text_that_teaches_is_counted_and_no_other(tokenizer: Tokenizer) -> None:
    model = fresh(tokenizer)
    task = NegativeSampling(tokenizer, model)
    task.encode(documents([["good", "film", "good"]]))
    counts = model.head.counts.clone()
    task.encode(documents([["bad"] * 5]))
    assert torch.equal(model.head.counts, counts)
    assert int(counts.sum()) == 4


def test_what_cannot_be_learnt_from_is_refused(tokenizer: Tokenizer, tiny: Path) -> None:
    from minitl import load_model

    with pytest.raises(InputError, match=r"negative sampling needs a head with vectors of neighbours; .* masked-lm"):
        NegativeSampling(tokenizer, load_model(tiny, "masked-lm"))
    with pytest.raises(DataError, match="training example 0: a document without text"):
        NegativeSampling(tokenizer, fresh(tokenizer)).check([Example(" ")], "training")
