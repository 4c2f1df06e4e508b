from pathlib import Path

import pytest

from minitl.cli.main import main

ROWS = """text,pair,score
A river runs.,A river flows.,5
A river runs.,Bread is baked.,0
A stone falls.,The stone is falling down.,4.5
"""


def evaluate(model: Path, data: Path) -> int:
    columns = ["--text", "text", "--pair", "pair", "--label", "score"]
    return main(["evaluate", str(model), "--task", "similarity", "--data", str(data), *columns])


def test_similarity_prints_the_rank_correlation(minilm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.csv").write_text(ROWS, encoding="utf-8")
    assert evaluate(minilm, tmp_path) == 0
    assert ", 3 examples: Spearman " in capsys.readouterr().out


def test_whole_numbers_are_scores_too(minilm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for split, score in (("train", "4"), ("validation", "3"), ("test", "2")):
        (tmp_path / f"{split}.csv").write_text(ROWS.replace("4.5", score), encoding="utf-8")
    assert evaluate(minilm, tmp_path) == 0
    assert ", 3 examples: Spearman " in capsys.readouterr().out


def test_a_data_set_without_a_test_split_is_one_line(minilm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.csv").write_text(ROWS, encoding="utf-8")
    assert evaluate(minilm, tmp_path) == 1
    assert capsys.readouterr().err.endswith("has no test split\n")
