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
        ("alpha", 10**400),
        ("alpha", "16"),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("bias", "some"),
        ("target_modules", [3]),
        ("modules_to_save", "classifier"),
        ("modules_to_save", [""]),
        ("use_rslora", "yes"),
        ("use_dora", 1),
        ("rank_pattern", ["query"]),
        ("rank_pattern", {"query": 0}),
        ("rank_pattern", {"(": 4}),
        ("alpha_pattern", {"query": "16"}),
        ("alpha_pattern", {3: 16}),
    ],
)
def test_a_value_without_meaning_is_refused_by_the_fields_name(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        LoraConfig(**{field: value})  # type: ignore[arg-type]


def test_scaling_is_alpha_over_r_or_over_its_root() -> None:
    assert LoraConfig(r=4, alpha=16).scaling == 4
    assert LoraConfig(r=4, alpha=16, use_rslora=True).scaling == 8


def test_the_first_pattern_that_matches_a_layer_decides() -> None:
    config = LoraConfig(
        r=8,
        alpha=16,
        rank_pattern={"query": 2, r"layer\.0\..*": 3, "uery": 5},
        alpha_pattern={r"(layer\.1\.)?attention\.value": 1},
        use_dora=True,
    )
    expected = {
        "bert.layer.0.attention.query": (2, 16),
        "bert.layer.0.attention.key": (3, 16),
        "bert.layer.1.attention.value": (8, 1),
        "value": (8, 16),
        "bert.layer.1.attention.query.x": (8, 16),
        "bert.layer.1.requery": (8, 16),
    }
    for path, (r, alpha) in expected.items():
        own = config.of_layer(path)
        assert (own.r, own.alpha, own.use_dora, own.rank_pattern) == (r, alpha, True, None)
