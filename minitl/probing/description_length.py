"""How many bits it takes to tell the labels to someone who has the vectors (Voita & Titov 2020, arXiv:2003.12298).

Accuracy does not say how hard it was to get there. Online, or prequential, coding (section 2.2.2) does: the labels are
sent in blocks, each coded with a probe that was trained on the blocks before it. What is easy to find is found from few
examples.

    L_online = t_1 log2 K - Σ_i log2 p_i(labels t_i + 1 … t_{i+1} | vectors)
    L_uniform = n log2 K,   compression = L_uniform / L_online
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from minitl.errors import InputError
from minitl.probing.checks import texts_of
from minitl.probing.controls import has_control, targets
from minitl.probing.labelled import LabelledLearner
from minitl.probing.material import Material
from minitl.probing.probes import Linear, Probe
from minitl.probing.regimen import Regimen, train
from minitl.probing.task import Examples, Task

# Shares of the training part after which a probe is trained anew: the paper's, of which the last is the whole.
PORTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
REGIMEN, LINEAR = Regimen(), Linear()


@dataclass(frozen=True, eq=False)
class CodeLength:
    """bits         L_online of the training labels: [layers, seeds]
    control      that of the control task's; None where there is none
    uniform      L_uniform in bits
    portions     how many examples each probe was trained on, the first block's number first; at the end all
    """

    bits: Tensor
    control: Tensor | None
    uniform: float
    portions: tuple[int, ...]

    @property
    def compression(self) -> Tensor:
        """L_uniform / L_online: [layers, seeds]."""
        return self.uniform / self.bits


def block_ends(count: int) -> tuple[int, ...]:
    """After how many of `count` examples each block ends; few examples have fewer blocks."""
    return tuple(sorted({max(1, round(share * count)) for share in PORTIONS}))


def online_code(
    material: Material,
    probe: Probe = LINEAR,
    *,
    seeds: Sequence[int] = (0,),
    regimen: Regimen = REGIMEN,
    control: bool = True,
) -> CodeLength:
    """The code length of the task's training labels given each layer's vectors, by a probe that reads one layer.

    The order of sending is of texts, drawn by the seed, so that a block holds no words of sentences that the probe was
    trained on, but for the one that a block's end may cut; it is the same for all layers. The validation part, which
    both ends have, ends each training. All portions together cost about one more training on the whole. InputError: a
    task of scores. Else as in `sweep`.
    """
    task, splits = material.task, material.splits
    if task.labels is None:
        raise InputError(f"task {task.name!r} is of scores: a code length is of classes")
    classes, n = len(task.labels), len(splits["train"])
    asked = control and has_control(splits)
    sent = []
    for vectors in material.groups():
        of_seeds = []
        for seed in seeds:
            learner = LabelledLearner(probe, (seed,), vectors, targets(splits, (seed,), asked), classes)
            of_seeds.append(_blocks(learner, _order(task, splits["train"], seed), regimen))
        sent.append(torch.cat(of_seeds, dim=-1))
    bits = torch.cat(sent, dim=2).sum(0)  # [blocks, questions, layers, seeds] -> [questions, layers, seeds]
    return CodeLength(
        bits=bits[0],
        control=bits[1] if asked else None,
        uniform=uniform_bits(n, classes),
        portions=block_ends(n),
    )


def uniform_bits(count: int, classes: int) -> float:
    """`count` labels, each one of `classes` that are thought equally likely."""
    return float(count * torch.tensor(classes, dtype=torch.float64).log2())


def _blocks(learner: LabelledLearner, order: Tensor, regimen: Regimen) -> Tensor:
    """Bits of each block of the examples in this order: [blocks, questions, layers, 1]."""
    assert learner.classes is not None
    ends = block_ends(len(order))
    bits = [torch.full(learner.shape, uniform_bits(ends[0], learner.classes), dtype=torch.float64)]
    for known, end in itertools.pairwise(ends):
        part = _restricted(learner, order[:known], order[known:end])
        _, losses = part.answers(train(part, regimen).parameters, "test", regimen.batch_size)
        bits.append(losses.double().sum(-1) / torch.tensor(2.0, dtype=torch.float64).log())
    return torch.stack(bits)


def _order(task: Task, examples: Examples, seed: int) -> Tensor:
    """The examples, text after text, the texts in an order drawn by the seed."""
    texts = texts_of(task, examples.spans)[:, 0]
    known, number = texts.unique(return_inverse=True)
    place = torch.randperm(len(known), generator=Generator().manual_seed(seed))
    return place[number].argsort(stable=True)


def _restricted(learner: LabelledLearner, known: Tensor, sent: Tensor) -> LabelledLearner:
    """The same with the examples `known` as the training part and those that are `sent` as the test part."""
    vectors, labels = learner.vectors["train"], learner.targets["train"]
    return LabelledLearner(
        learner.probe,
        learner.seeds,
        {**learner.vectors, "train": vectors.take(known), "test": vectors.take(sent)},
        {**learner.targets, "train": labels[..., known], "test": labels[..., sent]},
        learner.classes,
    )
