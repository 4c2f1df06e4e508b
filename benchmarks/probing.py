"""Probes of every layer at once, against the same probes one by one: `python -m benchmarks.probing`.

Parts of speech of UD English EWT (MINITL_ASSETS) in the seven representations of MiniLM, three seeds, on features that
are computed once for all sides. One by one is a loop over layers and seeds, as probes are usually trained: in plain
PyTorch with the same batches, learning rates and end of training, so that the probes are the same ones; and in
scikit-learn with its own.
"""

import contextlib
import tempfile
from pathlib import Path

from safetensors.torch import save_file

from benchmarks.protocol import Worker, compare, save
from minitl import load_model, load_tokenizer
from minitl.checkpoints.hub import bundled_checkpoint
from minitl.probing.reading import TransformerReader
from minitl.probing.representations import represent
from minitl.probing.task import Task
from minitl.probing.tasks import probing_tasks
from minitl.probing.vectors import pooled

SENTENCES = 500  # to train on, and a quarter as many to end by
SIDES = ("minitl", "PyTorch, one by one", "scikit-learn, one by one")
PROBES = {"linear": "softmax regression", "mlp": "64 hidden units"}


def write_features(path: Path) -> int:
    """The standardised vectors [layers, words, hidden] and the labels of both parts; how many probes' examples."""
    model, (task,) = bundled_checkpoint(), probing_tasks(["pos"], sentences=SENTENCES)
    assert isinstance(task, Task)
    reader = TransformerReader(load_model(model, "backbone"), load_tokenizer(model))
    vectors = pooled(represent(reader, task.corpus, unreadable="skip"), task, task.splits, slice(None))
    tensors = {f"{split}.x": one.values for split, one in vectors.items()}
    tensors |= {f"{split}.y": examples.labels for split, examples in task.splits.items()}
    save_file(tensors, path)
    return len(task.splits["train"])


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "features.safetensors"
        examples = write_features(file)
        for probe, title in PROBES.items():
            with contextlib.ExitStack() as workers:
                sides = {
                    side: workers.enter_context(Worker("benchmarks.workers.probe", side, probe, str(file)))
                    for side in SIDES
                }
                case = f"{title}, 7 layers, 3 seeds, {examples} words"
                rows.append(compare(case, sides, warm_up=1, runs=7, amount=21, unit="probes"))
    print(save("probing", "Probes of all layers", rows))


if __name__ == "__main__":
    main()
