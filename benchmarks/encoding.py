"""Sentence vectors with MiniLM, short and long texts: `python -m benchmarks.encoding`."""

import contextlib
import tempfile
from itertools import islice
from pathlib import Path

from benchmarks.protocol import Worker, compared, peers_python, save, take_turns
from minitl.checkpoints.hub import bundled_checkpoint
from minitl.data import load_dataset

ROWS = {  # what is compared: ours first
    "float32": ("minitl", "sentence-transformers"),
    "bfloat16": ("minitl, bfloat16", "sentence-transformers, bfloat16", "sentence-transformers"),
}


def cases() -> dict[str, list[str]]:
    """Reviews of the embedded set as they are, and strung together until the encoder cuts them at 256 tokens."""
    reviews = [example.text for example in load_dataset("embedded").train]
    words = iter(" ".join(reviews).split())
    return {
        "512 short texts": reviews[:512],
        "48 texts of 256 tokens": [" ".join(islice(words, 260)) for _ in range(48)],
    }


def main() -> None:
    model, rows = bundled_checkpoint(), []
    for case, texts in cases().items():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "texts"
            file.write_text("\n".join(texts) + "\n", encoding="utf-8")
            sides = {
                f"{library}{'' if precision == 'float32' else ', bfloat16'}": Worker(
                    "benchmarks.workers.encode", worker, model, str(file), precision, **python
                )
                for library, worker, python in (
                    ("minitl", "minitl", {}),
                    ("sentence-transformers", "sentence-transformers", {"python": peers_python()}),
                )
                for precision in ("float32", "bfloat16")
            }
            with contextlib.ExitStack() as open_workers:
                for side in sides.values():
                    open_workers.enter_context(side)
                rounds = take_turns(case, sides, warm_up=2, runs=9)
            for title, chosen in ROWS.items():
                row = compared(f"{case}, {title}", rounds, chosen, warm_up=2, amount=len(texts), unit="texts")
                rows.append(row)
    print(save("encoding", "Sentence vectors", rows))


if __name__ == "__main__":
    main()
