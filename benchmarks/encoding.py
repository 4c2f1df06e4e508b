"""Sentence vectors with MiniLM, short and long texts: `python -m benchmarks.encoding`."""

import tempfile
from itertools import islice
from pathlib import Path

from benchmarks.protocol import Worker, compare, peers_python, save
from minitl.data import load_dataset
from minitl.experiments.reproduce import bundled_checkpoint


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
            worker = "benchmarks.workers.encode"
            ours = Worker(worker, "minitl", model, str(file))
            peer = Worker(worker, "sentence-transformers", model, str(file), python=peers_python())
            with ours, peer:
                sides = {"minitl": ours, "sentence-transformers": peer}
                rows.append(compare(case, sides, amount=len(texts), unit="texts"))
    print(save("encoding", "Sentence vectors", rows))


if __name__ == "__main__":
    main()
