"""The README says what was measured, and names what exists."""

import re
from pathlib import Path

import pytest

import minitl
from benchmarks.readme import BLOCK, README, filled
from minitl.cli.main import VERBS

PAGE = README.read_text(encoding="utf-8")


def test_its_tables_are_the_committed_results():
    assert filled(PAGE) == PAGE, "run `python -m benchmarks.readme`"
    assert BLOCK.search(PAGE)
    for block in BLOCK.finditer(PAGE):
        assert block[0].count("\n") > (1 if block["time"] or block["lora"] else 3), f"{block[1].strip()} is empty"


def test_every_verb_it_types_exists_and_every_verb_is_named():
    lines = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    typed = [line for line in lines if line.startswith("minitl ")] + re.findall(r"`(minitl [^`]+)`", PAGE)
    assert {command.split()[1] for command in typed} == set(VERBS)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"minitl\.([a-z_]+)\(", PAGE))))
def test_every_function_it_calls_is_public(name: str):
    assert name in minitl.__all__


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", PAGE))))
def test_every_file_it_links_exists(link: str):
    assert (Path(README).parent / link).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z-]+)", PAGE, re.MULTILINE))))
def test_every_make_target_it_names_exists(target: str):
    assert re.search(rf"^{target}:", (Path(README).parent / "Makefile").read_text(), re.MULTILINE)
