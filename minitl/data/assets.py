"""The data sets known by name under MINITL_ASSETS/data: for each its files, their columns, and the names of its labels.

Reading is strict; which file is which split is declared here and nowhere else.
"""

import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from minitl.data.columns import Columns
from minitl.data.tables import Table, decode, read_jsonl, read_table
from minitl.errors import DataError

VARIABLE = "MINITL_ASSETS"


@dataclass(frozen=True)
class Files:
    """One table a split. `header` names the fields of files that have no header row."""

    splits: dict[str, str]  # split -> path under data/
    columns: Columns
    header: Sequence[str] | None = None
    label_names: Sequence[str] | None = None

    def read(self, data: Path) -> dict[str, Table]:
        return {split: _read_file(data / path, self.header) for split, path in self.splits.items()}

    def paths(self) -> list[str]:
        return list(self.splits.values())


@dataclass(frozen=True)
class Archive:
    """A zip file of plain texts. Each member that matches a split's pattern, with the group `label`, belongs to it."""

    path: str
    splits: dict[str, str]  # split -> regular expression over the whole name of a member
    line_by_line: bool  # a text a line, or a text a member
    label_names: Sequence[str] | None = None
    columns: Columns = field(default=Columns("text", None, "label"))

    def read(self, data: Path) -> dict[str, Table]:
        return {split: self._read_split(data / self.path, pattern) for split, pattern in self.splits.items()}

    def paths(self) -> list[str]:
        return [self.path]

    def _read_split(self, path: Path, pattern: str) -> Table:
        table = Table(str(path), ["text", "label"], [], [])
        try:
            with zipfile.ZipFile(path) as archive:
                for name in sorted(archive.namelist()):
                    if match := re.fullmatch(pattern, name):
                        text = decode(archive.read(name), f"{path}, {name}")
                        texts = [line for line in text.split("\n") if line.strip()] if self.line_by_line else [text]
                        table.rows += [{"text": text, "label": match["label"]} for text in texts]
                        table.places += [f"{path}, {name}, text {i}" for i in range(1, len(texts) + 1)]
        except (OSError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: cannot be read as a zip archive: {error}") from error
        if not table.rows:
            raise DataError(f"{path}: the data set is empty: no member matches {pattern}")
        return table


def _read_file(path: Path, header: Sequence[str] | None) -> Table:
    """The scientific sets are JSONL under the name .txt."""
    return read_jsonl(path) if path.suffix == ".txt" else read_table(path, header)


def _scientific(name: str) -> Files:
    splits = {split: f"domain/{name}/{stem}.txt" for split, stem in STEMS.items()}
    return Files(splits, Columns("text", None, "label"))


STEMS = {"train": "train", "validation": "dev", "test": "test"}
PAIR = Columns("sentence1", "sentence2", "label")
LANGUAGES = ("en", "de", "es", "fr")

ASSETS: dict[str, Files | Archive] = {
    "sst2": Files(  # test is the published development set; the published training set is cut into train and dev
        {split: f"sst2/{stem}.tsv" for split, stem in STEMS.items()},
        Columns("sentence", None, "label"),
        label_names=("negative", "positive"),
    ),
    "agnews": Files(
        {"train": "agnews/train.tsv", "test": "agnews/test.tsv"},
        Columns("text", None, "label"),
        header=("text", "label"),
    ),
    "movie_reviews": Archive(  # ten folds by the hundreds of cvNNN; the last is the test set
        "sentiment/movie_reviews.zip",
        {
            "train": r"movie_reviews/(?P<label>neg|pos)/cv[0-8]\d\d_\d+\.txt",
            "test": r"movie_reviews/(?P<label>neg|pos)/cv9\d\d_\d+\.txt",
        },
        line_by_line=False,
    ),
    "sentence_polarity": Archive(
        "sentiment/sentence_polarity.zip",
        {"train": r"sentence_polarity/rt-polarity\.(?P<label>neg|pos)"},
        line_by_line=True,
    ),
    **{
        f"pawsx-{language}": Files(
            {"train": f"pawsx/dev-{language}.tsv"},  # the only file there is
            PAIR,
            header=("sentence1", "sentence2", "label"),
            label_names=("different", "paraphrase"),
        )
        for language in LANGUAGES
    },
    **{
        f"stsb-{language}": Files(
            {split: f"stsb/stsb-{language}-{stem}.csv" for split, stem in STEMS.items()},
            PAIR,
            header=("sentence1", "sentence2", "label"),
        )
        for language in LANGUAGES
    },
    "chemprot": _scientific("chemprot"),
    "citation_intent": _scientific("citation_intent"),
    "sci_cite": _scientific("sci_cite"),
}


def find_asset(name: str) -> tuple[Files | Archive, Path] | str:
    """The declared set and the folder that holds its files, or why there is none, in words."""
    data = assets_folder()
    if isinstance(data, str):
        return f"{VARIABLE} ({data})"
    asset = ASSETS.get(name)
    if asset is None:
        return f"{VARIABLE} (it knows {', '.join(ASSETS)})"
    absent = [path for path in asset.paths() if not (data / path).is_file()]
    return f"{VARIABLE} ({data / absent[0]} is absent)" if absent else (asset, data)


def assets_folder() -> Path | str:
    """The folder data/ of MINITL_ASSETS, or "unset"."""
    folder = os.environ.get(VARIABLE)
    return Path(folder).expanduser() / "data" if folder else "unset"
