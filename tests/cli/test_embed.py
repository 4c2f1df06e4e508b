import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from minitl.cli.main import main
from minitl.models.sentence import load_sentence_encoder

TEXTS = ["A river.", "naïve 🙂", "Stones and bread."]


@pytest.fixture(scope="module")
def expected(minilm: Path) -> torch.Tensor:
    return load_sentence_encoder(minilm).encode(TEXTS)


def test_a_matrix_with_a_row_for_each_text(minilm: Path, expected: torch.Tensor, tmp_path: Path):
    out = tmp_path / "vectors.npy"
    assert main(["embed", str(minilm), *TEXTS, "--out", str(out)]) == 0
    matrix = np.load(out)
    assert matrix.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(matrix), expected)


@pytest.mark.parametrize("from_file", [True, False], ids=["file", "standard input"])
def test_a_line_for_each_line(
    minilm: Path, expected: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_file: bool
):
    content, out = "\n".join(TEXTS) + "\n", tmp_path / "vectors.jsonl"
    (tmp_path / "texts.txt").write_text(content, encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO(content))
    given = ["--file", str(tmp_path / "texts.txt")] if from_file else []
    assert main(["embed", str(minilm), *given, "--out", str(out)]) == 0
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["text"] for line in lines] == TEXTS
    torch.testing.assert_close(torch.tensor([line["vector"] for line in lines]), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text", "--out", "vectors.txt"], "--out vectors.txt: expected a name that ends in .npy or .jsonl"),
        (["--out", "vectors.npy", "--file", "absent.txt"], "absent.txt: not readable as UTF-8 text"),
        (["--out", "vectors.npy"], "standard input: holds no text"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    minilm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["embed", str(minilm), *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
