"""SentencePiece *.model files (Kudo & Richardson 2018): a protobuf with pieces, scores and the normaliser.

The file is only read here; the unigram model (Kudo 2018) or BPE with byte fallback runs in the tokenizers library.
How spaces become "▁" differs between the families that publish such files, and is one function each:

    split_words   T5, XLM-R, mBART-25: words at white space, "▁" before each
    one_stream    Llama: nothing is normalised or collapsed, "▁" before the text
    as_trained    mBART-50, M2M100, NLLB, Pegasus, DeBERTa: what the file itself asks for, as sentencepiece does it
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from minitl.errors import TokenizerError
from minitl.tokenization.settings import Settings, reporting

SPACE = "▁"
UNIGRAM, BPE = 1, 2  # TrainerSpec.ModelType
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4  # SentencePiece.Type


def read_model(path: Path) -> Any:
    """The parsed ModelProto. Raises TokenizerError where the file is damaged or of an unknown model type."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        proto.ParseFromString(path.read_bytes())
    except OSError as error:
        raise TokenizerError(f"{path}: cannot be read: {error.strerror or error}") from error
    except DecodeError as error:
        raise TokenizerError(f"{path}: not a SentencePiece model: {error}") from error
    if not proto.pieces:
        raise TokenizerError(f"{path}: not a SentencePiece model: it holds no pieces")
    if proto.trainer_spec.model_type not in (UNIGRAM, BPE):
        raise TokenizerError(
            f"{path}: model type {proto.trainer_spec.model_type} is unknown; expected 1 (unigram) or 2 (BPE)"
        )
    if not any(piece.type == UNKNOWN for piece in proto.pieces):
        raise TokenizerError(f"{path}: no piece is marked as the unknown token")
    charsmap = proto.normalizer_spec.precompiled_charsmap
    if charsmap and (len(charsmap) < 4 or not 0 < struct.unpack("<I", charsmap[:4])[0] <= len(charsmap) - 4):
        raise TokenizerError(f"{path}: the precompiled character map of its normaliser is damaged")
    return proto


def build(path: Path, proto: Any, pieces: Sequence[tuple[str, float]], unknown: str) -> Tokenizer:
    """The bare model over `pieces` (text and score, in the order of ids, which a family may have changed)."""
    vocabulary = {piece: number for number, (piece, _) in enumerate(pieces)}
    if len(vocabulary) < len(pieces):
        twice = next(piece for number, (piece, _) in enumerate(pieces) if vocabulary[piece] != number)
        raise TokenizerError(f"{path}: the piece {twice!r} has two ids")
    byte_fallback = proto.trainer_spec.byte_fallback
    with reporting(path):
        if proto.trainer_spec.model_type == UNIGRAM:
            return Tokenizer(models.Unigram(list(pieces), unk_id=vocabulary[unknown], byte_fallback=byte_fallback))
        own = {piece.piece for piece in proto.pieces}  # what a family adds is no merge of others
        merges = merges_of({piece: number for piece, number in vocabulary.items() if piece in own})
        return Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=byte_fallback))


def merges_of(vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """The merges a BPE vocabulary implies: every way to make a piece of two others, earlier pieces first."""
    return [
        (piece[:cut], piece[cut:])
        for piece in sorted(vocabulary, key=vocabulary.__getitem__)
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]


def marked_tokens(proto: Any) -> list[AddedToken]:
    """Control and user-defined pieces: matched in the raw text, before the normaliser sees it."""
    return [
        AddedToken(piece.piece, normalized=False, special=piece.type == CONTROL)
        for piece in proto.pieces
        if piece.type in (CONTROL, USER_DEFINED)
    ]


def split_words(backend: Tokenizer, proto: Any, settings: Settings) -> None:
    """Normalise, split at white space, and put "▁" before each word."""
    if proto.normalizer_spec.precompiled_charsmap:
        backend.normalizer = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    scheme = "always" if settings.get("add_prefix_space", bool, True) else "never"
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme)]
    )
    backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme=scheme)


def one_stream(backend: Tokenizer, _proto: Any, settings: Settings) -> None:
    """Keep every space as "▁" and put one before the text; before each part after a special token where "legacy"."""
    prefix = settings.get("add_prefix_space", bool, True)
    scheme = ("always" if settings.get("legacy", bool, False) else "first") if prefix else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=False)
    backend.decoder = _joining(strips=prefix)


def as_trained(backend: Tokenizer, proto: Any, _settings: Settings) -> None:
    """Follow the file's NormalizerSpec to the letter: character map, extra spaces, dummy prefix, "▁" for spaces."""
    spec = proto.normalizer_spec
    space = SPACE if spec.escape_whitespaces else " "
    steps: list[normalizers.Normalizer] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    suffix = proto.trainer_spec.treat_whitespace_as_suffix
    if spec.add_dummy_prefix and suffix:
        steps.append(normalizers.Replace(Regex(r"(?<=[\s\S])\z"), space))
    elif spec.add_dummy_prefix:
        steps.append(normalizers.Prepend(space))
    if spec.escape_whitespaces:
        steps.append(normalizers.Replace(" ", SPACE))
    backend.normalizer = normalizers.Sequence(steps)
    # Where no piece crosses a word boundary, words can be told apart without changing the result.
    if spec.escape_whitespaces and not suffix and not any(SPACE in piece.piece[1:] for piece in proto.pieces):
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="never", split=True)
    backend.decoder = _joining(strips=spec.add_dummy_prefix and not suffix)


def _joining(strips: bool) -> decoders.Decoder:
    """Pieces to text: "▁" to spaces, byte pieces to characters, and the dummy prefix taken off."""
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(content=" ", left=1)] if strips else steps)
