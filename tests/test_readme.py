"""The README says what was measured, and names what exists."""

import re
from pathlib import Path
from typing import Any

import pytest

import minitl
from benchmarks.pages.filling import BLOCK, filled
from benchmarks.protocol import ROOT
from minitl.cli.main import VERBS
from tests.models.saved import BERT

PAGE = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_tables_are_the_committed_results() -> None:
    assert filled(PAGE, ROOT) == PAGE, "run `python -m benchmarks.pages`"
    assert {block["table"] for block in BLOCK.finditer(PAGE)} == {"study", "time", "peers", "claims", "speed", "tasks"}
    for block in BLOCK.finditer(PAGE):
        assert block["body"].count("\n") >= (1 if block["table"] == "time" else 3), f"{block['begin']} is empty"


def test_every_verb_it_types_exists_and_every_verb_is_named() -> None:
    lines = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    typed = [line for line in lines if line.startswith("minitl ")] + re.findall(r"`(minitl [^`]+)`", PAGE)
    assert {command.split()[1] for command in typed} == set(VERBS)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"minitl\.([a-z_]+)\(", PAGE))))
def test_every_function_it_calls_is_public(name: str) -> None:
    assert name in minitl.__all__


def test_it_names_everything_that_is_public() -> None:
    operators = ["lora_linear", "lora_linear_multi", "dropout_mask"]
    assert [name for name in [*minitl.__all__, *operators] if not re.search(rf"\b{name}\b", PAGE)] == []


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z-]+)", PAGE, re.MULTILINE))))
def test_every_make_target_it_names_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_its_recipe_is_the_file() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert shown == (ROOT / "recipes" / "wnut17.toml").read_text(encoding="utf-8")


def test_its_python_runs(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a small model, in the place of MiniLM."""
    monkeypatch.chdir(tmp_path)
    tokenizer = minitl.load_tokenizer(tiny)
    small = minitl.new_model({**BERT, "vocab_size": tokenizer.vocab_size, "max_position_embeddings": 256})
    minitl.save_model(small, tmp_path / "small", tokenizer)
    _, block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    known: dict[str, Any] = {}
    exec(compile(block.replace('"all-MiniLM-L6-v2"', repr(str(tmp_path / "small"))), "README.md", "exec"), known)
    assert known["output"].logits.shape == (2, 2)
    assert known["result"].history
