"""Decoding with GPT-2-small's shape, one text at a time and eight, in both types: `python -m benchmarks.decoding`.

Random weights, greedy; no end token, so that both libraries write as many. Speed is bounded by memory: each token reads
every weight but the position table once, 495 MB in float32, however many texts are written side by side. How long this
reading takes by itself is measured too: it is the limit.
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
CASES = [(1, torch.float32), (8, torch.float32), (1, torch.bfloat16), (8, torch.bfloat16)]  # texts, type of the weights


def reading_alone(model: Model, dtype: torch.dtype) -> Side:
    """Every weight of one step read, as often as a run does it, and next to nothing computed: what memory allows."""
    matrices = [m.weight.detach().to(dtype) for m in model.modules() if isinstance(m, torch.nn.Linear)]
    # The largest integer is found as fast as anything can be read; as integers, both types are read alike.
    numbers = [(m if m.is_contiguous() else m.t()).view(torch.int32) for m in matrices]

    def run() -> None:
        for _ in range(NEW):
            for matrix in numbers:
                matrix.amax()

    return timed(run)


def main() -> None:
    torch.manual_seed(0)
    model, rows = new_model(GPT2_SMALL, "causal-lm"), []
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, folder)
        for texts, dtype in CASES:
            kind = str(dtype).removeprefix("torch.")
            arguments = (folder, kind, str(texts), str(PROMPT), str(NEW))
            ours = Worker("benchmarks.workers.decode", "minitl", *arguments)
            peer = Worker("benchmarks.workers.decode", "transformers", *arguments, python=peers_python())
            with ours, peer:
                sides: dict[str, Side] = {
                    "minitl": ours,
                    "transformers": peer,
                    "reading the weights alone": reading_alone(model, dtype),
                }
                case = f"{kind}, {texts} × {PROMPT} tokens read, {NEW} written"
                rows.append(compare(case, sides, warm_up=1, amount=texts * NEW, unit="tokens"))
    print(save("decoding", "GPT-2-small, greedy decoding", rows))


if __name__ == "__main__":
    main()
