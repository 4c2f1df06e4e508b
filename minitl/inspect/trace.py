"""Activations by name: recorded, and changed, while a model runs.

    with minitl.trace(model, "layers.*.residual.post") as seen:
        seen.edit("layers.3.attention.context", ablate_heads(0, 5))
        logits = model(**batch).logits
    seen["layers.3.residual.post"]                                              [batch, length, hidden]

A name is the path of a module and one of its points (`minitl.nn.tapped`), the same in every family:

    embeddings                            [batch, length, hidden]            what the first layer reads, or what a stack
                                                                             adds its positions to
    layers.I.residual.pre, .mid, .post    [batch, length, hidden]            the stream before, between and after the
                                                                             halves of a layer
    layers.I.attention.query_heads        [batch, heads, length, head_dim]   as they are scored: turned, if they are
    layers.I.attention.key_heads          [batch, kv_heads, length, ...]     of the tokens just read; value_heads too
    layers.I.attention.scores, .weights   [batch, heads, query, key]         before and after the softmax
    layers.I.attention.context            [batch, heads, length, head_dim]   what each head puts out
    layers.I.feed_forward.inner           [batch, length, inner]             after the activation
    logits, start_logits, end_logits      as in the Output

Layers are counted from 0: `layers.0.residual.post` is layer 1 of a probe (`minitl.probing`), whose 0 is the embeddings.

Those of an encoder-decoder begin with `encoder.` or `decoder.`; its decoder has `cross_attention` and
`residual.crossed` too. Beyond these, the path of any module that gives one tensor names what it gives
("layers.3.attention.query", "norm").

To look changes nothing, not one bit, and gradients flow through what is recorded; outside of the `with` a model costs
what it did. Where scores or weights are watched, those of the whole text are computed, whatever the family skips.
"""

import fnmatch
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from minitl.errors import InputError, did_you_mean
from minitl.nn.output import Output
from minitl.nn.tapped import Tapped, Watcher

PACKAGE = Path(__file__).parents[1]
ANSWERS = ("logits", "start_logits", "end_logits")  # of a head, whose own output is no tensor


class Trace:
    """What one `trace` has seen.

    lines   of each point that was recorded, the line of code that made it: "models/bert.py:108"
    """

    def __init__(self, model: nn.Module) -> None:
        self.lines: dict[str, str] = {}
        self._model = model
        self._recorded: dict[str, list[Tensor]] = {}
        self._changes: dict[str, list[Watcher]] = {}
        self._undo: dict[str, Callable[[], None]] = {}
        self._records: set[str] = set()
        self._asked: set[str] = set()  # for by name, not by pattern

    def __getitem__(self, name: str) -> Tensor:
        """What was recorded under `name`, changes included; of several calls of the model, in the last."""
        return self.calls(name)[-1]

    def __contains__(self, name: str) -> bool:
        return name in self._recorded

    def __iter__(self) -> Iterator[str]:
        return iter(self._recorded)

    def calls(self, name: str) -> list[Tensor]:
        """All that was recorded under `name`, a tensor each time that the model came by. InputError: nothing was."""
        if name not in self._recorded:
            if name not in self._records:
                raise InputError(f"{name!r} is not among what is recorded here{did_you_mean(name, self._records)}")
            raise InputError(f"nothing was recorded under {name!r}: did the model run inside of the trace?")
        return self._recorded[name]

    def edit(self, name: str, change: Watcher) -> None:
        """Let the model go on with change(x) in the place of x, wherever `name`, which may be a pattern, stands.

        change   gets a copy of what the model computed, after earlier changes, that it may write into, and gives a
                 tensor of the same shape; see `minitl.inspect.edits` for usual ones

        InputError: no such name; while the model runs, a change that gives another shape, or a module asked for by
        name that does not give one tensor.
        """
        self._asked.add(name)
        for found in _matching(name, point_names(self._model)):
            self._changes.setdefault(found, []).append(change)
            self._watch(found)

    def record(self, names: Sequence[str]) -> None:
        """Record what matches one of `names` from here on. InputError: one that matches nothing."""
        known = point_names(self._model)
        self._asked.update(names)
        for name in names:
            for found in _matching(name, known):
                self._records.add(found)
                self._watch(found)

    def close(self) -> None:
        """Watch no longer; what was recorded stays."""
        for undo in self._undo.values():
            undo()
        self._undo.clear()

    def _watch(self, name: str) -> None:
        if name in self._undo:
            return
        path, point = _split(self._model, name)
        module = self._model.get_submodule(path)
        if isinstance(module, Tapped) and point in module.points:
            self._undo[name] = _tap(module, point, lambda x: self._seen(name, x, _line_of_the_point()))
        elif point in ANSWERS:
            self._undo[name] = module.register_forward_hook(lambda _, __, out: self._answered(name, point, out)).remove
        else:
            self._undo[name] = module.register_forward_hook(lambda _, __, out: self._given(name, out)).remove

    def _given(self, name: str, output: Any) -> Any:
        if isinstance(output, Tensor):
            return self._seen(name, output)
        if name in self._asked:
            raise InputError(f"{name} gives a {type(output).__name__}, not one tensor: ask for one of its points")
        return output

    def _answered(self, name: str, field: str, output: Output) -> Output:
        logits: Tensor | None = getattr(output, field)
        return output if logits is None else output.with_(**{field: self._seen(name, logits)})

    def _seen(self, name: str, x: Tensor, line: str | None = None) -> Tensor:
        for change in self._changes.get(name, ()):
            # A copy: written into, x would change for those that have it already, and the change not be noticed.
            changed = change(x.clone())
            if not isinstance(changed, Tensor) or changed.shape != x.shape:
                got = list(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
                raise InputError(f"{name}: a change must give a tensor of the shape {list(x.shape)}, got {got}")
            x = changed
        if name in self._records:
            self._recorded.setdefault(name, []).append(x)
            if line is not None:
                self.lines[name] = line
        return x


@contextmanager
def trace(model: nn.Module, *names: str) -> Iterator[Trace]:
    """Record and change activations of `model` while the block runs.

    names   what to record, patterns such as "layers.*.attention.weights" included; none = every point, which keeps as
            much as a training step does, and the attention maps

    InputError: a name that matches nothing. Traces may stand inside one another.
    """
    seen = Trace(model)
    try:
        seen.record(names or [name for name in point_names(model) if _is_point(model, name)])
        yield seen
    finally:
        seen.close()


def point_names(model: nn.Module) -> list[str]:
    """Every name that can be recorded or changed in `model`, in the order of its modules."""
    names: list[str] = []
    for path, module in model.named_modules():
        if path == "head":
            names += ANSWERS
        if path and not isinstance(module, nn.ModuleList):
            names.append(path)
        if isinstance(module, Tapped):
            names += [f"{path}.{point}" for point in module.points]
    return names


def _is_point(model: nn.Module, name: str) -> bool:
    """Whether a name is recorded where none is asked for: those that the docstring above lists."""
    path, point = _split(model, name)
    module = model.get_submodule(path)
    return name in ("embeddings", *ANSWERS) or (isinstance(module, Tapped) and point in module.points)


def _split(model: nn.Module, name: str) -> tuple[str, str]:
    """The module that a name belongs to, and the point in it; "" for what the module itself gives."""
    if name in ANSWERS:
        return "head", name
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        path, point = ".".join(parts[:end]), ".".join(parts[end:])
        try:
            module = model.get_submodule(path)
        except AttributeError:
            continue
        if not point or isinstance(module, Tapped):
            return path, point
    raise InputError(f"no module of the model is called {name!r}")


def _matching(pattern: str, known: Sequence[str]) -> list[str]:
    found = fnmatch.filter(known, pattern)
    if not found:
        raise InputError(f"no activation is called {pattern!r}{did_you_mean(pattern, known)}")
    return found


def _tap(module: Tapped, point: str, watcher: Watcher) -> Callable[[], None]:
    """Let `watcher` watch a point, after whoever does already; gives what undoes it."""
    before = module.watchers
    earlier = before.get(point)
    module.watchers = {**before, point: watcher if earlier is None else lambda x: watcher(earlier(x))}

    def undo() -> None:
        rest = {name: one for name, one in module.watchers.items() if name != point}
        module.watchers = rest if earlier is None else {**rest, point: earlier}

    return undo


def _line_of_the_point() -> str:
    """Where the `tap` is written that is being watched: seen from a watcher, two frames up."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_name != "tap":
        frame = frame.f_back
    caller = frame.f_back or frame
    path = Path(caller.f_code.co_filename)
    shown = path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else path
    return f"{shown}:{caller.f_lineno}"
