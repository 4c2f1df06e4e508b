"""Settings that mean nothing, or are out of range, are refused by name."""

from typing import Any

import pytest

from minitl.errors import InputError
from minitl.training import Settings


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 5e-5), ("muon", 5e-5), ("adafactor", 1e-2), ("sgd", 1e-2)])
def test_the_usual_rate_is_the_optimisers_or_else_the_strategys(optimizer: str, rate: float) -> None:
    settings = Settings(optimizer=optimizer)
    assert settings.learning_rate is None
    assert settings.with_rate(5e-5).peak_rate == rate
    assert Settings(optimizer=optimizer, learning_rate=3e-4).with_rate(5e-5).peak_rate == 3e-4


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"schedule": "cubic"},
        {"learning_rate": 0.0},
        {"warmup": 1.5},
        {"autocast": "int8"},
        {"weight_decay": -0.1},
        {"clip": -1.0},
        {"patience": 0},
    ],
    ids=str,
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Settings(**wrong)
