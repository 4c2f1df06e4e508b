"""The page: what a `Look` holds, as one HTML file that asks nothing of the network.

    Look ─┬─ numbers and words ─ JSON ──────────────────────────────┐
          └─ maps ─ steps of 1/255 ─ deflate ─ base64 ──────────────┴─► page.html with its style and scripts inside

The scripts in `browser/` draw it; every text reaches the page as text, none as HTML.
"""

import base64
import html
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib import resources
from itertools import groupby
from linecache import getline
from pathlib import Path
from string import Template
from typing import Any

import torch
from torch import Tensor

from minitl.checkpoints.atomic import write_text
from minitl.inspect.adapter_change import AdapterChange
from minitl.inspect.attribution import Attribution
from minitl.inspect.look import Guesses, Look, Stack, Step
from minitl.inspect.trace import PACKAGE
from minitl.pages.formats import model_name

STEPS = 255  # of a weight from 0 to 1
SCRIPTS = (
    "parts",
    "maps",
    "attention",
    "predictions",
    "attributions",
    "layers",
    "similarity",
    "adapter",
    "stream",
    "page",
)


def write_page(look: Look, path: str | Path) -> int:
    """Write the page of `look` to `path`, atomically; gives its size in bytes.

    CheckpointError: the file cannot be written, and then there is none.
    """
    page = render(look)
    write_text(path, page)
    return len(page.encode())


def render(look: Look) -> str:
    """The whole page. It is under 2 MB for 64 tokens in 24 layers of 16 heads, or in 12 on either side."""
    maps = _Maps()
    values = json.dumps(_values(look, maps), allow_nan=False, separators=(",", ":"))
    return Template(_part("page.html")).substitute(
        title=html.escape(f"{_name(look)}, seen inside"),
        style=_part("page.css"),
        script="\n".join(_part(f"{name}.js") for name in SCRIPTS),
        look=values.replace("<", "\\u003c"),  # else a token could end the script that it stands in
        maps=base64.b64encode(zlib.compress(bytes(maps.cells), 9)).decode(),
    )


def _part(name: str) -> str:
    return resources.files("minitl.inspect").joinpath("browser", name).read_text(encoding="utf-8")


class _Maps:
    """Maps one after the other, a byte a weight."""

    def __init__(self) -> None:
        self.cells = bytearray()

    def place(self, weights: Tensor) -> dict[str, Any]:
        """Where `weights`, each from 0 to 1, begin among the cells, and their shape."""
        begins = len(self.cells)
        steps = (weights.cpu().nan_to_num() * STEPS).round().clamp(0, STEPS).to(torch.uint8)
        self.cells += steps.contiguous().numpy().tobytes()
        return {"offset": begins, "shape": list(weights.shape)}


def _values(look: Look, maps: _Maps) -> dict[str, Any]:
    """The JSON of the page; a number that is not finite is null."""
    return {
        "name": _name(look),
        "family": look.family,
        "task": look.task,
        "stacks": [_stack(stack, maps) for stack in look.stacks],
        "steps": STEPS,
        "question": look.question,
        "attributions": [_attribution(name, found) for name, found in look.attributions.items()],
        "byLayer": [_attribution(name, found) for name, found in look.by_layer.items()],
        "guesses": None if look.guesses is None else _guesses(look.guesses),
        "unread": look.unread,
        "changes": [_change(change) for change in look.changes],
        "points": [_point(*group) for group in _alike(look.steps)],
    }


def _name(look: Look) -> str:
    return model_name(look.source) or f"a new {look.family} model"


def _stack(stack: Stack, maps: _Maps) -> dict[str, Any]:
    return {
        "name": stack.name,
        "tokens": stack.tokens,
        "parts": stack.parts,
        "maps": maps.place(stack.maps),
        "cross": None if stack.cross is None else maps.place(stack.cross),
        "flow": maps.place(stack.flow[:, None]),  # as if of one head
        "cosines": _numbers(stack.cosines.tolist()),
        "alike": _numbers(stack.alike.tolist()),
    }


def _guesses(guesses: Guesses) -> dict[str, Any]:
    return {
        "through": guesses.through,
        "stack": guesses.stack,
        "words": guesses.words,
        "probabilities": _numbers(guesses.probabilities.tolist()),
    }


def _attribution(name: str, found: Attribution) -> dict[str, Any]:
    target = None if found.target is None else _numbers(found.target.tolist())
    return {
        "name": name,
        "source": _numbers(found.source.tolist()),
        "target": target,
        "total": _numbers(found.total),
        "gap": _numbers(found.gap),
    }


def _change(change: AdapterChange) -> dict[str, Any]:
    values = asdict(change) | {"effective_rank": change.effective_rank}
    return {name: value if isinstance(value, str) else _numbers(value) for name, value in values.items()}


def _numbers(value: Any) -> Any:
    """A number, or lists of them, to six digits."""
    if isinstance(value, list | tuple):
        return [_numbers(one) for one in value]
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _point(name: str, layers: list[int], step: Step) -> dict[str, Any]:
    file, line = step.line.rsplit(":", 1)
    return {
        "name": name.replace("{i}", _ranges(layers)),
        "shape": step.shape,
        "line": step.line,
        "code": getline(str(PACKAGE / file), int(line)).strip(),
    }


def _alike(steps: Iterable[Step]) -> Iterator[tuple[str, list[int], Step]]:
    """Points that differ by their layer alone, together: the name with {i} for the layer, the layers, and the first."""
    together: dict[tuple[str, tuple[int, ...], str], list[Step]] = {}
    for step in steps:
        pattern = re.sub(r"(?<=layers\.)\d+", "{i}", step.name)
        together.setdefault((pattern, step.shape, step.line), []).append(step)
    for (pattern, _, _), found in together.items():
        numbers = [int(number) for step in found for number in re.findall(r"layers\.(\d+)", step.name)]
        yield pattern, numbers, found[0]


def _ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] as people write it: 0–2, 5."""
    runs = [list(run) for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(str(run[0][1]) if len(run) == 1 else f"{run[0][1]}–{run[-1][1]}" for run in runs)
