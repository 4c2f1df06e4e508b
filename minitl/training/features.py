"""What a frozen backbone puts out, computed once and kept: in memory, or in files that are read as they are needed.

    FOLDER/KEY/    pooled      [items, hidden]     one vector an item, where the model pools
                   hidden      [tokens, hidden]    one a real token, item after item, where the head reads tokens
                   readable    [tokens]            which of them the head may choose from
                   facts.json  their shapes and types

KEY is a digest of the backbone's weights and of everything that it reads: other weights, tokens or masks have another.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minitl.checkpoints.atomic import check_writable, write_json
from minitl.checkpoints.weights import read_json
from minitl.errors import CheckpointError
from minitl.models.base import Model
from minitl.models.digest import add_tensor, backbone_digest
from minitl.nn.output import Output

FACTS = "facts.json"
Inputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Features:
    """Of all items, in their order; `starts` [items + 1] says where the tokens of each begin."""

    starts: Tensor
    pooled: Tensor | None = None
    hidden: Tensor | None = None
    readable: Tensor | None = None

    def output(self, indices: Sequence[int], places: Tensor) -> tuple[Output, Tensor]:
        """As the backbone would give it for these items, padded where `places` [batch, length] is False.

        And the tokens [batch, length] that a head may choose from.
        """
        device = places.device
        pooled = None if self.pooled is None else self.pooled[torch.tensor(indices)].to(device)
        if self.hidden is None or self.readable is None:
            return Output(torch.zeros(0, device=device), pooled), places
        tokens = torch.cat([torch.arange(int(self.starts[i]), int(self.starts[i + 1])) for i in indices])
        hidden = torch.zeros(*places.shape, self.hidden.shape[-1], dtype=self.hidden.dtype, device=device)
        hidden[places] = self.hidden[tokens].to(device)
        readable = torch.zeros_like(places)
        readable[places] = self.readable[tokens].to(device)
        return Output(hidden, pooled), readable


def places(inputs: Inputs) -> Tensor:
    """The real tokens [batch, length] of which the model puts out a vector: the target's, where there is one."""
    return inputs.get("decoder_attention_mask", inputs["attention_mask"]).bool()


def compute_features(
    model: Model, batches: Sequence[Sequence[int]], read: Callable[[Sequence[int]], Inputs], folder: Path | None
) -> Features:
    """The features of all items, from `folder` where they are there, else computed and put there.

    batches   the items, all of them once
    read      what the model reads of a batch, on its device
    folder    of features; None = in memory alone

    A frozen backbone is a fixed function, so it runs in eval mode. A vector takes `hidden` times 4 bytes in float32.
    CheckpointError where `folder` is no folder that can be written into, or the disk is full.
    """
    starts, key = _survey(model, batches, read, want_key=folder is not None)
    if folder is None:
        return _compute(model, batches, read, starts, _in_memory)
    place = folder / key
    if not (place / FACTS).exists():
        check_writable(folder)
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(dir=folder, prefix=f".{key}.", suffix=".partial"))
        try:
            made = _compute(model, batches, read, starts, _in_files(stage))
            kept = {"pooled": made.pooled, "hidden": made.hidden, "readable": made.readable}
            facts = {n: {"shape": list(t.shape), "dtype": str(t.dtype)} for n, t in kept.items() if t is not None}
            write_json(stage / FACTS, facts)
            del made, kept
            shutil.rmtree(place, ignore_errors=True)
            stage.rename(place)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"{place}: the features cannot be kept: {error}") from error
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    return Features(starts, **dict(_mapped(place)))


def _survey(
    model: Model, batches: Sequence[Sequence[int]], read: Callable[[Sequence[int]], Inputs], want_key: bool
) -> tuple[Tensor, str]:
    """Where each item's tokens begin, and the digest of the weights and of all that is read."""
    digest = backbone_digest(model) if want_key else hashlib.sha256()
    counts = torch.zeros(1 + sum(map(len, batches)), dtype=torch.long)
    for indices in batches:
        inputs = read(indices)
        counts[torch.tensor(indices) + 1] = places(inputs).sum(-1).cpu()
        for name in sorted(inputs) if want_key else ():
            add_tensor(digest, f"{name} {list(indices)}", inputs[name])
    return counts.cumsum(0), digest.hexdigest()[:32]


Allocate = Callable[[str, tuple[int, ...], torch.dtype], Tensor]


def _in_memory(_: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype)


def _in_files(folder: Path) -> Allocate:
    def allocate(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return _map_file(folder / name, shape, dtype)

    return allocate


def _map_file(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor that lies in a file, which is made where it is absent."""
    size = torch.Size(shape).numel()
    return torch.from_file(str(path), shared=True, size=size, dtype=dtype).view(shape)


def _mapped(place: Path) -> Iterator[tuple[str, Tensor]]:
    facts: dict[str, Any] = read_json(place / FACTS)
    for name, known in facts.items():
        dtype = getattr(torch, known["dtype"].removeprefix("torch."))
        expected = torch.Size(known["shape"]).numel() * dtype.itemsize
        if not (place / name).exists() or (place / name).stat().st_size != expected:
            raise CheckpointError(f"{place / name}: not of {expected} bytes: remove {place}, and it is computed again")
        yield name, _map_file(place / name, tuple(known["shape"]), dtype)


@torch.no_grad()
def _compute(
    model: Model,
    batches: Sequence[Sequence[int]],
    read: Callable[[Sequence[int]], Inputs],
    starts: Tensor,
    allocate: Allocate,
) -> Features:
    reads_tokens = getattr(model.head, "reads_tokens", True)
    kept: dict[str, Tensor] = {}
    was_training = model.training
    model.eval()
    for indices in batches:
        inputs = read(indices)
        real = places(inputs)
        written = "decoder_attention_mask" in inputs  # a target, of which each token is read
        readable = real if written else model.summary_mask(inputs["input_ids"], real)
        assert readable is not None  # there is a mask
        output = model.encode(**inputs)
        if output.pooler_output is not None:
            vectors = output.pooler_output
            if "pooled" not in kept:
                kept["pooled"] = allocate("pooled", (len(starts) - 1, vectors.shape[-1]), vectors.dtype)
            kept["pooled"][torch.tensor(indices)] = vectors.cpu()
        if reads_tokens:
            hidden = output.last_hidden_state
            if "hidden" not in kept:
                kept["hidden"] = allocate("hidden", (int(starts[-1]), hidden.shape[-1]), hidden.dtype)
                kept["readable"] = allocate("readable", (int(starts[-1]),), torch.bool)
            for row, i in enumerate(indices):
                span = slice(int(starts[i]), int(starts[i + 1]))
                kept["hidden"][span] = hidden[row, real[row]].cpu()
                kept["readable"][span] = readable[row, real[row]].bool().cpu()
    model.train(was_training)
    return Features(starts, **kept)
