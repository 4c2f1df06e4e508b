"""The vectors of a corpus: for each layer one of every word and one of every text, computed once by a frozen model.

    FOLDER/representations.json   whose they are: the model, the corpus, and how words and texts became vectors
           00000.safetensors      words [layers, words, hidden] and texts [layers, texts, hidden] of the first texts
           00001.safetensors      of the next ones …

A shard holds whole texts, as many as fit its size, and is computed from them alone: where a run was killed, the next
one computes the shards that are not there, and the whole is the same to the bit. A layer is one stretch of a shard, so
that some words of all layers are read by mapping the file and touching their rows.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from minitl.checkpoints.atomic import replacing, write_json
from minitl.checkpoints.weights import Weights, read_json, write_safetensors
from minitl.data.batching import batches_by_length
from minitl.errors import CheckpointError, DataError, InputError
from minitl.models.packing import packed_weights
from minitl.probing.reading import NO_WORD, PADDING, Prepared, Reader, TransformerReader
from minitl.probing.task import Corpus

FACTS = "representations.json"
SHARD_BYTES = 64 * 2**20
SHOWN = 50  # characters of a text, in a message
CPU_TOKENS, OTHER_TOKENS = 2048, 16384  # tokens of a batch: few enough for a CPU's caches, enough to fill a GPU

OfWords = Literal["mean", "first", "last"]
OfTexts = Literal["mean", "first", "last"]
Unreadable = Literal["error", "skip"]


@dataclass(frozen=True)
class Unread:
    """A text that has no vectors, and why."""

    text: int
    reason: str


@dataclass(frozen=True, eq=False)
class Shard:
    """Of consecutive texts: words [layers, words, hidden], texts [layers, texts, hidden]; float32."""

    words: Tensor
    texts: Tensor


@dataclass(frozen=True, eq=False)
class Representations:
    """What `represent` returns.

    corpus   what was read
    layers   which of the model's layers these are; 0 is the embeddings
    hidden   size of a vector
    shards   the vectors, consecutive texts in each
    unread   the texts that were left out; their vectors are 0, and no task may ask about them
    """

    corpus: Corpus
    layers: tuple[int, ...]
    hidden: int
    shards: Sequence[Shard]
    unread: tuple[Unread, ...]

    def words(self, numbers: Tensor, layers: slice = slice(None)) -> Tensor:
        """The vectors of words, counted through the corpus: integers [n] -> float32 [layers, n, hidden], in memory."""
        return self._gather([shard.words for shard in self.shards], self._first_words, numbers, layers)

    def texts(self, numbers: Tensor, layers: slice = slice(None)) -> Tensor:
        """The vectors of texts: integers [n] -> float32 [layers, n, hidden], in memory."""
        return self._gather([shard.texts for shard in self.shards], self._first_texts, numbers, layers)

    @cached_property
    def readable(self) -> Tensor:
        """Which texts have vectors: bool [texts]."""
        readable = torch.ones(len(self.corpus.texts), dtype=torch.bool)
        readable[[one.text for one in self.unread]] = False
        return readable

    @cached_property
    def _first_words(self) -> Tensor:
        return torch.tensor([0, *(shard.words.shape[1] for shard in self.shards)]).cumsum(0)

    @cached_property
    def _first_texts(self) -> Tensor:
        return torch.tensor([0, *(shard.texts.shape[1] for shard in self.shards)]).cumsum(0)

    def _gather(self, parts: list[Tensor], starts: Tensor, numbers: Tensor, layers: slice) -> Tensor:
        count = len(range(len(self.layers))[layers])
        found = torch.empty(count, len(numbers), self.hidden)
        home = torch.searchsorted(starts, numbers, right=True) - 1
        for shard in home.unique().tolist():
            here = (home == shard).nonzero()[:, 0]
            rows = numbers[here] - starts[shard]
            for layer, vectors in zip(found, parts[shard][layers], strict=True):
                layer[here] = vectors[rows]
        return found


def represent(
    reader: Reader,
    corpus: Corpus,
    folder: str | Path | None = None,
    *,
    layers: Sequence[int] | None = None,
    words: OfWords = "mean",
    texts: OfTexts = "mean",
    unreadable: Unreadable = "error",
    shard_bytes: int = SHARD_BYTES,
) -> Representations:
    """The vectors of `corpus` in every layer, from `folder` as far as they are there.

    folder       of these representations and no others; None = in memory alone
    layers       which of them, 0 the embeddings; None = all
    words        a word's vector: the mean of its tokens', or that of the first or the last
    texts        a text's vector: the mean of its words' tokens, or that of the first or the last token of all, special
                 ones included
    unreadable   what to do with a text that is longer than the model's positions, or has a word that the tokenizer
                 makes nothing of: an error, or "skip" it: `Representations.unread` then says so
    shard_bytes  of a file, about: what is held in memory at a time

    A vector takes `hidden` times 4 bytes. The model runs in eval mode, one pass over the corpus for all layers.
    InputError: a layer that the model lacks. DataError: an empty corpus, an unreadable text. CheckpointError: a folder
    that holds another model's or corpus's vectors or cannot be written into, a full disk; whole shards stay.
    """
    for name, value in (("words", words), ("texts", texts)):
        if value not in ("mean", "first", "last"):
            raise InputError(f"{name} must be 'mean', 'first' or 'last', got {value!r}")
    chosen = chosen_layers(layers, reader.layers)
    prepared = reader.prepare(corpus.texts)
    unread = _unread(corpus, prepared, unreadable)
    with _reading(reader, prepared):
        hidden = _hidden_size(reader, prepared)
        plan = _plan(corpus, len(chosen) * hidden * 4, shard_bytes)
        work = _Work(reader, prepared, chosen, hidden, words, texts)
        if folder is None:
            shards = [work.shard(corpus, part) for part in plan]
        else:
            facts = {
                "model": reader.digest(), "corpus": _corpus_digest(corpus, prepared), "layers": list(chosen),
                "hidden": hidden, "words": words, "texts": texts, "shard_bytes": shard_bytes,
                "unread": [asdict(one) for one in unread],
            }  # fmt: skip
            shards = _in_folder(Path(folder), facts, work, corpus, plan)
    return Representations(corpus, chosen, hidden, shards, unread)


def check_readable(reader: Reader, corpus: Corpus, unreadable: Unreadable = "error") -> None:
    """DataError where `represent` would end in one for a text that cannot be read, for the price of the tokens."""
    _unread(corpus, reader.prepare(corpus.texts), unreadable)


def chosen_layers(layers: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """Which of `count` layers are asked for, None = all. InputError for one that is not there, or asked for twice."""
    if layers is None:
        return tuple(range(count))
    wrong = [layer for layer in layers if not 0 <= layer < count]
    if wrong or not layers or len(set(layers)) < len(layers):
        raise InputError(f"layers {list(layers)}: each once, from 0, the embeddings, to {count - 1}, the model's last")
    return tuple(layers)


def _unread(corpus: Corpus, prepared: Sequence[Prepared | str], unreadable: Unreadable) -> tuple[Unread, ...]:
    unread = tuple(Unread(i, reason) for i, reason in enumerate(prepared) if isinstance(reason, str))
    if unreadable not in ("error", "skip"):
        raise InputError(f"unreadable must be 'error' or 'skip', got {unreadable!r}")
    if unread and unreadable == "error":
        more = f", nor can {len(unread) - 1} others" if len(unread) > 1 else ""
        begins = shorten(" ".join(corpus.texts[unread[0].text]), SHOWN, placeholder=" …")
        raise DataError(f"{corpus.name}: the text {begins!r} cannot be read: {unread[0].reason}{more}")
    if len(unread) == len(corpus.texts):
        raise DataError(f"{corpus.name}: none of its {len(corpus.texts)} texts can be read")
    return unread


@contextlib.contextmanager
def _reading(reader: Reader, prepared: Sequence[Prepared | str]) -> Iterator[None]:
    """The model in eval mode without gradients, its weights laid out for much reading; afterwards as it was."""
    model: Any = getattr(reader, "model", None)
    was_training = model is not None and model.training
    if model is not None:
        model.eval()
    tokens = sum(item.length for item in prepared if isinstance(item, Prepared))
    packs = isinstance(reader, TransformerReader) and tokens > CPU_TOKENS
    try:
        with torch.inference_mode(), packed_weights(model) if packs else contextlib.nullcontext():
            yield
    finally:
        if model is not None:
            model.train(was_training)


def _hidden_size(reader: Reader, prepared: Sequence[Prepared | str]) -> int:
    """Families name it differently in their configs, so the shortest text is asked."""
    shortest = min((item for item in prepared if isinstance(item, Prepared)), key=lambda item: item.length)
    return int(reader.states([shortest], [0])[0].shape[-1])


def _plan(corpus: Corpus, word_bytes: int, shard_bytes: int) -> list[range]:
    """The texts of each shard: at least one, and no more than fit."""
    parts, start, size = [], 0, 0
    for place, text in enumerate(corpus.texts):
        cost = (len(text) + 1) * word_bytes
        if place > start and size + cost > shard_bytes:
            parts.append(range(start, place))
            start, size = place, 0
        size += cost
    return [*parts, range(start, len(corpus.texts))]


def _corpus_digest(corpus: Corpus, prepared: Sequence[Prepared | str]) -> str:
    """Of what the model reads, and of whose words it is."""
    digest = hashlib.sha256()
    for text, item in zip(corpus.texts, prepared, strict=True):
        digest.update(f"{len(text)} ".encode())
        if isinstance(item, str):
            digest.update(b"unread")
            continue
        digest.update(np.ascontiguousarray(item.words).data)
        row = item.content
        parts = row if isinstance(row, tuple) else (row.ids, row.type_ids)
        for part in parts:
            if part is not None:
                digest.update(part.encode("utf-8", "surrogatepass") + b"\n" if isinstance(part, str) else part.data)
    return digest.hexdigest()


def _in_folder(folder: Path, facts: dict[str, Any], work: "_Work", corpus: Corpus, plan: list[range]) -> list[Shard]:
    _check_owner(folder, facts)
    if not (folder / FACTS).exists():
        write_json(folder / FACTS, facts)
    shards = []
    for number, part in enumerate(plan):
        path = folder / f"{number:05d}.safetensors"
        if not path.exists():
            _write(work.shard(corpus, part), path)
        shards.append(_mapped(path, work, corpus, part))
    return shards


def _write(shard: Shard, path: Path) -> None:
    with replacing(path) as beside:
        try:
            write_safetensors({"words": shard.words, "texts": shard.texts}, beside)
        except CheckpointError as error:  # name the file that was meant, not the one that is gone in a moment
            raise CheckpointError(str(error).replace(str(beside), str(path))) from error


def _check_owner(folder: Path, facts: dict[str, Any]) -> None:
    """CheckpointError where the folder has vectors of something else, or is not one of vectors at all."""
    if not (folder / FACTS).exists():
        # A run that was killed at its very beginning leaves a hidden file.
        others = sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
        if others:
            raise CheckpointError(f"{folder}: holds {others[0]} and no {FACTS}: name an empty folder for the vectors")
        return
    found = read_json(folder / FACTS)
    for name, value in facts.items():
        if found.get(name) != value:
            was = "another" if name in ("model", "corpus") else f"{name} = {found.get(name)!r:.60}, not {value!r:.60}"
            what = f"{was} {name}" if was == "another" else was
            raise CheckpointError(f"{folder}: holds the vectors of {what}: name another folder, or remove this one")


def _mapped(path: Path, work: "_Work", corpus: Corpus, part: range) -> Shard:
    file = Weights({path: ["words", "texts"]})
    count = sum(len(corpus.texts[text]) for text in part)
    wanted = {"words": (len(work.layers), count, work.hidden), "texts": (len(work.layers), len(part), work.hidden)}
    for name, shape in wanted.items():
        if file.shapes[name] != shape or file.dtypes[name] != "F32":
            raise CheckpointError(
                f"{path}: {name} is {file.dtypes[name]} {list(file.shapes[name])}, expected F32 {list(shape)}: "
                "remove the file, and it is computed again"
            )
    return Shard(file["words"], file["texts"])


@dataclass(frozen=True)
class _Work:
    """Everything that a shard is computed from but its texts."""

    reader: Reader
    prepared: Sequence[Prepared | str]
    layers: tuple[int, ...]
    hidden: int
    of_words: OfWords
    of_texts: OfTexts

    def shard(self, corpus: Corpus, part: range) -> Shard:
        starts = corpus.starts[part.start : part.stop + 1] - corpus.starts[part.start]
        with torch.inference_mode(False):  # tensors that a probe may learn from
            words = torch.zeros(len(self.layers), int(starts[-1]), self.hidden)
            texts = torch.zeros(len(self.layers), len(part), self.hidden)
        items = [(i, item) for i, text in enumerate(part) if isinstance(item := self.prepared[text], Prepared)]
        for batch in _batches([item.length for _, item in items], self._room()):
            at = torch.tensor([items[i][0] for i in batch])
            states, owners = self.reader.states([items[i][1] for i in batch], self.layers)
            states = states.float().cpu()
            _add_words(words, states, owners, starts[at], self.of_words)
            texts[:, at] = _text_vectors(states, owners, self.of_texts)
        return Shard(words, texts)

    def _room(self) -> int:
        model = getattr(self.reader, "model", None)
        on_cpu = model is None or next(model.parameters()).device.type == "cpu"
        return CPU_TOKENS if on_cpu else OTHER_TOKENS


def _batches(lengths: list[int], room: int) -> Iterator[list[int]]:
    """Like lengths together, longest first, at most `room` tokens with the padding (or one text)."""
    order = [i for batch in batches_by_length(lengths, max(1, len(lengths))) for i in batch]
    start = 0
    while start < len(order):
        count = max(1, room // lengths[order[start]])
        yield order[start : start + count]
        start += count


def _add_words(words: Tensor, states: Tensor, owners: Tensor, starts: Tensor, how: OfWords) -> None:
    """Put the vectors of the words that own states [layers, batch, length, hidden] in place: `starts` [batch] first."""
    chosen = owners >= 0
    if how != "mean":
        nobody = torch.full_like(owners[:, :1], NO_WORD)
        beside = torch.cat((nobody, owners[:, :-1]) if how == "first" else (owners[:, 1:], nobody), dim=1)
        chosen &= owners != beside
    where = (owners + starts[:, None])[chosen]
    words.index_add_(1, where, states[:, chosen])
    if how == "mean":
        found, tokens = where.unique(return_counts=True)
        words[:, found] /= tokens[:, None]


def _text_vectors(states: Tensor, owners: Tensor, how: OfTexts) -> Tensor:
    """[layers, batch, hidden], of rows that are padded on the right."""
    if how == "mean":
        shares = (owners >= 0).float()
        return torch.einsum("lbth,bt->lbh", states, shares / shares.sum(-1, keepdim=True))
    if how == "first":
        return states[:, :, 0]
    last = (owners != PADDING).sum(-1) - 1  # [batch]
    return states[:, torch.arange(len(last)), last]
