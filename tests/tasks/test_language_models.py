"""Learning a language: blocks of text, what is hidden or comes next, and how likely a model finds it."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitl import fit, load_model, load_tokenizer, new_model
from minitl.data import Example
from minitl.errors import DataError, InputError
from minitl.nn.output import Output
from minitl.tasks.bidirectional_lm import BidirectionalLM
from minitl.tasks.causal_lm import CausalLM
from minitl.tasks.masked_lm import MaskedLM
from minitl.tasks.task import NO_TARGET
from minitl.tokenization import Tokenizer
from minitl.training import FROZEN, Settings, evaluate

WORDS = ["good", "bad", "film", "book", "food", "hotel", "was", "the", "very"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30), min_size=1, max_size=6)
GPT2 = {"model_type": "gpt2", "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 32}


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Tokenizer:
    return load_tokenizer(tiny)


def documents(texts: list[list[str]]) -> list[Example]:
    return [Example(" ".join(words)) for words in texts]


@given(TEXTS)
def test_blocks_hold_the_documents_in_order_and_all_but_the_last_are_full(
    tokenizer: Tokenizer, texts: list[list[str]]
) -> None:
    items = CausalLM(tokenizer, 8).encode(documents(texts))
    assert all(item.length == 8 for item in items[:-1])
    stream = np.concatenate([item.row.ids for item in items])
    pieces = [tokenizer.id_to_token(int(i)) for i in stream]
    assert pieces == [piece for words in texts for piece in (*words, "[SEP]")]


@given(TEXTS)
def test_each_token_but_the_first_of_a_block_is_a_target(tokenizer: Tokenizer, texts: list[list[str]]) -> None:
    task = CausalLM(tokenizer, 8)
    items = task.encode(documents(texts))
    inputs, targets = task.collate(items)
    for row, item in enumerate(items):
        ids, said = inputs["input_ids"][row], targets["tokens"][row]
        assert torch.equal(said[: item.length - 1], ids[1 : item.length])
        assert (said[item.length - 1 :] == NO_TARGET).all()


@given(TEXTS)
def test_the_next_token_and_the_one_before_are_targets_but_not_across_the_bounds_of_a_block(
    tokenizer: Tokenizer, texts: list[list[str]]
) -> None:
    task = BidirectionalLM(tokenizer, 8)
    items = task.encode(documents(texts))
    _, targets = task.collate(items)
    for row, item in enumerate(items):
        ids, length = item.row.ids.tolist(), item.length
        ahead, back = targets["tokens"][row, :length].unbind(-1)
        assert ahead.tolist() == [*ids[1:], NO_TARGET]
        assert back.tolist() == [NO_TARGET, *ids[:-1]]
        assert (targets["tokens"][row, length:] == NO_TARGET).all()


def test_the_loss_of_both_directions_is_by_hand(tokenizer: Tokenizer) -> None:
    task = BidirectionalLM(tokenizer, 8)
    batch = task.collate(task.encode(documents([WORDS[:5], WORDS[:7]])))
    logits = torch.randn(*batch.targets["tokens"].shape, tokenizer.vocab_size)
    output = Output(logits, logits=logits)
    loss, count = task.loss(output, batch.targets)
    expected = -sum(
        logits[place].log_softmax(-1)[token]
        for place, token in np.ndenumerate(batch.targets["tokens"].numpy())
        if token != NO_TARGET
    )
    assert count == int((batch.targets["tokens"] != NO_TARGET).sum())
    torch.testing.assert_close(loss, expected)
    answers = task.answers(output, batch)
    assert sum(number for _, number in answers) == count
    assert sum(part for part, _ in answers) == pytest.approx(float(loss), rel=1e-5)


@given(TEXTS, st.booleans(), st.integers(0, 2**31))
def test_what_is_hidden_is_the_target_and_special_tokens_never_are(
    tokenizer: Tokenizer, texts: list[list[str]], whole_words: bool, seed: int
) -> None:
    task = MaskedLM(tokenizer, 8, share=0.5, whole_words=whole_words)
    items = task.encode(documents(texts))
    torch.manual_seed(seed)
    inputs, targets = task.collate(items)
    torch.manual_seed(seed)
    again, _ = task.collate(items)
    assert torch.equal(inputs["input_ids"], again["input_ids"])
    for row, item in enumerate(items):
        ids = torch.from_numpy(item.row.ids.astype(np.int64))
        said, read = targets["tokens"][row, : item.length], inputs["input_ids"][row, : item.length]
        chosen = said != NO_TARGET
        assert torch.equal(said[chosen], ids[chosen])
        assert torch.equal(read[~chosen], ids[~chosen])
        assert not torch.isin(ids[chosen], task.specials).any()
        assert (targets["tokens"][row, item.length :] == NO_TARGET).all()


def test_a_share_is_chosen_and_of_that_four_fifths_are_masked_and_a_tenth_is_another_token(
    tokenizer: Tokenizer,
) -> None:
    task = MaskedLM(tokenizer, 32)
    items = task.encode([Example(" ".join(WORDS * 3000))])
    inputs, targets = task.collate(items)
    ids = torch.from_numpy(np.concatenate([item.row.ids for item in items]).astype(np.int64))
    real = inputs["attention_mask"].bool()
    read, chosen = inputs["input_ids"][real], targets["tokens"][real] != NO_TARGET
    words = ~torch.isin(ids, task.specials)
    assert float(chosen.sum() / words.sum()) == pytest.approx(0.15, abs=0.01)
    masked = read[chosen] == tokenizer.mask_token_id
    same = read[chosen] == ids[chosen]
    assert float(masked.float().mean()) == pytest.approx(0.8 + 0.1 / tokenizer.vocab_size, abs=0.02)
    assert float(same.float().mean()) == pytest.approx(0.1 + 0.1 / tokenizer.vocab_size, abs=0.02)


def test_the_tokens_of_a_word_are_hidden_together(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", "##s", "##y"]))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    task = MaskedLM(load_tokenizer(tmp_path), 66, share=0.5, whole_words=True)
    items = task.encode([Example("filmsy filmys " * 40)])
    _, targets = task.collate(items)
    for row, item in enumerate(items):
        chosen = (targets["tokens"][row, 1 : item.length - 1] != NO_TARGET).tolist()
        ids = item.row.ids[1:-1].tolist()
        for place in range(1, len(ids)):
            if ids[place] > 5:  # goes on with a word
                assert chosen[place] == chosen[place - 1]
    assert 0 < int((targets["tokens"] != NO_TARGET).sum()) < sum(item.length for item in items)


def test_the_loss_and_the_likelihood_are_by_hand(tokenizer: Tokenizer) -> None:
    task = CausalLM(tokenizer, 8)
    batch = task.collate(task.encode(documents([WORDS[:5], WORDS[:6]])))
    logits = torch.randn(*batch.inputs["input_ids"].shape, tokenizer.vocab_size)
    output = Output(logits, logits=logits)
    loss, count = task.loss(output, batch.targets)
    tokens = batch.targets["tokens"]
    expected = -sum(
        logits[row, place].log_softmax(-1)[tokens[row, place]]
        for row in range(len(tokens))
        for place in range(tokens.shape[1])
        if tokens[row, place] != NO_TARGET
    )
    torch.testing.assert_close(loss, expected)
    said = task.score(task.answers(output, batch), [])
    assert said["log_likelihood"] == pytest.approx(-float(loss) / count, rel=1e-5)
    assert said["perplexity"] == pytest.approx(math.exp(float(loss) / count), rel=1e-4)


def grammar(count: int) -> list[Example]:
    """Texts in which each word says which one follows."""
    rng = np.random.default_rng(0)
    starts = rng.integers(len(WORDS), size=count)
    return [Example(" ".join(WORDS[(start + i) % len(WORDS)] for i in range(20))) for start in starts]


def test_a_tiny_model_learns_what_comes_next(tiny: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    tokenizer.token_types = False  # which GPT-2 does not read
    task, texts = CausalLM(tokenizer, 24), grammar(40)
    torch.manual_seed(1)
    model = new_model({**GPT2, "vocab_size": tokenizer.vocab_size}, "causal-lm")
    settings = Settings(epochs=8, batch_size=8, learning_rate=1e-2)
    result = fit(model, texts[:30], texts[30:], task=task, settings=settings)
    assert result.metrics["perplexity"] < 3  # of 21 words; where a text begins nobody can say
    assert result.metrics["loss"] == pytest.approx(-result.metrics["log_likelihood"], rel=1e-5)


def test_a_tiny_model_learns_what_comes_next_and_what_came_before(tokenizer: Tokenizer) -> None:
    texts = grammar(40)
    torch.manual_seed(1)
    shape = {"projection_size": 12, "cell_size": 24, "num_hidden_layers": 1, "initializer_range": 0.2}
    model = new_model({"model_type": "bilm", "vocab_size": tokenizer.vocab_size, **shape}, "bidirectional-lm")
    plain = load_tokenizer_without_types(tokenizer)
    settings = Settings(epochs=8, batch_size=8, learning_rate=2e-2)
    result = fit(model, texts[:30], texts[30:], task=BidirectionalLM(plain, 12), settings=settings)
    assert result.metrics["perplexity"] < 4


def load_tokenizer_without_types(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that gives no token types, which an LSTM does not read."""
    plain = copy.copy(tokenizer)
    plain.token_types = False
    return plain


@pytest.mark.parametrize("frozen", [False, True])
def test_a_tiny_model_learns_what_is_hidden_and_is_measured_by_the_same_masks(
    tiny: Path, tokenizer: Tokenizer, frozen: bool
) -> None:
    task, texts = MaskedLM(tokenizer, 24, whole_words=True), grammar(60)
    torch.manual_seed(1)
    model = load_model(tiny, "masked-lm")
    before = evaluate(model, texts[40:], task=task)
    assert evaluate(model, texts[40:], task=task, batch_size=64) == before
    settings = Settings(epochs=3 if frozen else 10, batch_size=8, learning_rate=1e-2)
    strategy = {"strategy": FROZEN} if frozen else {}
    result = fit(model, texts[:40], texts[40:], task=task, settings=settings, **strategy)
    assert result.metrics["log_likelihood"] > before["log_likelihood"] + (0.1 if frozen else 1)


def test_an_evaluation_leaves_the_random_state_as_it_was(tiny: Path, tokenizer: Tokenizer) -> None:
    model = load_model(tiny, "masked-lm")
    state = torch.get_rng_state()
    evaluate(model, grammar(3), task=MaskedLM(tokenizer, 24))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("task", "least"), [(MaskedLM, 3), (CausalLM, 2)])
def test_a_block_has_room_for_a_token_to_learn_from(
    tokenizer: Tokenizer, task: type[MaskedLM | CausalLM], least: int
) -> None:
    texts = [Example("the film was very good")]
    for length in range(1, least):
        with pytest.raises(InputError, match=f"max_length {length}: a block has no room for a token to learn from"):
            task(tokenizer, length).encode(texts)
    items = task(tokenizer, least).encode(texts)
    assert {item.length for item in items} == {least}


def test_what_cannot_be_learnt_from_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="training example 1: a document without text"):
        CausalLM(tokenizer).check([Example("good"), Example("  ")], "training")
    with pytest.raises(InputError, match="share must lie between 0 and 1"):
        MaskedLM(tokenizer, share=1.0)
