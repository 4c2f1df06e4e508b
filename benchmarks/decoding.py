"""Decoding with GPT-2-small's shape, one text at a time: `python -m benchmarks.decoding`.

Random weights, float32, greedy; no end token, so that both libraries write as many. Speed is bounded by memory: each
token reads every weight but the position table once, 495 MB, so the bandwidth sets the limit that the last row shows.
"""

import tempfile

import torch

from benchmarks.protocol import Side, Worker, compare, peers_python, save, timed
from minitl.models.base import Model
from minitl.models.loading import new_model, save_model

PROMPT, NEW = 32, 128
GPT2_SMALL = {
    "model_type": "gpt2",
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "bos_token_id": None,
    "eos_token_id": None,
}


def products_alone(model: Model) -> Side:
    """The matrix products of one step, as often as a run takes them, and nothing else: what memory allows."""
    matrices = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear)]

    @torch.inference_mode()
    def run() -> None:
        vectors = {size: torch.ones(size) for size in {m.shape[1] for m in matrices}}
        for _ in range(NEW):
            for matrix in matrices:
                torch.mv(matrix, vectors[matrix.shape[1]])

    return timed(run)


def main() -> None:
    torch.manual_seed(0)
    model = new_model(GPT2_SMALL, "causal-lm")
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, folder)
        arguments = (folder, str(PROMPT), str(NEW))
        ours = Worker("benchmarks.workers.decode", "minitl", *arguments)
        peer = Worker("benchmarks.workers.decode", "transformers", *arguments, python=peers_python())
        with ours, peer:
            sides: dict[str, Side] = {
                "minitl": ours,
                "transformers": peer,
                "the matrix products alone": products_alone(model),
            }
            row = compare(f"{PROMPT} tokens read, {NEW} written", sides, warm_up=1, amount=NEW, unit="tokens")
    print(save("decoding", "GPT-2-small, greedy decoding", [row]))


if __name__ == "__main__":
    main()
