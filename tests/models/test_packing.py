"""Packed weights give every family's own numbers, for as long as the context lasts."""

from pathlib import Path

import pytest
import torch
from minitl_kernels.packed import can_pack

from minitl import packed_weights
from minitl.models.encoder_decoder import EncoderDecoder
from minitl.models.loading import load_model

CHECKPOINTS = Path(__file__).parents[1] / "reference" / "checkpoints"
NAMES = [f.name for f in sorted(CHECKPOINTS.iterdir()) if f.name.endswith("-backbone")]


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_the_models_own(name: str) -> None:
    model = load_model(CHECKPOINTS / name)
    ids, mask = torch.randint(5, 40, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[1, 4:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    if isinstance(model, EncoderDecoder):
        batch["decoder_input_ids"] = ids[:, :5]
    packed = packed_weights(model, rows=27)
    with torch.inference_mode():
        expected = model(**batch).last_hidden_state
        with packed:
            swapped = [module for module in model.modules() if "forward" in module.__dict__]
            actual = model(**batch).last_hidden_state
    assert bool(swapped) == can_pack(torch.zeros(1, 1))
    assert not [module for module in model.modules() if "forward" in module.__dict__]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
