"""A finished training becomes a checkpoint of the project's own."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import own
from minitl import load_model, load_tokenizer
from minitl.cli.main import main as minitl

SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """runs/tales_bert, trained in the folder that is the current one."""
    texts = [
        f"The {who} went to the {where}.\nAnd back." for who in ("king", "fox", "old man") for where in ("sea", "hill")
    ]
    (tmp_path / "tales.txt").write_text("\n\n".join(texts) + "\n")
    config = {"model_type": "bert", "vocab_size": 60, "max_position_embeddings": 32, "type_vocab_size": 2, **SHAPE}
    lines = [f"{name} = {value!r}".replace("'", '"') for name, value in config.items()]
    recipe = [
        'out = "runs/tales_bert"', 'task = "masked-lm"', "[model.config]", *lines, "[data]", 'source = "tales.txt"',
        "validation_fraction = 0.5", "[options]", "max_length = 16", "[training]", "steps = 4", "evaluate_every = 2",
        "batch_size = 2", "log_every = 3", "eval_batch_size = 1",
    ]  # fmt: skip
    (tmp_path / "tales_bert.toml").write_text("\n".join(recipe))
    monkeypatch.chdir(tmp_path)
    assert minitl(["train", "tales_bert.toml"]) == 0
    return tmp_path


def test_it_is_kept_in_half_the_bytes_with_all_that_says_what_it_is(taught: Path) -> None:
    folder = own.keep("tales_bert", taught / "runs", taught / "weights")
    assert folder == taught / "weights" / "tales-bert"
    trained, kept = load_model(taught / "runs" / "tales_bert" / "model"), load_model(folder)
    for name, weight in trained.state_dict().items():
        torch.testing.assert_close(kept.state_dict()[name], weight.half().float(), rtol=0, atol=0)
    assert {stored.dtype for stored in load_file(folder / "model.safetensors").values()} == {torch.float16}
    assert kept(**load_tokenizer(folder)(["the king"])).logits.shape[-1] == kept.config.vocab_size
    card = (folder / "README.md").read_text()
    assert "loss.png" in card
    assert "It took 4 steps of some " in card  # of which one was logged
    (stored,) = re.findall(r"perplexity of\s(\d+\.\d)", card)
    last = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    assert float(stored) == pytest.approx(last["metrics"]["perplexity"], abs=0.1)  # at the same places
    assert str(taught) not in card
    assert (folder / "loss.png").stat().st_size > 1000
    assert (folder / "recipe.toml").exists()
    assert '"validation", "step": 4' in (folder / "log.jsonl").read_text()


def test_what_is_not_finished_or_too_large_is_not_kept(taught: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "LIMIT", 1000)
    with pytest.raises(SystemExit, match="more than"):
        own.keep("tales_bert", taught / "runs", taught / "weights")
    assert not (taught / "weights" / "tales-bert").exists()
    with pytest.raises(SystemExit, match="no finished training"):
        own.keep("other", taught / "runs", taught / "weights")
