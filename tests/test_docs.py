"""The pages under docs/ compute what they say, and link what exists."""

import json
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.docs import with_lines
from minitl.cli.main import parse
from minitl.data.assets import ASSETS
from minitl.data.hub import SHORT_NAMES
from minitl.data.instructions import INSTRUCTIONS
from minitl.data.pairs import ALIGNED, TABLES
from minitl.data.questions import QUESTIONS
from minitl.data.raw import NOVELS
from minitl.data.tagged import TAGGED

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
PLAN = (ROOT / "docs" / "several_machines.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_readme_links_each_page_and_the_page_what_exists(page: Path) -> None:
    assert f"](docs/{page.name})" in (ROOT / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        assert (page.parent / path).exists(), link
        if path.endswith(".md") and anchor:
            assert anchor in _anchors(page.parent / path), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_stands_on_the_lines_it_links(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert with_lines(text) == text, "run `python -m benchmarks.docs`"


@pytest.mark.usefixtures("minilm")  # which skips where that is absent
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path) -> None:
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, page.name, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_are_understood_and_their_recipes_exist(page: Path) -> None:
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("minitl "):
                words = shlex.split(line, comments=True)[1:]
                parse(words)  # SystemExit where a word is not known
                assert all((ROOT / word).exists() for word in words if word.endswith(".toml"))


def test_the_page_on_data_has_every_name_and_where_it_is_on_the_hub() -> None:
    rows = re.findall(r"^\| (`.*?) \|.*\| (.*?) \|$", (ROOT / "docs" / "data.md").read_text("utf-8"), re.MULTILINE)
    named = {name: hub for cell, hub in rows for name in _names(cell)}
    tables = (ASSETS, TAGGED, QUESTIONS, ALIGNED, TABLES, INSTRUCTIONS, NOVELS, SHORT_NAMES)
    assert set(named) == {"embedded"}.union(*tables)
    for name, hub in named.items():
        assert (f"`{SHORT_NAMES[name].id}`" in hub) if name in SHORT_NAMES else hub == "–", name


def _names(cell: str) -> list[str]:
    """ "`a-en-b`, `-de-`, `c`" names a-en-b, a-de-b and c."""
    found: list[str] = []
    stem = end = ""
    for word in re.findall(r"`([^`]+)`", cell):
        if not word.startswith("-"):
            stem, _, rest = word.partition("-")
            end = rest.partition("-")[2]
        found.append(f"{stem}{word}{end}" if word.startswith("-") else word)
    return found


def _anchors(path: Path) -> set[str]:
    """Of a page's headings, as the page's readers link them."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


def test_the_plan_for_7b_parameters_follows_its_formulae() -> None:
    """Weights 4, gradients 4, DDP's buckets 4, moments 8, the best weights 4 bytes."""
    sizes = json.loads((ROOT / "benchmarks" / "results" / "adapter_sizes.json").read_text(encoding="utf-8"))
    adapter = {"model": "Mistral-7B", "targets": "all linear layers", "r": 16}
    rank = next(row for row in sizes["adapters"] if adapter.items() <= row.items())
    taught = rank["trainable"]
    every = rank["total"] - taught
    assert (f"{every:,}" in PLAN, f"{taught:,}" in PLAN) == (True, True)
    block = PLAN.split("<!-- plan -->")[1].split("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.strip().splitlines()[2:]]
    assert [row[0] for row in rows] == ["1", "2", "8", "16", "64"]
    for gpus, *cells in rows:
        n = int(gpus)
        bucket = 4 if n > 1 else 0
        ddp, fsdp = (20 + bucket) * every, 20 * every / n
        lora_ddp, lora_fsdp = 4 * every + (20 + bucket) * taught, (4 * every + 20 * taught) / n
        wanted = [ddp, fsdp, lora_ddp, lora_fsdp]
        assert cells == ["–" if n == 1 and i % 2 else f"{value / 1e9:.1f}" for i, value in enumerate(wanted)]
