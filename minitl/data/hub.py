"""Data sets on the Hugging Face hub, through the `datasets` library.

`datasets` caches what it fetched, and goes without the network where HF_HUB_OFFLINE=1 is set.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minitl.data.columns import Columns, choose_columns
from minitl.data.finding import SPLIT_NAMES, NotFound
from minitl.data.stream import reason_of
from minitl.data.tables import Table
from minitl.errors import DataError

HUB_NAME = re.compile(r"(?P<id>[\w.-]+(/[\w.-]+)?)(:(?P<config>[\w.-]+))?")


@dataclass(frozen=True)
class HubSet:
    """A set on the hub; `splits` says which of its splits to take for ours, None = those with the usual names."""

    id: str
    config: str | None = None
    splits: dict[str, str] | None = None


# Short names that stand for a set on the hub where MINITL_ASSETS does not hold it.
SHORT_NAMES: dict[str, HubSet] = {
    # The published test set has no labels: the development set is the test set, and validation is cut from train.
    "sst2": HubSet("stanfordnlp/sst2", splits={"train": "train", "test": "validation"}),
    "agnews": HubSet("fancyzhx/ag_news"),
    "imdb": HubSet("stanfordnlp/imdb"),
    "sentence_polarity": HubSet("cornell-movie-review-data/rotten_tomatoes"),
    **{f"pawsx-{code}": HubSet("google-research-datasets/paws-x", code) for code in ("en", "de", "es", "fr")},
    **{f"stsb-{code}": HubSet("PhilipMay/stsb_multi_mt", code) for code in ("en", "de", "es", "fr")},
    # Their test answers are not published: the development set is the test set.
    **{
        name: HubSet(f"rajpurkar/{name}", splits={"train": "train", "test": "validation"})
        for name in ("squad", "squad_v2")
    },
    "conll2003": HubSet("lhoestq/conll2003"),
    "cnn_dailymail": HubSet("abisee/cnn_dailymail", "3.0.0"),
}


def hub_set(name: str) -> HubSet | None:
    """What `name` stands for on the hub: a short name, "ID" or "ID:CONFIG"; None where it cannot be a hub name."""
    if name in SHORT_NAMES:
        return SHORT_NAMES[name]
    match = HUB_NAME.fullmatch(name)
    return HubSet(match["id"], match["config"]) if match else None


def fetch(source: HubSet, revision: str | None) -> Any:
    """Fetch a set, or take it from the cache: a `datasets.DatasetDict`; or why it cannot be had, in words."""
    import datasets

    try:
        return datasets.load_dataset(source.id, source.config, revision=revision)
    except Exception as error:
        return f"the hub ({source.id}: {reason_of(error)})"


def fetch_splits(name: str | Path, absent: NotFound) -> tuple[dict[str, Any], str]:
    """The splits of a set that is nowhere but on the hub, each a `datasets.Dataset`, and its origin.

    `name` is a short name or has the owner before a slash: what has neither, more likely a typing error, is not asked
    for. DataError where the hub does not have it either: what `absent` says, and why.
    """
    source = hub_set(str(name)) if str(name) in SHORT_NAMES or "/" in str(name) else None
    if source is None:
        raise absent
    fetched = fetch(source, None)
    if isinstance(fetched, str):
        raise DataError(f"{absent}; {fetched}")
    splits = {split: fetched[theirs] for split, theirs in _split_names(source, list(fetched)).items()}
    return splits, f"hub:{source.id}@{_fetched_revision(next(iter(splits.values())))}"


def read_hub(
    source: HubSet, fetched: Any, asked: Columns, revision: str | None
) -> tuple[dict[str, Table], list[str] | None, str]:
    """A fetched set as (a table a split, the declared class names or None, its origin "hub:ID@revision").

    Raises DataError when it has no split with a usual name, or lacks a column.
    """
    chosen = {split: fetched[name] for split, name in _split_names(source, list(fetched)).items()}
    label_names = None
    tables = {}
    for split, rows in chosen.items():
        columns = choose_columns(asked, rows.column_names, f"hub:{source.id}")
        tables[split], names = _table(rows, columns, f"hub:{source.id}, {split}")
        label_names = label_names or names
    return tables, label_names, f"hub:{source.id}@{revision or _fetched_revision(next(iter(chosen.values())))}"


def _split_names(source: HubSet, present: list[str]) -> dict[str, str]:
    if source.splits is not None:
        names = {split: name for split, name in source.splits.items() if name in present}
    else:
        firsts = {split: [name for name in usual if name in present] for split, usual in SPLIT_NAMES.items()}
        names = {split: found[0] for split, found in firsts.items() if found}
    if not names:
        raise DataError(f"hub:{source.id}: no split named train, validation or test; it has {', '.join(present)}")
    return names


def _table(rows: Any, columns: Columns, source: str) -> tuple[Table, list[str] | None]:
    """One split as a table. A declared class of -1 is the hub's sign for "not labelled"."""
    import datasets

    wanted = [name for name in (columns.text, columns.pair, columns.label) if name is not None]
    content = rows.select_columns(wanted).to_list()
    names = None
    if columns.label is not None:
        feature = rows.features[columns.label]
        if isinstance(feature, datasets.ClassLabel):
            names = list(feature.names)
            content = [row | {columns.label: None} if row[columns.label] == -1 else row for row in content]
    places = [f"{source}, row {number}" for number in range(1, len(content) + 1)]
    return Table(source, list(rows.column_names), content, places), names


def _fetched_revision(rows: Any) -> str:
    """The commit that was fetched, as the address of a downloaded file tells it; "main" where none does."""
    addresses = " ".join(rows.info.download_checksums or {})
    match = re.search(r"@([0-9a-f]{40})/", addresses)
    return match[1] if match else "main"
