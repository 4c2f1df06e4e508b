"""What is seen of a training: a bar on a terminal, lines on a pipe."""

import io
import re

import pytest
from rich.console import Console

from minitl.cli.progress import Bars, fitting
from minitl.training import Step, Validation

LONG = {"accuracy": 0.5, "precision": 0.25, "recall": 0.125, "f1": 0.0}
TITLE = "head-then-body on a_data_set_of_some_name"


def seen(console: Console, each: bool, last: int = 4) -> str:
    with Bars(console) as bars:
        bar = bars.training(TITLE, each)
        bars._progress.refresh()
        bar.on_start(400, 0)
        for step in range(1, last + 1):
            bar.on_step(Step(step, step / 2, 2.0, 1e-3, 1.0, 100))
            if step % 2 == 0:
                bar.on_validation(Validation(400 if step == 4 else step, step / 2, 0.5, LONG))
        if last < 4:
            bars._progress.refresh()
        else:
            bar.close()
    written: str = console.file.getvalue()  # type: ignore[attr-defined]
    return written


@pytest.mark.parametrize("each", [True, False])
def test_on_a_pipe_validations_are_lines_that_do_not_wrap(each: bool) -> None:
    lines = seen(Console(file=io.StringIO(), width=80), each).splitlines()
    assert lines[-1] == (
        f"{TITLE}  step 400 of 400  epoch 2  training loss 2.000  validation loss 0.500  accuracy 0.500  "
        "precision 0.250  recall 0.125  f1 0.000"
    )
    assert len(lines) == (2 if each else 1)


def test_a_narrow_terminal_keeps_the_bar_the_count_and_the_time_left() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None, legacy_windows=False)
    frames = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen(console, each=True, last=3)).replace("\r", "\n").splitlines()
    frames = [frame.rstrip() for frame in frames if frame.startswith(TITLE) and "step" not in frame]
    assert "?" not in frames[0]
    assert re.fullmatch(TITLE + r" [━╸╺ ]{12} 3/400 +[-\d:]+ loss 2\.0+", frames[-1])
    assert all(len(frame) <= 80 for frame in frames)


def test_what_has_no_room_is_left_out_from_the_end() -> None:
    parts = ["loss 0.500", "100 tokens/s", "rate 1e-3"]
    assert [fitting(parts, room) for room in (40, 30, 10, 3)] == [
        "loss 0.500  100 tokens/s  rate 1e-3", "loss 0.500  100 tokens/s", "loss 0.500", ""
    ]  # fmt: skip
