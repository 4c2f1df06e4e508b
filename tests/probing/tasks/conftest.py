"""The hand-made treebank, as files."""

from pathlib import Path

import pytest

from tests.probing.tasks.made import write_treebank


@pytest.fixture
def treebank(tmp_path: Path) -> Path:
    """A folder of CoNLL-U files; see `made`."""
    return write_treebank(tmp_path / "treebank")
