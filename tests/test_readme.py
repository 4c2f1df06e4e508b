"""The README says what was measured, and names what exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import minitl
from benchmarks.readme import BLOCK, README, filled
from minitl.cli.main import VERBS
from tests.models.saved import BERT, GPT2

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


def test_its_traces_run_as_they_are_written(tiny: Path, tmp_path: Path):
    """Of a small model each, in the place of those that are named."""
    section = PAGE[PAGE.index("### See inside") : PAGE.index("### Your own checkpoint")]
    looking, writing = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    torch.manual_seed(1)
    tokenizer = minitl.load_tokenizer(tiny)
    reader, writer = {**BERT, "num_hidden_layers": 6, "num_attention_heads": 4}, {**GPT2, "n_positions": 64}
    for name, config, task in (("reader", reader, "masked-lm"), ("writer", writer, "causal-lm")):
        model = minitl.new_model({**config, "vocab_size": tokenizer.vocab_size}, task)
        minitl.save_model(model, tmp_path / name, tokenizer)
    known: dict[str, Any] = {"minitl": minitl}
    exec(looking.replace('"all-MiniLM-L6-v2"', repr(str(tmp_path / "reader"))), known)
    weights = known["there"]["layers.3.attention.weights"]
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    changed, before = known["seen"]["layers.5.residual.post"], known["there"]["layers.5.residual.post"]
    assert changed.shape == before.shape
    assert not torch.equal(changed, before)
    exec(writing.replace('"openai-community/gpt2"', repr(str(tmp_path / "writer"))), known)
    states = torch.cat(known["seen"].calls("layers.1.residual.post"), dim=1)
    assert states.shape[1] == known["ids"].shape[1] - 1
