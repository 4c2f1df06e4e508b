"""Numbers and names as people read them."""

import pytest

from minitl.pages.formats import model_name, with_noise


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/home/ann/bert", "bert"),
        ("google-bert/bert-base-uncased", "bert-base-uncased"),
        ("runs/sst2/model", "sst2"),  # as `minitl train` leaves it
        ("model", "model"),
        ("/model", "model"),
        ("", ""),
    ],
)
def test_a_model_is_called_by_its_folder(source: str, name: str) -> None:
    assert model_name(source) == name


def test_a_difference_is_told_with_its_noise() -> None:
    assert with_noise(0.0312, 0.0149) == "+3.1 points (noise ±1.5)"
    assert with_noise(-0.02, 0.5) == "−2.0 points (noise ±50.0)"
