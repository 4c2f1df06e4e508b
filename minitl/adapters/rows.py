"""Rows of new tokens in an adapter: what `add_tokens` made learns with it, is chosen with it and lies in its files.

adapter_config.json         trainable_token_indices    {published path of a table: the ids of the rows}
adapter_model.safetensors   <published path>.token_adapter.trainable_tokens_delta   the rows themselves
                            <published path>.token_adapter.trainable_tokens_bias    an output layer's biases of them

The first tensor is PEFT's, which calls it so though it is no difference. An output layer that is tied to the embedding
has the embedding's rows. PEFT knows no biases of them and passes over the second.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from minitl.adapters.targets import layer_name
from minitl.errors import CheckpointError, InputError
from minitl.models.base import Model
from minitl.models.vocabulary import EMBEDDING, grow, output_layers
from minitl.nn.grown import Grown

FIELD = "trainable_token_indices"
KINDS = {"new": "token_adapter.trainable_tokens_delta", "new_bias": "token_adapter.trainable_tokens_bias"}


class Rows(NamedTuple):
    """The ids from `first` to before `end`, and the tables that have rows of their own for them."""

    first: int
    end: int
    tables: list[str]


def grown_tables(model: Model) -> list[str]:
    """The paths of the tables that grew."""
    return [path for path, module in model.named_modules() if isinstance(module, Grown)]


def row_names(model: Model, tables: Iterable[str]) -> list[str]:
    """The parameters of the new rows of `tables`, what is tied once."""
    split = ((name, *name.rpartition(".")) for name, _ in model.named_parameters())
    return [name for name, path, _, kind in split if path in tables and kind in KINDS]


def any_rows(own: Iterable[str]) -> bool:
    """Whether rows of new tokens are among an adapter's own tensors."""
    return any(name.rpartition(".")[2] in KINDS for name in own)


def tied_rows(model: Model, name: str) -> list[str]:
    """Where else the new rows `name` stand: in an output layer that is tied to the embedding."""
    path, _, kind = name.rpartition(".")
    if kind not in KINDS:
        return []
    here, rows = model.get_submodule(path), model.get_parameter(name)
    grown = {other: model.get_submodule(other) for other in grown_tables(model)}
    return [f"{other}.{kind}" for other, m in grown.items() if m is not here and getattr(m, kind, None) is rows]


def check_apart(paths: Iterable[str], tables: Iterable[str]) -> None:
    """InputError where a table whose new rows learn by themselves is also to have an update, or to learn in full."""
    both = [path for path in paths if path in set(tables)]
    if both:
        raise InputError(
            f"{', '.join(both)} grew by added tokens, whose rows learn by themselves: take it off target_modules and "
            "modules_to_save, or save_model the grown model and load that"
        )


def indices(model: Model, own: Iterable[str]) -> dict[str, list[int]] | None:
    """The field of adapter_config.json for an adapter with the tensors `own`; None where no rows are among them."""
    found = {}
    for path, _, kind in (name.rpartition(".") for name in own):
        table = model.get_submodule(path)
        if kind in KINDS and isinstance(table, Grown):
            found[layer_name(model, path)] = list(range(table.first, table.first + len(table.new)))
    return found or None


def read_rows(model: Model, values: Mapping[str, Any], file: Path) -> Rows | None:
    """What the parsed adapter_config.json `file` says of new rows; None where it says nothing.

    CheckpointError: ids that do not follow one another, or differ between tables; a table that the model has not; ids
    that leave a gap after the model's.
    """
    told = values.get(FIELD)
    if not told:
        return None
    by_name = told if isinstance(told, Mapping) else {layer_name(model, EMBEDDING): told}
    ids = next(iter(by_name.values()))
    whole = isinstance(ids, list) and ids and all(isinstance(i, int) for i in ids)
    if not whole or ids != list(range(ids[0], ids[0] + len(ids))) or any(other != ids for other in by_name.values()):
        raise CheckpointError(f"{file}: {FIELD} must be ids that follow one another, the same of each table: {told}")
    tables = []
    for name in by_name:
        found = [p for p in (EMBEDDING, *output_layers(model)) if f".{layer_name(model, p)}".endswith(f".{name}")]
        if not found:
            raise CheckpointError(f"{file}: {FIELD}: this model has no table of tokens called {name!r}")
        tables += found
    known = model.get_parameter(f"{EMBEDDING}.weight").shape[0]
    if ids[0] < 0 or ids[0] > known:
        raise CheckpointError(f"{file}: {FIELD} begins at {ids[0]}, but this model has rows for {known} tokens")
    return Rows(ids[0], ids[-1] + 1, tables)


def expected_rows(model: Model, rows: Rows) -> dict[str, tuple[int, ...]]:
    """The tensors that an adapter's file must hold for `rows`, and their shapes; the model may yet have to grow."""
    expected: dict[str, tuple[int, ...]] = {}
    count = rows.end - rows.first
    embedding = model.get_parameter(f"{EMBEDDING}.weight")
    for path in rows.tables:
        table = model.get_submodule(path)
        if path == EMBEDDING or table.weight is not embedding:
            expected[f"{path}.new"] = (count, embedding.shape[1])
        if getattr(table, "bias", None) is not None:
            expected[f"{path}.new_bias"] = (count,)
    return expected


def of_the_embedding(model: Model, name: str) -> str:
    """`name`, or the embedding's where it is an output layer's that is tied to it: PEFT may write both."""
    path, _, kind = name.rpartition(".")
    tied = path in output_layers(model) and model.get_submodule(path).weight is model.get_submodule(EMBEDDING).weight
    return f"{EMBEDDING}.{kind}" if tied and kind in ("weight", "new") else name


def make_room(model: Model, rows: Rows) -> None:
    """Give the model's tables rows that learn for these ids, where they have none: as they are, new ones as the mean.

    InputError where it has such rows for other ids, or carries adapters.
    """
    table = model.get_submodule(EMBEDDING)
    if not isinstance(table, Grown):
        grow(model, rows.first, rows.end)
    elif (table.first, len(table.new)) != (rows.first, rows.end - rows.first):
        raise InputError(
            f"the adapter's new tokens have the ids {rows.first} to {rows.end - 1}, this model's "
            f"{table.first} to {table.first + len(table.new) - 1}: load it on a model of its own"
        )
