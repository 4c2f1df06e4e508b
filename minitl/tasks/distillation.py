"""Learn what a larger model says, not only what is right (DistilBERT, Sanh et al. 2019, arXiv:1910.01108, section 3).

    batch ─┬─ student ─► logits s, hidden states h       loss = soft   · T² · KL(softmax(t / T) ‖ softmax(s / T))
           │                                                  + hard   · the task's own
           └─ teacher ─► logits t, hidden states g            + hidden · (1 - cos(h, g))

A teacher that is divided between two answers says so: softened by the temperature T, that is more than a label holds.
T² keeps the gradients' size (Hinton et al. 2015, section 2.1).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tasks.ranges import above_zero, not_empty
from minitl.tasks.task import E, I, Task, TrainingBatch

HEADS = ("sequence-classification", "token-classification", "masked-lm", "causal-lm")  # those with logits
READ = "teacher."  # before the names of the teacher's inputs among the targets


@dataclass(frozen=True)
class Distillation:
    """teacher              a checkpoint folder or hub id, with the task's head
    temperature          T above
    soft, hard, hidden   weights of the three losses; those of the published script for DistilBERT
    """

    teacher: str
    temperature: float = 2.0
    soft: float = 5.0
    hard: float = 2.0
    hidden: float = 1.0

    def __post_init__(self) -> None:
        not_empty(teacher=self.teacher)
        above_zero(temperature=self.temperature)
        weights = (self.soft, self.hard, self.hidden)
        if min(weights) < 0 or self.soft + self.hidden == 0:
            raise InputError(
                f"soft, hard and hidden must not be below 0, and one of soft and hidden above, got {weights}"
            )


class Distilled(Task[E, I]):
    """`task`, whose loss is mixed with how far the student is from a teacher; all else is `task`'s.

    teacher, student   models with the task's head; the same tokens and labels, and where `plan.hidden` is above 0
                       token vectors of one size, else InputError

    The means of soft and hidden losses are over the batch's real tokens (soft: over its texts, where a text has one
    answer), and count as often as the batch has targets: `fit` divides by these.
    """

    redraws = True  # features kept of the student's backbone would lack what the teacher reads

    def __init__(self, task: Task[E, I], teacher: Model, student: Model, plan: Distillation) -> None:
        _check(task, teacher, student, plan)
        self.task, self.teacher, self.plan = task, teacher.eval().requires_grad_(False), plan
        self.name, self.metric = task.name, task.metric

    def check_example(self, example: E) -> str | None:
        return self.task.check_example(example)

    def check(self, examples: Sequence[E], where: str) -> None:
        self.task.check(examples, where)

    def is_labelled(self, example: E) -> bool:
        return self.task.is_labelled(example)

    def encode(self, examples: Sequence[E]) -> list[I]:
        return self.task.encode(examples)

    def collate(self, items: Sequence[I]) -> TrainingBatch:
        """The task's own batch; its targets hold the inputs too, for the teacher, which reads when a loss is asked."""
        inputs, targets = self.task.collate(items)
        return TrainingBatch(inputs, {**targets, **{READ + name: tensor for name, tensor in inputs.items()}})

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        return self.loss_of_share(output, targets, lambda mine: mine)

    def loss_of_share(
        self, output: Output, targets: Mapping[str, Tensor], together: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, int]:
        """The means are those of the whole batch: its share of their sums, by the numbers of all processes."""
        inputs = {name.removeprefix(READ): tensor for name, tensor in targets.items() if name.startswith(READ)}
        hard, count = self.task.loss(output, {name: t for name, t in targets.items() if not name.startswith(READ)})
        with torch.no_grad():
            taught = self.teacher(**inputs)
        real = inputs["attention_mask"].bool()  # [batch, length]
        assert output.logits is not None
        assert taught.logits is not None
        said = [logits[real] if logits.dim() == 3 else logits for logits in (output.logits, taught.logits)]
        numbers = torch.tensor([[count, len(said[0]), int(real.sum())]], device=real.device)
        targets_of_all, said_by_all, real_of_all = together(numbers).sum(0).tolist()
        total = self.plan.hard * hard
        if self.plan.soft:
            divergence = softened(said[0], said[1], self.plan.temperature) * len(said[0])
            total = total + self.plan.soft * divergence * (targets_of_all / said_by_all)
        if self.plan.hidden:
            angles = torch.cosine_similarity(output.last_hidden_state[real], taught.last_hidden_state[real], dim=-1)
            total = total + self.plan.hidden * (1 - angles.float()).sum() * (targets_of_all / real_of_all)
        return total, count

    def answers(self, output: Output, batch: TrainingBatch) -> Iterable[Any]:
        return self.task.answers(output, batch)

    def predictions(self, answers: Sequence[Any], items: Sequence[I]) -> Any:
        return self.task.predictions(answers, items)

    def score(self, predictions: Any, examples: Sequence[E]) -> dict[str, float]:
        return self.task.score(predictions, examples)

    def describe(self) -> dict[str, Any]:
        return {**self.task.describe(), "distillation": asdict(self.plan)}

    def beside(self, model: Model) -> dict[str, Any]:
        return self.task.beside(model)


def softened(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)) of logits [rows, classes], the mean over the rows."""
    ours, theirs = (F.log_softmax(logits.float() / temperature, dim=-1) for logits in (student, teacher))
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


def _check(task: Task[Any, Any], teacher: Model, student: Model, plan: Distillation) -> None:
    where = f"the teacher {teacher.source}"
    if task.name not in HEADS:
        raise InputError(
            f"a {task.name} model cannot be distilled: a task with one of the heads {', '.join(HEADS)} can"
        )
    if teacher.task != task.name:
        raise InputError(f"{where} has the head {teacher.task}, the task needs {task.name}")
    if teacher.untaught:
        raise InputError(f"{where} has no taught head: {', '.join(teacher.untaught)} would be new")
    if task.name.endswith("-classification") and teacher.config.labels != student.config.labels:
        raise InputError(f"{where} knows the labels {teacher.config.labels}, the student {student.config.labels}")
    device = next(student.parameters()).device
    probe = torch.zeros(1, 1, dtype=torch.long, device=device)
    with torch.no_grad():
        theirs, ours = teacher(probe), student(probe)
    if theirs.logits.shape != ours.logits.shape:
        sizes = theirs.logits.shape[-1], ours.logits.shape[-1]
        raise InputError(f"{where} has {sizes[0]} outputs, the student {sizes[1]}")
    if plan.soft and ours.logits.shape[-1] < 2:
        raise InputError("a single output, a score, has no distribution to soften: set soft = 0")
    widths = theirs.last_hidden_state.shape[-1], ours.last_hidden_state.shape[-1]
    if plan.hidden and widths[0] != widths[1]:
        raise InputError(
            f"{where} has token vectors of size {widths[0]}, the student of {widths[1]}: only those of one size can be "
            "compared; set hidden = 0"
        )
