"""The measuring itself: sides take turns, ratios are taken round by round, workers answer. No test looks at speed."""

import json
import statistics
from pathlib import Path

import pytest

from benchmarks import protocol
from benchmarks.protocol import Sample, Side, Worker, compare, save, timed
from benchmarks.table import markdown

ECHO = "tests.benchmarks.echo_worker"


def _constant(seconds: float) -> Side:
    return lambda: Sample(seconds)


def test_sides_take_turns() -> None:
    turns: list[str] = []
    compare("turns", {"a": timed(lambda: turns.append("a")), "b": timed(lambda: turns.append("b"))}, warm_up=1, runs=7)
    assert turns == ["a", "b"] * 8


def test_warm_up_rounds_are_not_kept() -> None:
    times = iter([100.0, 1, 2, 3, 4, 5, 6, 7])
    row = compare("warm", {"a": lambda: Sample(next(times)), "b": _constant(1)}, warm_up=1, runs=7)
    assert row["sides"]["a"]["seconds"] == {"median": 4, "iqr": 3, "runs": [1, 2, 3, 4, 5, 6, 7]}


def test_ratios_are_taken_round_by_round() -> None:
    ours, theirs = [1.0, 2, 4, 8, 16, 32, 64], [64.0, 32, 16, 8, 4, 2, 1]
    first, second = iter(ours), iter(theirs)
    row = compare("ratio", {"a": lambda: Sample(next(first)), "b": lambda: Sample(next(second))}, warm_up=0, runs=7)
    pairs = [b / a for a, b in zip(ours, theirs, strict=True)]
    assert row["ratios"]["b"]["runs"] == pairs
    assert row["ratios"]["b"]["median"] == statistics.median(pairs)


def test_too_few_runs_or_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 7 runs"):
        compare("few", {"a": _constant(1), "b": _constant(1)}, runs=6)
    with pytest.raises(ValueError, match="at least two sides"):
        compare("alone", {"a": _constant(1)})


def test_a_worker_sets_up_once_and_answers_every_run() -> None:
    with Worker(ECHO, "41") as worker:
        memory = [worker().memory for _ in range(3)]
    assert memory == [42, 43, 44]  # it counts its runs from the number that it was set up with


def test_a_worker_that_fails_is_named() -> None:
    with pytest.raises(RuntimeError, match=f"ended with status 1: .*{ECHO} nonsense"), Worker(ECHO, "nonsense"):
        pass


def test_the_table_shows_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "RESULTS", tmp_path)
    sides = {"minitl": lambda: Sample(0.5, 2**20), "peer": lambda: Sample(2.0)}
    path = save("toy", "Toy", [compare("case", sides, amount=10, unit="texts")])
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["machine"]["threads"] == protocol.threads()
    assert (
        "| Toy: case | 500.0 ms [0.0], 20 texts/s, 1 MiB | peer: 2.00 s [0.00], 5 texts/s | 4.00 [0.00] |"
        in markdown([result])
    )
