"""Replaced-token detection: what a generator draws, the loss by hand, and a model that learns to tell."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from minitl import fit, load_tokenizer, new_model, save_model
from minitl.data import Example
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tasks.replaced_tokens import Detected, ReplacedTokens, load_generator, suspicions
from minitl.tasks.task import NO_TARGET
from minitl.tokenization import Tokenizer
from minitl.training import Settings, evaluate

ELECTRA = {
    "model_type": "electra",
    "embedding_size": 24,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
GOOD, BAD = "good", "bad"


class Always(torch.nn.Module):
    """A head that is sure of one token, wherever it is asked."""

    def __init__(self, token: int, vocabulary: int) -> None:
        super().__init__()
        self.token, self.vocabulary, self.asked = token, vocabulary, 0

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        logits = torch.full((*output.last_hidden_state.shape[:2], self.vocabulary), -1e4)
        logits[..., self.token] = 0.0
        self.asked += logits.shape[1]
        return output.with_(logits=logits)


@pytest.fixture
def tokenizer(tiny: Path) -> Tokenizer:
    return load_tokenizer(tiny)


def electra(tokenizer: Tokenizer, task: str) -> Model:
    return new_model({**ELECTRA, "vocab_size": tokenizer.vocab_size}, task)


def who_says(tokenizer: Tokenizer, word: str) -> Model:
    """A generator that draws `word` everywhere."""
    generator = electra(tokenizer, "masked-lm")
    generator.head = Always(tokenizer.token_to_id(word) or 0, tokenizer.vocab_size)
    return generator


TEXTS = [Example("the good film was bad good bad"), Example("we was bad")]


def test_what_is_drawn_stands_in_the_chosen_places_and_what_is_drawn_right_is_not_replaced(
    tokenizer: Tokenizer,
) -> None:
    generator = who_says(tokenizer, GOOD)
    task = ReplacedTokens(tokenizer, generator, max_length=8, share=0.5)
    items = task.encode(TEXTS * 20)
    inputs, targets = task.collate(items)
    drawn, good = 0, tokenizer.token_to_id(GOOD)
    for row, item in enumerate(items):
        ids = torch.from_numpy(item.row.ids.astype(np.int64))
        read, replaced = inputs["input_ids"][row, : item.length], targets["replaced"][row, : item.length]
        assert torch.equal(replaced == 1, read != ids)
        assert (read[replaced == 1] == good).all()
        assert (replaced[ids == good] == 0).all()  # also where it was drawn
        assert not torch.isin(ids[replaced == 1], task.blocks.specials).any()
        assert (targets["replaced"][row, item.length :] == NO_TARGET).all()
        drawn += int(replaced.sum())
    assert 0 < drawn < generator.head.asked  # type: ignore[operator]  # the head of this file


def test_the_generator_sees_masks_only_where_it_is_asked(tokenizer: Tokenizer) -> None:
    generator = who_says(tokenizer, GOOD)
    seen: list[Tensor] = []
    generator.embeddings.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    task = ReplacedTokens(tokenizer, generator, max_length=8, share=0.5)
    items = task.encode(TEXTS * 20)
    task.collate(items)
    original = tokenizer.pad([item.row for item in items])["input_ids"]
    hidden = seen[0] == tokenizer.mask_token_id
    assert int(hidden.sum()) == generator.head.asked  # type: ignore[comparison-overlap]
    assert torch.equal(seen[0][~hidden], original[~hidden])


def test_draws_follow_the_generator_s_probabilities(tokenizer: Tokenizer) -> None:
    class Even(Always):
        def forward(self, output: Output, attention_mask: Tensor | None) -> Output:
            logits = super().forward(output, attention_mask).logits
            assert logits is not None
            logits[..., tokenizer.token_to_id(BAD)] = math.log(3.0)  # three times as likely as `token`
            return output.with_(logits=logits)

    generator = electra(tokenizer, "masked-lm")
    generator.head = Even(tokenizer.token_to_id(GOOD) or 0, tokenizer.vocab_size)
    task = ReplacedTokens(tokenizer, generator, max_length=32, share=0.9)
    inputs, targets = task.collate(task.encode([Example("film " * 3000)]))
    drawn = inputs["input_ids"][targets["replaced"] == 1]
    assert set(drawn.tolist()) == {tokenizer.token_to_id(GOOD), tokenizer.token_to_id(BAD)}
    assert float((drawn == tokenizer.token_to_id(BAD)).float().mean()) == pytest.approx(0.75, abs=0.04)


def test_the_loss_is_by_hand(tokenizer: Tokenizer) -> None:
    task = ReplacedTokens(tokenizer, who_says(tokenizer, GOOD))
    logits = torch.tensor([[0.0, 2.0, -1.0], [1.0, 9.0, 9.0]])
    targets = {"replaced": torch.tensor([[0, 1, 1], [0, NO_TARGET, NO_TARGET]])}
    loss, count = task.loss(Output(logits[..., None], logits=logits), targets)
    by_hand = math.log(2) + math.log(1 + math.exp(-2.0)) + math.log(1 + math.exp(1.0)) + math.log(1 + math.exp(1.0))
    assert count == 4
    assert float(loss) == pytest.approx(by_hand, rel=1e-6)


def test_the_scores_are_those_of_what_is_replaced(tokenizer: Tokenizer) -> None:
    task = ReplacedTokens(tokenizer, who_says(tokenizer, GOOD))
    found = [
        Detected(np.array([2.0, 0.5, -1.0], np.float32), np.array([True, False, False])),
        Detected(np.array([0.3, -0.5], np.float32), np.array([True, True])),
    ]
    # of the six pairs of a replaced token and another, 0.3 and -0.5 lie below 0.5
    expected = {"auc": 4 / 6, "f1": 2 / 3, "precision": 2 / 3, "recall": 2 / 3, "accuracy": 3 / 5}
    assert task.score(found, []) == pytest.approx(expected)
    nothing = task.score([Detected(np.array([-1.0], np.float32), np.array([False]))], [])
    assert (nothing["f1"], nothing["auc"]) == (0.0, 0.5)


def test_a_tiny_model_learns_to_tell_and_the_generator_stays(tokenizer: Tokenizer) -> None:
    words = [GOOD, BAD, "film", "book", "food", "hotel"]
    texts = [Example(" ".join(words[(start + i) % 6] for i in range(20))) for start in range(6)] * 8
    torch.manual_seed(1)
    generator = electra(tokenizer, "masked-lm")
    before = {name: p.detach().clone() for name, p in generator.named_parameters()}
    task = ReplacedTokens(tokenizer, generator, max_length=24)
    model = electra(tokenizer, "replaced-token-detection")
    settings = Settings(epochs=20, batch_size=8, learning_rate=1e-2)
    result = fit(model, texts[:40], texts[40:], task=task, settings=settings)
    assert result.metrics["f1"] > 0.8
    assert evaluate(model, texts[40:], task=task) == evaluate(model, texts[40:], task=task)  # the same are drawn
    assert all(torch.equal(p, before[name]) for name, p in generator.named_parameters())
    said = dict(suspicions(model, tokenizer, "good bad very book food hotel good bad film book"))
    assert said["very"] > 0.5 > said["food"]


def test_a_batch_of_which_nothing_is_hidden_is_read_as_it_is(tokenizer: Tokenizer) -> None:
    task = ReplacedTokens(tokenizer, who_says(tokenizer, GOOD), share=1e-9)
    inputs, targets = task.collate(items := task.encode(TEXTS))
    assert torch.equal(inputs["input_ids"], tokenizer.pad([item.row for item in items])["input_ids"])
    assert not (targets["replaced"] == 1).any()


def test_a_generator_that_does_not_fit_is_refused(tokenizer: Tokenizer, tiny: Path, tmp_path: Path) -> None:
    model = electra(tokenizer, "replaced-token-detection")
    save_model(electra(tokenizer, "masked-lm"), tmp_path / "fits", tokenizer)
    assert not any(p.requires_grad for p in load_generator(str(tmp_path / "fits"), model, tokenizer, 32).parameters())
    with pytest.raises(InputError, match="positions for 32 tokens, and max_length is 33"):
        load_generator(str(tmp_path / "fits"), model, tokenizer, 33)
    with pytest.raises(InputError, match="no masked-lm head that was taught"):
        load_generator(str(tiny), model, tokenizer, 8)
    tokenizer.add_tokens(["more"])
    with pytest.raises(InputError, match="its vocabulary is not that of the model"):
        load_generator(str(tmp_path / "fits"), model, tokenizer, 8)
