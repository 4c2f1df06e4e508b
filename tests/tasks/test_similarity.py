from pathlib import Path

import pytest
import torch
from torch import Tensor

from minitl.data import load_dataset
from minitl.errors import DataError
from minitl.models.sentence import SentenceEncoder, load_sentence_encoder
from minitl.tasks.similarity import sts_spearman


class Angles(SentenceEncoder):
    """Puts the text "30" on the unit circle at 30 degrees, twice as long for every letter."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def encode(self, texts: list[str], batch_size: int = 64, *, prompt: str | None = None) -> Tensor:  # noqa: ARG002
        angles = torch.tensor([float(text) for text in texts]).deg2rad()
        lengths = torch.tensor([2.0 ** len(text) for text in texts])
        return torch.stack((angles.cos(), angles.sin()), dim=-1) * lengths[:, None]


def test_only_the_order_of_the_cosines_counts() -> None:
    pairs = [("0", "0"), ("0", "10"), ("0", "100"), ("180", "0")]
    assert sts_spearman(Angles(), pairs, [5.0, 4.9, 1.0, 0.0]) == pytest.approx(100)
    assert sts_spearman(Angles(), pairs, [0.0, 1.0, 2.0, 500.0]) == pytest.approx(-100)
    assert sts_spearman(Angles(), pairs, [5.0, 4.0, 0.0, 1.0]) == pytest.approx(80)  # 1 - 6·Σd² / (n·(n² - 1)), Σd² = 2


@pytest.mark.slow  # the quick tests have the same score from tests/published
def test_minilm_reaches_its_published_score(minilm: Path, assets: Path) -> None:
    assert (assets / "data" / "stsb").is_dir()
    test = load_dataset("stsb-en").test
    pairs, scores = [(e.text, e.pair or "") for e in test], [float(e.label or 0) for e in test]
    assert len(pairs) == 1379
    assert round(sts_spearman(load_sentence_encoder(minilm), pairs, scores), 2) == 82.03


@pytest.mark.parametrize(
    ("pairs", "scores", "message"),
    [
        ([], [], "at least two different scores, got 0"),
        ([("1", "2"), ("1", "3")], [2.0, 2.0], "at least two different scores, got 1"),
        ([("1", "2")], [1.0, 2.0], "1 pairs of texts and 2 scores"),
    ],
)
def test_an_undefined_correlation_is_an_error(pairs: list, scores: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        sts_spearman(Angles(), pairs, scores)
