"""A training that is killed again and again, until one is left to end.

    python killed.py CHECKPOINT FOLDER KILLS SEED

Each attempt is a fork, so that it begins at once. Half of them die at a random moment, half at a random one of the
calls by which files come into place. Prints how many died, and how many of those at such a call.
"""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from minitl import fit, load_model, load_tokenizer
from minitl.checkpoints import weights
from minitl.checkpoints.weights import write_safetensors
from minitl.data import Example
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import GRADUAL, Settings

EXAMPLES = [
    Example(f"{word} film {rest}", label=i % 2)
    for i, (word, rest) in enumerate(
        (word, rest)
        for rest in ("the book", "very", "we", "it was a day", "and the hotel", "food")
        for word in ("bad", "good")
    )
]
SETTINGS = Settings(epochs=6, batch_size=2, accumulation=2, learning_rate=5e-3, save_every=1, ema=0.9, evaluate_every=2)


def train(checkpoint: str, folder: Path) -> None:
    torch.manual_seed(1)
    model = load_model(checkpoint, "sequence-classification", labels=["negative", "positive"])
    task = SequenceClassification(load_tokenizer(checkpoint), ["negative", "positive"], max_length=16)
    fit(model, EXAMPLES, EXAMPLES[:4], task=task, settings=SETTINGS, strategy=GRADUAL, folder=folder, resume=True)
    write_safetensors({name: p.detach() for name, p in model.named_parameters()}, folder / "final.safetensors")


def die_at_call(number: int) -> None:
    """Of those that flush, rename or write."""
    left = [number]

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return wrapped

    for name in ("fsync", "rename", "replace", "unlink", "rmdir"):
        setattr(os, name, deadly(getattr(os, name)))
    weights.write_digests = deadly(weights.write_digests)


def main() -> None:
    checkpoint, folder, kills, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    rng, died, in_saving, ended = random.Random(seed), 0, 0, 0
    while True:
        by_call, last = died % 2 == 0, died >= kills
        child = os.fork()
        if child == 0:
            if by_call and not last:
                die_at_call(rng.randint(1, 30))
            train(checkpoint, folder)
            os._exit(0)
        if not by_call and not last:
            time.sleep(rng.uniform(0.02, 0.5))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            died, in_saving = died + 1, in_saving + by_call
            continue
        assert os.waitstatus_to_exitcode(status) == 0
        if last:
            break
        ended += 1  # too soon: begin again, and keep what it came to
        (folder / "final.safetensors").rename(folder / f"final-{ended}.safetensors")
        shutil.rmtree(folder / "states")
    print(died, in_saving)


if __name__ == "__main__":
    main()
