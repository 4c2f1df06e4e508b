"""Probes of every layer at once, against the same probes one by one: `python -m benchmarks.probing`.

Parts of speech of UD English EWT (MINITL_ASSETS) in the seven representations of MiniLM, three seeds, on features that
are computed once for all sides. One by one is a loop over layers and seeds, as probes are usually trained: in plain
PyTorch with the same batches, learning rates and end of training, so that the probes are the same ones; and in
scikit-learn with its own.
"""

import contextlib
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.protocol import Worker, compare, save
from minitl import load_model, load_tokenizer
from minitl.data import TaggedSentence
from minitl.data.tagged import load_tagged
from minitl.experiments.reproduce import bundled_checkpoint
from minitl.probing.reading import TransformerReader
from minitl.probing.representations import represent
from minitl.probing.task import Corpus, Examples, Split, Task
from minitl.probing.vectors import pooled

SENTENCES: dict[Split, int] = {"train": 500, "validation": 100}
SIDES = ("minitl", "PyTorch, one by one", "scikit-learn, one by one")
PROBES = {"linear": "softmax regression", "mlp": "64 hidden units"}


def parts_of_speech() -> Task:
    """Every word of the first sentences, and its tag."""
    data = load_tagged("ud-en")
    tags = data.label_names or []
    parts: dict[Split, list[TaggedSentence]] = {
        "train": data.train[: SENTENCES["train"]],
        "validation": data.validation[: SENTENCES["validation"]],
    }
    splits: dict[Split, Examples] = {}
    begin = 0
    for split, sentences in parts.items():
        labels = torch.tensor([tags.index(tag) for sentence in sentences for tag in sentence.tags or ()])
        at = torch.arange(begin, begin + len(labels))
        splits[split] = Examples(torch.stack((at, at + 1), dim=-1)[:, None], labels)
        begin += len(labels)
    corpus = Corpus("EWT", tuple(tuple(sentence.words) for part in parts.values() for sentence in part))
    return Task("pos", "part of speech", "syntax", corpus, "words", tuple(tags), splits)


def write_features(path: Path) -> int:
    """The standardised vectors [layers, words, hidden] and the labels of both parts; how many probes' examples."""
    model, task = bundled_checkpoint(), parts_of_speech()
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
