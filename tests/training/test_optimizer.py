"""Schedules and parameter groups."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minitl import LoraConfig, fit, new_model
from minitl.data import Example
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.training import FROZEN, FULL, GRADUAL, Settings, Strategy
from minitl.training.optimizer import make_optimizer, make_schedule
from minitl.training.settings import SCHEDULES


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from(SCHEDULES))
def test_the_rate_rises_to_its_peak_once_and_never_rises_again(steps: int, warmup: float, schedule: str):
    chosen = Settings(learning_rate=0.1, warmup=warmup, schedule=schedule)
    rate = make_schedule(chosen, steps)
    rates = [rate(step) for step in range(steps)]
    rise = round(warmup * steps)
    assert all(0 < r <= 0.1 + 1e-12 for r in rates)
    if schedule != "slanted" or rise < steps:  # whose peak comes after its rise
        assert max(rates) == pytest.approx(0.1)
    assert rates[:rise] == sorted(rates[:rise])
    assert rates[rise:] == sorted(rates[rise:], reverse=True)
    if schedule != "constant" and rise < steps:
        last = 0.1 / 32 if schedule == "slanted" else 0.0
        assert rate(steps) == pytest.approx(last, abs=1e-12)  # the step after the last would hardly move


def test_the_slanted_triangle_is_the_papers() -> None:
    """Howard & Ruder 2018, equation 3, with cut_frac 0.1 and ratio 32."""
    steps, cut = 200, 20
    rate = make_schedule(Settings(learning_rate=0.01, warmup=0.1, schedule="slanted"), steps)
    for t in range(steps):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / 0.1 - 1))
        assert rate(t) == pytest.approx(0.01 * (1 + p * (32 - 1)) / 32)


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_each_layer_learns_so_much_slower_than_the_one_above(classifier: Callable[[], Model], decay: float) -> None:
    model = classifier()
    names = {name for name, _ in model.named_parameters()}
    optimizer = make_optimizer(model, Settings(learning_rate=1e-3), names, layer_decay=decay)
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    expected = {"head.classifier.weight": 0, "pooler.dense.weight": 1, "layers.2.attention.query.weight": 2}
    expected |= {"layers.0.attention.query.bias": 4, "embeddings.token.weight": 5}
    for name, below in expected.items():
        assert rates[id(model.get_parameter(name))] == pytest.approx(1e-3 * decay**below), name


@pytest.mark.parametrize("decay", [0.0, 1.5, -1.0])
def test_a_decay_that_means_nothing_is_refused(decay: float) -> None:
    with pytest.raises(InputError, match="layer_decay must be above 0 and at most 1"):
        Strategy("full", layer_decay=decay)
    with pytest.raises(InputError, match="adapters have none"):
        Strategy("lora", lora=LoraConfig(), layer_decay=0.5)


def test_biases_and_norms_are_not_decayed(classifier: Callable[[], Model]):
    model = classifier()
    names = {name for name, _ in model.named_parameters()}
    optimizer = make_optimizer(model, Settings(weight_decay=0.1, learning_rate=1e-3), names)
    decayed = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in model.named_parameters():
        plain = name.endswith("bias") or "norm" in name
        assert decayed[id(parameter)] == (0.0 if plain else 0.1), name


def test_only_what_may_learn_is_optimised(classifier: Callable[[], Model]):
    model = classifier()
    optimizer = make_optimizer(model, Settings(learning_rate=1e-3), {"head.classifier.weight"})
    assert [p.shape for g in optimizer.param_groups for p in g["params"]] == [torch.Size([2, 24])]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each moment sets all the model's switches
@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_gradual_unfreezing_only_ever_opens_from_the_top(classifier: Callable[[], Model], moments: list[float]):
    model = classifier()
    opened: list[set[str]] = []
    for moment in sorted(moments):
        GRADUAL.open(model, moment)
        opened.append({name for name, p in model.named_parameters() if p.requires_grad})
    for earlier, later in pairwise(opened):
        assert earlier <= later
    for names in opened:
        depths = model.parameter_groups_by_depth()
        trained = [all(p.requires_grad for p in group) for group in depths]
        assert trained == sorted(trained)  # frozen below, trained above
        assert any(name.startswith("head.") for name in names)


def test_everything_learns_by_the_end_of_gradual_unfreezing(classifier: Callable[[], Model]):
    model = classifier()
    GRADUAL.open(model, 0.0)
    assert {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad} == {"head"}
    GRADUAL.open(model, 1.0)
    assert all(p.requires_grad for p in model.parameters())
    FULL.open(model, 0.0)
    assert all(p.requires_grad for p in model.parameters())


TIED = {"model_type": "gpt2", "vocab_size": 20, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2}


@pytest.mark.parametrize("strategy", [FROZEN, GRADUAL], ids=lambda s: s.name)
def test_a_head_without_weights_of_its_own_cannot_learn_alone(strategy: Strategy):
    tied = new_model(TIED, "causal-lm")
    with pytest.raises(
        InputError, match=rf"{strategy.name!r} begins with the head alone, and .*has no weights of its own, being tied"
    ):
        strategy.prepare(tied)
    assert all(p.requires_grad for p in tied.parameters())
    untied = new_model({**TIED, "tie_word_embeddings": False}, "causal-lm")
    strategy.prepare(untied)
    assert [name for name, p in untied.named_parameters() if p.requires_grad] == ["head.decoder.weight"]
    untied.head.requires_grad_(False)
    with pytest.raises(InputError, match="the head of this causal-lm model is frozen"):
        strategy.prepare(untied)


def test_a_tied_head_learns_with_any_part_of_the_backbone():
    tied = new_model(TIED, "causal-lm")
    Strategy("downwards", ((0.0, 0.5), (0.5, 1.0))).prepare(tied)  # of embeddings, two layers and the last norm
    assert {name.split(".")[0] for name, p in tied.named_parameters() if p.requires_grad} == {"layers", "norm"}
    FULL.prepare(tied)
    assert all(p.requires_grad for p in tied.parameters())


def test_training_refuses_it_before_it_begins(tmp_path: Path):
    task = SimpleNamespace(name="causal-lm", check=lambda *_: None)
    with pytest.raises(InputError, match="'frozen' begins with the head alone"):
        fit(new_model(TIED, "causal-lm"), [Example("a")], task=task, strategy=FROZEN, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("openings", [(), ((0.5, 1.0),), ((0.0, 0.0), (0.8, 1.0), (0.4, 0.5)), ((0.0, 2.0),)])
def test_openings_must_begin_at_the_start_and_rise(openings: tuple[tuple[float, float], ...]):
    with pytest.raises(InputError, match=r"openings|opening's share"):
        Strategy("odd", openings)
