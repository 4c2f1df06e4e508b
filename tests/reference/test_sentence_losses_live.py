"""The losses of sentence embeddings against the sentence-transformers library's, live: on vectors, and through a model.

Runs where that library is installed beside minitl: `make test-reference`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minitl import load_model, load_tokenizer, save_model
from minitl.data import Related
from minitl.tasks.sentence_embedding import SentenceEmbedding
from minitl.tasks.vector_losses import make_loss

pytestmark = pytest.mark.reference
pytest.importorskip("sentence_transformers", reason="the peer library lives in an environment of its own")

from sentence_transformers import SentenceTransformer  # noqa: E402 - it may be absent
from sentence_transformers.sentence_transformer import losses  # noqa: E402

Peer = Callable[[Any], torch.nn.Module]
CASES: dict[str, tuple[dict[str, Any], Peer, int, bool]] = {  # ours, theirs, texts, with scores
    "in-batch, pairs": ({"name": "in-batch"}, losses.MultipleNegativesRankingLoss, 2, False),
    "in-batch, triplets": (
        {"name": "in-batch", "scale": 7.0},
        lambda model: losses.MultipleNegativesRankingLoss(model, scale=7.0),
        3,
        False,
    ),
    "cosine": ({"name": "cosine"}, losses.CosineSimilarityLoss, 2, True),
    "triplet": ({"name": "triplet"}, losses.TripletLoss, 3, False),
    "triplet, margin": (
        {"name": "triplet", "margin": 0.5},
        lambda model: losses.TripletLoss(model, triplet_margin=0.5),
        3,
        False,
    ),
    "contrastive": ({"name": "contrastive"}, losses.ContrastiveLoss, 2, True),
    "nested in-batch": (
        {"name": "in-batch", "dims": [24, 12, 6]},
        lambda model: losses.MatryoshkaLoss(model, losses.MultipleNegativesRankingLoss(model), [24, 12, 6]),
        3,
        False,
    ),
    "nested cosine, weighted": (
        {"name": "cosine", "dims": [24, 8], "weights": [1.0, 0.3]},
        lambda model: losses.MatryoshkaLoss(model, losses.CosineSimilarityLoss(model), [24, 8], [1.0, 0.3]),
        2,
        True,
    ),
}
TEXTS = [
    ("the good film", "a fine film", "a bad book"),
    ("we was at the hotel", "a hotel", "poor food and the day"),
    ("it", "it was really very good", "not"),
    ("the book and the film", "book", "but the hotel"),
]
SCORES = [1.0, 0.25, 0.0, 0.6]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("pooling", "normalize"), [("mean", False), ("cls", True), ("max", False)])
@pytest.mark.filterwarnings("ignore:ContrastiveLoss expects binary labels")
def test_loss_and_gradients_are_the_peers(tiny: Path, tmp_path: Path, case: str, pooling: str, normalize: bool) -> None:
    ours, theirs, count, scored = CASES[case]
    name = ours["name"]
    task = SentenceEmbedding(
        load_tokenizer(tiny),
        make_loss(name, **{k: v for k, v in ours.items() if k != "name"}),
        max_length=8,
        pooling=pooling,
        normalize=normalize,
    )
    model = load_model(tiny, "backbone")
    with torch.no_grad():  # so that texts have vectors that differ by more than rounding
        for parameter in model.parameters():
            parameter.mul_(6 if parameter.dim() == 2 else 1)
    save_model(model, tmp_path / "saved", task.tokenizer, beside=task.beside(model))
    examples = [
        Related(*texts[:count], score=score if scored else None) for texts, score in zip(TEXTS, SCORES, strict=True)
    ]
    batch = task.collate(task.encode(examples))
    loss, number = task.loss(model(**batch.inputs), batch.targets)
    (loss / number).backward()

    peer = SentenceTransformer(str(tmp_path / "saved"), device="cpu").eval()
    features = [peer.preprocess([example.texts[place] for example in examples]) for place in range(count)]
    expected = theirs(peer)(features, torch.tensor(SCORES))
    expected.backward()
    assert float(loss.detach()) / number == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-6)
    gradients = dict(peer[0].model.named_parameters())
    for ours_name, parameter in model.named_parameters():
        published = model.key_map.to_published(ours_name)
        assert published is not None
        reference = gradients[published.removeprefix("bert.")].grad
        if parameter.grad is None:
            assert reference is None or not reference.any()
            continue
        assert reference is not None
        limit = 1e-4 * float(reference.abs().max()) + 1e-6
        assert (parameter.grad - reference).abs().max() < limit, ours_name


def test_what_is_saved_gives_the_peers_vectors(tiny: Path, tmp_path: Path) -> None:
    task = SentenceEmbedding(load_tokenizer(tiny), make_loss("in-batch"), 8, "mean", normalize=True)
    model = load_model(tiny, "backbone")
    save_model(model, tmp_path / "saved", task.tokenizer, beside=task.beside(model))
    peer = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert peer.max_seq_length == 8
    assert peer.similarity_fn_name == "cosine"
    texts = [text for texts in TEXTS for text in texts] + ["good " * 30]
    theirs = peer.encode(texts, convert_to_tensor=True)
    assert (task.encoder(model).encode(texts) - theirs).abs().max() < 1e-5
