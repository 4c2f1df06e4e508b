"""Reading tables: CSV, TSV, JSONL and Parquet files become rows that remember where they stood.

Strict: a row with too few or too many fields, broken JSON or bytes that are not UTF-8 end in a DataError that names the
file and the line. TSV is read without quoting, as GLUE and most corpora write it: a quotation mark is a character.
"""

import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minitl.errors import DataError

UNPACKERS: dict[str, Callable[[bytes], bytes]] = {".xz": lzma.decompress, ".gz": gzip.decompress}


@dataclass
class Table:
    """Rows of one file: `rows[i]` maps column names to values and stood at `places[i]` ("file, line 3")."""

    source: str
    columns: list[str]
    rows: list[dict[str, Any]]
    places: list[str]


def read_table(path: Path, columns: Sequence[str] | None = None) -> Table:
    """Read a .csv, .tsv, .jsonl or .parquet file; `columns` names the fields of a CSV or TSV file without header row.

    Raises DataError when the file cannot be read, is of another kind, damaged, or holds no rows.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: a data file of unknown kind; expected one of {', '.join(READERS)}")
    try:
        table = reader(path, columns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not table.rows:
        raise DataError(f"{path}: the data set is empty: it has no rows")
    return table


def decode(data: bytes, source: str) -> str:
    """UTF-8 bytes as text, without a byte order mark. Raises DataError naming the line of the first bad byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        bad = data[error.start]
        raise DataError(f"{source}, line {line}: byte 0x{bad:02x} is not UTF-8 text") from error


def read_text(path: Path) -> str:
    """The text of a file, of an archive where its name ends with .xz or .gz. DataError where it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return decode(UNPACKERS.get(path.suffix, bytes)(content), str(path))
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: not a readable {path.suffix[1:]} archive: {error}") from error


def _read_csv(path: Path, columns: Sequence[str] | None) -> Table:
    return _read_delimited(path, columns, csv.reader(_lines(path), strict=True))


def _read_tsv(path: Path, columns: Sequence[str] | None) -> Table:
    return _read_delimited(path, columns, csv.reader(_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE))


def _lines(path: Path) -> io.StringIO:
    return io.StringIO(decode(path.read_bytes(), str(path)), newline="")


def _read_delimited(path: Path, columns: Sequence[str] | None, reader: Any) -> Table:
    names = list(columns) if columns is not None else []
    table = Table(str(path), names, [], [])
    try:
        for fields in reader:
            place = f"{path}, line {reader.line_num}"
            if not fields:  # a blank line
                continue
            if not names:
                names += _checked_header(fields, place)
                continue
            if len(fields) != len(names):
                amount = "few" if len(fields) < len(names) else "many"
                raise DataError(
                    f"{place}: too {amount} fields: {len(fields)}, where {len(names)} are expected ({', '.join(names)})"
                )
            table.rows.append(dict(zip(names, fields, strict=True)))
            table.places.append(place)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not a well-formed row: {error}") from error
    return table


def _checked_header(fields: list[str], place: str) -> list[str]:
    names = [field.strip() for field in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{place}: the header names a column twice: {', '.join(map(repr, twice))}")
    return names


def read_jsonl(path: Path, _columns: Sequence[str] | None = None) -> Table:
    """Read a file of one JSON object a line, whatever its name ends with."""
    return parse_jsonl(decode(path.read_bytes(), str(path)), str(path))


def parse_jsonl(text: str, source: str) -> Table:
    """One JSON object a line, of the file `source`."""
    table = Table(source, [], [], [])
    seen: dict[str, None] = {}
    # Lines end at \n only: str.splitlines would also cut at separators that JSON strings may hold unescaped.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{source}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: broken JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{place}: expected a JSON object, found {type(row).__name__}")
        seen.update(dict.fromkeys(row))
        table.rows.append(row)
        table.places.append(place)
    table.columns = list(seen)
    return table


def _read_parquet(path: Path, _columns: Sequence[str] | None) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        # ParquetFile, not read_table: the latter takes key=value folder names on the way for columns.
        with pyarrow.parquet.ParquetFile(path) as file:
            content = file.read()
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from error
    rows = content.to_pylist()
    return Table(str(path), content.column_names, rows, [f"{path}, row {i}" for i in range(1, len(rows) + 1)])


READERS: dict[str, Callable[[Path, Sequence[str] | None], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": read_jsonl,
    ".parquet": _read_parquet,
}
