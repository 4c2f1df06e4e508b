"""The pages under docs/ compute what they say, and link what exists."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import minitl
from benchmarks.pages import filling
from benchmarks.pages.filling import BLOCK, filled
from benchmarks.pages.lines import with_lines
from minitl.cli.main import parse
from minitl.data.assets import ASSETS
from minitl.data.hub import SHORT_NAMES
from minitl.data.instructions import INSTRUCTIONS
from minitl.data.pairs import ALIGNED, TABLES
from minitl.data.questions import QUESTIONS
from minitl.data.raw import NOVELS
from minitl.data.tagged import TAGGED
from tests.models.saved import BERT, GPT2

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
PLAN = (DOCS / "several_machines.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_readme_links_each_page(page: Path) -> None:
    assert f"](docs/{page.name})" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_what_a_page_links_exists(page: Path) -> None:
    for link in re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), link
        if path.suffix == ".md" and anchor:
            assert anchor in _anchors(path), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_stands_on_the_lines_it_links(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert with_lines(text, DOCS) == text, "run `python -m benchmarks.pages`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_of_a_page_are_the_committed_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert filled(text, DOCS) == text, "run `python -m benchmarks.pages`"
    for block in BLOCK.finditer(text):
        assert block["body"].count("\n") >= 3, f"{block['begin']} is empty"


def test_every_table_that_is_made_is_on_a_page() -> None:
    texts = [page.read_text(encoding="utf-8") for page in [README, *PAGES]]
    assert {block["table"] for text in texts for block in BLOCK.finditer(text)} == set(filling.TABLES)


@pytest.mark.usefixtures("minilm")  # which skips where that is absent
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for own in set(re.findall(r'"(novels-\w+)"', "".join(blocks))):
        if not (ROOT / "weights" / own).exists():
            pytest.skip(f"the project's own {own} has not been taught yet")
    monkeypatch.chdir(tmp_path)  # some write files
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), names)


def test_the_traces_of_a_page_record_and_change_what_it_says(tiny: Path, tmp_path: Path) -> None:
    """Of a small model each, in the place of those that are named."""
    page = (DOCS / "inspecting.md").read_text(encoding="utf-8")
    looking, writing = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    torch.manual_seed(1)
    tokenizer = minitl.load_tokenizer(tiny)
    reader, writer = {**BERT, "num_hidden_layers": 6, "num_attention_heads": 4}, {**GPT2, "n_positions": 64}
    for name, config, task in (("reader", reader, "masked-lm"), ("writer", writer, "causal-lm")):
        model = minitl.new_model({**config, "vocab_size": tokenizer.vocab_size}, task)
        minitl.save_model(model, tmp_path / name, tokenizer)
    known: dict[str, Any] = {}
    exec(looking.replace('"all-MiniLM-L6-v2"', repr(str(tmp_path / "reader"))), known)
    weights = known["there"]["layers.3.attention.weights"]
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    changed, before = known["seen"]["layers.5.residual.post"], known["there"]["layers.5.residual.post"]
    assert changed.shape == before.shape
    assert not torch.equal(changed, before)
    exec(writing.replace('"novels-gpt2"', repr(str(tmp_path / "writer"))), known)
    states = torch.cat(known["seen"].calls("layers.1.residual.post"), dim=1)
    assert states.shape[1] == known["ids"].shape[1] - 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_are_understood_and_their_recipes_exist(page: Path) -> None:
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("minitl "):
                words = shlex.split(line, comments=True)[1:]
                parse(words)  # SystemExit where a word is not known
                assert all((ROOT / word).exists() for word in words if word.endswith(".toml"))


def test_the_page_on_data_has_every_name_and_where_it_is_on_the_hub() -> None:
    rows = re.findall(r"^\| (`.*?) \|.*\| (.*?) \|$", (DOCS / "data.md").read_text("utf-8"), re.MULTILINE)
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
