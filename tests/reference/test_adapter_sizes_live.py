"""The README's adapters have PEFT's tensors: names, shapes and counts, on the meta device: `make test-reference`."""

import json
from typing import Any

import pytest
import torch

from benchmarks.adapter_sizes import MODELS, OF_SEVEN_BILLION, RESULT, TARGETS, file_bytes
from tests.models.published import config_of

pytestmark = pytest.mark.reference
transformers = pytest.importorskip("transformers", reason="the peer library lives in an environment of its own")
peft = pytest.importorskip("peft", reason="the peer library lives in an environment of its own")

CLASSES = {"masked-lm": "AutoModelForMaskedLM", "causal-lm": "AutoModelForCausalLM"}
ROWS = json.loads(RESULT.read_text(encoding="utf-8"))["adapters"]


def peers_adapter(model: str, targets: str, rank: int) -> Any:
    checkpoint, task = MODELS[model]
    with torch.device("meta"):
        config = transformers.AutoConfig.for_model(**config_of(checkpoint))
        base = getattr(transformers, CLASSES[task]).from_config(config)
        modules = {**OF_SEVEN_BILLION, **TARGETS}[targets]
        return peft.get_peft_model(base, peft.LoraConfig(r=rank, target_modules=modules))


@pytest.mark.parametrize(("model", "targets"), sorted({(row["model"], row["targets"]) for row in ROWS}))
def test_the_peer_counts_and_stores_the_same(model: str, targets: str) -> None:
    for row in ROWS:
        if (row["model"], row["targets"]) == (model, targets) and row["r"] in (4, 64):
            adapter = peers_adapter(model, targets, row["r"])
            assert adapter.get_nb_trainable_parameters() == (row["trainable"], row["total"])
            stored = peft.get_peft_model_state_dict(adapter)
            shapes = {name: tuple(tensor.shape) for name, tensor in stored.items()}
            assert {dtype: file_bytes(shapes, dtype) for dtype in row["bytes"]} == row["bytes"]
