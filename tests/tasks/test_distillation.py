"""Distillation: the three losses by hand and as PyTorch's own modules have them, and what a teacher must be."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from minitl import fit, load_model, load_tokenizer, new_model
from minitl.data import Example, TaggedSentence
from minitl.errors import DataError, InputError
from minitl.models.base import Model
from minitl.models.fewer_layers import keep_layers
from minitl.tasks.distillation import Distillation, Distilled, softened
from minitl.tasks.masked_lm import MaskedLM
from minitl.tasks.question_answering import QuestionAnswering
from minitl.tasks.regression import Regression
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.tasks.token_classification import TokenClassification
from minitl.tokenization import Tokenizer
from minitl.training import Settings, evaluate, predict

LABELS = ["negative", "positive"]
PLAN = Distillation("teacher", temperature=2.0, soft=5.0, hard=2.0, hidden=1.0)
EXAMPLES = [Example("the good film was very good", label=1), Example("bad", label=0), Example("a poor book", label=0)]


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Tokenizer:
    return load_tokenizer(tiny)


@pytest.fixture
def teacher(tiny: Path) -> Model:
    model = load_model(tiny, "sequence-classification", labels=LABELS)
    model.untaught = ()  # let it be one that was taught
    return model


@pytest.fixture
def classes(tokenizer: Tokenizer) -> SequenceClassification:
    return SequenceClassification(tokenizer, LABELS, max_length=12)


def test_softened_logits_by_hand() -> None:
    student, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    p = 1 / (1 + math.e**2)  # of the teacher at T = 2, the first class
    q = math.e / (math.e + 1)  # of the student
    divergence = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert float(softened(student, teacher, 2.0)) == pytest.approx(4 * divergence, rel=1e-5)
    assert float(softened(student, student, 2.0)) == pytest.approx(0, abs=1e-6)
    twice = softened(student.repeat(2, 1), teacher.repeat(2, 1), 2.0)
    assert float(twice) == pytest.approx(4 * divergence, rel=1e-5)  # a mean over rows


def test_the_loss_of_a_classifier_is_the_mixture(teacher: Model, classes: SequenceClassification) -> None:
    student = keep_layers(teacher, [0, 2])
    task = Distilled(classes, teacher, student, PLAN)
    batch = task.collate(task.encode(EXAMPLES))
    output, taught = student(**batch.inputs), teacher(**batch.inputs)
    loss, count = task.loss(output, batch.targets)

    divergence = nn.KLDivLoss(reduction="batchmean")
    soft = 4 * divergence((output.logits / 2).log_softmax(-1), (taught.logits / 2).softmax(-1))
    hard = nn.CrossEntropyLoss()(output.logits, torch.tensor([1, 0, 0]))
    real = batch.inputs["attention_mask"].bool()
    h, g = output.last_hidden_state[real], taught.last_hidden_state[real]
    hidden = nn.CosineEmbeddingLoss()(h, g, torch.ones(len(h)))
    assert count == 3
    torch.testing.assert_close(loss / count, 5 * soft + 2 * hard + hidden)


def test_of_a_masked_model_every_real_token_is_softened(tiny: Path, tokenizer: Tokenizer) -> None:
    teacher = load_model(tiny, "masked-lm")
    teacher.untaught = ()
    student = keep_layers(teacher, [0, 2])
    task = Distilled(MaskedLM(tokenizer, max_length=12, share=0.5), teacher, student, replace(PLAN, hidden=0.0))
    batch = task.collate(task.encode([Example("the good film was very good and a bad day but we was not really fine")]))
    output, taught = student(**batch.inputs), teacher(**batch.inputs)
    loss, count = task.loss(output, batch.targets)
    real, tokens = batch.inputs["attention_mask"].bool(), batch.targets["tokens"]
    divergence = nn.KLDivLoss(reduction="batchmean")
    soft = 4 * divergence((output.logits[real] / 2).log_softmax(-1), (taught.logits[real] / 2).softmax(-1))
    hard = nn.CrossEntropyLoss(ignore_index=-100)(output.logits.flatten(0, 1), tokens.flatten())
    assert not real.all()  # there is padding to leave out
    assert count == int((tokens != -100).sum()) > 0
    torch.testing.assert_close(loss / count, 5 * soft + 2 * hard)


def test_a_student_that_is_its_teacher_pays_for_the_labels_alone(
    teacher: Model, classes: SequenceClassification
) -> None:
    task = Distilled(classes, teacher, teacher, PLAN)
    batch = task.collate(task.encode(EXAMPLES))
    output = teacher(**batch.inputs)
    own = classes.loss(output, batch.targets)[0]
    torch.testing.assert_close(task.loss(output, batch.targets)[0], 2 * own, atol=1e-5, rtol=1e-5)


def test_the_teacher_learns_nothing(teacher: Model, classes: SequenceClassification) -> None:
    before = {name: p.clone() for name, p in teacher.named_parameters()}
    student = keep_layers(teacher, [0, 2])
    fit(student, EXAMPLES, task=Distilled(classes, teacher, student, PLAN), settings=Settings(epochs=2))
    assert not teacher.training
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in teacher.named_parameters())


def test_a_student_comes_near_a_teacher_without_a_label(teacher: Model, classes: SequenceClassification) -> None:
    """The loss is soft alone, so what it learns it has from the teacher."""
    with torch.no_grad():
        teacher.head.classifier.weight.mul_(60)  # so that its answers differ from text to text
    words = ["good", "bad", "film", "hotel", "very", "the"]
    texts = [f"{a} {b}" for a in words for b in words]
    examples = [Example(text, label=0) for text in texts]
    torch.manual_seed(1)
    student = new_model({**teacher.config.to_dict(), "num_hidden_layers": 1}, teacher.task)
    task = Distilled(classes, teacher, student, Distillation("teacher", soft=1.0, hard=0.0, hidden=0.0))

    def distance() -> float:
        said = [predict(model, examples, task=classes) for model in (student, teacher)]
        return float((said[0] - said[1]).abs().mean())

    before = distance()
    fit(student, examples, task=task, settings=Settings(epochs=10, batch_size=18, learning_rate=1e-2))
    assert distance() < before / 3


def test_words_are_tagged_as_the_task_has_it(tiny: Path, tokenizer: Tokenizer) -> None:
    tags = ["B-x", "O"]
    teacher = load_model(tiny, "token-classification", labels=tags)
    teacher.untaught = ()
    student = keep_layers(teacher, [0, 2])
    plain = TokenClassification(tokenizer, tags, 12)
    task = Distilled(plain, teacher, student, PLAN)
    examples = [TaggedSentence(("the", "good", "film"), ("O", "B-x", "O")), TaggedSentence(("bad",), ("O",))]
    assert predict(student, examples, task=task) == predict(student, examples, task=plain)
    found = evaluate(student, examples, task=task)
    assert {k: v for k, v in found.items() if k != "loss"} == {
        k: v for k, v in evaluate(student, examples, task=plain).items() if k != "loss"
    }
    with pytest.raises(DataError):
        task.check([], "training")


def test_a_teacher_that_cannot_teach_is_refused(
    tiny: Path, tokenizer: Tokenizer, teacher: Model, classes: SequenceClassification
) -> None:
    student = keep_layers(teacher, [0, 2])
    with pytest.raises(InputError, match=r"has no taught head: head\.classifier would be new"):
        Distilled(classes, load_model(tiny, "sequence-classification", labels=LABELS), student, PLAN)
    with pytest.raises(InputError, match="has the head backbone, the task needs sequence-classification"):
        Distilled(classes, load_model(tiny, "backbone"), student, PLAN)
    other = load_model(tiny, "sequence-classification", labels=LABELS[::-1])
    other.untaught = ()
    with pytest.raises(InputError, match=r"knows the labels \['positive', 'negative'\], the student"):
        Distilled(classes, other, student, PLAN)
    narrow = new_model({**teacher.config.to_dict(), "hidden_size": 12}, teacher.task)
    with pytest.raises(InputError, match="token vectors of size 24, the student of 12"):
        Distilled(classes, teacher, narrow, PLAN)
    Distilled(classes, teacher, narrow, replace(PLAN, hidden=0.0))
    with pytest.raises(InputError, match="a question-answering model cannot be distilled"):
        Distilled(QuestionAnswering(tokenizer), teacher, student, PLAN)  # type: ignore[type-var]
    score = load_model(tiny, "sequence-classification", num_labels=1)
    score.untaught = ()
    with pytest.raises(InputError, match="a score, has no distribution to soften"):
        Distilled(Regression(tokenizer), score, score, PLAN)


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"soft": -1.0}, {"soft": 0.0, "hidden": 0.0}], ids=lambda wrong: str(wrong)
)
def test_numbers_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"temperature|soft, hard and hidden"):
        replace(PLAN, **wrong)
