"""Numbers and names as people read them."""

import pytest

from minitl.pages.formats import model_name


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
