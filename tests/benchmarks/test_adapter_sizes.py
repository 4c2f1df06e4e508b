"""Sizes of adapters, counted without weights: equal to what is written, and to what stands in the results."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.adapter_sizes import RESULT, added, file_bytes, file_size, measure_all, one_matrix, share, tensor_shapes
from minitl import LoraConfig, add_lora, save_adapter
from minitl.checkpoints.weights import Weights, write_safetensors
from tests.adapters.tiny import tiny

LANGUAGE_MODELS = [("bert", "masked-lm"), ("gpt2", "causal-lm"), ("llama", "causal-lm"), ("deberta-v2", "masked-lm")]
MISTRAL = {"q": (4096, 4096), "k": (4096, 1024), "v": (4096, 1024), "o": (4096, 4096)}
MISTRAL |= {"gate": (4096, 14336), "up": (4096, 14336), "down": (14336, 4096)}


@pytest.mark.parametrize(("family", "task"), LANGUAGE_MODELS)
@pytest.mark.parametrize("targets", [None, "all-linear"])
@pytest.mark.parametrize("rank", [1, 5, 64, 1000])
def test_the_computed_size_is_that_of_the_written_file(
    family: str, task: str, targets: str | None, rank: int, tmp_path: Path
) -> None:
    model = tiny(family, task)
    add_lora(model, LoraConfig(r=rank, target_modules=targets))
    save_adapter(model, tmp_path / "adapter")
    written, shapes = tmp_path / "adapter" / "adapter_model.safetensors", tensor_shapes(model)
    assert set(shapes) == set(Weights({written: None}))
    assert file_bytes(shapes, "float32") == written.stat().st_size
    half = {name: tensor.bfloat16() for name, tensor in _tensors(written).items()}
    write_safetensors(half, tmp_path / "half.safetensors")
    assert file_bytes(shapes, "bfloat16") == (tmp_path / "half.safetensors").stat().st_size


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    weights = Weights({file: None})
    return {name: weights[name] for name in weights}


@pytest.mark.slow
def test_the_committed_result_is_what_the_configurations_give() -> None:
    assert json.loads(RESULT.read_text(encoding="utf-8")) == measure_all(), "run `python -m benchmarks.adapter_sizes`"


def test_mistrals_numbers_are_those_of_its_matrices() -> None:
    rows = [row for row in json.loads(RESULT.read_text(encoding="utf-8"))["adapters"] if row["model"] == "Mistral-7B"]
    parts = {"query and value": "q v", "all of attention": "q k v o", "all linear layers": "q k v o gate up down"}
    assert {row["targets"] for row in rows} == set(parts)
    for row in rows:
        names = parts[row["targets"]].split()
        assert row["layers"] == 32 * len(names)
        assert row["trainable"] == 32 * row["r"] * sum(sum(MISTRAL[name]) for name in names)
        assert row["total"] == 7_241_732_096 + row["trainable"]
        assert 0 < row["bytes"]["float32"] - 4 * row["trainable"] < 200 * row["layers"] * 2  # a line a tensor


def row(rank: int = 16, trainable: float = 33e6, total: float = 7e9, size: float = 20e6) -> dict[str, Any]:
    sizes = {"float32": size, "bfloat16": size / 2}
    where = {"model": "Mistral-7B", "targets": "query and value"}
    return {**where, "r": rank, "trainable": trainable, "total": total, "bytes": sizes}


@pytest.mark.parametrize(
    ("judged", "verdict"),
    [
        (one_matrix((4096, 4096)), "holds"),
        (one_matrix((4096, 1024)), "does not hold"),
        (added([row()]), "holds"),
        (added([row(trainable=7e6)]), "does not hold"),
        (added([row(), row(trainable=7e6)]), "holds in part"),
        (share([row()]), "holds"),
        (share([row(trainable=36e6)]), "does not hold"),
        (file_size([row()]), "holds"),
        (file_size([row(size=8e6)]), "holds in part"),
        (file_size([row(size=200e6)]), "does not hold"),
    ],
)
def test_verdicts_follow_the_numbers(judged: dict[str, str], verdict: str) -> None:
    assert judged["verdict"] == verdict


def test_what_would_be_near_is_named() -> None:
    judged = added([row(trainable=7e6), row(rank=64, trainable=34e6), row(rank=32, trainable=14e6)])
    assert "r = 64 (34.0M)" in judged["computed"]
    assert "r = 32" not in judged["computed"]
