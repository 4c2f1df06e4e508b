"""Tokenizers whose ids are not the places of their pieces: M2M100's SentencePiece file segments, vocab.json numbers.

    text ─ pieces of sentencepiece.bpe.model ─ their ids in vocab.json, <unk> for those it lacks ─►

vocab.json comes from counting the training data, so it lacks pieces that never stood there, and has characters that
SentencePiece does not know. The languages follow after it. Such a tokenizer is saved as it was published, for no
tokenizer.json can say this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Encoding

from minitl.checkpoints.atomic import replacing, write_json
from minitl.errors import TokenizerError
from minitl.tokenization.byte_level_bpe import read_vocabulary
from minitl.tokenization.tokenizer import Tokenizer

VOCABULARY = "vocab.json"
RARE = -1e4  # score of a character that is no piece: SentencePiece would find it unknown, so any piece goes before it

Pieces = list[tuple[str, float]]


@dataclass(frozen=True)
class Numbering:
    """The ids that a checkpoint gives to the pieces of a backend.

    ids     by the piece's place in the backend, <unk>'s for what the checkpoint does not know
    size    how many ids there are before any token is added
    files   what it was read from, by name
    """

    ids: Sequence[int]
    size: int
    files: Mapping[str, bytes]
    places: dict[int, int] = field(init=False)  # the way back

    def __post_init__(self) -> None:
        places: dict[int, int] = {}
        for place, number in enumerate(self.ids):
            places.setdefault(number, place)
        object.__setattr__(self, "places", places)

    def id(self, place: int) -> int:
        """A place in the backend -> the id; tokens added later keep their order."""
        return self.ids[place] if place < len(self.ids) else place - len(self.ids) + self.size

    def place(self, number: int) -> int | None:
        """An id -> its place in the backend, or None."""
        return self.places.get(number) if number < self.size else number - self.size + len(self.ids)


def number_pieces(
    path: Path, proto: Any, special: Mapping[str, str], languages: Sequence[str]
) -> tuple[Pieces, Numbering]:
    """All pieces of a backend for the SentencePiece file at `path`, and their ids from the vocab.json beside it.

    `special` are the special tokens by role. Raises TokenizerError where vocab.json is absent or damaged, lacks one of
    them, or belongs to another SentencePiece file: then it lacks most pieces.
    """
    vocabulary_path = path.parent / VOCABULARY
    if not vocabulary_path.is_file():
        raise TokenizerError(f"{path}: its pieces are numbered by a {VOCABULARY}, which is not beside it")
    vocabulary = read_vocabulary(vocabulary_path)
    missing = [token for token in special.values() if token not in vocabulary]
    if missing:
        raise TokenizerError(f"{vocabulary_path}: lacks the special token {missing[0]!r}")
    pieces: Pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    own = {piece for piece, _ in pieces}
    known = sum(piece in vocabulary for piece in own)
    if known < len(own) / 2:
        raise TokenizerError(
            f"{vocabulary_path}: has only {known} of the {len(own)} pieces of {path.name}; they do not belong together"
        )
    pieces += [(token, RARE) for token in vocabulary if token not in own]
    pieces += [(token, 0.0) for token in languages if token not in vocabulary]
    ids = dict(vocabulary)
    for token in languages:
        ids.setdefault(token, len(ids))
    unknown = vocabulary[special["unk"]]
    files = {file.name: file.read_bytes() for file in (path, vocabulary_path)}
    return pieces, Numbering([ids.get(piece, unknown) for piece, _ in pieces], len(ids), files)


class NumberedTokenizer(Tokenizer):
    """A tokenizer with a `Numbering` between its backend and the caller."""

    def __init__(self, *arguments: Any, numbering: Numbering, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._numbering = numbering

    def _ids(self, encoding: Encoding) -> list[int]:
        return [self._numbering.id(place) for place in encoding.ids]

    @property
    def vocab_size(self) -> int:
        return super().vocab_size - len(self._numbering.ids) + self._numbering.size

    def token_to_id(self, token: str) -> int | None:
        place = super().token_to_id(token)
        number = None if place is None else self._numbering.id(place)
        return number if number is not None and self._numbering.place(number) == place else None

    def id_to_token(self, number: int) -> str | None:
        place = self._numbering.place(number)
        return None if place is None else super().id_to_token(place)

    def _decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        places = [self._numbering.place(number) for number in ids]
        return super()._decode([place for place in places if place is not None], skip_special_tokens)

    def save(self, folder: str | Path) -> None:
        """Write vocab.json, the SentencePiece file and tokenizer_config.json into `folder`, as they are published."""
        for name, content in self._numbering.files.items():
            with replacing(Path(folder) / name) as beside:
                beside.write_bytes(content)
        write_json(Path(folder) / "tokenizer_config.json", self._configuration())

    def _configuration(self) -> dict[str, Any]:
        """Beside the usual, what no file of the folder says: the special tokens, and what was added since."""
        flags = ("lstrip", "rstrip", "single_word", "normalized", "special")
        added = {
            str(self._numbering.id(place)): {"content": token.content, **{flag: getattr(token, flag) for flag in flags}}
            for place, token in self._backend.get_added_tokens_decoder().items()
        }
        languages = [] if self._languages is None else list(self._languages.tokens.values())
        return super()._configuration() | {"additional_special_tokens": languages, "added_tokens_decoder": added}
