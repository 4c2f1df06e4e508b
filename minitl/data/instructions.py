"""Prompts with their completions: JSONL files, also compressed, by name or path.

Where rows belong to groups (the prompt templates of one set, say), the n-th row of each group is about the same
document: then splits are cut by n, so that no document is in two of them.
"""

import json
import logging
from collections import Counter
from pathlib import Path

from minitl.data.examples import Dataset, Example
from minitl.data.finding import find_files
from minitl.data.splits import cut_off
from minitl.data.stream_files import load_stream
from minitl.data.tables import Table, parse_jsonl, read_table, read_text
from minitl.errors import DataError, InputError

log = logging.getLogger("minitl")

# Under data/ of MINITL_ASSETS; the groups are those of the column "task".
INSTRUCTIONS = {"t0_mix": {"train": "sft/t0_mix.jsonl.xz"}}


def load_instructions(
    name: str | Path,
    *,
    prompt: str = "prompt",
    completion: str = "completion",
    group: str | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    stream: int | None = None,
    seed: int = 0,
) -> Dataset[Example]:
    """Find the instructions `name` and load all of them: an `Example` with the prompt as text, the completion as pair.

    A .jsonl, .jsonl.xz, .csv, .tsv or .parquet file, or a set of MINITL_ASSETS (`INSTRUCTIONS`). The splits are cut
    off: of each group its last rows where there is a column `group`, else drawn with `seed`. With `stream`, only so
    many rows are in memory at a time, and the first are validation, see `load_stream`; then there are no groups.

    Rows with an empty completion are left out, which is announced. DataError: nothing is found, a file is damaged or
    empty, a column is missing or holds no text. InputError: fractions
    that leave nothing to learn from.
    """
    if min(validation_fraction, test_fraction) < 0 or validation_fraction + test_fraction >= 1:
        raise InputError(f"validation_fraction and test_fraction leave nothing: {validation_fraction}, {test_fraction}")
    if stream is not None:
        if group is not None:
            raise InputError("group cuts splits that are in memory: a stream has none")
        return load_stream(
            name, lambda table: _examples(table, prompt, completion), stream, validation_fraction, INSTRUCTIONS
        )
    files, _ = find_files(name, INSTRUCTIONS, (".jsonl",), "instructions")
    if list(files) != ["train"]:
        raise DataError(f"{name}: expected one file of instructions, found {', '.join(f.name for f in files.values())}")
    path = files["train"]
    if group is None and not Path(name).expanduser().exists():
        group = "task"
    table = parse_jsonl(read_text(path), str(path)) if path.suffix == ".xz" else read_table(path)
    examples = [_example(table, i, prompt, completion) for i in range(len(table.rows))]
    if not _told_whole(examples, table):
        raise DataError(f"{path}: the data set is empty: it has no completion")
    if group is None:
        train, test = cut_off(examples, test_fraction, seed)
        train, validation = cut_off(train, validation_fraction / (1 - test_fraction), seed)
    else:
        train, validation, test = _by_place(examples, _groups(table, group), validation_fraction, test_fraction)
    train, validation, test = ([e for e in split if e.pair] for split in (train, validation, test))
    return Dataset(str(name), str(path), train, validation, test, None)


def _examples(table: Table, prompt: str, completion: str) -> list[Example]:
    return _told_whole([_example(table, i, prompt, completion) for i in range(len(table.rows))], table)


def _told_whole(examples: list[Example], table: Table) -> list[Example]:
    """Those with a completion; it is announced where some have none."""
    told = [example for example in examples if example.pair]
    if told and len(told) < len(examples):
        log.warning(
            "%s: %d of %d completions are empty, and left out",
            table.source,
            len(examples) - len(told),
            len(examples),
        )
    return told


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
