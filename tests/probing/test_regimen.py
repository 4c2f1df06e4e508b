"""Many probes at once are the same probes one by one."""

import pytest
import torch

from minitl.errors import Diverged, InputError
from minitl.probing.labelled import LabelledLearner
from minitl.probing.mixing import Mixed
from minitl.probing.probes import MLP, Linear, Span
from minitl.probing.regimen import Adam, Regimen, mean_losses, train
from minitl.probing.vectors import Vectors

QUICK = Regimen(rounds=6, round_steps=4, batch_size=8, learning_rate=1e-2)


def learner_of(probe, seeds=(0, 1, 2), layers=3, questions=2, classes=3, examples=40, longest=None, spread=1.0):
    generator = torch.Generator().manual_seed(5)
    vectors, targets = {}, {}
    for split, n in (("train", examples), ("validation", 20)):
        values = torch.randn(layers, n * (longest or 1), 6, generator=generator) * spread
        places = torch.arange(n * (longest or 1))
        if longest:
            places = places.view(n, 1, longest).masked_fill(
                torch.arange(longest) > torch.arange(n)[:, None, None] % 3, -1
            )
        vectors[split] = Vectors(values, places)
        # each question can be answered from the first layers, the less so the higher, so that probes stop at odds
        noisy = values[0].view(n, -1, 6)[:, 0] + torch.randn(n, 6, generator=generator)
        labels = noisy[:, :3].argmax(-1) if classes else noisy[:, 0]
        other = labels[torch.randperm(n, generator=generator)]
        targets[split] = torch.stack([labels, other])[:questions, None].expand(-1, len(seeds), -1)
    return LabelledLearner(probe, seeds, vectors, targets, classes)


def alone(learner, question, layer, seed):
    """The same probe, with nobody beside it."""
    place = learner.seeds.index(seed)
    return LabelledLearner(
        learner.probe,
        (seed,),
        {
            s: Vectors(v.values if layer is None else v.values[layer : layer + 1], v.places)
            for s, v in learner.vectors.items()
        },
        {s: t[question : question + 1, place : place + 1] for s, t in learner.targets.items()},
        learner.classes,
    )


@pytest.mark.parametrize(
    ("probe", "options"),
    [(Linear(), {}), (MLP(5), {}), (Linear(), {"classes": None}), (Span(5), {"longest": 3})],
    ids=["linear", "mlp", "scores", "span"],
)
def test_a_batched_sweep_is_one_by_one_training(probe, options):
    learner = learner_of(probe, **options)
    together = train(learner, QUICK)
    assert together.best_round.unique().numel() > 1  # they do not all end alike
    for question in range(2):
        for layer in range(3):
            for s, seed in enumerate(learner.seeds):
                one = train(alone(learner, question, layer, seed), QUICK)
                place = (question, layer, s)
                assert one.best_round.item() == together.best_round[place]
                torch.testing.assert_close(one.loss[0, 0, 0], together.loss[place], rtol=1e-5, atol=1e-5)
                for name, value in one.parameters.items():
                    torch.testing.assert_close(value[0, 0, 0], together.parameters[name][place], rtol=1e-4, atol=1e-5)


def test_a_probe_that_has_stopped_learns_no_more_while_others_go_on():
    """At a rate at which losses go up and down, it would often get better again."""
    learner = learner_of(Linear(), seeds=(0, 1))
    regimen = Regimen(rounds=12, round_steps=4, batch_size=8, learning_rate=0.3, patience=1, cut=1.0)
    together = train(learner, regimen)
    for question, layer, s in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(2)).tolist():
        one = train(alone(learner, question, layer, learner.seeds[s]), regimen)
        assert one.best_round.item() == together.best_round[question, layer, s]
        torch.testing.assert_close(one.loss[0, 0, 0], together.loss[question, layer, s], rtol=1e-5, atol=1e-5)


def test_mixes_side_by_side_are_mixes_alone():
    together = train(learner := learner_of(Mixed(Linear())), QUICK)
    for question in range(2):
        for s, seed in enumerate(learner.seeds):
            one = train(alone(learner, question, None, seed), QUICK)
            torch.testing.assert_close(one.loss[0, :, 0], together.loss[question, :, s], rtol=1e-5, atol=1e-5)


def test_training_is_repeatable_and_seeds_differ():
    first, second = (train(learner_of(Linear()), QUICK) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters.values(), second.parameters.values(), strict=True))
    weight = first.parameters["out.weight"]
    assert not torch.equal(weight[:, :, 0], weight[:, :, 1])


def test_adam_is_pytorchs_adamw_with_a_rate_for_each_probe():
    torch.manual_seed(0)
    ours = {"out.weight": torch.randn(2, 1, 1, 3, 2), "out.bias": torch.randn(2, 1, 1, 2)}
    theirs = [{name: value[i].clone().requires_grad_() for name, value in ours.items()} for i in range(2)]
    rates = torch.tensor([0.1, 0.02])
    others = [
        torch.optim.AdamW(
            [{"params": [p["out.weight"]], "weight_decay": 0.1}, {"params": [p["out.bias"]], "weight_decay": 0.0}],
            lr=float(rate),
        )
        for p, rate in zip(theirs, rates, strict=True)
    ]
    adam = Adam(ours, 0.1)
    for _ in range(5):
        gradients = {name: torch.randn_like(value) for name, value in ours.items()}
        adam.step(ours, gradients, rates.view(2, 1, 1))
        for i, other in enumerate(others):
            for name, value in theirs[i].items():
                value.grad = gradients[name][i].clone()
            other.step()
    for i in range(2):
        for name, value in theirs[i].items():
            torch.testing.assert_close(ours[name][i], value.detach(), rtol=1e-5, atol=1e-6)


def test_the_best_round_is_kept_and_a_probe_that_overfits_stops():
    learner = learner_of(MLP(32), examples=16, questions=1)
    regimen = Regimen(rounds=40, round_steps=16, batch_size=8, learning_rate=3e-2, patience=2, cut=0.5)
    trained = train(learner, regimen)
    assert trained.rounds < 40
    assert trained.rounds == int(trained.best_round.max()) + 2  # the last to stop waited in vain for two
    torch.testing.assert_close(mean_losses(learner, trained.parameters, regimen), trained.loss, rtol=1e-5, atol=1e-6)


def test_few_examples_are_passed_over_several_times_a_round():
    calls = []
    learner = learner_of(Linear(), examples=10)
    object.__setattr__(learner, "order", lambda _, turn, *__: (calls.append(turn), torch.arange(10))[1])
    train(learner, Regimen(rounds=2, round_steps=3, batch_size=8))
    assert calls == [turn for turn in range(6) for _ in learner.seeds]  # 24 examples take three passes of ten


def test_each_seed_meets_the_examples_in_an_order_of_its_own():
    met = []
    learner = learner_of(Linear())
    losses = LabelledLearner.losses

    def watched(parameters, part, indices):
        if part == "train":
            met.append(indices)
        return losses(learner, parameters, part, indices)

    object.__setattr__(learner, "losses", watched)
    train(learner, Regimen(rounds=1, round_steps=5, batch_size=40))
    first, second = met[:2]
    assert first.shape == (3, 40)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], second[0])
    assert first.sort(-1).values.tolist() == [list(range(40))] * 3


def test_a_loss_that_is_not_finite_is_told():
    learner = learner_of(Linear(), spread=torch.inf)
    with pytest.raises(Diverged, match="validation loss is not finite after round 1"):
        train(learner, QUICK)


@pytest.mark.parametrize(
    "wrong",
    [{"rounds": 0}, {"batch_size": 1.5}, {"patience": 0}, {"learning_rate": 0.0}, {"cut": 1.5}, {"weight_decay": -1.0}],
)
def test_a_regimen_out_of_range_is_refused(wrong):
    with pytest.raises(InputError):
        Regimen(**wrong)
