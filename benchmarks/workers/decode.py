"""Greedy decoding from prompts: `python -m benchmarks.workers.decode LIBRARY FOLDER DTYPE BATCH PROMPT NEW`."""

import sys
from collections.abc import Callable

import torch

from benchmarks.workers import Run, serve

Decode = Callable[[torch.Tensor], torch.Tensor]


def set_up() -> Run:
    library, folder, dtype, *sizes = sys.argv[1:]
    batch, prompt, new = map(int, sizes)
    ids = torch.randint(1000, (batch, prompt), generator=torch.Generator().manual_seed(0))
    decode = {"minitl": _minitl, "transformers": _transformers}[library](folder, getattr(torch, dtype), new)

    def run() -> None:
        written = decode(ids)
        assert written.shape == (batch, prompt + new), written.shape

    return run


def _minitl(folder: str, dtype: torch.dtype, new: int) -> Decode:
    import minitl

    model = minitl.load_model(folder, dtype=dtype)
    return lambda ids: minitl.generate(model, ids, max_new_tokens=new)


def _transformers(folder: str, dtype: torch.dtype, new: int) -> Decode:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    return lambda ids: model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, pad_token_id=0
    )


if __name__ == "__main__":
    serve(set_up)
