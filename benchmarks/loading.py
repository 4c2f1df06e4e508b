"""Loading a published checkpoint in a warmed process, time and memory: `python -m benchmarks.loading`."""

import tempfile

import torch

from benchmarks.decoding import GPT2_SMALL
from benchmarks.protocol import Worker, compare, peers_python, save
from minitl.checkpoints.hub import bundled_checkpoint
from minitl.models.loading import new_model, save_model


def main() -> None:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        # Saved by this library, so the digest is checked too; the bundled checkpoint has none.
        save_model(new_model(GPT2_SMALL), folder)
        rows = []
        for case, source in (
            ("MiniLM, 91 MB", bundled_checkpoint()),
            ("GPT-2-small's shape, 498 MB, digest checked", folder),
        ):
            ours = Worker("benchmarks.workers.load", "minitl", source)
            peer = Worker("benchmarks.workers.load", "transformers", source, python=peers_python())
            with ours, peer:
                rows.append(compare(case, {"minitl": ours, "transformers": peer}))
    print(save("loading", "Load a checkpoint (peak growth of anonymous memory)", rows))


if __name__ == "__main__":
    main()
