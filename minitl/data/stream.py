"""Data sets larger than memory, through the `datasets` library: a portion of the rows is in memory at a time.

    rows of the files, in their order ─ first ones ─► validation
                                      └ the others ─► portion 0 │ portion 1 │ … │ the last, shorter │ portion 0 again …

Within a portion the training shuffles, over portions it does not: files whose order means something (all of one class
first, say) are to be shuffled beforehand.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from minitl.data.tables import Table
from minitl.errors import DataError, InputError

E = TypeVar("E")
Place = dict[str, Any]  # where in a stream a portion begins: its row, and the library's own account; JSON


@dataclass(frozen=True)
class Rows:
    """Rows that are read when they are asked for.

    origin   the files or hub id
    make     the library's `IterableDataset`, from the first row on
    digest   of what can be told of the rows without reading them: names and sizes of files
    """

    origin: str
    make: Callable[[], Any]
    digest: int


class Stream(Generic[E]):
    """Examples of which only some are in memory.

    rows         where they come from
    examples_of  the examples of a table of rows, maybe fewer than there are rows
    portion      rows that are read at a time
    skipped      rows at the beginning that belong to another split
    """

    def __init__(self, rows: Rows, examples_of: Callable[[Table], list[E]], portion: int, skipped: int = 0) -> None:
        if portion < 1:
            raise InputError(f"a stream's portion must be at least 1 row, got {portion}")
        self.rows, self.examples_of, self.portion, self.skipped = rows, examples_of, portion, skipped

    def portions(self, place: Place | None = None) -> Iterator[tuple[Place, list[E]]]:
        """Where a portion begins, and its examples: from `place` on, over and over, without end.

        DataError where rows cannot be read, or there are none.
        """
        while True:
            empty = True
            for begins, examples in self._once(place):
                empty = False
                yield begins, examples
            if empty and place is None:
                raise DataError(f"{self.rows.origin}: the data set is empty: there is no row to learn from")
            place = None

    def __iter__(self) -> Iterator[E]:
        """Each example once."""
        for _, examples in self._once(None):
            yield from examples

    def describe(self) -> dict[str, Any]:
        """What a resumed training must find again."""
        return {"rows": self.rows.digest, "portion": self.portion, "skipped": self.skipped}

    def _once(self, place: Place | None) -> Iterator[tuple[Place, list[E]]]:
        rows = self.rows.make().skip(self.skipped)
        begins = place or {"row": self.skipped, "rows": rows.state_dict()}
        rows.load_state_dict(begins["rows"])
        row = begins["row"]
        for table in tables(rows, self.portion, self.rows.origin, row):
            yield begins, self.examples_of(table)
            row += len(table.rows)
            begins = {"row": row, "rows": rows.state_dict()}


def tables(rows: Any, size: int, origin: str, first: int) -> Iterator[Table]:
    """The rows of an `IterableDataset`, up to `size` in a table; `first` of the file stand before them."""
    taken = rows.iter(batch_size=size)
    while True:
        try:
            columns = next(taken, None)
        except Exception as error:
            raise DataError(f"{origin}: cannot be read after row {first}: {reason_of(error)}") from error
        if columns is None:
            return
        values = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        places = [f"{origin}, row {number}" for number in range(first + 1, first + 1 + len(values))]
        yield Table(origin, list(columns), values, places)
        first += len(values)


def reason_of(error: Exception) -> str:
    """The first line of an error of whatever kind: those of files, archives and network have no common base."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
