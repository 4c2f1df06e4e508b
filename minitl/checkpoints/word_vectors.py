"""Files of word vectors: one row a word, the most frequent first.

    word2vec        a line with the numbers of words and of their dimensions; then for each word its UTF-8 bytes, a
                    space, its vector in little-endian float32 and perhaps a line break
    word2vec-text   the same first line, then a line a word: the word and its numbers, separated by spaces
    glove           those lines without the first

Any of them may be compressed by gzip. A file is read once, in blocks, and never whole.
"""

import contextlib
import gzip
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from minitl.checkpoints.atomic import replacing
from minitl.checkpoints.manifest import where_to_get
from minitl.errors import CheckpointError, InputError

FORMATS = ("word2vec", "word2vec-text", "glove")
HEADER = re.compile(rb"(\d{1,12}) (\d{1,7})\s*")
NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
HEAD = 1 << 20  # bytes that are looked at to tell the format
CHUNK = 1 << 20  # bytes read at once
LONGEST = 1 << 16  # bytes of a word; published files have some of a few hundred
LARGEST = 1 << 20  # numbers of a vector

Floats = NDArray[np.float32]


def read_word_vectors(path: Path, format: str | None = None, limit: int | None = None) -> tuple[list[str], Floats, int]:
    """Words, their vectors [words, size], and how many later rows repeated an earlier word and were left out.

    format   one of FORMATS; None = what the file looks like
    limit    read only so many rows; None = all

    CheckpointError names the file and the line or byte: cut off, another number of words than the header says, of
    numbers than in other lines, a number that is none or not finite, a word that is not UTF-8.
    """
    if format is not None and format not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise InputError(f"limit must be an integer of at least 1, got {limit!r}")
    with _opened(path) as file:
        head = file.read(HEAD)
    if format is not None:
        return _read(path, format, head, limit)
    guess = _format_of(head)
    try:
        return _read(path, guess, head, limit)
    except CheckpointError as error:
        raise CheckpointError(f"{error} (taken for {guess}, which it looks like; `format` names another)") from error


def _read(path: Path, format: str, head: bytes, limit: int | None) -> tuple[list[str], Floats, int]:
    with _opened(path) as file:
        if format == "glove":
            return _read_lines(path, file, 1, _usual_size(head, path), None, limit)
        words, size = _read_header(path, file)
        if format == "word2vec-text":
            return _read_lines(path, file, 2, size, words, limit)
        return _read_binary(path, file, size, words, limit)


def write_word_vectors(path: Path, words: Sequence[str], vectors: Floats, format: str) -> None:
    """Write a file that other libraries read, atomically, compressed where the name ends in .gz.

    Numbers in text have nine digits, from which the same float32 is read. InputError: an unknown format, or a word that
    would not be read again.
    """
    if format not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    bad = next((word for word in words if not _can_be_written(word, format)), None)
    if bad is not None:
        raise InputError(f"the word {bad!r} cannot be written in the format {format}")
    create = gzip.open if path.suffix == ".gz" else open
    with replacing(path) as beside, create(beside, "wb") as opened:
        file = cast(BinaryIO, opened)
        if format != "glove":
            file.write(b"%d %d\n" % vectors.shape)
        for word, row in zip(words, vectors, strict=True):
            name = word.encode("utf-8")
            if format == "word2vec":
                file.write(name + b" " + row.astype("<f4").tobytes() + b"\n")
            else:
                file.write(name + b"".join(b" %.9g" % number for number in row.tolist()) + b"\n")


def _can_be_written(word: str, format: str) -> bool:
    """Neither empty nor broken over lines; in text with spaces only within, and no number after one."""
    if not word or re.search("[\n\r\ud800-\udfff]", word):
        return False
    _, space, end = word.rpartition(" ")
    return not space or (format != "word2vec" and word.strip(" ") == word and not _is_number(end.encode("utf-8")))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, uncompressed; what goes wrong in reading them becomes a CheckpointError."""
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
    except FileNotFoundError:
        place = where_to_get(str(path))
        raise CheckpointError(f"{path}: no such file{place and '; '}{place}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error


def _format_of(head: bytes) -> str:
    first, _, rest = head.partition(b"\n")
    header = HEADER.fullmatch(first)
    if header is None:
        return "glove"
    fields = rest.partition(b"\n")[0].rstrip(b" \r").rsplit(b" ", int(header[2]))
    if len(fields) == int(header[2]) + 1 and all(map(_is_number, fields[1:])):
        return "word2vec-text"
    # Numbers in binary hold, all but surely, bytes that no text has; else it is a text with a mistake in that line.
    return "word2vec" if _is_binary(rest) else "word2vec-text"


def _is_binary(sample: bytes) -> bool:
    if re.search(rb"[\x00-\x08\x0e-\x1f]", sample):
        return True
    try:
        sample[: sample.rfind(b"\n") + 1 or None].decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def _is_number(field: bytes) -> bool:
    """Whether it is a finite number as files write one: "nan" and "infinity" are words, and so is "1_0"."""
    return NUMBER.fullmatch(field) is not None


def _usual_size(head: bytes, path: Path) -> int:
    """How many numbers follow a word in most of the first lines: a few words hold spaces."""
    lines = head.split(b"\n")
    whole = lines[:-1] if len(head) == HEAD or not lines[-1] else lines
    sizes = Counter(line.rstrip(b" \r").count(b" ") for line in whole[:1000])
    if not sizes:
        raise CheckpointError(f"{path}: holds no word" if not head else f"{path}, line 1: longer than {HEAD} bytes")
    most = max(sizes.values())
    size = min(size for size, times in sizes.items() if times == most)
    if not 1 <= size <= LARGEST:
        raise CheckpointError(f"{path}, line 1: expected a word and its numbers, separated by spaces")
    return size


def _read_header(path: Path, file: BinaryIO) -> tuple[int, int]:
    line = file.readline(100)
    header = HEADER.fullmatch(line)
    words, size = (int(header[1]), int(header[2])) if header else (0, 0)
    if not header or words < 1 or not 1 <= size <= LARGEST:
        raise CheckpointError(
            f"{path}, line 1: expected the number of words and of their dimensions, got {line[:60]!r}"
        )
    return words, size


class _Table:
    """Rows as they come; the blocks in which they gather are joined at the end and freed on the way.

    unit   what the places of rows in the file are counted in, "line" or "byte"
    """

    def __init__(self, path: Path, size: int, unit: str) -> None:
        self.path, self.size, self.unit = path, size, unit
        self.words: dict[str, None] = {}
        self.repeated = 0
        self.blocks: list[Floats] = []
        self.rows = max(1, min(4096, (1 << 22) // size))  # of a block
        self.places: list[int] = []  # of the last block's rows

    def __len__(self) -> int:
        return len(self.words) + self.repeated

    def error(self, place: int, problem: object) -> CheckpointError:
        return CheckpointError(f"{self.path}, {self.unit} {place}: {problem}")

    def add(self, word: bytes, vector: Floats, place: int) -> None:
        try:
            text = word.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(place, f"the word {word[:40]!r} is not UTF-8: {error.reason}") from error
        if not text:
            raise self.error(place, "there is no word before the numbers")
        if text in self.words:
            self.repeated += 1
            return
        used = len(self.words) % self.rows
        if used == 0:
            self._check()
            self.blocks.append(np.empty((self.rows, self.size), np.float32))
        self.blocks[-1][used] = vector
        self.words[text] = None
        self.places.append(place)

    def _check(self) -> None:
        """No number of the last block may be NaN or infinite."""
        if self.blocks:
            finite = np.isfinite(self.blocks[-1][: len(self.places)]).all(1)
            if not finite.all():
                raise self.error(self.places[int(finite.argmin())], "holds a number that is not finite")
        self.places.clear()

    def result(self) -> tuple[list[str], Floats, int]:
        self._check()
        vectors = np.empty((len(self.words), self.size), np.float32)
        start = 0
        while self.blocks:
            part = vectors[start : start + self.rows]
            part[:] = self.blocks.pop(0)[: len(part)]
            start += self.rows
        return list(self.words), vectors, self.repeated


def _read_lines(
    path: Path, file: BinaryIO, first: int, size: int, words: int | None, limit: int | None
) -> tuple[list[str], Floats, int]:
    """Text from line `first` on. `words` is what a header said; it is not believed but compared."""
    table, number = _Table(path, size, "line"), first
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # how older NumPys say that a text is no number
        for number, line in enumerate(file, first):
            if len(table) == limit:
                break
            if len(table) == words:
                raise table.error(number, f"there is more than the {words} words that line 1 promises")
            try:
                word, numbers = _split(line.rstrip(b" \r\n"), size)
                vector = _numbers(numbers, size)
            except ValueError as problem:
                raise table.error(number, problem) from None
            table.add(word, vector, number)
    if len(table) < min(words or 0, limit or words or 0):
        raise table.error(number, f"the file ends after {len(table)} of the {words} words that line 1 promises")
    return table.result()


def _split(line: bytes, size: int) -> tuple[bytes, bytes]:
    """The word and the text of its `size` numbers; ValueError where that is not what `line` holds.

    A word may hold spaces ("at name@domain.com" in glove.840B), but no number after one.
    """
    spaces = line.count(b" ")
    if spaces == size:
        word, _, numbers = line.partition(b" ")
        return word, numbers
    end = len(line)
    for _ in range(min(size, spaces)):
        end = line.rfind(b" ", 0, end)
    word = line[:end]
    if spaces < size or _is_number(word.rpartition(b" ")[2]):
        raise ValueError(f"expected a word and {size} numbers, found {spaces} after the first space")
    return word, line[end + 1 :]


def _numbers(text: bytes, size: int) -> Floats:
    """`size` numbers in text; ValueError names one that is none."""
    try:
        # NumPy's own reader of numbers in text is some ten times as fast as float() for each.
        vector = np.fromstring(text, np.float32, sep=" ")
    except (ValueError, DeprecationWarning):
        vector = np.empty(0, np.float32)
    if len(vector) != size:
        wrong = next((field for field in text.split(b" ") if not _is_number(field)), text)
        raise ValueError(f"{wrong[:40]!r} is not a number")
    finite = np.isfinite(vector)
    if not finite.all():
        raise ValueError(f"{text.split()[int(finite.argmin())][:40]!r} is not a finite number")
    return vector


def _read_binary(path: Path, file: BinaryIO, size: int, words: int, limit: int | None) -> tuple[list[str], Floats, int]:
    table, source = _Table(path, size, "byte"), _Bytes(file)
    for _ in range(min(words, limit or words)):
        start = source.position
        word = source.word()
        vector = None if word is None else source.take(4 * size)
        if word is None or vector is None:
            raise table.error(start, f"the file ends within row {len(table) + 1} of the {words} that line 1 promises")
        table.add(word, np.frombuffer(vector, "<f4"), start)
    if limit is None and not source.is_at_end():
        raise table.error(source.position, f"there is more than the {words} words that line 1 promises")
    return table.result()


class _Bytes:
    """A stream, read in chunks: up to a space, or a number of bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.chunk, self.at = file, b"", 0
        self.before = file.tell()  # bytes of the file before the chunk

    @property
    def position(self) -> int:
        return self.before + self.at

    def word(self) -> bytes | None:
        """The bytes before the next space, which is passed; None where there is no space near."""
        end = self.chunk.find(b" ", self.at)
        if end < 0:
            self._fill(LONGEST)
            end = self.chunk.find(b" ", self.at)
        if end < 0:
            return None
        word = self.chunk[self.at : end]
        self.at = end + 1
        return word.removeprefix(b"\n")  # which ends the row before in the files of word2vec itself

    def take(self, count: int) -> bytes | None:
        """The next `count` bytes; None where there are not so many."""
        if len(self.chunk) - self.at < count:
            self._fill(count)
        if len(self.chunk) - self.at < count:
            return None
        self.at += count
        return self.chunk[self.at - count : self.at]

    def is_at_end(self) -> bool:
        self._fill(2)
        return self.chunk[self.at :] in (b"", b"\n")

    def _fill(self, count: int) -> None:
        """Have at least `count` bytes ahead, if the file has them."""
        self.before += self.at
        self.chunk = self.chunk[self.at :]
        self.at = 0
        while len(self.chunk) < count and (more := self.file.read(max(CHUNK, count - len(self.chunk)))):
            self.chunk += more
