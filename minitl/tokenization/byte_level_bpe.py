"""Byte-level byte-pair encoding (Radford et al. 2019, GPT-2; RoBERTa and BART use it too).

    text ─ split by GPT-2's pattern ─ UTF-8 bytes, each shown as one printable character ─ merge pairs by rank

Published as vocab.json + merges.txt, or as GPT-2's original encoder.json + vocab.bpe. The ids of the latter can be
rebuilt from vocab.bpe alone: the 256 bytes, then one token per merge, then the end token.
"""

from pathlib import Path
from typing import cast

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from minitl.checkpoints.weights import read_json
from minitl.errors import TokenizerError
from minitl.tokenization.settings import Settings, reporting

Merges = list[tuple[str, str]]


def byte_alphabet() -> list[str]:
    """The 256 characters that stand for bytes, in GPT-2's order: printable Latin-1 first, then the rest of the bytes.

    Bytes without a printable form of their own take the characters from U+0100 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(others)]


def read_merges(path: Path) -> Merges:
    """The pairs of merges.txt or vocab.bpe, best first. Raises TokenizerError naming file and line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    if any(len(pair) != 2 or "" in pair for pair in merges):
        number, line = next((n, line) for n, line in enumerate(lines, 1) if not _is_merge(line))
        raise TokenizerError(f"{path}: line {number}: expected two tokens with one space between, found {line!r}")
    return cast(Merges, merges)


def _is_merge(line: str) -> bool:
    pair = line.split(" ")
    return not line or line.startswith("#version") or (len(pair) == 2 and all(pair))


def read_vocabulary(path: Path) -> dict[str, int]:
    """Token to id from vocab.json; ids must be the numbers from 0 to the number of tokens - 1, each once."""
    vocabulary = read_json(path, TokenizerError)
    if not vocabulary:
        raise TokenizerError(f"{path}: expected a JSON object from tokens to ids")
    owner: dict[int, str] = {}
    for token, number in vocabulary.items():
        if type(number) is not int or not 0 <= number < len(vocabulary):
            raise TokenizerError(
                f"{path}: the id of {token!r} must be an integer from 0 to {len(vocabulary) - 1}, found {number!r}"
            )
        if owner.setdefault(number, token) is not token:
            raise TokenizerError(f"{path}: {owner[number]!r} and {token!r} both have the id {number}")
    return vocabulary


def rebuild_vocabulary(merges: Merges, end_token: str) -> dict[str, int]:
    """GPT-2's own ids from its merges alone."""
    tokens = [*byte_alphabet(), *(left + right for left, right in merges), end_token]
    return {token: number for number, token in enumerate(tokens)}


def build(vocabulary: dict[str, int], merges: Merges, path: Path, settings: Settings) -> Tokenizer:
    """A byte-level BPE tokenizer without special tokens and template; `path` is the merges' file, for messages."""
    unknown = {token for pair in merges for token in (*pair, "".join(pair))} - vocabulary.keys()
    if unknown:
        pair, token = next((pair, token) for pair in merges for token in (*pair, "".join(pair)) if token in unknown)
        raise TokenizerError(f"{path}: the merge {pair[0]!r} {pair[1]!r} needs {token!r}, not in the vocabulary")
    with reporting(path):
        model = models.BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False)
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=settings.get("add_prefix_space", bool, False))
    backend.decoder = decoders.ByteLevel()
    return backend
