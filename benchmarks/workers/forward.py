"""One forward pass: `python -m benchmarks.workers.forward LIBRARY FOLDER LENGTHS`.

LIBRARY is "minitl", with packed weights, "minitl, plain weights", or "transformers". LENGTHS is a JSON list, one number
of tokens a text; the batch is padded on the right to the longest, and minitl reads it with `forward_unpadded` where
they differ. Encoder-decoders get a target of 32 tokens beside.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.workers import Run, serve

TARGET = 32

Forward = Callable[[dict[str, torch.Tensor]], Any]


def set_up() -> Run:
    library, folder, lengths = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    forward, answers = _transformers(folder) if library == "transformers" else _minitl(library, folder, lengths)
    draws = torch.Generator().manual_seed(0)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(1000, 20000, mask.shape, generator=draws) * mask
    batch = {"input_ids": ids, "attention_mask": mask}
    if answers:
        batch["decoder_input_ids"] = torch.randint(1000, 20000, (len(lengths), TARGET), generator=draws)

    @torch.inference_mode()
    def run() -> None:
        hidden = forward(batch)
        assert len(hidden) == len(lengths)

    return run


def _minitl(library: str, folder: str, lengths: list[int]) -> tuple[Forward, bool]:
    import minitl
    from minitl.models.encoder_decoder import EncoderDecoder

    model = minitl.load_model(folder, "backbone")
    if library == "minitl":
        minitl.packed_weights(model).__enter__()  # for as long as this process lives
    if min(lengths) < max(lengths):
        return lambda batch: minitl.forward_unpadded(model, **batch).last_hidden_state, False
    return lambda batch: model(**batch).last_hidden_state, isinstance(model, EncoderDecoder)


def _transformers(folder: str) -> tuple[Forward, bool]:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    return lambda batch: model(**batch).last_hidden_state, model.config.is_encoder_decoder


if __name__ == "__main__":
    serve(set_up)
