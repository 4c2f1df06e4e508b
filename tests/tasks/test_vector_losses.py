"""The losses of sentence embeddings, worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitl.errors import InputError
from minitl.tasks.vector_losses import Contrastive, CosineError, InBatchNegatives, Nested, Triplet, make_loss

NONE = torch.full((2,), float("nan"))
ANCHORS = torch.tensor([[2.0, 0.0], [0.0, 1.0]])


def test_in_batch_negatives_are_the_other_positives() -> None:
    positives = torch.tensor([[3.0, 0.0], [1.0, 1.0]])  # cosines with the anchors: [1, √½], [0, √½]
    loss = InBatchNegatives(scale=2.0)(torch.stack([ANCHORS, positives]), NONE)
    half = math.sqrt(0.5)
    first = -2 + math.log(math.exp(2) + math.exp(2 * half))
    second = -2 * half + math.log(math.exp(0) + math.exp(2 * half))
    assert float(loss) == pytest.approx(first + second, rel=1e-6)


def test_all_negatives_of_the_batch_are_negatives_of_each() -> None:
    vectors = torch.stack([ANCHORS, ANCHORS, ANCHORS.flip(0)])  # candidates: (1,0) (0,1) (0,1) (1,0)
    loss = InBatchNegatives(scale=1.0)(vectors, NONE)
    assert float(loss) == pytest.approx(2 * (-1 + math.log(2 * math.e + 2)), rel=1e-6)


def test_the_same_positive_twice_costs_its_examples_log_2() -> None:
    same = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert float(InBatchNegatives()(torch.stack([same, same]), NONE)) == pytest.approx(2 * math.log(2), rel=1e-6)


def test_the_cosine_is_to_be_the_score() -> None:
    vectors = torch.stack([ANCHORS, torch.tensor([[0.0, 5.0], [0.0, 7.0]])])  # cosines 0 and 1
    assert float(CosineError()(vectors, torch.tensor([0.5, 0.9]))) == pytest.approx(0.25 + 0.01)


def test_a_triplet_is_to_keep_its_distance() -> None:
    near, far = ANCHORS + torch.tensor([[3.0, 4.0]]), ANCHORS + torch.tensor([[0.0, 7.0], [0.0, 1.0]])
    loss = Triplet(margin=1.0)(torch.stack([ANCHORS, near, far]), NONE)  # max(0, 5 - 7 + 1) + max(0, 5 - 1 + 1)
    assert float(loss) == pytest.approx(5.0)


def test_a_text_that_is_its_own_positive_leaves_gradients_finite() -> None:
    vectors = torch.stack([ANCHORS, ANCHORS, ANCHORS + 1]).requires_grad_()
    Triplet()(vectors, NONE).backward()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


def test_contrastive_draws_together_and_pushes_apart_up_to_the_margin() -> None:
    vectors = torch.stack([ANCHORS, torch.tensor([[0.0, 1.0], [0.0, 1.0]])])  # distances 1 and 0
    loss = Contrastive(margin=0.5)
    assert float(loss(vectors, torch.tensor([1.0, 1.0]))) == pytest.approx(0.5)
    assert float(loss(vectors, torch.tensor([0.0, 0.0]))) == pytest.approx(0.5 * 0.25)


def test_nested_sums_the_loss_of_each_beginning() -> None:
    torch.manual_seed(0)
    vectors, scores = torch.randn(2, 5, 8), torch.rand(5)
    cosine = CosineError()
    parts = [w * float(cosine(vectors[..., :d], scores)) for d, w in ((8, 1.0), (4, 0.5), (2, 0.25))]
    nested = Nested(cosine, (8, 4, 2), (1.0, 0.5, 0.25))
    assert float(nested(vectors, scores)) == pytest.approx(sum(parts), rel=1e-5)
    assert (nested.texts, nested.scored) == (cosine.texts, cosine.scored)


@given(st.integers(2, 5), st.integers(2, 6), st.floats(0.5, 30))
def test_in_batch_negatives_see_angles_not_lengths(n: int, dim: int, factor: float) -> None:
    torch.manual_seed(n * dim)
    vectors, scores = torch.randn(2, n, dim), torch.full((n,), float("nan"))
    loss = InBatchNegatives()
    assert float(loss(vectors * factor, scores)) == pytest.approx(float(loss(vectors, scores)), rel=1e-3, abs=1e-4)
    assert float(loss(vectors, scores)) >= 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cosin", {}, "loss 'cosin': one of in-batch, cosine, triplet, contrastive"),
        ("cosine", {"margin": 1.0}, "margin: the loss cosine has none"),
        ("triplet", {"scale": 1.0}, "scale: the loss triplet has none"),
        ("in-batch", {"scale": 0.0}, "scale must be above 0"),
        ("triplet", {"margin": -1.0}, "margin must be above 0"),
        ("cosine", {"weights": [1.0]}, "weights go with dims"),
        ("cosine", {"dims": [4, 4]}, "dims must be sizes, each once"),
        ("cosine", {"dims": []}, "dims must be sizes, each once"),
        ("cosine", {"dims": [4, 2], "weights": [1.0]}, "with a weight each"),
    ],
)
def test_what_is_no_loss_is_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_loss(name, **options)  # type: ignore[arg-type]


def test_more_dimensions_than_a_vector_has_are_refused() -> None:
    with pytest.raises(InputError, match="this model's vectors have 2 numbers"):
        make_loss("cosine", dims=[4])(torch.stack([ANCHORS, ANCHORS]), torch.zeros(2))
