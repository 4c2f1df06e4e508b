"""The shapes that experiments count and measure are the published ones."""

import pytest

from minitl.checkpoints.manifest import manifest
from minitl.experiments.shapes import CHECKPOINTS
from minitl.models.loading import new_model
from minitl.models.registry import family_of
from tests.models.published import config_of


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_shapes_are_those_of_the_published_configurations(name: str):
    published, shape = config_of(name), CHECKPOINTS[name]
    family = family_of(shape["model_type"]).config
    told = {field: value for field, value in published.items() if field != "architectures"}
    assert family.from_dict(dict(shape)).to_dict() == family.from_dict(told).to_dict()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_parameters_are_those_of_the_manifest(name: str):
    task = "causal-lm" if "mistral" in name else "backbone"
    model = new_model(CHECKPOINTS[name], task, device="meta")
    assert sum(parameter.numel() for parameter in model.parameters()) == manifest()[name]["parameters"]
