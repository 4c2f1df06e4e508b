"""Every field of every table of a recipe, wrong in turn: one message that names it, and nothing is read before.

The cases are made from the fields themselves: one that is new, and for which no value out of its range stands below,
fails here.
"""

import builtins
import io
import math
import os
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from minitl.errors import InputError
from minitl.tasks.distillation import HEADS, Distillation
from minitl.tasks.kinds import KINDS
from minitl.training.recipe import STRATEGIES, ModelPart, ReplayPart, assign, make_recipe
from minitl.training.settings import Settings

WORD, FRACTION, COUNT = ["", " "], [-0.1, 1.0, 2], [0, -3]

# By the name of a dataclass and of a field: values of the right type that mean nothing. Truth values have none.
OUT_OF_RANGE: dict[str, dict[str, list[Any]]] = {
    "ModelPart": {
        "source": WORD,
        "layers": [[], [1, 0], [1, 1], [-1, 0]],
        "config": [{}, {"model_type": "bert"}],
        "tokenizer": WORD,
        "new_tokens": ["", [""], ["x", " "]],
        "device": ["", "gpu", "cuda:one", "meta"],
        "parallel": ["", "dpd"],
    },
    "Texts": {
        **dict.fromkeys(("source", "text", "pair", "label"), WORD),
        **dict.fromkeys(("validation_fraction", "test_fraction"), FRACTION),
        "examples": COUNT,
    },
    "Sentences": {"source": WORD, "column": [*WORD, 0], "validation_fraction": FRACTION},
    "Questions": {"source": WORD, **dict.fromkeys(("validation_fraction", "test_fraction"), FRACTION)},
    "Neighbours": {"max_length": COUNT, "window": COUNT, "negatives": COUNT, "threshold": [0, -1.0]},
    "Raw": {
        "source": [*WORD, [], ["x", "x"], ["x", " "]],
        "text": WORD,
        "validation_fraction": FRACTION,
        "stream": COUNT,
    },
    "Instructions": {
        **dict.fromkeys(("source", "prompt", "completion", "group"), WORD),
        **{name: [*FRACTION, 0.95] for name in ("validation_fraction", "test_fraction")},  # the other is a tenth
        "stream": COUNT,
    },
    "Pairs": {
        **dict.fromkeys(("source", "text", "pair"), WORD),
        **dict.fromkeys(("validation_fraction", "test_fraction"), FRACTION),
        "stream": COUNT,
    },
    "RelatedTexts": {
        **dict.fromkeys(("source", "anchor", "positive", "negative", "score"), WORD),
        "highest": [0, -1.0],
        "least": [-0.1, 1.5],
        "stream": COUNT,
        **dict.fromkeys(("validation_fraction", "test_fraction"), FRACTION),
    },
    "Preferences": {
        **dict.fromkeys(("source", "prompt", "chosen", "rejected"), WORD),
        **{name: [*FRACTION, 0.95] for name in ("validation_fraction", "test_fraction")},
    },
    "Prompts": {
        **dict.fromkeys(("source", "prompt"), WORD),
        **{name: [*FRACTION, 0.95] for name in ("validation_fraction", "test_fraction")},
    },
    "Length": {"max_length": COUNT},
    "Windows": {"max_length": COUNT, "overlap": [-1, 192, 500], "longest": COUNT},
    "Masks": {"max_length": COUNT, "share": [0, 1, -0.5, 1.5]},
    "Replaced": {"generator": WORD, "max_length": COUNT, "share": [0, 1, -0.5, 1.5]},
    "Told": {"max_length": [*COUNT, 1, 2], "template": ["", "no slot", "{prompt} {prompt}"]},
    "Writing": {
        **dict.fromkeys(("max_length", "max_new_tokens", "num_beams", "generated"), COUNT),
        "smoothing": FRACTION,
        "prefix": [],  # any words may come before
        **dict.fromkeys(("source_language", "target_language"), WORD),
    },
    "Vectors": {
        "max_length": COUNT,
        "loss": ["", "cosin"],
        "pooling": ["", "meen"],
        "scale": [0, -1.0],
        "margin": [0, -1.0],
        "dims": [[], [0], [8, 8], [-4]],
        "weights": [[1.0], [-1.0]],  # without dims
    },
    "Judged": {"max_length": COUNT, "template": ["", "no slot"]},
    "Preferring": {"max_length": [*COUNT, 1, 2], "template": ["", "no slot"], "beta": [0, -0.1]},
    "Drawing": {
        "reward": WORD,
        "label": WORD,
        "max_length": [*COUNT, 64],  # all of it drawn
        "template": ["", "no slot"],
        "beta": [-0.1],
        "group": [1, 0, -8],
        "max_new_tokens": [*COUNT, 512],
        "clip": [0, 1, -0.2],
    },
    "Plain": {
        "name": ["", "ful"],
        "layer_decay": [0, -0.5, 1.1],
        "openings": [
            [],
            [[0.0]],
            [[0.0, 0.5, 1.0]],
            [[0.5, 1.0]],
            [[0.0, 0.5], [0.5, 0.2]],
            [[0.0, 1.5]],
            [[0.0, -0.5]],
            [[0.0, 0.1], [1.0, 1.0]],
        ],
        "l2_sp": [-0.1],
        "held": [[-1], [1, 0], [2, 2]],
    },
    "Lora": {
        "name": ["", "lorra"],
        "rank": COUNT,
        "alpha": [0, -1.0],
        "dropout": FRACTION,
        "target_modules": ["", [], [""], ["query", "query"], "layer(1"],
        "modules_to_save": [[""], ["head", "head"]],
        "bias": ["", "some"],
        "lora_plus_ratio": [0.5, 0, -16],
    },
    "Settings": {
        **dict.fromkeys(("epochs", "batch_size", "accumulation", "eval_batch_size", "log_every", "keep"), COUNT),
        **dict.fromkeys(("steps", "evaluate_every", "patience", "save_every"), COUNT),
        **{name: ["", "adamm"] for name in ("optimizer", "schedule", "autocast")},
        "learning_rate": [0, -1e-4],
        **{name: [-0.1] for name in ("weight_decay", "clip", "explosion")},
        "warmup": [-0.1, 1.1],
        "ema": FRACTION,
        "seed": [-1, 2**63],
        "features": WORD,
    },
    "Distillation": {
        "teacher": WORD,
        "temperature": [0, -2.0],
        **{name: [-0.5] for name in ("soft", "hard", "hidden")},
    },
}

# By a field's type: values of another.
NO_NUMBER = ["3", True, [1], {"a": 1}, math.nan, math.inf, 10**400]
OUT_OF_RANGE["ReplayPart"] = {
    "source": WORD,
    "task": ["", "masked"],
    "text": WORD,
    "weight": [0, -1.0],
    "batch_size": COUNT,
}

OF_ANOTHER_TYPE: dict[Any, list[Any]] = {
    str: [3, 0.5, True, ["x"], {"a": 1}],
    int: [2.5, "3", True, [1], math.nan],
    float: NO_NUMBER,
    bool: [1, 0, "true", [True]],
    str | None: [3, True, ["x"]],
    int | None: [2.5, "3", True, [1]],
    float | None: NO_NUMBER,
    str | int | None: [2.5, True, ["x"]],
    list[int] | None: [3, "1", [1.5], [True], ["1"], {}],
    list[float] | None: [3, "1", [True], ["1"], [math.nan]],
    list[str] | None: ["x", [3], {}],
    list[str] | str: [3, [3], True, {}],
    list[str] | str | None: [3, [3], True, {}],
    list[list[float]] | None: [3, [0.0], [["0"]], [[math.nan, 1.0]]],
    dict[str, Any] | None: [3, "x", ["x"]],
}
REQUIRED = {"data": {"source": "absent"}, "model": {"source": "absent"}, "distillation": {"teacher": "absent"}}
REQUIRED["replay"] = {"source": "absent", "task": "masked-lm"}


def tables(task: str, strategy: str) -> dict[str, type]:
    kind = KINDS[task]
    parts = {"model": ModelPart, "data": kind.data, "options": kind.options, "strategy": STRATEGIES[strategy]}
    parts |= {"training": Settings} | ({"distillation": Distillation} if kind.head in HEADS else {})
    return parts if strategy in ("frozen", "new-tokens") else {**parts, "replay": ReplayPart}


def recipe(task: str, strategy: str, table: str = "", /, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"out": "runs/none", "task": task, "strategy": {"name": strategy}, "training": {}}
    needed = [field.name for field in fields(KINDS[task].options) if field.default is MISSING]
    asked = tables(task, strategy).keys() - ({"replay"} - {table})
    values |= {name: dict(part) for name, part in REQUIRED.items() if name in asked}
    values["options"] = dict.fromkeys(needed, "absent")
    if strategy == "new-tokens":
        values["model"]["new_tokens"] = ["<x>"]
    if table:
        values[table] |= changes
    return values


def complaint(values: dict[str, Any]) -> str:
    """What is said of a recipe; "" where it is taken. No file may be opened and no folder listed for that."""

    def refuse(*words: Any, **_: Any) -> None:
        raise AssertionError(f"read {words}")

    with pytest.MonkeyPatch.context() as patched:
        for place, name in ((builtins, "open"), (io, "open"), (os, "scandir")):
            patched.setattr(place, name, refuse)
        try:
            make_recipe(values, "task.toml")
        except InputError as error:
            return str(error)
    return ""


EACH = [(task, strategy) for task in KINDS for strategy in STRATEGIES]


@pytest.mark.parametrize(("task", "strategy"), EACH)
def test_a_field_of_another_type_or_out_of_its_range_is_named(task: str, strategy: str) -> None:
    assert complaint(recipe(task, strategy)) == ""
    for table, part in tables(task, strategy).items():
        hints = get_type_hints(part)
        for field in fields(part):
            hint = hints[field.name]
            wrong = [*OF_ANOTHER_TYPE[hint], *([] if hint is bool else OUT_OF_RANGE[part.__name__][field.name])]
            for value in wrong:
                said = complaint(recipe(task, strategy, table, **{field.name: value}))
                assert said.startswith(f"task.toml: {table}"), (table, field.name, value, said)
                assert re.search(rf"\b{field.name}\b", said), (table, value, said)
                assert "\n" not in said


@pytest.mark.parametrize(("task", "strategy"), EACH)
def test_an_unknown_key_is_told_from_the_nearest_and_a_missing_one_is_named(task: str, strategy: str) -> None:
    for table, part in tables(task, strategy).items():
        for field in fields(part):
            said = complaint(recipe(task, strategy, table, **{f"{field.name}x": 1}))
            assert said.startswith(f"task.toml: {table}: unknown key '{field.name}x', did you mean '{field.name}'?")
            if field.default is MISSING and field.default_factory is MISSING:
                values = recipe(task, strategy, table)
                del values[table][field.name]
                assert f"{table}.{field.name} is missing" in complaint(values)
    for key in ("out", "task", *tables(task, strategy)):
        assert f"task.toml: unknown key '{key}x', did you mean '{key}'?" in complaint(
            {**recipe(task, strategy), f"{key}x": {}}
        )


@pytest.mark.parametrize("value", [3, True, [], ["full"], {}, "nothing-like-it"], ids=str)
def test_names_of_no_task_no_strategy_and_no_folder(value: Any) -> None:
    base = recipe("classification", "full")
    assert "task.toml: task" in complaint({**base, "task": value})
    assert "task.toml: strategy.name" in complaint({**base, "strategy": {"name": value}})
    if not isinstance(value, str):
        assert "task.toml: out must name the folder" in complaint({**base, "out": value})
    for table in ("model", "data", "options", "strategy", "training", "distillation", "replay"):
        if not isinstance(value, dict):
            assert f"task.toml: {table} must be a table" in complaint({**base, table: value})


REPLAYED = {"source": "novels-eng", "task": "masked-lm"}


def test_fields_that_contradict_each_other() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        (recipe("question-answering", "full", "options", max_length=64, overlap=32), "overlap must be below half of"),
        (recipe("grpo", "full", "options", max_length=32), "max_new_tokens must be below max_length, 32"),
        (
            recipe("grpo", "full", "options", max_length=2, max_new_tokens=1),
            "max_length must be at least 3, of the prompt",
        ),
        (recipe("dpo", "full", "data", validation_fraction=0.5, test_fraction=0.5), "leave nothing"),
        (recipe("sentence-embedding", "full", "data", least=6.0, highest=5.0), "between 0 and highest, 5.0"),
        (recipe("sentence-embedding", "full", "options", loss="cosine", scale=2.0), "scale: the loss cosine has none"),
        (recipe("sentence-embedding", "full", "options", dims=[8, 4], weights=[1.0]), "with a weight each"),
        (recipe("sentence-embedding", "full", "options", dims=[8], weights=[-1.0]), "weights must be above 0"),
        (recipe("classification", "full", "training", lr=1.0, learning_rate=1.0), "training.lr is short for"),
        (recipe("classification", "lora", "model", layers=[0]), "model.layers: an adapter's base"),
        (recipe("classification", "full", "distillation", soft=0, hidden=0), "one of soft and hidden above"),
        (recipe("translation", "full", "model", parallel="fsdp"), "model.parallel: translation writes while it learns"),
        (recipe("grpo", "lora", "model", parallel="fsdp"), "model.parallel: grpo writes while it learns"),
        (recipe("regression", "frozen", "model", parallel="fsdp"), "model.parallel: features of a frozen backbone"),
        (
            {**recipe("dpo", "full", "model", parallel="fsdp"), "training": {"optimizer": "adafactor"}},
            "training.optimizer: torch's Adafactor takes no shares",
        ),
        (recipe("causal-lm", "full", "data", stream=5), "data.stream: a stream has no end: say training.steps"),
        (
            {**recipe("sentence-embedding", "frozen", "data", stream=5), "training": {"steps": 5}},
            "data.stream: features of a frozen backbone need all",
        ),
        (
            {**recipe("classification", "full", "model", new_tokens=["x"]), "replay": REPLAYED},
            "replay: its head knows no model.new_tokens",
        ),
        (
            {**recipe("sentence-embedding", "full"), "training": {"batch_size": 1}},
            "training.batch_size: the loss in-batch tells a text from the others of its batch: of 1 there are none",
        ),
        (recipe("regression", "frozen", "strategy", layer_decay=0.9), "layer_decay and l2_sp are of use to a backbone"),
        (recipe("masked-lm", "frozen", "strategy", l2_sp=0.1), "layer_decay and l2_sp are of use to a backbone that"),
        (recipe("masked-lm", "frozen", "strategy", held=[0]), "held layers are those of a backbone of which others"),
        *(
            (
                {**recipe("classification", name, "strategy", by_epoch=True), "training": {"epochs": 1}},
                f"strategy '{name}': by_epoch opens where an epoch begins, the last of 1 at 0 of the training: the "
                f"opening at {last} is never reached",
            )
            for name, last in (("gradual", "0.5"), ("head-then-body", "0.3"))
        ),
        ({**recipe("classification", "full"), "distillation": {}}, "distillation.teacher is missing"),
        ({**recipe("translation", "full"), "distillation": {"teacher": "x"}}, "translation has no logits to learn"),
    ]
    for values, says in cases:
        assert says in complaint(values), says


def test_fields_that_go_together_after_all() -> None:
    for values in (
        {**recipe("sentence-embedding", "full", "data", negative="other"), "training": {"batch_size": 1}},
        {**recipe("sentence-embedding", "full", "options", loss="triplet"), "training": {"batch_size": 1}},
        {**recipe("classification", "gradual", "strategy", by_epoch=True), "training": {"epochs": 2}},
        {**recipe("classification", "full", "strategy", by_epoch=True), "training": {"epochs": 1}},
        {**recipe("classification", "gradual"), "training": {"epochs": 1}},
        recipe("classification", "new-tokens", "strategy", l2_sp=0.1, layer_decay=0.9),  # of the new rows
    ):
        assert complaint(values) == ""


BERT = {
    "model_type": "bert", "vocab_size": 200, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 32, "type_vocab_size": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "brt"}, "config: model_type 'brt', did you mean 'bert'?"),
        ({"vocab_size": 0}, "config: field 'vocab_size' must be at least 1"),
        ({"vocab_size": "many"}, "config must say its vocab_size, got 'many'"),
        ({"vocab_size": True}, "config: field 'vocab_size' must be an integer, got True"),
        ({"hidden_size": "wide"}, "config: field 'hidden_size' must be an integer, got 'wide'"),
        ({"hidden_size": 15}, "config: field 'hidden_size' (15) must be a multiple of"),
        ({"hiden_size": 16}, "config: unknown key 'hiden_size', did you mean 'hidden_size'?"),
        ({"hidden_size": None}, "config: field 'hidden_size' must be an integer, got None"),
        ({"hidden_act": "gelo"}, "config: field 'hidden_act'"),
        ({"hidden_dropout_prob": 2.0}, "config: field 'hidden_dropout_prob' must be at least 0 and below 1, got 2.0"),
    ],
)
def test_a_wrong_field_of_a_configuration_is_named(changes: dict[str, Any], says: str) -> None:
    values = recipe("classification", "full")
    values["model"] = {"config": BERT}
    assert complaint(values) == ""
    values["model"] = {"config": BERT | changes}
    assert f"task.toml: model: {says}" in complaint(values)


def test_assignments_reach_into_tables_of_tables() -> None:
    values: dict[str, Any] = {}
    assign(values, "model.config.vocab_size=200")
    assign(values, "training.schedule=cosine")
    assert values == {"model": {"config": {"vocab_size": 200}}, "training": {"schedule": "cosine"}}
    for first, then in (("lr", "learning_rate"), ("learning_rate", "lr"), ("lr", "lr")):
        named = recipe("classification", "full", "training", **{first: 1.0})
        assign(named, f"training.{then}=0.5")
        assert make_recipe(named, "task.toml").training.learning_rate == 0.5
    for wrong in ("training.schedule.warm=1", "model..x=1", ".x=1", "model.=1", "epochs"):
        with pytest.raises(InputError, match=r"is no table, but 'cosine'|expected table\.key=value"):
            assign(values, wrong)


def test_the_committed_recipes_are_read() -> None:
    from minitl.training.recipe import read_recipe

    paths = sorted((Path(__file__).parents[2] / "recipes").rglob("*.toml"))
    assert len(paths) > 10
    for path in paths:
        assert read_recipe(path).out.startswith("runs/")
