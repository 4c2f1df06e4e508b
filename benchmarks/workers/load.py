"""Load a checkpoint folder: `python -m benchmarks.workers.load LIBRARY FOLDER`.

Memory is the largest growth of anonymous memory during a load, sampled every half millisecond: mapped file pages,
which the system can drop at any time, do not count. It is measured in a load of its own before the timed ones, which
the sampling would slow down.
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

from benchmarks.workers import Run, memory_field, serve


def set_up() -> Run:
    library, folder = sys.argv[1], sys.argv[2]
    load = {"minitl": _minitl, "transformers": _transformers}[library](folder)
    load()  # imports what is imported late
    memory = growth(load)

    def run() -> dict[str, float]:
        load()
        return {"memory": memory}

    return run


def growth(work: Callable[[], object]) -> int:
    """Bytes by which the process's anonymous memory grew at its peak while `work` ran."""
    before, peak, done = memory_field("RssAnon"), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.0005):
            peak = max(peak, memory_field("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    kept = work()
    peak = max(peak, memory_field("RssAnon"))
    done.set()
    watcher.join()
    del kept
    return peak - before


def _minitl(folder: str) -> Callable[[], object]:
    import minitl

    return lambda: minitl.load_model(folder)


def _transformers(folder: str) -> Callable[[], object]:
    import torch
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    auto = AutoModelForCausalLM if (Path(folder) / "generation_config.json").exists() else AutoModel
    return lambda: auto.from_pretrained(folder, dtype=torch.float32)


if __name__ == "__main__":
    serve(set_up)
