"""Where models are put of which nothing else is said."""

import pytest
import torch

from minitl import load_model, new_model
from minitl.errors import InputError
from minitl.nn.device import check_device, models_on, usual_device
from minitl.training.recipe import make_recipe
from tests.models.saved import BERT


def test_models_lie_on_the_processor_unless_told_otherwise(tiny):
    assert usual_device() == "cpu"
    assert {p.device.type for p in new_model(BERT).parameters()} == {"cpu"}
    assert {p.device.type for p in load_model(tiny, "backbone").parameters()} == {"cpu"}


@pytest.mark.parametrize("device", ["cuda:99", "cuda"])
def test_a_device_that_is_not_here_is_refused_before_anything_is_put_there(
    device: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="torch sees 0 GPUs here"), models_on(device):
        pytest.fail("it was entered")
    assert usual_device() == "cpu"


@pytest.mark.parametrize("name", ["", "gpu", "cuda:one", "meta"])
def test_what_is_no_device_is_refused(name: str):
    with pytest.raises(InputError, match="device must be one of cpu, cuda, mps"):
        check_device(name)


def test_within_recipes_and_models_lie_there_and_afterwards_not(monkeypatch: pytest.MonkeyPatch, tiny):
    """On the device of shapes without numbers, which `models_on` refuses, for there is no GPU to be sure of."""
    monkeypatch.setattr("minitl.nn.device.DEVICES", ("cpu", "meta"))
    with models_on("meta"):
        assert {p.device.type for p in new_model(BERT).parameters()} == {"meta"}
        assert {p.device.type for p in load_model(tiny, "backbone").parameters()} == {"meta"}
        assert {p.device.type for p in new_model(BERT, device="cpu").parameters()} == {"cpu"}
        values = {"out": "x", "task": "masked-lm", "model": {"source": "y"}, "data": {"source": "z"}}
        assert make_recipe(values, "a recipe").model.device == "meta"
    assert usual_device() == "cpu"
