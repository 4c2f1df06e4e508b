"""A data set by name: a file or folder, then MINITL_ASSETS, then the hub, then the set embedded in this package."""

from pathlib import Path

from minitl.data.assets import find_asset
from minitl.data.columns import Columns, records
from minitl.data.examples import Dataset, Example
from minitl.data.finding import files_in
from minitl.data.hub import fetch, hub_set, read_hub
from minitl.data.labels import encode_labels
from minitl.data.splits import cut_off, sample
from minitl.data.tables import READERS, Table, read_table
from minitl.errors import DataError, InputError

__all__ = ["Dataset", "Example", "load_dataset", "sample"]

EMBEDDED = Path(__file__).parent / "embedded"
EMBEDDED_NAMES = ("embedded", "reviews")


def load_dataset(
    name: str | Path,
    *,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.0,
    examples: int | None = None,
    scores: bool = False,
    seed: int = 0,
    revision: str | None = None,
) -> Dataset:
    """Find the data set `name` and load all of it.

    The first of these that exists is taken:

    1. a file (.csv, .tsv without quoting, .jsonl, .parquet), which becomes the training split, or a folder with such
       files named train, validation (or dev, valid, val) and test;
    2. a set known by name under the folder that the environment variable MINITL_ASSETS names (`minitl.data.assets`);
    3. a set on the hub, "ID" or "ID:CONFIG" at `revision`, or a short name for one (`minitl.data.hub`);
       HF_HUB_OFFLINE=1 is respected;
    4. "embedded" or "reviews": the review set of this package. These two names are not looked up on the hub.

    `text`, `pair` and `label` name the columns; left out, columns with usual names are taken (text, sentence, review,
    content; sentence1 and sentence2; label, labels, class, sentiment, score). Without a label column the examples are
    unlabelled. Labels are encoded as `minitl.data.labels` says, alike in all splits; with `scores`, whole
    numbers are no classes.

    A set without test split has `test_fraction` of its training split cut off, then one without validation split
    `validation_fraction`, each stratified by class and drawn with `seed`; 0 cuts nothing. Of what remains to train on,
    `examples` are drawn alike; None = all.

    Raises DataError when nothing is found (listing what was tried), when a file is damaged, empty or lacks a column,
    or a label is missing, out of range or unknown; InputError on a fraction outside [0, 1), more examples than there
    are, or a revision that nothing can answer to.
    """
    name = str(name)
    for which, fraction in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 <= fraction < 1:
            raise InputError(f"{which} must be at least 0 and below 1, not {fraction}")
    tables, columns, label_names, origin = find_tables(name, Columns(text, pair, label), revision)
    rows = {split: records(table, columns) for split, table in tables.items()}
    splits, names = encode_labels(rows, label_names, scores)
    train, validation, test = (splits.get(split, []) for split in ("train", "validation", "test"))
    if not test:
        train, test = cut_off(train, test_fraction, seed)
    if not validation:
        train, validation = cut_off(train, validation_fraction, seed)
    if examples is not None:
        train = sample(train, examples, seed)
    return Dataset(name, origin, train, validation, test, names)


Found = tuple[dict[str, Table], Columns, list[str] | None, str]  # tables by split, columns, class names, origin


def find_tables(name: str, asked: Columns, revision: str | None = None) -> Found:
    """The tables of the set `name`, found as `load_dataset` says, with the columns asked for or declared."""
    if not name:
        raise DataError("the name of a data set is empty")
    path = Path(name).expanduser()
    if path.exists():
        _refuse_revision(revision, name)
        return _read_path(path), asked, None, str(path)
    tried = [f"a file or folder of that name ({path.absolute()} is absent)"]
    if _is_path(name):
        raise DataError(f"{name}: no such file or folder")

    asset = find_asset(name) if revision is None else "MINITL_ASSETS (it holds no revisions)"
    if not isinstance(asset, str):
        source, data = asset
        columns = asked.or_else(source.columns)
        names = list(source.label_names) if source.label_names and columns.label == source.columns.label else None
        return source.read(data), columns, names, str((data / source.paths()[0]).parent)
    tried.append(asset)

    if name in EMBEDDED_NAMES:
        _refuse_revision(revision, name)
        return _read_folder(EMBEDDED), asked, None, "embedded"

    on_hub = hub_set(name)
    if on_hub is not None:
        fetched = fetch(on_hub, revision)
        if not isinstance(fetched, str):
            tables, label_names, origin = read_hub(on_hub, fetched, asked, revision)
            return tables, asked, label_names, origin
        tried.append(fetched)
    tried.append(f"the embedded set (its names are {' and '.join(EMBEDDED_NAMES)})")
    raise DataError(
        f"no data set {name!r} was found; tried: {'; '.join(tried)}. Without a network, name a file or folder"
    )


def _is_path(name: str) -> bool:
    """Names that can only be meant as a path, so that a typing error does not end as a question to the hub."""
    return name.startswith((".", "/", "~", "\\")) or Path(name).suffix.lower() in READERS or hub_set(name) is None


def _refuse_revision(revision: str | None, name: str) -> None:
    if revision is not None:
        raise InputError(f"{name} is not on the hub and has no revisions; leave out revision={revision!r}")


def _read_path(path: Path) -> dict[str, Table]:
    return _read_folder(path) if path.is_dir() else {"train": read_table(path)}


def _read_folder(folder: Path) -> dict[str, Table]:
    return {split: read_table(path) for split, path in files_in(folder, list(READERS)).items()}
