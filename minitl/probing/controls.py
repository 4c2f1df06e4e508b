"""What a probe's number must be held against: the commonest answer, made-up labels, and a model that learnt nothing.

A probe can learn a task by itself. A control task (Hewitt & Liang 2019, arXiv:1909.03368) asks the same of the same
vectors with labels that mean nothing, one for each word type: what a probe gets right there it has memorised.

    selectivity = accuracy on the task - accuracy on its control task       (section 2.2)
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from minitl.models.base import Model
from minitl.models.encoder_decoder import EncoderDecoder
from minitl.models.loading import new_model
from minitl.probing.task import Examples, Split

TWINS = 1_000_003  # twins' seeds begin here: a model that was itself drawn with a small seed is not its own twin
SEEN = 0.5  # the share of test examples whose kind training must have seen, for a control task to say something


def control_labels(splits: Mapping[Split, Examples], seed: int) -> dict[Split, Tensor]:
    """For each split labels that depend on the examples' `kinds` alone, the same kind with the same label everywhere.

    A kind's label is drawn from the training split's labels, so that the classes are as frequent as the task's own
    (section 2.1), or the scores distributed as its own. The splits must have kinds.
    """
    generator = Generator().manual_seed(seed)
    kinds = {split: examples.kinds for split, examples in splits.items() if examples.kinds is not None}
    assert kinds.keys() == splits.keys(), "asked for examples that have kinds"
    types, numbers = torch.cat(list(kinds.values())).unique(return_inverse=True)
    true = splits["train"].labels
    drawn = true[torch.randint(len(true), (len(types),), generator=generator)]
    parts = drawn[numbers].split([len(part) for part in kinds.values()])
    return dict(zip(kinds, parts, strict=True))


def has_control(splits: Mapping[Split, Examples]) -> bool:
    """Whether there are kinds to make a control task of, and training has seen those of most test examples.

    Of a kind that training has not seen nobody can know the label by heart: on new names (WNUT-17 has 98% of them) a
    probe would look selective however much it memorises.
    """
    kinds = {split: examples.kinds for split, examples in splits.items() if examples.kinds is not None}
    return kinds.keys() == splits.keys() and bool(torch.isin(kinds["test"], kinds["train"]).float().mean() > SEEN)


def constant_answer(train: Tensor, classes: bool, count: int) -> Tensor:
    """What says the same of everything: the commonest class of `train`, or the mean of its scores; [count]."""
    answer = torch.bincount(train.long()).argmax() if classes else train.mean()
    return answer.expand(count)


def random_twin(model: Model, seed: int = 0) -> Model:
    """A model of the same config with fresh weights, as training from scratch would begin: the architecture alone.

    What probes find in it needed no training (Zhang & Bowman 2018; Hewitt & Liang 2019 compare with it too). Torch's
    generators are left as they were.
    """
    parameter = next(model.parameters())
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(TWINS + seed)
        twin = new_model(model.config, dtype=parameter.dtype)
    if isinstance(model, EncoderDecoder) and isinstance(twin, EncoderDecoder) and model.decoder is None:
        twin.decoder = None
    return twin.to(parameter.device)


def targets(splits: Mapping[Split, Examples], seeds: Sequence[int], control: bool) -> dict[Split, Tensor]:
    """The task's labels, then with `control` those of a control task for each seed: [questions, seeds, examples]."""
    made = {split: [examples.labels.expand(len(seeds), -1)] for split, examples in splits.items()}
    if control:
        drawn = [control_labels(splits, seed) for seed in seeds]
        for split, questions in made.items():
            questions.append(torch.stack([labels[split] for labels in drawn]))
    return {split: torch.stack(questions) for split, questions in made.items()}
