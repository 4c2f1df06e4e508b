"""Preferences, a prompt with a chosen and a rejected completion, and prompts alone: files, or folders of splits.

All pairs of one prompt are in one split: a model that has seen a prompt's completions knows more than it should of it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from minitl.data.examples import Dataset, Example, Preference
from minitl.data.finding import find_files
from minitl.data.splits import cut_off
from minitl.data.tables import READERS, Table, read_table
from minitl.errors import DataError, InputError

E = TypeVar("E", Preference, Example)


def load_preferences(
    name: str | Path,
    *,
    prompt: str = "prompt",
    chosen: str = "chosen",
    rejected: str = "rejected",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> Dataset[Preference]:
    """Read the pairs of a .jsonl, .csv, .tsv or .parquet file, or of a folder with such files named like splits.

    The three names are those of the columns. Of a file a share of the prompts is cut off for validation and test each,
    drawn with `seed`, with all their pairs; of a folder without a validation split one for that.

    DataError: nothing is found, a file is damaged or empty, a column is missing or holds no text, both completions are
    the same. InputError: fractions that leave nothing to learn from.
    """

    def read(table: Table, at: int) -> Preference:
        found = Preference(*_texts(table, at, (prompt, chosen, rejected)))
        if found.chosen == found.rejected:
            raise DataError(f"{table.places[at]}: {chosen!r} and {rejected!r} are the same: nothing is preferred")
        return found

    return _load(name, "preferences", read, lambda pair: pair.prompt, validation_fraction, test_fraction, seed)


def load_prompts(
    name: str | Path,
    *,
    prompt: str = "prompt",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> Dataset[Example]:
    """Read the prompts in the column `prompt`, as texts of `Example`s, each of them once; all else as for preferences,
    whose files will do."""
    return _load(
        name,
        "prompts",
        lambda table, at: Example(_texts(table, at, (prompt,))[0]),
        lambda example: example.text,
        validation_fraction,
        test_fraction,
        seed,
    )


def _load(
    name: str | Path,
    what: str,
    read: Callable[[Table, int], E],
    prompt_of: Callable[[E], str],
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> Dataset[E]:
    if min(validation_fraction, test_fraction) < 0 or validation_fraction + test_fraction >= 1:
        raise InputError(f"validation_fraction and test_fraction leave nothing: {validation_fraction}, {test_fraction}")
    files, origin = find_files(name, {}, tuple(READERS), what)
    tables = {split: read_table(path) for split, path in files.items()}
    splits = {
        split: list(dict.fromkeys(read(table, at) for at in range(len(table.rows)))) for split, table in tables.items()
    }
    if "train" not in splits:
        raise DataError(f"{origin}: has no training split")
    if "test" not in splits and Path(name).expanduser().is_file():
        splits["train"], splits["test"] = _apart(splits["train"], prompt_of, test_fraction, seed)
        validation_fraction /= 1 - test_fraction
    if "validation" not in splits:
        splits["train"], splits["validation"] = _apart(splits["train"], prompt_of, validation_fraction, seed)
    return _dataset(str(name), origin, splits)


def _dataset(name: str, origin: str, splits: Mapping[str, list[E]]) -> Dataset[E]:
    return Dataset(name, origin, splits["train"], splits["validation"], splits.get("test", []), None)


def _apart(examples: list[E], prompt_of: Callable[[E], str], fraction: float, seed: int) -> tuple[list[E], list[E]]:
    """Those of most prompts, and those of the share `fraction` of them."""
    _, cut = cut_off(list(dict.fromkeys(map(prompt_of, examples))), fraction, seed)
    held_out = set(cut)
    return (
        [example for example in examples if prompt_of(example) not in held_out],
        [example for example in examples if prompt_of(example) in held_out],
    )


def _texts(table: Table, at: int, columns: Sequence[str]) -> list[str]:
    texts = []
    for column in columns:
        value = table.rows[at].get(column)
        if not isinstance(value, str) or not value.strip():
            known = "" if column in table.columns else f"; the columns are {', '.join(table.columns)}"
            raise DataError(f"{table.places[at]}: column {column!r} holds no text{known}")
        texts.append(value)
    return texts
