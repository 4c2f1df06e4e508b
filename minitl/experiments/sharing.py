"""Several processes carry out the runs of the experiments: each takes what no other has.

    process 1   a ──── d ─ e ────        a run that another has is passed over: its result is read when all are done;
    process 2   b ─ c ────── f ──        where the next one needs it, this process tries again later

What is timed is no run for such times: it is left for when the others have ended (`alone`).
"""

import contextlib
import logging
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from minitl.errors import Diverged, Interrupted, TrainingError
from minitl.experiments.experiment import Experiment, NotHere
from minitl.experiments.runs import Runs, unheard
from minitl.nn.device import models_on, usual_device
from minitl.training.interrupt import stop_between_steps
from minitl.training.lock import alone_in

START = "spawn"  # a fork would share a GPU, and threads, with the process that it comes from
WAIT = 5.0  # seconds before what depends on others is tried again
LOCKS = ".taken"  # of an experiment's runs: what a process has is locked there


class SharedRuns(Runs):
    """Those of one experiment, in one of `jobs` processes.

    elsewhere   whether there was a run that another process has
    waits       whether there was one that must wait for another
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        super().__init__(folder)
        self.jobs, self.elsewhere, self.waits = jobs, False, False

    @contextlib.contextmanager
    def _turn(self, key: str, after: Sequence[str], alone: bool) -> Iterator[bool]:
        """Not where another process has the run, nor where it must wait or be alone: its result is {} then."""
        early = not all((self.folder / f"{other}.json").exists() for other in after)
        if alone or early:
            self.waits = self.waits or (early and not alone)
            yield False
            return
        place = self.folder / LOCKS / key
        place.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(alone_in(place))
            except TrainingError:
                self.elsewhere = True
                yield False
            else:
                yield True

    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "jobs": self.jobs}


def share(experiments: Sequence[Experiment], folder: Path, jobs: int, say: Callable[[str], None] = unheard) -> None:
    """Carry out what is left of the experiments' runs in `jobs` processes, on the device of `models_on`.

    Afterwards each has its result, but for those that must be alone, and what a process broke off at: carried out again
    by itself it says why. Interrupted by Ctrl-C or SIGTERM; what is done is kept.
    """
    context: Any = multiprocessing.get_context(START)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    workers = [
        context.Process(target=_work, args=(_rotated(experiments, number), folder, jobs, threads, usual_device()))
        for number in range(jobs)
    ]
    done = -1
    with _ended(workers):
        for worker in workers:
            worker.start()
        with stop_between_steps() as stop:
            while stop.signum is None and any(worker.is_alive() for worker in workers):
                time.sleep(WAIT / 10)
                if (count := _done(experiments, folder)) != done:
                    done = count
                    say(f"{done:,} runs done, {sum(worker.is_alive() for worker in workers)} processes at work")
    if stop.signum is not None:
        raise Interrupted(f"stopped after {done:,} runs", stop.signum)
    for one in experiments:
        shutil.rmtree(folder / one.name / "runs" / LOCKS, ignore_errors=True)


def _rotated(experiments: Sequence[Experiment], number: int) -> list[str]:
    """Their names: each process begins with another experiment."""
    first = number % len(experiments)
    return [one.name for one in (*experiments[first:], *experiments[:first])]


def _done(experiments: Sequence[Experiment], folder: Path) -> int:
    return sum(len(list((folder / one.name / "runs").glob("*.json"))) for one in experiments)


@contextlib.contextmanager
def _ended(workers: Sequence[Any]) -> Iterator[None]:
    """Whatever ends the work within ends the processes, which save what they are at."""
    try:
        yield
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
        for worker in workers:
            if worker.pid is not None:
                worker.join()


def _work(names: Sequence[str], folder: Path, jobs: int, threads: int, device: str) -> None:
    """What a process does: go through the experiments until nothing of any waits for another process."""
    import torch

    from minitl.experiments.table import EXPERIMENTS

    logging.getLogger("minitl").setLevel(logging.ERROR)  # new heads are no news
    torch.set_num_threads(threads)
    left = [one for name in names for one in EXPERIMENTS if one.name == name]
    with contextlib.suppress(Interrupted, KeyboardInterrupt), models_on(device):
        while left:
            left = [one for one in left if _waits(one, folder, jobs)]
            if left:
                time.sleep(WAIT)


def _waits(experiment: Experiment, folder: Path, jobs: int) -> bool:
    """Carry out what no other process has; whether something must wait for one."""
    runs = SharedRuns(folder / experiment.name, jobs)
    try:
        experiment.run(runs)
    except (KeyError, IndexError):  # {} of a run was looked into
        if not (runs.elsewhere or runs.waits):
            raise
        return True
    except (NotHere, Diverged):
        return False  # of which is told where the experiment is carried out by itself
    return runs.waits
