"""The experiment on LoRA on a tiny model: every way once; and a measured step of a tiny decoder."""

from pathlib import Path

import pytest
import torch

from minitl.experiments.counting import ALL_LINEAR, FULL, Learning
from minitl.experiments.lora import run as lora
from minitl.experiments.lora.counted import Training, count_all, measure, measure_all
from minitl.experiments.lora.run import Scale
from minitl.experiments.runs import Runs
from minitl.experiments.shapes import MISTRAL

SMALL = MISTRAL | {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 24,
}  # fmt: skip


def more(folder: Path) -> str:
    """Four texts of the same classes that are not among the reviews."""
    texts = [f"nothing in the other set says so {i}\t{'positive' if i % 2 else 'negative'}" for i in range(4)]
    (folder / "more.tsv").write_text("\n".join(["text\tlabel", *texts]) + "\n")
    return str(folder / "more.tsv")


@pytest.mark.slow
def test_every_way_is_run_once_at_every_rate(tiny: Path, reviews: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(lora, "MISTRAL", SMALL)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    scale = Scale(str(tiny), str(reviews), 8, (0,), (1,), (1, 16), (1e-3,), (1e-4, 2e-4), 10, more(tmp_path))
    heard: list[str] = []
    runs = Runs(tmp_path, heard.append)
    results = lora.run(runs, scale)
    assert [(line["arm"], line["rate"], line["seed"]) for line in results["lines"]] == [
        (lora.FULL, 1e-4, 0),
        (lora.FULL, 1e-4, 1),
        (lora.FULL, 2e-4, 0),
        (lora.FULL, 2e-4, 1),
        ("r1-all-linear-layers", 1e-3, 0),
        ("r16-query-and-value", 1e-3, 0),
        ("r16-attention", 1e-3, 0),
        ("r16-feed-forward", 1e-3, 0),
        ("r16-all-linear-layers", 1e-3, 0),
        ("r16-all-linear-layers", 1e-3, 1),
    ]
    assert results["tested"] == 24  # 20 of the test split, and four of another set
    for line in results["lines"]:
        assert len(line["right"]) == 24
        assert line["accuracy"] == pytest.approx(line["right"].count("1") / 24)
        assert line["saved_bytes"] > 0
    full, *_, attention, _, _, every = results["lines"]
    head = 24 * 2 + 2
    assert full["trainable"] == full["total"]
    assert attention["trainable"] - head == 3 * 4 * 16 * (24 + 24)
    assert every["trainable"] - attention["trainable"] == 3 * 2 * 16 * (24 + 32)
    assert 4 * attention["trainable"] < attention["saved_bytes"] < full["saved_bytes"] + 8 * attention["trainable"]
    assert not list(tmp_path.rglob("*.safetensors"))
    assert results["measured"] == []
    assert lora.run(runs, scale) == results
    assert len(heard) == 10


def test_counts_say_cards_and_hours():
    training = Training(2, 8, 4, tokens=3600 * 16, peak=1e6, utilisation=0.5, card=1e5)
    for row in count_all(SMALL, training):
        assert row["cards"] == -(-row["bytes"]["total"] // 10**5)
        assert row["card_hours"] == pytest.approx(row["flops"]["total"] / 5e5)
        assert (row["flops"]["recomputed"] > 0) == row["recompute"]


@pytest.mark.parametrize("learning", [FULL, Learning(2, ALL_LINEAR)], ids=["full", "lora"])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_step_is_measured(learning: Learning, recompute: bool):
    found = measure(SMALL, learning, Training(2, 8, 4), recompute, 2, torch.device("cpu"))
    assert found["device"] == "cpu"
    assert found["fits"]
    assert len(found["seconds"]) == 2
    assert min(found["seconds"]) > 0
    assert found["peak_memory_bytes"] > 0


@pytest.mark.gpu
def test_a_gpus_steps_are_measured_once(tmp_path: Path):
    if not torch.cuda.is_available():
        pytest.skip("no GPU that CUDA can use")
    runs = Runs(tmp_path)
    found = measure_all(runs, SMALL, Training(2, 8, 4), 2)
    assert [(line["learns"], line["recompute"]) for line in found] == [
        (learns, recompute) for learns in ("everything", "all linear layers") for recompute in (False, True)
    ]
    for line in found:
        assert line["device"] == torch.cuda.get_device_name()
        assert line["fits"]
        assert line["peak_memory_bytes"] > 0
    assert measure_all(runs, SMALL, Training(2, 8, 4), 2) == found


def test_a_step_of_another_shape_is_another_run(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a GPU")
    monkeypatch.setattr("minitl.experiments.lora.counted.measure", lambda shape, *_: {"hidden": shape["hidden_size"]})
    for shape in (SMALL, SMALL | {"hidden_size": 32}):
        found = measure_all(Runs(tmp_path), shape, Training(2, 8, 4), 2)
        assert [line["hidden"] for line in found] == [shape["hidden_size"]] * 4


def test_what_does_not_fit_is_said(monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("minitl.experiments.lora.counted.new_model", full)
    found = measure(SMALL, FULL, Training(2, 8, 4), False, 1, torch.device("cpu"))
    assert (found["fits"], found["peak_memory_bytes"]) == (False, None)
