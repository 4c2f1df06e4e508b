"""LoraConfig refuses values that mean nothing."""

import pytest

from minitl import LoraConfig
from minitl.errors import InputError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("r", 0),
        ("r", 2.0),
        ("r", True),
        ("alpha", float("nan")),
        ("alpha", "16"),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("bias", "some"),
        ("target_modules", [3]),
        ("modules_to_save", "classifier"),
        ("use_rslora", "yes"),
    ],
)
def test_a_value_without_meaning_is_refused_by_the_fields_name(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        LoraConfig(**{field: value})  # type: ignore[arg-type]


def test_scaling_is_alpha_over_r_or_over_its_root() -> None:
    assert LoraConfig(r=4, alpha=16).scaling == 4
    assert LoraConfig(r=4, alpha=16, use_rslora=True).scaling == 8
