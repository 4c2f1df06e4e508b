"""Prompts with their completions: JSONL files, also compressed, by name or path.

Where rows belong to groups (the prompt templates of one set, say), the n-th row of each group is about the same
document: then splits are cut by n, so that no document is in two of them.
"""

import json
import logging
import lzma
from collections import Counter
from pathlib import Path

from minitl.data.assets import assets_folder
from minitl.data.examples import Dataset, Example
from minitl.data.splits import cut_off
from minitl.data.tables import Table, decode, parse_jsonl, read_table
from minitl.errors import DataError, InputError

log = logging.getLogger("minitl")

INSTRUCTIONS = {"t0_mix": "sft/t0_mix.jsonl.xz"}  # under data/ of MINITL_ASSETS; its groups are the column "task"


def load_instructions(
    name: str | Path,
    *,
    prompt: str = "prompt",
    completion: str = "completion",
    group: str | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> Dataset[Example]:
    """Find the instructions `name` and load all of them: an `Example` with the prompt as text, the completion as pair.

    A .jsonl, .jsonl.xz, .csv, .tsv or .parquet file, or a set of MINITL_ASSETS (`INSTRUCTIONS`). The splits are cut
    off: of each group its last rows where there is a column `group`, else drawn with `seed`.

    Rows with an empty completion are left out, which is announced. DataError: nothing is found, a file is damaged or
    empty, a column is missing or holds no text. InputError: fractions
    that leave nothing to learn from.
    """
    if min(validation_fraction, test_fraction) < 0 or validation_fraction + test_fraction >= 1:
        raise InputError(f"validation_fraction and test_fraction leave nothing: {validation_fraction}, {test_fraction}")
    path = Path(name).expanduser()
    if not path.is_file():
        data = assets_folder()
        found = data / INSTRUCTIONS[str(name)] if isinstance(data, Path) and str(name) in INSTRUCTIONS else None
        if found is None or not found.is_file():
            tried = data if isinstance(data, str) else f"it knows {', '.join(INSTRUCTIONS)}" if found is None else found
            raise DataError(
                f"no instructions {str(name)!r} were found; tried: a file of that name ({path.absolute()} is absent); "
                f"MINITL_ASSETS ({tried})"
            )
        path, group = found, group or "task"
    table = _read(path)
    examples = [_example(table, i, prompt, completion) for i in range(len(table.rows))]
    empty = sum(not example.pair for example in examples)
    if empty:
        log.warning("%s: %d of %d completions are empty, and left out", path, empty, len(examples))
    if group is None:
        train, test = cut_off(examples, test_fraction, seed)
        train, validation = cut_off(train, validation_fraction / (1 - test_fraction), seed)
    else:
        train, validation, test = _by_place(examples, _groups(table, group), validation_fraction, test_fraction)
    train, validation, test = ([e for e in split if e.pair] for split in (train, validation, test))
    return Dataset(str(name), str(path), train, validation, test, None)


def _read(path: Path) -> Table:
    if path.suffix != ".xz":
        return read_table(path)
    try:
        return parse_jsonl(decode(lzma.decompress(path.read_bytes()), str(path)), str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (lzma.LZMAError, EOFError) as error:
        raise DataError(f"{path}: not a readable xz archive: {error}") from error


def _example(table: Table, at: int, prompt: str, completion: str) -> Example:
    values = []
    for column in (prompt, completion):
        value = table.rows[at].get(column)
        if not isinstance(value, str) or not (value or column == completion):
            known = "" if column in table.columns else f"; the columns are {', '.join(table.columns)}"
            raise DataError(f"{table.places[at]}: column {column!r} holds no text{known}")
        values.append(value)
    return Example(values[0], values[1])


def _groups(table: Table, group: str) -> list[str]:
    if group not in table.columns:
        raise DataError(f"{table.source}: no column {group!r}; the columns are {', '.join(table.columns)}")
    return [json.dumps(row.get(group)) for row in table.rows]


def _by_place(
    examples: list[Example], groups: list[str], validation: float, test: float
) -> tuple[list[Example], list[Example], list[Example]]:
    """By the place of each row in its group, as a share of the largest group: the same places in all groups."""
    largest = max(Counter(groups).values())
    seen: Counter[str] = Counter()
    splits: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    for example, name in zip(examples, groups, strict=True):
        share = seen[name] / largest
        splits[(share >= 1 - test - validation) + (share >= 1 - test)].append(example)
        seen[name] += 1
    return splits
