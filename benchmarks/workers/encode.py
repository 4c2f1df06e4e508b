"""Sentence vectors of a file of texts: `python -m benchmarks.workers.encode LIBRARY FOLDER TEXTS PRECISION`.

TEXTS has one text a line; PRECISION is "float32", or "bfloat16" for a transformer loaded in it.
"""

import sys
from collections.abc import Callable, Sized
from pathlib import Path

import torch

from benchmarks.workers import Run, serve

Encode = Callable[[list[str]], Sized]


def set_up() -> Run:
    library, folder, file, precision = sys.argv[1:5]
    texts = Path(file).read_text(encoding="utf-8").splitlines()
    encode = {"minitl": _minitl, "sentence-transformers": _sentence_transformers}[library](folder, precision)

    def run() -> None:
        vectors = encode(texts)
        assert len(vectors) == len(texts)

    return run


def _minitl(folder: str, precision: str) -> Encode:
    import minitl

    encoder = minitl.load_sentence_encoder(folder, dtype=getattr(torch, precision))
    return lambda texts: encoder.encode(texts, batch_size=64)


def _sentence_transformers(folder: str, precision: str) -> Encode:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": precision})
    return lambda texts: encoder.encode(texts, batch_size=64)


if __name__ == "__main__":
    serve(set_up)
