"""`minitl inspect`: a page of every kind of model, and one line for what cannot be shown."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from minitl import LoraConfig, add_lora, load_model, load_tokenizer, new_model, save_adapter, save_model
from minitl.checkpoints import atomic
from minitl.cli.main import main, parse
from minitl.cli.options import FACTS
from tests.inspect.pages import unpacked
from tests.models.saved import BERT, GPT2, LLAMA, MODERNBERT
from tests.tasks.test_sequence_to_sequence import CONFIGS

TEXT = "the film was very good"
ELECTRA = {**BERT, "model_type": "electra", "embedding_size": 4}
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "a backbone": (BERT, "backbone"),
    "a masked language model": (MODERNBERT, "masked-lm"),
    "a classifier": (BERT, "sequence-classification"),
    "a tagger": (BERT, "token-classification"),
    "an answerer": (BERT, "question-answering"),
    "a detector": (ELECTRA, "replaced-token-detection"),
    "a writer": (GPT2, "causal-lm"),
    "a writer with shared keys": (LLAMA, "causal-lm"),
    "a translator": (CONFIGS["bart"], "seq2seq-lm"),
    "a translator's backbone": (CONFIGS["t5"], "backbone"),
    "a translator with few positions": (CONFIGS["pegasus"], "seq2seq-lm"),
}


def made(folder: Path, tiny: Path, config: dict[str, Any], task: str) -> Path:
    torch.manual_seed(1)
    options = {"labels": ["no", "yes"]} if task.endswith("classification") else {}
    save_model(new_model(config, task, **options), folder, load_tokenizer(tiny))
    return folder


@pytest.fixture(scope="module")
def bart(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("bart") / "bart", tiny, *KINDS["a translator"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_has_a_page(
    kind: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, task = KINDS[kind]
    model, page = made(tmp_path / "a-model", tiny, config, task), tmp_path / "page.html"
    assert main(["inspect", str(model), TEXT, "--out", str(page)]) == 0
    values, _ = unpacked(page.read_text(encoding="utf-8"))
    assert (values["family"], values["task"], values["name"]) == (config["model_type"], task, "a-model")
    sides = 2 if "translator" in kind else 1
    assert [stack["name"] for stack in values["stacks"]] == (["encoder", "decoder"] if sides == 2 else [""])
    assert [bool(stack["cross"]) for stack in values["stacks"]] == [False, True][:sides]
    assert values["stacks"][0]["tokens"] == ["[CLS]", *TEXT.split(), "[SEP]"]
    assert [len(shown["source"]) for shown in values["attributions"]] == [7, 7]
    assert (values["guesses"] is None) == ("its embedding is 4 wide" in values["unread"]) == (kind == "a detector")
    said = capsys.readouterr().out
    layers = values["stacks"][0]["maps"]["shape"][0]
    assert said.startswith(f"7 tokens in {layers} layers")
    assert said.endswith(f": {page} ({page.stat().st_size / 1e3:,.0f} kB)\n")


def test_a_target_is_read_by_the_decoder(bart: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["inspect", str(bart), TEXT, "--target", "a day", "--out", str(page)]) == 0
    values, _ = unpacked(page.read_text(encoding="utf-8"))
    source, target = values["stacks"]
    assert target["tokens"] == ["[CLS]", "[CLS]", "a", "day"]  # its start, then all but the last
    assert target["cross"]["shape"] == [2, 3, 4, 7]
    assert len(source["tokens"]) == 7


def test_a_pair_is_read_and_counted(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["inspect", str(tiny), "the film", "--pair", "was good", "--out", str(page)]) == 0
    values, _ = unpacked(page.read_text(encoding="utf-8"))
    assert values["stacks"][0]["parts"] == [None, 0, 0, None, 1, 1, None]
    assert [len(row["source"]) for row in values["byLayer"]] == [7] * 4
    assert capsys.readouterr().out.startswith("7 tokens in 3 layers")
    long = ["inspect", str(tiny), "good " * 300, "--pair", "good " * 300, "--out", str(tmp_path / "other.html")]
    assert_refused(long, "the text has 603 tokens; a page shows at most 512", capsys)


def test_the_token_that_is_asked_about_is_told(tiny: Path, tmp_path: Path) -> None:
    model = made(tmp_path / "model", tiny, *KINDS["a tagger"])
    for at in (0, 6):
        assert main(["inspect", str(model), TEXT, "--at", str(at), "--out", str(tmp_path / "page.html")]) == 0
        values, _ = unpacked((tmp_path / "page.html").read_text(encoding="utf-8"))
        assert values["question"].endswith(f" for token {at}")


def test_of_what_was_taught_by_lora_the_change_is_shown(tiny: Path, tmp_path: Path) -> None:
    """A folder as `minitl train --strategy lora` leaves it."""
    model = load_model(tiny, "sequence-classification", labels=["no", "yes"])
    add_lora(model, LoraConfig(r=2, alpha=4))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.1)
    save_adapter(model, tmp_path / "out" / "adapter")
    facts = {"strategy": "lora", "base": str(tiny), "task": "classification", "labels": ["no", "yes"], "options": {}}
    (tmp_path / "out" / FACTS).write_text(json.dumps(facts))
    assert main(["inspect", str(tmp_path / "out"), TEXT, "--out", str(tmp_path / "page.html")]) == 0
    values, _ = unpacked((tmp_path / "page.html").read_text(encoding="utf-8"))
    paths = [f"layers.{layer}.attention.{part}" for layer in range(3) for part in ("query", "value")]
    assert sorted(change["path"] for change in values["changes"]) == paths
    assert all(change["norm"] > 0 for change in values["changes"])


def test_published_names_work_and_weights_too(minilm: Path, tmp_path: Path) -> None:
    assert minilm.exists()
    assert main(["inspect", "all-MiniLM-L6-v2", "A film.", "--out", str(tmp_path / "page.html")]) == 0
    values, _ = unpacked((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert values["stacks"][0]["maps"]["shape"] == [6, 12, 5, 5]


BAD = {
    "no text": (["", "--out", "page.html"], "the text is empty"),
    "a blank text": ([" \n", "--out", "page.html"], "the text is empty"),
    "a text beyond the positions": (["good " * 40, "--out", "page.html"], "32"),
    "a text beyond a page": (
        ["good " * 511, "--out", "page.html"],
        "the text has 513 tokens; a page shows at most 512",
    ),
    "a target without a decoder": ([TEXT, "--target", "a", "--out", "page.html"], "a bert model writes no target"),
    "a language of a model without": (
        [TEXT, "--source-language", "en", "--out", "page.html"],
        "this tokenizer has no languages",
    ),
    "a token of a whole text": ([TEXT, "--at", "1", "--out", "page.html"], "token 1 cannot be asked about"),
    "another file": ([TEXT, "--out", "page.txt"], "--out page.txt: expected a name that ends in .html"),
    "a file for a folder": ([TEXT, "--out", "file/page.html"], "file: cannot write here: Not a directory"),
    "a folder for a file": ([TEXT, "--out", "folder.html"], "folder.html: cannot be written: Is a directory"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_shown_is_one_line_and_writes_nothing(
    case: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder.html").mkdir()
    arguments, message = BAD[case]
    assert_refused(["inspect", str(tiny), *arguments], message, capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.html"]


def assert_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("minitl: ")
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize("at", ["7", "-1"])
@pytest.mark.parametrize("kind", ["a tagger", "a masked language model", "a writer"])
def test_a_token_that_is_not_there(
    kind: str, at: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made(tmp_path / "model", tiny, *KINDS[kind])
    arguments = ["inspect", str(model), TEXT, "--at", at, "--out", str(tmp_path / "page.html")]
    assert_refused(arguments, f"token {at}: the text has 7, counted from 0", capsys)
    assert not (tmp_path / "page.html").exists()


def test_no_such_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    nowhere = str(tmp_path / "nowhere")
    assert_refused(["inspect", nowhere, TEXT, "--out", str(tmp_path / "page.html")], nowhere, capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_of_whole_texts_takes_no_target(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made(tmp_path / "model", tiny, CONFIGS["bart"], "sequence-classification")
    page = tmp_path / "page.html"
    assert_refused(["inspect", str(model), TEXT, "--target", "a", "--out", str(page)], "and no target", capsys)


@pytest.mark.parametrize("target", ["", " "])
def test_an_empty_target(target: str, bart: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert_refused(["inspect", str(bart), TEXT, "--target", target, "--out", str(page)], "the target is empty", capsys)


def test_a_full_disk_leaves_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    page = tmp_path / "page.html"
    assert_refused(
        ["inspect", str(tiny), TEXT, "--out", str(page)], f"{page}: cannot be written: No space left", capsys
    )
    assert list(tmp_path.iterdir()) == []


def test_without_a_model_the_projects_own_is_shown(tmp_path: Path):
    args = parse(["inspect", "a text", "--out", str(tmp_path / "page.html")])
    assert (args.model, args.text) == ("novels-bert", "a text")
