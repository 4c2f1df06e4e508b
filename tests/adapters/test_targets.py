"""Names, published and uniform, lead to the right layers; others are refused with the ones there are."""

import re

import pytest

from minitl import LoraConfig, add_lora
from minitl.adapters.layer import LoraLinear
from minitl.adapters.targets import adaptable_layers, find_saved, find_targets, listed, saved_candidates, shortest_names
from minitl.errors import InputError
from tests.adapters.tiny import TASKS, tiny


def kinds(paths: list[str]) -> list[str]:
    """What the first layer's paths are, without its number."""
    return [path.removeprefix("layers.0.") for path in paths if path.startswith("layers.0.")]


@pytest.mark.parametrize(
    ("family", "targets", "expected"),
    [
        ("bert", ["query", "value"], ["attention.query", "attention.value"]),
        ("bert", ["attention.query", "feed_forward.up"], ["attention.query", "feed_forward.up"]),
        ("bert", ["attention.output.dense"], ["attention.output"]),
        ("bert", ["output.dense"], ["attention.output", "feed_forward.down"]),
        ("bert", None, ["attention.query", "attention.value"]),
        ("bert", r"bert\.encoder\.layer\.0\.attention\.self\.(query|key)", ["attention.query", "attention.key"]),
        ("deberta-v2", ["query_proj", "value_proj"], ["attention.query", "attention.value"]),
        ("deberta-v2", None, ["attention.query", "attention.value"]),
        ("gpt2", ["c_attn"], ["attention.qkv"]),
        ("gpt2", ["c_proj"], ["attention.output", "feed_forward.down"]),
        ("gpt2", None, ["attention.qkv"]),
        ("llama", ["q_proj", "mlp.up_proj"], ["attention.query", "feed_forward.up"]),
        ("llama", None, ["attention.query", "attention.value"]),
    ],
)
def test_names_stand_for_layers(family: str, targets: list[str] | str | None, expected: list[str]) -> None:
    model = tiny(family, "sequence-classification")
    found = find_targets(model, targets)
    assert kinds(found) == expected
    both_layers = not isinstance(targets, str)
    assert len(found) == len(expected) * (2 if both_layers else 1)


@pytest.mark.parametrize(
    ("family", "task", "in_a_layer", "outside"),
    [
        ("bert", "sequence-classification", 6, ["pooler.dense"]),
        ("bert", "masked-lm", 6, ["head.dense"]),
        ("deberta-v2", "sequence-classification", 6, []),
        ("gpt2", "causal-lm", 4, []),
        ("llama", "sequence-classification", 7, []),
    ],
)
def test_all_linear_means_every_linear_layer_but_the_output_and_a_new_head(
    family: str, task: str, in_a_layer: int, outside: list[str]
) -> None:
    found = find_targets(tiny(family, task), "all-linear")
    assert len([path for path in found if path.startswith("layers.")]) == 2 * in_a_layer
    assert [path for path in found if not path.startswith("layers.")] == outside


@pytest.mark.parametrize(
    ("family", "targets", "expected"),
    [
        ("bert", ["word_embeddings"], ["embeddings.token"]),
        ("bert", ["embeddings.position"], ["embeddings.position"]),
        ("bert", r".*_embeddings", ["embeddings.token", "embeddings.position", "embeddings.token_type"]),
        ("gpt2", ["wte", "wpe"], ["embeddings.token", "embeddings.position"]),
        ("llama", ["embed_tokens"], ["embeddings.token"]),
    ],
)
def test_embeddings_are_named_like_layers(family: str, targets: list[str] | str, expected: list[str]) -> None:
    assert find_targets(tiny(family, "sequence-classification"), targets) == expected


def test_a_head_is_adapted_where_it_is_named() -> None:
    assert find_targets(tiny("llama", "causal-lm"), ["lm_head"]) == ["head.decoder"]


def test_an_unknown_name_lists_the_candidates_also_among_good_ones() -> None:
    with pytest.raises(InputError) as error:
        find_targets(tiny("bert", "sequence-classification"), ["query", "quarry", "vale"])
    message = str(error.value)
    assert "'quarry', 'vale'" in message
    assert "'query'" not in message
    assert "attention.self.value (attention.value)" in message
    assert "intermediate.dense (feed_forward.up)" in message
    assert "all-linear" in message


@pytest.mark.parametrize(("family", "task"), TASKS)
def test_every_candidate_that_an_error_lists_is_accepted(family: str, task: str) -> None:
    model = tiny(family, task)
    for name in re.findall(r"[^ ,()]+", listed(model, adaptable_layers(model))):
        assert find_targets(model, [name])
    for name in re.findall(r"[^ ,()]+", saved_candidates(model)):
        assert find_saved(model, [name])[name], name


@pytest.mark.parametrize("name", ["query", "key", "v_proj"])
@pytest.mark.parametrize(
    ("family", "task", "fused"), [("gpt2", "causal-lm", "c_attn"), ("modernbert", "masked-lm", "Wqkv")]
)
def test_a_part_of_a_fused_projection_is_refused_with_the_fused_name(
    family: str, task: str, fused: str, name: str
) -> None:
    with pytest.raises(InputError, match=rf"one projection, called '{fused}'"):
        find_targets(tiny(family, task), [name])


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("query", "single names go in a list"),
        ("(", "not a regular expression"),
        ([], "names nothing"),
        (["embeddings"], "embeddings"),
        (["LayerNorm"], "LayerNorm"),
        (r".*quarry", "matches no whole path.*word_embeddings.*attention.self.query"),
    ],
)
def test_what_matches_no_linear_layer_is_refused_and_leaves_the_model_alone(
    targets: list[str] | str, expected: str
) -> None:
    model = tiny("bert", "sequence-classification")
    with pytest.raises(InputError, match=expected):
        add_lora(model, LoraConfig(target_modules=targets))
    assert not any(isinstance(module, LoraLinear) for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("family", "targets", "expected"),
    [
        ("bert", ["attention.query", "attention.value"], ["query", "value"]),
        ("bert", "all-linear", ["dense", "key", "query", "value"]),
        # "dense" alone would stand for the pooler's layer too.
        ("bert", ["intermediate.dense", "output.dense"], ["intermediate.dense", "output.dense"]),
        ("bert", ["embeddings.token", "query"], ["query", "word_embeddings"]),
        ("gpt2", "all-linear", ["c_attn", "c_fc", "c_proj"]),
        ("gpt2", ["feed_forward.down"], ["mlp.c_proj"]),
    ],
)
def test_written_names_stand_for_exactly_the_same_layers(
    family: str, targets: list[str] | str, expected: list[str]
) -> None:
    model = tiny(family, "sequence-classification")
    places = find_targets(model, targets)
    names = shortest_names(model, places)
    assert find_targets(model, names) == places
    assert names == expected


def test_layers_that_no_short_name_tells_apart_are_written_as_whole_paths() -> None:
    model = tiny("bert", "sequence-classification")
    places = ["layers.0.attention.query", "layers.1.feed_forward.down"]
    names = shortest_names(model, places)
    assert find_targets(model, names) == places
