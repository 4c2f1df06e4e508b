"""Probes on a file of features: `python -m benchmarks.workers.probe SIDE PROBE FILE`.

SIDE is one of `benchmarks.probing.SIDES`, PROBE "linear" or "mlp". A run trains a probe for each layer and seed and
gives the mean validation accuracy of each layer, on standard error.
"""

import itertools
import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Generator, Tensor, nn

from benchmarks.workers import Run, serve
from minitl.probing.labelled import LabelledLearner
from minitl.probing.probes import MLP, Linear
from minitl.probing.regimen import Regimen, train
from minitl.probing.task import Split
from minitl.probing.vectors import Buffer, Vectors

SEEDS = (0, 1, 2)
WIDTH = 64
PARTS: tuple[Split, ...] = ("train", "validation")
REGIMEN = Regimen()

Data = dict[str, Tensor]
Probes = Callable[[Data, str], Tensor]  # -> validation accuracy [layers, seeds]


def set_up() -> Run:
    side, probe, file = sys.argv[1:4]
    sweep = {"minitl": at_once, "PyTorch, one by one": in_a_loop, "scikit-learn, one by one": in_scikit_learn}[side]
    data = load_file(file)
    data = {name: tensor.clone() for name, tensor in data.items()}  # out of the mapped file, into memory

    def run() -> None:
        accuracy = sweep(data, probe).mean(-1)
        print(side, probe, [round(value, 4) for value in accuracy.tolist()], file=sys.stderr)

    return run


def at_once(data: Data, probe: str) -> Tensor:
    buffer = Buffer()
    vectors = {part: Vectors(data[f"{part}.x"], torch.arange(len(data[f"{part}.y"])), None, buffer) for part in PARTS}
    targets = {split: data[f"{split}.y"].expand(1, len(SEEDS), -1) for split in PARTS}
    learner = LabelledLearner(Linear() if probe == "linear" else MLP(WIDTH), SEEDS, vectors, targets, _classes(data))
    said, _ = learner.answers(train(learner, REGIMEN).parameters, "validation", REGIMEN.batch_size)
    return (said[0] == data["validation.y"]).float().mean(-1)


def in_a_loop(data: Data, probe: str) -> Tensor:
    return torch.tensor([[_one(data, probe, layer, seed) for seed in SEEDS] for layer in range(len(data["train.x"]))])


def _one(data: Data, probe: str, layer: int, seed: int) -> float:
    """A module, an optimizer and a loop, with the regimen of the batched sweep."""
    x, y, held_x, held_y = (data[f"{part}.{name}"] for part in PARTS for name in ("x", "y"))
    x, held_x = x[layer], held_x[layer]
    generator = Generator().manual_seed(seed)
    model = _module(probe, x.shape[-1], _classes(data), generator)
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=REGIMEN.learning_rate, weight_decay=REGIMEN.weight_decay)
    best, waited, accuracy = math.inf, 0, 0.0
    passes = math.ceil(REGIMEN.round_steps * REGIMEN.batch_size / len(y))
    for _ in range(REGIMEN.rounds):
        for _ in range(passes):
            for batch in torch.randperm(len(y), generator=generator).split(REGIMEN.batch_size):
                optimizer.zero_grad()
                F.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
        with torch.no_grad():
            outputs = model(held_x)
            loss = float(F.cross_entropy(outputs, held_y))
        if loss < best * (1 - REGIMEN.tolerance):
            best, waited, accuracy = loss, 0, float((outputs.argmax(-1) == held_y).float().mean())
            continue
        waited += 1
        for group in optimizer.param_groups:
            group["lr"] *= REGIMEN.cut
        if waited == REGIMEN.patience:
            break
    return accuracy


def _module(probe: str, size: int, classes: int, generator: Generator) -> nn.Module:
    widths = [size, classes] if probe == "linear" else [size, WIDTH, classes]
    layers: list[nn.Module] = []
    for into, out in itertools.pairwise(widths):
        linear = nn.Linear(into, out)
        with torch.no_grad():  # drawn as the batched sweep draws it
            bound = 1 / math.sqrt(into)
            linear.weight.uniform_(-bound, bound, generator=generator)
            linear.bias.zero_()
        layers += [nn.ReLU(), linear] if layers else [linear]
    return nn.Sequential(*layers)


def in_scikit_learn(data: Data, probe: str) -> Tensor:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    def fitted(layer: int, seed: int) -> float:
        if probe == "linear":
            model = LogisticRegression(random_state=seed)
        else:
            model = MLPClassifier(
                (WIDTH,), batch_size=REGIMEN.batch_size, learning_rate_init=REGIMEN.learning_rate, early_stopping=True,
                n_iter_no_change=REGIMEN.patience, random_state=seed,
            )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that 100 iterations, its default, were not enough
            model.fit(data["train.x"][layer].numpy(), data["train.y"].numpy())
        return float(model.score(data["validation.x"][layer].numpy(), data["validation.y"].numpy()))

    return torch.tensor([[fitted(layer, seed) for seed in SEEDS] for layer in range(len(data["train.x"]))])


def _classes(data: Data) -> int:
    return 1 + int(max(data["train.y"].max(), data["validation.y"].max()))


if __name__ == "__main__":
    serve(set_up)
