"""Sentence embeddings: how texts share a batch, what is measured, and that a model learns."""

from pathlib import Path

import pytest
import torch

from minitl import fit, load_model, load_sentence_encoder, load_tokenizer, save_model
from minitl.data import Related
from minitl.errors import DataError, InputError
from minitl.nn.output import Output
from minitl.nn.pooling import pool_mean
from minitl.tasks.sentence_embedding import SentenceEmbedding, TextRows
from minitl.tasks.task import TrainingBatch
from minitl.tasks.vector_losses import make_loss
from minitl.tokenization import Tokenizer
from minitl.training import FROZEN, Settings, evaluate, predict

TRIPLETS = [Related("good film", "fine film", "bad book"), Related("the hotel", "a hotel", "poor food")]


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Tokenizer:
    return load_tokenizer(tiny)


def test_the_texts_of_a_batch_are_read_by_one_model(tiny: Path, tokenizer: Tokenizer) -> None:
    task, model = SentenceEmbedding(tokenizer, make_loss("triplet")), load_model(tiny, "backbone")
    batch = task.collate(task.encode(TRIPLETS))
    assert batch.inputs["input_ids"].shape[0] == 6
    vectors = torch.stack(list(task.answers(model(**batch.inputs), batch)))
    assert vectors.shape == (2, 3, 24)
    for example, rows in zip(TRIPLETS, vectors, strict=True):
        for text, vector in zip(example.texts, rows, strict=True):
            alone = tokenizer([text])
            hidden = model(**alone).last_hidden_state
            torch.testing.assert_close(vector, pool_mean(hidden, alone["attention_mask"])[0], atol=1e-5, rtol=1e-4)


def test_the_loss_is_that_of_the_vectors(tiny: Path, tokenizer: Tokenizer) -> None:
    objective, model = make_loss("in-batch"), load_model(tiny, "backbone")
    task = SentenceEmbedding(tokenizer, objective, pooling="max", normalize=True)
    batch = task.collate(task.encode(TRIPLETS))
    output = model(**batch.inputs)
    loss, count = task.loss(output, batch.targets)
    vectors = torch.stack(list(task.answers(output, batch)))
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(2, 3))
    assert count == 2
    torch.testing.assert_close(loss, objective(vectors.transpose(0, 1), batch.targets["scores"]))


@pytest.mark.parametrize("dims", [None, [24, 8]])
def test_the_shares_of_a_batch_add_up_to_its_loss_and_to_its_gradients(
    tiny: Path, tokenizer: Tokenizer, dims: list[int] | None
) -> None:
    """Three processes, of which one has two examples and one has none."""
    model = load_model(tiny, "backbone")
    task = SentenceEmbedding(tokenizer, make_loss("in-batch", dims=dims))
    items = task.encode([*TRIPLETS, Related("we", "it", "food")])

    def gradients() -> list[torch.Tensor]:
        found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.zero_grad()
        return found

    def read(some: list[TextRows]) -> tuple[Output, TrainingBatch]:
        batch = task.collate(some)
        return model(**batch.inputs), batch

    output, batch = read(items)
    whole, count = task.loss(output, batch.targets)
    whole.backward()
    expected, values, counts = gradients(), 0.0, 0
    vectors = torch.stack(list(task.answers(output, batch))).detach()
    for mine in (slice(0, 2), slice(2, 3), slice(3, 3)):
        output, batch = read(items[mine] or items[:1])

        def together(rows: torch.Tensor, mine: slice = mine) -> torch.Tensor:
            everyones = vectors if rows.dim() > 1 else torch.full((3,), float("nan"))
            return torch.cat([everyones[: mine.start], rows[: mine.stop - mine.start], everyones[mine.stop :]])

        share, targets = task.loss_of_share(output, batch.targets, together)
        weight = float(mine.stop > mine.start)
        (share * weight).backward()
        values, counts = values + share.item() * weight, counts + targets * int(weight)
    assert counts == count
    assert values == pytest.approx(whole.item(), rel=1e-5)
    torch.testing.assert_close(gradients(), expected, rtol=1e-4, atol=1e-5)


def test_cosines_are_not_rounded_under_autocast(tiny: Path, tokenizer: Tokenizer) -> None:
    task, model = SentenceEmbedding(tokenizer, make_loss("in-batch")), load_model(tiny, "backbone")
    batch = task.collate(task.encode(TRIPLETS))
    output = model(**batch.inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = task.loss(output, batch.targets)[0]
    assert torch.equal(under, task.loss(output, batch.targets)[0])


def test_ranks_by_hand(tokenizer: Tokenizer) -> None:
    task = SentenceEmbedding(tokenizer, make_loss("in-batch"))
    right, up = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    slanted = torch.tensor([1.0, 1.0])
    pairs = [torch.stack([right, right]), torch.stack([right, slanted]), torch.stack([up, up])]
    examples = [Related("a", "b")] * 3  # of the second anchor, the first pair's text is nearer than its own
    assert task.score(pairs, examples) == {"accuracy": pytest.approx(2 / 3), "mrr": pytest.approx(2.5 / 3)}
    triplets = [torch.stack([right, right, up]), torch.stack([up, slanted, up])]
    found = task.score(triplets, [Related("a", "b", "c")] * 2)
    # The second anchor's own stands behind both negatives that point up.
    assert found == {"accuracy": 0.5, "mrr": pytest.approx((1 + 1 / 3) / 2), "triplet_accuracy": 0.5}


def test_a_text_that_is_there_twice_does_not_stand_in_its_own_way(tokenizer: Tokenizer) -> None:
    task = SentenceEmbedding(tokenizer, make_loss("in-batch"))
    same = [torch.tensor([[1.0, 0.0], [1.0, 0.5]])] * 3
    assert task.score(same, [Related("a", "b")] * 3) == {"accuracy": 1.0, "mrr": 1.0}


def test_scores_of_a_split_larger_than_a_chunk(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    task, vectors = SentenceEmbedding(tokenizer, make_loss("in-batch")), list(torch.randn(10, 2, 4))
    whole = task.score(vectors, [Related("a", "b")] * 10)
    monkeypatch.setattr("minitl.tasks.sentence_embedding.CHUNK", 3)
    assert task.score(vectors, [Related("a", "b")] * 10) == pytest.approx(whole)


def test_pairs_with_scores_are_measured_by_rank_correlation(tokenizer: Tokenizer) -> None:
    task = SentenceEmbedding(tokenizer, make_loss("cosine"))
    angles = [torch.tensor([[1.0, 0.0], [1.0, slope]]) for slope in (0.0, 1.0, 2.0)]
    examples = [Related("a", "b", score=score) for score in (0.9, 0.5, 0.1)]
    assert task.score(angles, examples) == {"spearman": pytest.approx(1.0)}
    assert task.score([angles[0]] * 3, examples) == {"spearman": 0.0}


def test_what_a_loss_cannot_learn_from_is_refused(tokenizer: Tokenizer) -> None:
    def check(loss: str, *examples: Related) -> None:
        SentenceEmbedding(tokenizer, make_loss(loss)).check(examples, "training")

    pair = Related("a", "b")
    with pytest.raises(DataError, match="training example 0: 2 texts, where this loss reads 3"):
        check("triplet", pair)
    with pytest.raises(DataError, match="the score None is no number from 0 to 1"):
        check("cosine", pair)
    with pytest.raises(DataError, match=r"the score 1\.5 is no number from 0 to 1"):
        check("contrastive", Related("a", "b", score=1.5))
    with pytest.raises(DataError, match=r"a score, 0\.5, where all pairs are taken to belong together"):
        check("in-batch", Related("a", "b", score=0.5))
    with pytest.raises(DataError, match="holds pairs and triplets"):
        check("in-batch", pair, TRIPLETS[0])
    with pytest.raises(InputError, match="pooling 'men': one of cls, max, mean"):
        SentenceEmbedding(tokenizer, make_loss("cosine"), pooling="men")


def test_nothing_learns_over_a_frozen_backbone(tiny: Path, tokenizer: Tokenizer) -> None:
    task = SentenceEmbedding(tokenizer, make_loss("triplet"))
    with pytest.raises(InputError):
        fit(load_model(tiny, "backbone"), TRIPLETS, task=task, strategy=FROZEN)


@pytest.mark.parametrize("loss", ["in-batch", "triplet"])
def test_a_tiny_model_learns_what_belongs_together(tiny: Path, tokenizer: Tokenizer, loss: str) -> None:
    names, rest = ["film", "book", "food", "hotel"], ["good", "bad", "fine", "poor"]
    examples = [
        Related(f"the {a} {thing} was", f"{b} {thing} and very", f"the {a} {other} was")
        for thing, other in zip(names, names[1:] + names[:1], strict=True)
        for a in rest
        for b in rest
    ]
    task = SentenceEmbedding(tokenizer, make_loss(loss, dims=[24, 8]), max_length=12)
    model = load_model(tiny, "backbone")
    before = evaluate(model, examples, task=task)
    fit(model, examples, task=task, settings=Settings(epochs=4, batch_size=16, learning_rate=3e-3))
    after = evaluate(model, examples, task=task)
    assert before["triplet_accuracy"] < 0.9
    assert after["triplet_accuracy"] == 1.0
    assert after["loss"] < before["loss"]


@pytest.mark.parametrize(("pooling", "normalize"), [("mean", False), ("cls", True), ("max", False)])
def test_what_is_saved_is_a_sentence_encoder(
    tiny: Path, tokenizer: Tokenizer, tmp_path: Path, pooling: str, normalize: bool
) -> None:
    task = SentenceEmbedding(tokenizer, make_loss("triplet"), 12, pooling, normalize)
    model = load_model(tiny, "backbone")
    save_model(model, tmp_path / "saved", tokenizer, beside=task.beside(model))
    encoder = load_sentence_encoder(tmp_path / "saved")
    assert (encoder.max_length, encoder.similarity, encoder.dim) == (12, "cosine", 24)
    vectors = predict(model, TRIPLETS, task=task)
    for example, expected in zip(TRIPLETS, vectors, strict=True):
        torch.testing.assert_close(encoder.encode(example.texts), expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(task.encoder(model).encode(example.texts), expected, atol=1e-5, rtol=1e-4)
