"""Greedy decoding from one prompt: `python -m benchmarks.workers.decode LIBRARY FOLDER PROMPT NEW`."""

import sys
from collections.abc import Callable

import torch

from benchmarks.workers import Run, serve

Decode = Callable[[torch.Tensor], torch.Tensor]


def set_up() -> Run:
    library, folder, prompt, new = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    ids = torch.randint(1000, (1, prompt), generator=torch.Generator().manual_seed(0))
    decode = {"minitl": _minitl, "transformers": _transformers}[library](folder, new)

    def run() -> None:
        written = decode(ids)
        assert written.shape == (1, prompt + new), written.shape

    return run


def _minitl(folder: str, new: int) -> Decode:
    import minitl

    model = minitl.load_model(folder)
    return lambda ids: minitl.generate(model, ids, max_new_tokens=new)


def _transformers(folder: str, new: int) -> Decode:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return lambda ids: model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, pad_token_id=0
    )


if __name__ == "__main__":
    serve(set_up)
