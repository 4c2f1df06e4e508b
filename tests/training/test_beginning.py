"""What a recipe begins with: a checkpoint, or random weights with a tokenizer of their own."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from minitl import load_model, load_tokenizer, new_model
from minitl.checkpoints.hub import HUB_ID, full_name
from minitl.data.hub import hub_set
from minitl.errors import DataError, InputError
from minitl.nn import precision
from minitl.training.beginning import begin
from minitl.training.recipe import make_recipe, read_recipe

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


def test_what_is_left_open_is_filled_in_for_this_processor(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
    for flags, fastest in (("avx2", "float32"), ("avx512_bf16", "bfloat16")):
        (tmp_path / "cpuinfo").write_text(f"flags\t: fpu {flags}\n")
        begun = begin(scratch(text, {"config": BERT}, training={"autocast": "auto"}))
        assert begun.recipe.training.autocast == fastest
        assert not caplog.messages
    (tmp_path / "cpuinfo").write_text("flags\t: fpu avx2\n")
    assert (
        begin(scratch(text, {"config": BERT}, training={"autocast": "bfloat16"})).recipe.training.autocast == "bfloat16"
    )
    assert caplog.messages == ['this processor emulates bfloat16, slowly: training.autocast = "auto" is float32 here']


def test_a_text_of_one_document_is_named(text: Path, caplog: pytest.LogCaptureFixture) -> None:
    begin(scratch(text, {"config": BERT}))
    assert not caplog.messages
    text.write_text(text.read_text().replace("\n\n", "\n"))
    begin(scratch(text, {"config": BERT}))
    assert caplog.messages == [f"{text}: one example, none is held out; in a .txt a blank line ends an example"]


def test_a_package_that_is_absent_is_named_before_anything_is_read(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    text.unlink()
    with pytest.raises(InputError, match="pip install tensorboard"):
        begin(scratch(text, {"config": BERT}, training={"tensorboard": True}))


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
    from minitl import save_model

    tokenizer = begin(scratch(text, {"config": BERT})).tokenizer
    headless = new_model({**BERT, "vocab_size": tokenizer.vocab_size})
    save_model(headless, tmp_path / "bert", tokenizer)
    with pytest.raises(InputError, match=r"no masked-lm head: head\."):
        begin(scratch(text, {"source": str(tmp_path / "bert")}, strategy={"name": "lora"}))


RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_project_are_whole(path: Path) -> None:
    assert read_recipe(path).out == f"runs/{path.stem}"


@pytest.mark.parametrize("path", sorted((RECIPES / "hub").glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_for_a_connected_machine_name_weights_and_data_of_the_hub(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.out == f"runs/{path.stem}"
    assert HUB_ID.fullmatch(full_name(str(recipe.model.source)))
    assert hub_set(recipe.data.source) is not None


def test_the_readme_counts_the_lines_of_the_guide_s_examples_as_they_are() -> None:
    readme = (RECIPES.parent / "README.md").read_text(encoding="utf-8")
    for name in ("imdb", "imdb_gpt2_lora", "conll2003"):
        lines = (RECIPES / "hub" / f"{name}.toml").read_text(encoding="utf-8").splitlines()
        count = sum(bool(line.strip()) and not line.startswith("#") for line in lines)
        assert f"[`{name}.toml`](recipes/hub/{name}.toml) | {count} |" in readme


def test_the_guide_s_examples_have_its_hyper_parameters() -> None:
    imdb, lora, ner = (read_recipe(RECIPES / "hub" / f"{n}.toml") for n in ("imdb", "imdb_gpt2_lora", "conll2003"))
    taught = imdb.training
    assert (imdb.model.source, imdb.data.examples, imdb.options.max_length) == ("bert-base-uncased", 2000, 256)
    assert (taught.learning_rate, taught.batch_size, taught.epochs) == (2e-5, 16, 3)
    assert (taught.weight_decay, taught.warmup, taught.schedule, taught.seed) == (0.01, 0.1, "linear", 42)
    adapter = lora.learns.lora
    assert adapter is not None
    assert (lora.model.source, adapter.r, adapter.alpha, adapter.dropout) == ("gpt2", 16, 32, 0.1)
    assert adapter.target_modules == ["c_attn", "c_proj"]
    taught = ner.training
    assert (ner.model.source, taught.learning_rate, taught.batch_size, taught.epochs) == ("roberta-base", 3e-5, 32, 4)
    assert taught.weight_decay == 0.01


@pytest.mark.parametrize("name", ["novels_bert", "novels_gpt2", "novels_multilingual"])
def test_the_project_s_own_models_have_at_most_ten_million_parameters(name: str) -> None:
    recipe = read_recipe(RECIPES / f"{name}.toml")
    assert recipe.model.config is not None
    model = new_model(recipe.model.config, recipe.kind.head)
    assert 5e6 < sum(p.numel() for p in model.parameters()) <= 10e6
    longest = model.position_limit or model.config.to_dict()["max_position_embeddings"]
    assert recipe.options.max_length == longest


# New tokens


@pytest.fixture
def bert(text: Path, tmp_path: Path) -> Path:
    """A masked language model of the tales, saved."""
    from minitl import save_model

    begun = begin(scratch(text, {"config": BERT}))
    save_model(begun.model, tmp_path / "bert", begun.tokenizer)
    return tmp_path / "bert"


def whole(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.stored()}


def test_new_tokens_come_from_a_list_or_a_file_and_known_ones_are_left(text: Path, bert: Path) -> None:
    words = text.parent / "words.txt"
    words.write_text("[CHEM]\n\n  [GENE] \nking\n")
    tokenizer = load_tokenizer(bert)
    for told in (["[CHEM]", "[GENE]", "king", "[CHEM]"], str(words)):
        begun = begin(scratch(text, {"source": str(bert), "new_tokens": told}))
        size = tokenizer.vocab_size
        assert begun.tokenizer.token_to_id("[CHEM]") == size
        assert begun.tokenizer.token_to_id("king") == tokenizer.token_to_id("king")
        assert begun.model.config.vocab_size == size + 2
        table = dict(begun.model.stored())["embeddings.token.weight"]
        torch.testing.assert_close(table[size:], table[:size].mean(0).expand(2, -1))


def test_only_new_rows_and_the_head_learn(text: Path, bert: Path) -> None:
    from minitl.training import fit

    begun = begin(
        scratch(text, {"source": str(bert), "new_tokens": ["king", "sea", "[CHEM]"]}, strategy={"name": "new-tokens"})
    )
    before, old = whole(begun.model), load_tokenizer(bert).vocab_size
    fit(begun.model, begun.data.train, task=begun.task, strategy=begun.recipe.learns, settings=begun.recipe.training)
    after = whole(begun.model)
    for name, value in before.items():
        rows = slice(old) if name in ("embeddings.token.weight", "head.decoder.bias") else slice(None)
        assert (
            torch.equal(after[name][rows], value[rows])
            or name in ("head.dense.weight", "head.dense.bias")
            or (name.startswith("head.norm"))
        ), name
    assert not torch.equal(after["embeddings.token.weight"][old:], before["embeddings.token.weight"][old:])
    assert not torch.equal(after["head.dense.weight"], before["head.dense.weight"])


def test_a_classifier_learns_its_head_beside_the_new_rows(bert: Path, tmp_path: Path) -> None:
    reviews = tmp_path / "reviews.csv"
    reviews.write_text(
        "text,label\n" + "\n".join(f"the king {mark} sea,{mark}" for mark in ("XX", "YY") for _ in range(9))
    )
    values = {
        "out": str(tmp_path / "out"),
        "data": {"source": str(reviews)},
        "model": {"source": str(bert), "new_tokens": ["XX", "YY"]},
        "strategy": {"name": "new-tokens"},
    }
    begun = begin(make_recipe(values, "here"))
    begun.recipe.learns.prepare(begun.model)
    learns = {name for name, p in begun.model.named_parameters() if p.requires_grad}
    assert {"embeddings.token.new", "head.classifier.weight"} <= learns
    with pytest.raises(InputError, match="no row of this model is new; add_tokens gives it some"):
        begun.recipe.learns.prepare(load_model(bert, "sequence-classification", num_labels=2))
    assert all(name == "embeddings.token.new" or name.startswith("head.") for name in learns)


@pytest.mark.parametrize(
    ("model", "strategy", "says"),
    [
        ({"config": BERT, "new_tokens": ["a"]}, "full", "new_tokens goes with source"),
        ({"source": "x", "new_tokens": ["a"]}, "frozen", "leaves new tokens as they begin"),
        ({"source": "x"}, "new-tokens", "and there are none"),
        ({"source": "x", "new_tokens": []}, "new-tokens", "and there are none"),
        ({"source": "x", "new_tokens": [3]}, "full", r"new_tokens must be a list of strings or a string, got \[3\]"),
    ],
)
def test_contradictions_about_new_tokens_are_refused(
    text: Path, model: dict[str, Any], strategy: str, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        scratch(text, model, strategy={"name": strategy})


def test_new_tokens_that_are_none_are_refused_where_nothing_else_is_taught(text: Path, bert: Path) -> None:
    part = {"source": str(bert), "new_tokens": ["king"]}
    with pytest.raises(InputError, match="has every one of them already"):
        begin(scratch(text, part, strategy={"name": "new-tokens"}))
    assert begin(scratch(text, part)).model.config.vocab_size == load_tokenizer(bert).vocab_size
    assert begin(scratch(text, {**part, "new_tokens": []})).model.source == str(bert)
    with pytest.raises(InputError, match=r"new_tokens: nowhere\.txt cannot be read"):
        begin(scratch(text, {**part, "new_tokens": "nowhere.txt"}))


# What the data must have


@pytest.mark.parametrize(
    ("task", "files", "tables", "says"),
    [
        ("classification", {"validation.csv": "text,label\na,x\nb,y\n"}, {}, "data: the training split is empty"),
        ("token-classification", {"test.conll": "the\tO\n\nking\tB-who\n"}, {}, "data: the training split is empty"),
        ("token-classification", {"train.conll": "the\tO\n\nking\tO\n"}, {}, r"data: has \['O'\] alone: there is"),
        (
            "classification",
            {"train.csv": "text,label\na,x\nb,y\n"},
            {"data": {"validation_fraction": 0.0}, "training": {"patience": 3}},
            "patience: there is no validation split",
        ),
        (
            "causal-lm",
            {"train.txt": "one\n\ntwo\n"},
            {"data": {"validation_fraction": 0.0, "stream": 1}, "training": {"evaluate_every": 3, "steps": 2}},
            "evaluate_every: there is no validation split",
        ),
    ],
)
def test_what_the_data_has_not_is_said_before_a_model_is_loaded(
    tmp_path: Path, task: str, files: dict[str, str], tables: dict[str, dict[str, Any]], says: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    data = {"source": str(folder), **tables.get("data", {})}
    values = {"out": str(tmp_path / "out"), "task": task, "model": {"source": str(tmp_path / "absent")}}
    with pytest.raises((DataError, InputError), match=says):
        begin(make_recipe({**values, "data": data, "training": tables.get("training", {})}, "here"))
