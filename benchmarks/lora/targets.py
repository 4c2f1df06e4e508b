"""What is to hold, and whether it does, from a result alone.

A target is {"target": what, "measured": what was found, "holds": true, false, or null where it cannot be said here},
and where it is about many figures, "broken": those that miss it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.lora.arms import OURS, peft_eager
from benchmarks.lora.cases import LARGE, SMALL, Case

FORWARD, BOTH = "forward", "forward and backward"
NOISE = 1.03  # what counts as equally fast
WORST_ERROR = 1.5  # times PEFT's
TRITON_ALONE, CUBLAS_PRODUCTS = "minitl, expand + product", "minitl, cublas + cublas"
STEP_TARGETS = {"float32": 2.5, "bfloat16-base": 6.0}

Row = Mapping[str, Any]
Target = dict[str, Any]


def targets(result: Mapping[str, Any]) -> list[Target]:
    """All targets that are about the device of the result."""
    rows: Sequence[Row] = result["rows"]
    on_gpu = result["device"] != "cpu"
    about = [*_gpu_targets(rows), _triton_beats_cublas(rows)] if on_gpu else _step_targets(result)
    return [*about, _memory(rows), _no_peer_faster(rows), _fastest_way(rows), _errors(rows), _checks(rows)]


def _target(what: str, measured: str, holds: bool | None) -> Target:
    return {"target": what, "measured": measured, "holds": holds}


def _gpu_targets(rows: Sequence[Row]) -> Iterator[Target]:
    for case, wanted in ((SMALL, 2.0), (LARGE, 1.3)):
        peer = peft_eager(case.dtype)
        what = f"at least {wanted:.1f}× PEFT eager, forward and backward, {case.title}"
        yield _of_row(what, rows, case, partial(times_ours, arm=peer, step=BOTH), "{:.2f}×", wanted.__le__)
    what = f"forward at most 10% over the frozen linear layer, {LARGE.title}"
    yield _of_row(what, rows, LARGE, partial(over_limit, arm=OURS, step=FORWARD), "{:.1f}%", (10.0).__ge__)


def _of_row(
    what: str,
    rows: Sequence[Row],
    case: Case,
    figure: Callable[[Row], float | None],
    shown: str,
    holds: Callable[[float], bool],
) -> Target:
    row = next((row for row in rows if row["title"] == case.title), None)
    value = None if row is None else figure(row)
    if value is None:
        return _target(what, "not measured", None)
    return _target(what, shown.format(value), holds(value))


def times_ours(row: Row, arm: str, step: str) -> float | None:
    """How many times as long as ours the arm takes, in the row's first mode; None where it was not measured."""
    timing = _timing(row, arm, step)
    return None if timing is None else timing["times_ours"]["median"]


def over_limit(row: Row, arm: str, step: str) -> float | None:
    """Percent over the frozen linear layer, likewise."""
    timing = _timing(row, arm, step)
    return None if timing is None else timing["over_limit_percent"]


def _timing(row: Row, arm: str, step: str) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = row["arms"].get(arm, {}).get(step, {}).get(row["modes"][0])
    return found


def _triton_beats_cublas(rows: Sequence[Row]) -> Target:
    """That what Triton multiplies itself pays at the small size, where it must."""

    def figure(row: Row) -> float | None:
        ways = {name: times_ours(row, name, BOTH) for name in (TRITON_ALONE, CUBLAS_PRODUCTS)}
        triton, cublas = ways.values()
        return None if triton is None or cublas is None else cublas / triton

    what = f"Triton's products faster than cuBLAS', forward and backward, {SMALL.title}"
    return _of_row(what, rows, SMALL, figure, "{:.2f}×", (1.0).__lt__)


def _fastest_way(rows: Sequence[Row]) -> Target:
    """That the path that is taken is the fastest of all that were forced."""
    return _none_faster(rows, "forced", (BOTH,), "no forced path is faster than the one taken, 3% allowed")


def _no_peer_faster(rows: Sequence[Row]) -> Target:
    return _none_faster(rows, "peer", (FORWARD, BOTH), "no peer is faster, 3% allowed, forward alone and with backward")


def _none_faster(rows: Sequence[Row], kind: str, steps: Sequence[str], what: str) -> Target:
    found = [
        (times, f"{name}, {step}, {row['title']}: {times:.2f}× our time")
        for row in rows
        for name, arm in row["arms"].items()
        for step in steps
        if arm["kind"] == kind and name != f"{OURS}, {row['path']}"  # which is ours once more
        if (times := times_ours(row, name, step)) is not None
    ]
    faster = sorted(one for one in found if one[0] * NOISE < 1)
    return _all_of(what, [text for _, text in faster], len(found))


def _memory(rows: Sequence[Row]) -> Target:
    over = [
        f"{row['title']}: {row['arms'][OURS]['saved_extra_bytes']:,} of {row['allowed_extra_bytes']:,} bytes"
        for row in rows
        if row["arms"][OURS]["saved_extra_bytes"] > row["allowed_extra_bytes"]
    ]
    return _all_of("saved for the backward pass: at most x, S and one bit per element of x", over, len(rows))


def _checks(rows: Sequence[Row]) -> Target:
    names = list(dict.fromkeys(name for row in rows for name in row["checks"]))
    broken = [f"not so for {row['title']}: {name}" for row in rows for name, kept in row["checks"].items() if not kept]
    return _all_of("; ".join(names), broken, sum(len(row["checks"]) for row in rows))


def _all_of(what: str, broken: list[str], count: int) -> Target:
    """A target that holds where nothing breaks it; the worst is shown first, and all are kept."""
    if not count:
        return _target(what, "not measured", None)
    if not broken:
        return _target(what, f"all of {count}", True)
    return _target(what, f"not {len(broken)} of {count}; {broken[0]}", False) | {"broken": broken}


def _errors(rows: Sequence[Row]) -> Target:
    what = f"errors of y, dX, dA and dB against float64 at most {WORST_ERROR}× PEFT's"
    ratios = {
        f"{name} of {row['title']}": row["errors"]["minitl"][name] / theirs
        for row in rows
        if "PEFT" in row["errors"]
        for name, theirs in row["errors"]["PEFT"].items()
        if theirs
    }
    if not ratios:
        return _target(what, "not measured", None)
    worst = max(ratios, key=lambda name: ratios[name])
    return _target(what, f"at most {ratios[worst]:.2f}× ({worst})", ratios[worst] <= WORST_ERROR)


def _step_targets(result: Mapping[str, Any]) -> Iterator[Target]:
    """Those of the training step on a processor, round by round in the one interleaved run."""
    for precision, wanted in STEP_TARGETS.items():
        what = f"a LoRA step of MiniLM, {precision}, at least {wanted}× as fast as PEFT's"
        row = next((row for row in result["steps"] if row["precision"] == precision), None)
        if row is None:
            yield _target(what, "not measured", None)
            continue
        times = row["ratios"]["PEFT"]["median"]
        needs_amx = precision != "float32" and not result["amx"]
        note = " (this processor shows no AMX, which the target presumes)" if needs_amx else ""
        yield _target(what, f"{times:.2f}×{note}", True if times >= wanted else None if needs_amx else False)


def summary(found: Sequence[Target]) -> str:
    """One line for each target."""
    words = {True: "holds", False: "MISSED", None: "not said"}
    return "\n".join(f"{words[target['holds']]:<8}  {target['target']}: {target['measured']}" for target in found)
