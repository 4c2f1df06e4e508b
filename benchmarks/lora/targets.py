"""What is to hold, and whether it does, from a result alone.

A target is {"target": what, "measured": what was found, "holds": true, false, or null where it cannot be said here}.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.lora.arms import OURS, peft_eager
from benchmarks.lora.cases import LARGE, SMALL, Case

FORWARD, BOTH = "forward", "forward and backward"
NOISE = 1.03  # what counts as equally fast
WORST_ERROR = 1.5  # times PEFT's
STEP_TARGETS = {"float32": 2.5, "bfloat16-base": 6.0}

Row = Mapping[str, Any]
Target = dict[str, Any]


def targets(result: Mapping[str, Any]) -> list[Target]:
    """All targets that are about the device of the result."""
    rows: Sequence[Row] = result["rows"]
    on_gpu = result["device"] != "cpu"
    about = [*_gpu_targets(rows), _fastest_way(rows)] if on_gpu else _step_targets(result)
    return [*about, _memory(rows), _no_peer_faster(rows), _errors(rows), _checks(rows)]


def _target(what: str, measured: str, holds: bool | None) -> Target:
    return {"target": what, "measured": measured, "holds": holds}


def _gpu_targets(rows: Sequence[Row]) -> Iterator[Target]:
    for case, wanted in ((SMALL, 2.0), (LARGE, 1.3)):
        peer = peft_eager(case.dtype)
        what = f"at least {wanted:.1f}× PEFT eager, forward and backward, {case.title}"
        yield _of_row(what, rows, case, lambda row, peer=peer: times_ours(row, peer, BOTH), "{:.2f}×", wanted.__le__)
    what = f"forward at most 10% over the frozen linear layer, {LARGE.title}"
    yield _of_row(what, rows, LARGE, lambda row: over_limit(row, OURS, FORWARD), "{:.1f}%", (10.0).__ge__)


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


def _fastest_way(rows: Sequence[Row]) -> Target:
    """That the path that is taken is the fastest of all that were forced."""
    slower = [
        f"{row['title']}: {name} takes {times:.2f}× of {row['path']}"
        for row in rows
        for name, arm in row["arms"].items()
        if arm["kind"] == "forced" and (times := times_ours(row, name, BOTH)) is not None and times * NOISE < 1
    ]
    return _target(
        "no forced path is faster than the one taken, 3% allowed, forward and backward, every row",
        "; ".join(slower) or "none is",
        not slower if rows else None,
    )


def _no_peer_faster(rows: Sequence[Row]) -> Target:
    faster = [
        f"{name}, {step}, {row['title']}: {times:.2f}× our time"
        for row in rows
        for name, arm in row["arms"].items()
        for step in (FORWARD, BOTH)
        if arm["kind"] == "peer" and (times := times_ours(row, name, step)) is not None and times * NOISE < 1
    ]
    return _target(
        "no peer is faster, 3% allowed, every row, forward alone and with backward",
        "; ".join(faster) or "none is",
        not faster if rows else None,
    )


def _memory(rows: Sequence[Row]) -> Target:
    over = [
        f"{row['title']}: {row['arms'][OURS]['saved_extra_bytes']:,} of {row['allowed_extra_bytes']:,} bytes"
        for row in rows
        if row["arms"][OURS]["saved_extra_bytes"] > row["allowed_extra_bytes"]
    ]
    return _target(
        "saved for the backward pass: at most x, S and one bit per element of x, every row",
        "; ".join(over) or "in every row",
        not over if rows else None,
    )


def _errors(rows: Sequence[Row]) -> Target:
    what = f"errors of y, dX, dA and dB against float64 at most {WORST_ERROR}× PEFT's, every row"
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


def _checks(rows: Sequence[Row]) -> Target:
    names = list(dict.fromkeys(name for row in rows for name in row["checks"]))
    broken = [f"{name}: not so for {row['title']}" for row in rows for name, kept in row["checks"].items() if not kept]
    what = "; ".join(names) + ": every row"
    return _target(what, "; ".join(broken) or "so in every row", not broken if rows else None)


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
