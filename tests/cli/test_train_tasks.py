"""A recipe of each task, trained, measured and asked, as a user types it."""

import json
import random
import tomllib
from pathlib import Path
from typing import Any

import pytest

from minitl import load_model, load_tokenizer
from minitl.cli.main import main
from minitl.training.lock import alone_in

WORDS = ["film", "book", "food", "hotel", "was", "the", "a", "very"]


def recipe(folder: Path, tiny: Path, task: str, data: Path, **tables: dict[str, Any]) -> Path:
    training = {"epochs": 10, "batch_size": 8, "learning_rate": 5e-3} | tables.pop("training", {})
    lines = [f"out = {json.dumps(str(folder / 'out'))}", f"task = {json.dumps(task)}"]
    parts: dict[str, dict[str, Any]] = {"model": {"source": str(tiny)}, "data": {"source": str(data)}}
    for name, table in (parts | {"training": training} | tables).items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    path = folder / "task.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    rng, folder = random.Random(0), tmp_path / "tagged"
    folder.mkdir()
    for split, count in (("train", 60), ("dev", 15), ("test", 15)):
        sentences = []
        for _ in range(count):
            words = [*rng.choices(WORDS, k=5), "good"]
            rng.shuffle(words)
            sentences.append("".join(f"{word}\t{'B-praise' if word == 'good' else 'O'}\n" for word in words))
        (folder / f"{split}.conll").write_text("\n".join(sentences))
    return folder


@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_tagging(tiny: Path, tagged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], strategy: str) -> None:
    path = recipe(tmp_path, tiny, "token-classification", tagged, strategy={"name": strategy})
    longer = ["--set", "training.lr=2e-2", "--set", "training.epochs=16"] if strategy == "lora" else []
    assert main(["train", str(path), *longer]) == 0
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert facts["test"]["f1"] > 0.9
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "out"), "--data", str(tagged)]) == 0
    assert f"f1 {facts['test']['f1']:.4f}" in capsys.readouterr().out
    assert main(["predict", str(tmp_path / "out"), "the good film"]) == 0
    assert capsys.readouterr().out == "the\tO\ngood\tB-praise\nfilm\tO\n\n"
    if strategy == "lora":
        capsys.readouterr()
        merged, adapter = tmp_path / "merged", tmp_path / "out" / "adapter"
        assert main(["merge", str(tmp_path / "out"), str(merged)]) == 0
        assert capsys.readouterr().out == f"saved in {merged}: {tiny} with the update of {adapter}\n"
        card = (merged / "README.md").read_text()
        assert card.startswith((adapter / "README.md").read_text())
        assert "`minitl merge` added the adapter's update to the base's weights" in card
        assert main(["predict", str(merged), "--json", "good film"]) == 0
        assert json.loads(capsys.readouterr().out) == {"words": ["good", "film"], "tags": ["B-praise", "O"]}


def test_answering(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, paragraphs = random.Random(0), []
    for i in range(160):
        words = [*rng.choices(WORDS, k=5), "good"]
        rng.shuffle(words)
        context = " ".join(words)
        answers = [{"text": "good", "answer_start": context.index("good")}]
        paragraphs.append({"context": context, "qas": [{"id": str(i), "question": "it", "answers": answers}]})
    data = tmp_path / "questions.json"
    data.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    path = recipe(tmp_path, tiny, "question-answering", data, options={"max_length": 24, "overlap": 4})
    assert main(["train", str(path)]) == 0
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert facts["test"]["f1"] > 0.9
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "out"), "--question", "it", "the good film"]) == 0
    assert capsys.readouterr().out.startswith("good\t")
    assert main(["evaluate", str(tmp_path / "out"), "--data", str(data)]) == 0  # a file is measured as a whole
    assert "160 examples: loss" in capsys.readouterr().out
    assert main(["predict", str(tmp_path / "out"), "the good film"]) == 1
    assert "answers questions, which needs one" in capsys.readouterr().err


def test_scoring(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(0)
    rows = [(n := rng.randint(0, 4), " ".join(["good"] * n + ["film"] * (5 - n))) for _ in range(120)]
    data = tmp_path / "scores.csv"
    data.write_text("text,score\n" + "\n".join(f"{text},{n}" for n, text in rows))
    path = recipe(tmp_path, tiny, "regression", data, training={"epochs": 25, "learning_rate": 3e-3})
    assert main(["train", str(path), "--set", "data.test_fraction=0.2"]) == 0
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert facts["test"]["spearman"] > 0.8
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "out"), "film film film film film", "good good good good film"]) == 0
    low, high = (float(line.split("\t")[0]) for line in capsys.readouterr().out.splitlines())
    assert low + 1 < high
    assert main(["predict", str(tmp_path / "out"), "film\tfilm"]) == 0  # of single texts, a tab is a part
    assert main(["predict", str(tmp_path / "out"), "film", "--pair", "film"]) == 1
    assert "--pair: " in (said := capsys.readouterr()).err
    assert "was taught single texts" in said.err
    assert main(["evaluate", str(tmp_path / "out"), "--data", str(data)]) == 0
    assert "spearman" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_pairs_are_asked_as_pairs(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str) -> None:
    rng, data, out = random.Random(0), tmp_path / "pairs.csv", tmp_path / "out"
    rows = [(one, rng.choice(WORDS), one in WORDS[:4]) for one in rng.choices(WORDS, k=40)]
    labels = ["other", "thing"] if task == "classification" else [0.5, 1.5]
    data.write_text("sentence1,sentence2,label\n" + "\n".join(f"{a},{b},{labels[c]}" for a, b, c in rows))
    assert main(["train", str(recipe(tmp_path, tiny, task, data, training={"epochs": 1}))]) == 0
    model, tokenizer = load_model(out / "model"), load_tokenizer(out / "model")
    logits = model(**tokenizer(["the film"], ["a book"])).logits[0]
    expected = logits.softmax(-1).max() if task == "classification" else logits[0]
    capsys.readouterr()
    for words in (["the film\ta book"], ["the film", "--pair", "a book"]):
        assert main(["predict", str(out), *words]) == 0
        *_, number, one, other = capsys.readouterr().out.strip().split("\t")
        assert (one, other) == ("the film", "a book")
        assert float(number) == pytest.approx(expected.item(), abs=1e-4)
    assert main(["predict", str(out), "--json", "the film\ta book"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["text"], said["pair"]) == ("the film", "a book")
    for words in (["the film"], ["the\tgood\tfilm"], ["the\tfilm", "--pair", "book"]):
        assert main(["predict", str(out), *words]) == 1
        assert "out reads pairs of texts: expected one tab, before the second, or --pair" in capsys.readouterr().err
    assert main(["predict", str(out / "model"), "the film", "a\tb"]) == 0  # which does not say what it was taught
    assert main(["predict", str(out / "model"), "a\tb\tc"]) == 1
    assert "reads a text or a pair" in capsys.readouterr().err


def test_learning_a_language(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(" ".join(WORDS[i % 8] for i in range(start, start + 40)) for start in range(30)))
    path = recipe(tmp_path, tiny, "masked-lm", text, options={"whole_words": True}, training={"learning_rate": 1e-2})
    assert main(["evaluate", str(tiny), "--data", str(text)]) == 1  # which has no head
    capsys.readouterr()
    assert main(["train", str(path)]) == 0
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert facts["validation"]["perplexity"] < 12  # of 24 words
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "out"), "--data", str(text)]) == 0
    assert "perplexity" in capsys.readouterr().out
    assert main(["predict", str(tmp_path / "out"), "a text"]) == 1
    assert "is a masked-lm model: --labels asks it by a prompt" in capsys.readouterr().err


def test_an_adapter_of_a_language_model_is_merged_with_its_head(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(" ".join(WORDS) for _ in range(20)))
    path = recipe(tmp_path, tiny, "masked-lm", text, training={"epochs": 1}, strategy={"name": "lora"})
    assert main(["train", str(path)]) == 1
    assert "has no masked-lm head" in capsys.readouterr().err
    assert main(["train", str(path), "--strategy", "full", "--out", str(tmp_path / "whole")]) == 0
    assert main(["train", str(path), "--set", f"model.source={tmp_path / 'whole' / 'model'}"]) == 0
    assert main(["merge", str(tmp_path / "out"), str(tmp_path / "merged")]) == 0
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    capsys.readouterr()


def test_the_saved_recipe_gives_the_same_training(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(
        tmp_path, tiny, "classification", reviews, training={"epochs": 2}, strategy={"name": "lora", "rank": 4}
    )
    assert main(["train", str(path), "--seed", "3"]) == 0
    saved = tmp_path / "out" / "recipe.toml"
    values = tomllib.loads(saved.read_text())
    assert values["training"]["seed"] == 3
    assert values["training"]["warmup"] == 0.1  # also what was left to its default
    assert values["options"]["max_length"] == 32  # as many positions as there are
    assert main(["train", str(saved), "--out", str(tmp_path / "again")]) == 0
    files = [tmp_path / out / "adapter" / "adapter_model.safetensors" for out in ("out", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("training.batch_sise=8", "task.toml: training: unknown key 'batch_sise', did you mean 'batch_size'?"),
        ("training.epochs=two", "task.toml: training.epochs must be a whole number, got 'two'"),
        ("training.epochs=0", "task.toml: training: epochs must be at least 1, got 0"),
        ("training.clip=true", "task.toml: training.clip must be a finite number, got True"),
        ("trainig.epochs=1", "task.toml: unknown key 'trainig', did you mean 'training'?"),
        ("training=1", "task.toml: training must be a table, got 1"),
        ("task=clasification", "task 'clasification', did you mean 'classification'?"),
        ("strategy.name=lorra", "strategy.name 'lorra', did you mean 'lora'?"),
        ("strategy.rank=4", "task.toml: strategy: 'rank' is a key of lora, and strategy.name is 'full'"),
        ("data.column=1", "task.toml: data: unknown key 'column'"),
        ("options.overlap=1", "task.toml: options: unknown key 'overlap'"),
        ("model.device=3", "task.toml: model.device must be a string, got 3"),
        ("out=", "task.toml: out must name the folder of the result, got ''"),
        ("epochs", "'epochs': expected table.key=value"),
    ],
)
def test_a_mistake_in_a_recipe_is_named_before_anything_is_loaded(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, complaint: str
) -> None:
    path = recipe(tmp_path, tiny, "classification", tmp_path / "absent.csv")
    assert main(["train", str(path), "--set", change]) == 1
    message = capsys.readouterr().err
    assert complaint in message
    assert message.count("\n") == 1


def test_what_is_no_recipe_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.toml").write_text("out = [")
    assert main(["train", str(tmp_path / "bad.toml")]) == 1
    assert "bad.toml: not a TOML file" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "no.toml")]) == 1
    assert "no.toml: cannot be read: No such file" in capsys.readouterr().err
    (tmp_path / "bare.toml").write_text('out = "x"')
    assert main(["train", str(tmp_path / "bare.toml")]) == 1
    assert "--data is needed" in capsys.readouterr().err


@pytest.mark.parametrize("strategy", ["full", "new-tokens", "lora"])
def test_new_tokens_are_saved_with_what_was_taught(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], strategy: str
) -> None:
    tags = {"<o>": "B-yes", "<x>": "B-no"}  # whose rows begin alike: only what they learn tells them apart
    sentences = [["the", WORDS[i % 8], mark] for i in range(24) for mark in tags]
    data = tmp_path / "tagged"
    data.mkdir()
    for split in ("train", "test"):
        lines = ("".join(f"{word}\t{tags.get(word, 'O')}\n" for word in sentence) for sentence in sentences)
        (data / f"{split}.conll").write_text("\n".join(lines))
    path = recipe(
        tmp_path,
        tiny,
        "token-classification",
        data,
        model={"source": str(tiny), "new_tokens": [*tags, "was"]},
        strategy={"name": strategy},
        training={"epochs": 6, "learning_rate": 2e-2},
    )
    assert main(["train", str(path)]) == 0
    out, expected = tmp_path / "out", "the\tO\nfilm\tO\n<x>\tB-no\n<o>\tB-yes\n\n"
    capsys.readouterr()
    assert main(["evaluate", str(out), "--data", str(data)]) == 0
    assert "f1 1.0000" in capsys.readouterr().out
    assert main(["predict", str(out), "the film <x> <o>"]) == 0
    assert capsys.readouterr().out == expected
    if strategy == "lora":
        assert main(["merge", str(out), str(tmp_path / "merged")]) == 0
        capsys.readouterr()
        assert main(["predict", str(tmp_path / "merged"), "the film <x> <o>"]) == 0
        assert capsys.readouterr().out == expected


def test_telling_what_a_generator_replaced(tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from minitl import load_tokenizer, new_model, save_model
    from tests.tasks.test_replaced_tokens import ELECTRA

    tokenizer = load_tokenizer(tiny)
    generator = new_model({**ELECTRA, "vocab_size": tokenizer.vocab_size}, "masked-lm")
    save_model(generator, tmp_path / "generator", tokenizer)
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(" ".join(WORDS[i % 8] for i in range(start, start + 40)) for start in range(40)))
    options = {"generator": str(tmp_path / "generator"), "max_length": 24}
    model = {"source": str(tmp_path / "generator")}
    path = recipe(tmp_path, tiny, "replaced-tokens", text, options=options, model=model)
    assert main(["train", str(path)]) == 0
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert facts["validation"]["f1"] > 0.7
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert config["architectures"] == ["ElectraForPreTraining"]
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "out"), "--data", str(text)]) == 0
    assert "f1" in capsys.readouterr().out
    assert main(["predict", str(tmp_path / "out"), "film book food good was the"]) == 0
    said = dict(line.split("\t") for line in capsys.readouterr().out.splitlines() if line)
    assert float(said["good"]) > 0.5 > float(said["book"])
    assert main(["train", str(path), "--set", f"options.generator={tiny}", "--restart"]) == 1
    assert "no masked-lm head that was taught" in capsys.readouterr().err


SQUAD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": "the good film",
                    "qas": [{"id": "1", "question": "it", "answers": [{"text": "good", "answer_start": 5}]}],
                }
            ]
        }
    ]
}


@pytest.mark.parametrize(
    ("task", "files", "complaint"),
    [
        (
            "classification",
            {"train.csv": "text,label\na,bad\nb,good\n", "dev.csv": "text,label\na,bad\nb,so-so\n"},
            "dev.csv, line 3: the label 'so-so' is out of range: the known labels are bad, good",
        ),
        ("classification", {"train.csv": "text,label\n"}, "train.csv: the data set is empty"),
        (
            "classification",
            {"train.csv": "text,label\na,bad\nb,good\n", "dev.csv": "text,label\n"},
            "dev.csv: the data set is empty",
        ),
        (
            "classification",
            {"train.csv": "text,label\na,bad\nb,good\n", "test.csv": ""},
            "test.csv: the data set is empty",
        ),
        (
            "token-classification",
            {"train.conll": "the\tO\n\ngood\tB-praise\nfilm\n"},
            "train.conll, line 4: too few columns: 1, where the tag stands in column 2",
        ),
        (
            "token-classification",
            {"train.conll": "the\tO\n", "test.conll": "the\tO\nfilm\tB-art\n"},
            "test.conll, line 2: the tag 'B-art' does not occur in the training split",
        ),
        ("token-classification", {"train.conll": "the\tO\n", "dev.conll": "\n"}, "dev.conll: the data set is empty"),
        ("question-answering", {"train.json": json.dumps(SQUAD)}, "question '1': the answer 'good' is not at its"),
        ("question-answering", {"train.json": '{"data": []}'}, "train.json: the data set is empty"),
        ("translation", {"train.de": "ein\n", "train.en": "\n"}, "train.en: the data set is empty"),
        ("masked-lm", {"train.txt": " \n"}, "train.txt: the data set is empty"),
        ("instruction", {"train.jsonl": '{"prompt": "a", "completion": ""}\n'}, "train.jsonl: the data set is empty"),
        ("dpo", {"train.jsonl": ""}, "train.jsonl: the data set is empty"),
        ("sentence-embedding", {"train.csv": "anchor,positive\n"}, "train.csv: the data set is empty"),
    ],
)
def test_bad_data_is_named_with_its_file_before_a_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, files: dict[str, str], complaint: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name, content in files.items():
        (data / name).write_text(content)
    columns = {"text": "de", "pair": "en"} if task == "translation" else {}
    source = data / next(iter(files)) if len(files) == 1 else data
    path = recipe(tmp_path, tmp_path / "no-model", task, source)
    words = [word for key, value in columns.items() for word in ("--set", f"data.{key}={value}")]
    assert main(["train", str(path), *words]) == 1
    message = capsys.readouterr().err
    assert complaint in message
    assert message.count("\n") == 1
    assert not list((tmp_path / "out").glob("*"))


def test_what_the_disk_or_the_search_has_no_place_for_is_said_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = tmp_path / "absent"
    path = recipe(tmp_path, absent, "classification", absent, replay={"source": "absent", "task": "masked-lm"})
    assert main(["train", str(path), "--max-lr-find"]) == 1
    assert "--max-lr-find raises the rate of the task alone: leave the table replay out" in capsys.readouterr().err
    assert main(["train", str(path), "--set", f"training.features={path}"]) == 1
    assert capsys.readouterr().err == f"minitl: {path}: cannot write here: Not a directory\n"


def test_a_folder_in_use_is_refused(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(tmp_path, tiny, "classification", reviews, training={"epochs": 1})
    with alone_in(tmp_path / "out"):
        assert main(["train", str(path)]) == 1
    assert f"{tmp_path / 'out'} is in use by another training; wait for it" in capsys.readouterr().err
    assert main(["train", str(path)]) == 0
