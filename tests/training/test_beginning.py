"""What a recipe begins with: a checkpoint, or random weights with a tokenizer of their own."""

from pathlib import Path
from typing import Any

import pytest
import torch

from minitl import load_tokenizer
from minitl.errors import InputError
from minitl.training.beginning import begin
from minitl.training.recipe import make_recipe

SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
BERT = {"model_type": "bert", "vocab_size": 200, "max_position_embeddings": 32, "type_vocab_size": 2, **SHAPE}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "tales.txt"
    lines = [
        f"The {who} went to the {where} and saw {what}.\n"
        for who in ("king", "fox")
        for where in ("sea", "hill")
        for what in ("nothing", "a ship", "the moon")
    ]
    path.write_text("\n".join(lines))
    return path


def scratch(text: Path, model: dict[str, Any], **others: Any) -> Any:
    values = {
        "out": str(text.parent / "run"),
        "task": "masked-lm",
        "data": {"source": str(text)},
        "model": model,
        **others,
    }
    return make_recipe(values, "here")


def test_weights_are_random_and_the_vocabulary_is_of_the_training_texts(text: Path) -> None:
    begun = begin(scratch(text, {"config": BERT}))
    assert begun.tokenizer.token_to_id("king") is not None
    assert begun.model.config.vocab_size == begun.tokenizer.vocab_size <= 200
    assert begun.model.config.pad_token_id == begun.tokenizer.pad_token_id
    assert begun.recipe.options.max_length == 32  # all that there are positions for


def test_the_seed_decides_the_weights(text: Path) -> None:
    def weights(seed: int) -> torch.Tensor:
        return begin(scratch(text, {"config": BERT}, training={"seed": seed})).model.layers[0].feed_forward.up.weight

    assert weights(0).equal(weights(0))
    assert not weights(0).equal(weights(1))


def test_one_who_goes_on_finds_the_tokenizer_as_it_was(text: Path) -> None:
    first = begin(scratch(text, {"config": BERT})).tokenizer
    text.write_text("Quite other words stand here now.\n\nAnd here.\n\nAnd there.")
    again = begin(scratch(text, {"config": BERT}), anew=False).tokenizer
    assert [again.id_to_token(i) for i in range(again.vocab_size)] == [
        first.id_to_token(i) for i in range(first.vocab_size)
    ]
    assert begin(scratch(text, {"config": BERT})).tokenizer.token_to_id("king") is None


def test_a_tokenizer_may_be_named(text: Path, tmp_path: Path) -> None:
    learned = begin(scratch(text, {"config": BERT})).tokenizer
    learned.save(tmp_path / "words")
    begun = begin(scratch(text, {"config": {**BERT, "vocab_size": 9999}, "tokenizer": str(tmp_path / "words")}))
    assert begun.model.config.vocab_size == load_tokenizer(tmp_path / "words").vocab_size


@pytest.mark.parametrize(
    ("model", "strategy", "says"),
    [
        ({}, {}, "one of the two"),
        ({"source": "x", "config": BERT}, {}, "one of the two"),
        ({"source": "x", "tokenizer": "y"}, {}, "tokenizer goes with config"),
        ({"config": {"model_type": "bert"}}, {}, "must say its vocab_size"),
        ({"config": {"vocab_size": 3}}, {}, "must say its model_type"),
        ({"config": BERT}, {"name": "lora"}, "needs weights that were taught"),
        ({"config": "small"}, {}, "must be a table"),
    ],
)
def test_contradictions_are_refused_before_anything_loads(
    text: Path, model: dict[str, Any], strategy: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        scratch(text, model, strategy=strategy)


def test_an_adapter_is_not_taught_under_a_head_that_no_file_holds(text: Path, tmp_path: Path) -> None:
    from minitl import new_model, save_model

    tokenizer = begin(scratch(text, {"config": BERT})).tokenizer
    headless = new_model({**BERT, "vocab_size": tokenizer.vocab_size})
    save_model(headless, tmp_path / "bert", tokenizer)
    with pytest.raises(InputError, match=r"no masked-lm head: head\."):
        begin(scratch(text, {"source": str(tmp_path / "bert")}, strategy={"name": "lora"}))
