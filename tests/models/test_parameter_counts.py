"""Parameters counted from the published configurations alone, on the meta device, against the published figures."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from minitl import count_parameters, new_model
from minitl.checkpoints.hub import manifest
from minitl.models.registry import family_of, task_of
from tests.models.published import CHECKPOINTS, config_of

ENTRIES = manifest()
every_checkpoint = pytest.mark.parametrize("name", CHECKPOINTS)
PRINTED, COUNTED = (
    [name for name, entry in CHECKPOINTS.items() if entry["figure"] == figure] for figure in ("printed", "counted")
)


@cache
def count(content: str) -> int:
    """Trainable parameters of the model that a config.json describes; many checkpoints share one."""
    config = json.loads(content)
    family = family_of(config["model_type"])
    model = new_model(config, task_of(family, config.get("architectures")), device="meta")
    for missing in family.partial.get(*config.get("architectures", [""]), ()):
        setattr(model, missing, None)  # as a file that holds the rest alone is loaded
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    return count_parameters(model).trainable


@cache
def peers_count(content: str) -> int:
    """The same of the peer library."""
    import transformers

    config = json.loads(content)
    with torch.device("meta"):
        read = transformers.AutoConfig.for_model(**config)
        if "architectures" not in config:
            model = transformers.AutoModel.from_config(read)
        else:
            model = getattr(transformers, config["architectures"][0])(read)
            untie(model, config)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def untie(model: Any, config: dict[str, Any]) -> None:
    """Give T5 1.1 the output layer of its own that its files have; the peer ties it whatever the configuration says."""
    head = model.get_output_embeddings()
    if not config.get("tie_word_embeddings", True) and head.weight is model.get_input_embeddings().weight:
        head.weight = torch.nn.Parameter(head.weight.clone())


@pytest.mark.parametrize("name", PRINTED)
def test_the_count_equals_the_published_figure(name: str) -> None:
    assert count(json.dumps(config_of(name))) == ENTRIES[name]["parameters"]


@pytest.mark.parametrize("name", COUNTED)
def test_the_count_equals_what_the_peer_counted(name: str) -> None:
    """For these no published figure was looked up; `test_the_peer_counts_the_same` counts them again."""
    assert count(json.dumps(config_of(name))) == ENTRIES[name]["parameters"]


def test_well_known_figures_stand_in_the_manifest() -> None:
    figures = {
        "bert-base-uncased": 109_482_240,
        "roberta-base": 124_645_632,
        "distilbert-base-uncased": 66_362_880,
        "xlm-roberta-base": 278_043_648,
        "ModernBERT-base": 149_014_272,
        "gpt2": 124_439_808,
        "llama-3-8b": 8_030_261_248,
        "mistral-7b-v0.1": 7_241_732_096,
        "t5-base": 222_903_552,
    }
    assert {name: ENTRIES[name]["parameters"] for name in figures} == figures


def test_every_figure_says_where_it_is_from() -> None:
    assert len(PRINTED) + len(COUNTED) == len(CHECKPOINTS)


def test_the_readme_says_how_many_of_each_there_are() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"the published figures of {len(PRINTED)} checkpoints of [the manifest]" in readme
    assert f"{len(COUNTED)} more equal the peer library's count" in readme
    assert all(name.startswith("tiny-random-") for name in ENTRIES.keys() - CHECKPOINTS.keys())


@pytest.mark.reference
@every_checkpoint
def test_the_peer_counts_the_same(name: str) -> None:
    assert peers_count(json.dumps(config_of(name))) == ENTRIES[name]["parameters"]
