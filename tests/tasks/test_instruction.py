"""Instructions: what of them teaches, how they share rows, and that sharing changes nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitl import fit, load_tokenizer, new_model
from minitl.data import Example
from minitl.errors import DataError, InputError
from minitl.tasks.instruction import Instruction, packed
from minitl.tasks.task import NO_TARGET
from minitl.tokenization import Tokenizer
from minitl.training import Settings, evaluate

WORDS = ["good", "bad", "film", "book", "food", "hotel", "was", "the", "very"]
SOME = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)
PAIRS = st.lists(st.tuples(SOME, SOME), min_size=1, max_size=8)
MODELS = {
    "gpt2": {"model_type": "gpt2", "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 64, "attn_pdrop": 0.0},
    "llama": {
        "model_type": "llama", "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 32, "max_position_embeddings": 64,
    },
    "mistral": {
        "model_type": "mistral", "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
        "num_key_value_heads": 3, "intermediate_size": 32, "max_position_embeddings": 64, "sliding_window": 5,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Tokenizer:
    """BERT's words, with an end token as a decoder's has."""
    tokenizer = load_tokenizer(tiny)
    tokenizer.token_types = False
    tokenizer._special_tokens = {**tokenizer._special_tokens, "eos": "[SEP]"}
    return tokenizer


def examples(pairs: list[tuple[str, str]]) -> list[Example]:
    return [Example(prompt, completion) for prompt, completion in pairs]


@given(st.lists(st.integers(1, 20), max_size=60), st.integers(20, 40))
def test_rows_hold_every_text_once_and_never_too_much(lengths: list[int], room: int) -> None:
    rows = packed(lengths, room)
    assert sorted(text for row in rows for text in row) == list(range(len(lengths)))
    filled = sorted(sum(lengths[text] for text in row) for row in rows)
    assert all(total <= room for total in filled)
    assert len(filled) < 2 or filled[0] + filled[1] > room  # else the two would have shared a row


@given(PAIRS)
def test_the_targets_are_the_completions_and_their_ends(tokenizer: Tokenizer, pairs: list[tuple[str, str]]) -> None:
    task = Instruction(tokenizer, 32)
    inputs, targets = task.collate(task.encode(examples(pairs)))
    assert (inputs["input_ids"] != tokenizer.pad_token_id).sum() == inputs["attention_mask"].sum()
    said = []
    for row in range(len(inputs["input_ids"])):
        for text in range(int(inputs["text_ids"][row].max()) + 1):
            here = inputs["text_ids"][row] == text
            ids, tokens = inputs["input_ids"][row][here], targets["tokens"][row][here]
            assert inputs["position_ids"][row][here].tolist() == list(range(int(here.sum())))
            taught = tokens != NO_TARGET
            assert torch.equal(tokens[:-1][taught[:-1]], ids[1:][taught[:-1]])
            assert not taught[-1]
            said.append(tokenizer.decode(tokens[taught]))
    assert sorted(said) == sorted(f"{completion} [SEP]" for _, completion in pairs)


@pytest.mark.parametrize("family", MODELS)
def test_a_text_among_others_is_what_it_is_alone(tokenizer: Tokenizer, family: str) -> None:
    torch.manual_seed(0)
    model = new_model({**MODELS[family], "vocab_size": tokenizer.vocab_size}, "causal-lm").eval()
    texts = examples([(f"{WORDS[i % 9]} film was", " ".join(WORDS[: 1 + i])) for i in range(7)])
    together, alone = Instruction(tokenizer, 40), Instruction(tokenizer, 40, packed=False)
    assert len(together.encode(texts)) < len(texts)
    mine, theirs = (evaluate(model, texts, task=task, batch_size=4) for task in (together, alone))
    assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    assert mine["perplexity"] == pytest.approx(theirs["perplexity"], rel=1e-5)


def test_long_texts_in_strips_do_not_see_each_other_either(tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)
    config = {**MODELS["mistral"], "max_position_embeddings": 2048, "vocab_size": tokenizer.vocab_size}
    model = new_model(config, "causal-lm").eval()
    ids = torch.randint(5, tokenizer.vocab_size, (1, 700))
    text_ids = torch.repeat_interleave(torch.arange(2), torch.tensor([300, 400]))[None]
    places = torch.cat((torch.arange(300), torch.arange(400)))[None]
    with torch.no_grad():
        both = model(ids, text_ids=text_ids, position_ids=places).logits
        first, second = model(ids[:, :300]).logits, model(ids[:, 300:]).logits
    torch.testing.assert_close(both, torch.cat((first, second), dim=1), rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_loses_the_prompts_beginning_then_the_completions_end(tokenizer: Tokenizer) -> None:
    task = Instruction(tokenizer, 6, template="{prompt}", packed=False)
    (item,) = task.encode([Example("the film was very good", "bad")])
    ids, _ = item.texts[0]
    assert tokenizer.decode(ids.tolist()) == "film was very good bad [SEP]"
    (item,) = task.encode([Example("good", "the film was very bad")])
    ids, targets = item.texts[0]
    assert tokenizer.decode(ids.tolist()) == "good the film was very [SEP]"
    assert (np.array(targets) == NO_TARGET).tolist() == [False] * 5 + [True]


def test_a_row_has_room_for_prompt_completion_and_end(tokenizer: Tokenizer) -> None:
    for length in (1, 2):
        with pytest.raises(InputError, match=f"max_length must be at least 3, .*: got {length}"):
            Instruction(tokenizer, length)
    (item,) = Instruction(tokenizer, 3, template="{prompt}", packed=False).encode([Example("good film", "very bad")])
    ids, targets = item.texts[0]
    assert tokenizer.decode(ids.tolist()) == "film very [SEP]"
    assert len(targets) == 3


def test_a_tiny_model_learns_to_repeat_what_it_is_told(tokenizer: Tokenizer) -> None:
    texts = examples([(word, f"{word} {word}") for word in WORDS] * 6)
    torch.manual_seed(1)
    model = new_model({**MODELS["gpt2"], "vocab_size": tokenizer.vocab_size}, "causal-lm")
    task = Instruction(tokenizer, 32, template="the {prompt} was")
    result = fit(model, texts, texts[:9], task=task, settings=Settings(epochs=40, batch_size=4, learning_rate=1e-2))
    assert result.metrics["perplexity"] < 1.2


def test_what_cannot_be_learnt_from_is_refused(tiny: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="training example 0: a prompt without completion"):
        Instruction(tokenizer).check([Example("good")], "training")
    with pytest.raises(InputError, match=r"slot \{prompt\} once"):
        Instruction(tokenizer, template="Answer:")
    with pytest.raises(InputError, match="no end token"):
        Instruction(load_tokenizer(tiny))


def test_texts_in_a_row_are_refused_where_they_cannot_be(tokenizer: Tokenizer, tiny: Path) -> None:
    from minitl import load_model

    model = new_model({**MODELS["gpt2"], "vocab_size": tokenizer.vocab_size}, "causal-lm")
    ids = torch.randint(5, 9, (2, 6))
    with pytest.raises(InputError, match="takes no text_ids"):
        load_model(tiny)(ids, text_ids=torch.zeros_like(ids))
    with pytest.raises(InputError, match="text_ids must have the shape"):
        model(ids, text_ids=torch.zeros(2, 5, dtype=torch.long))
    with pytest.raises(InputError, match="go with no cache"):
        model(ids, text_ids=torch.zeros_like(ids), cache=model.new_cache(2, 8))
