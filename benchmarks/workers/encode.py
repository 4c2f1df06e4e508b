"""Sentence vectors of a file of texts, one a line: `python -m benchmarks.workers.encode LIBRARY FOLDER TEXTS`."""

import sys
from collections.abc import Callable, Sized
from pathlib import Path

from benchmarks.workers import Run, serve

Encode = Callable[[list[str]], Sized]


def set_up() -> Run:
    library, folder, texts = sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_text(encoding="utf-8").splitlines()
    encode = {"minitl": _minitl, "sentence-transformers": _sentence_transformers}[library](folder)

    def run() -> None:
        vectors = encode(texts)
        assert len(vectors) == len(texts)

    return run


def _minitl(folder: str) -> Encode:
    import minitl

    encoder = minitl.load_sentence_encoder(folder)
    return lambda texts: encoder.encode(texts, batch_size=64)


def _sentence_transformers(folder: str) -> Encode:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(folder, device="cpu")
    return lambda texts: encoder.encode(texts, batch_size=64)


if __name__ == "__main__":
    serve(set_up)
