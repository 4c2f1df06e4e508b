"""Control tasks, the constant answer and the random twin."""

import torch

from minitl import load_model, new_model
from minitl.probing.controls import constant_answer, control_labels, has_control, random_twin, targets
from minitl.probing.task import Examples


def splits_of(kinds, labels):
    at = torch.arange(len(labels))
    examples = Examples(torch.stack([at, at + 1], -1)[:, None], labels, kinds)
    half = len(labels) // 2
    parts = [Examples(examples.spans[p], labels[p], kinds[p]) for p in (slice(0, half), slice(half, None))]
    return {"train": parts[0], "validation": parts[1], "test": parts[1]}


def test_a_kind_has_one_label_everywhere():
    kinds = torch.randint(30, (400,))
    made = control_labels(splits_of(kinds, torch.randint(5, (400,))), seed=3)
    for kind in range(30):
        seen = torch.cat([made["train"][kinds[:200] == kind], made["test"][kinds[200:] == kind]])
        assert len(seen.unique()) == 1
    assert torch.equal(made["validation"], made["test"])


def test_labels_are_drawn_as_often_as_the_tasks_own():
    labels = torch.cat([torch.zeros(900), torch.ones(100)]).long()[torch.randperm(1000)]
    made = control_labels(splits_of(torch.arange(1000), labels), seed=0)  # a thousand kinds, each drawn once
    share = torch.cat([made["train"], made["test"]]).float().mean()
    assert abs(float(share) - 0.1) < 0.04  # four standard deviations


def test_seeds_draw_different_labels_and_one_seed_the_same():
    splits = splits_of(torch.arange(50), torch.randint(4, (50,)))
    assert torch.equal(control_labels(splits, 1)["train"], control_labels(splits, 1)["train"])
    assert not torch.equal(control_labels(splits, 1)["train"], control_labels(splits, 2)["train"])


def test_scores_have_control_scores():
    scores = torch.randn(50)
    made = control_labels(splits_of(torch.arange(50) % 7, scores), 0)
    assert set(made["test"].tolist()) <= set(scores[:25].tolist())


def test_targets_are_the_task_then_its_control_for_each_seed():
    splits = splits_of(torch.arange(10) % 3, torch.arange(10) % 2)
    made = targets(splits, (4, 5), control=True)
    assert made["train"].shape == (2, 2, 5)
    assert torch.equal(made["train"][0], splits["train"].labels.expand(2, -1))
    assert torch.equal(made["test"][1, 1], control_labels(splits, 5)["test"])
    assert targets(splits, (4, 5), control=False)["train"].shape == (1, 2, 5)


def test_without_kinds_there_is_no_control():
    splits = splits_of(torch.arange(10) % 5, torch.arange(10) % 2)
    assert has_control(splits)
    assert not has_control({**splits, "test": Examples(splits["test"].spans, splits["test"].labels)})


def test_of_kinds_that_training_never_saw_there_is_no_control_task():
    labels = torch.randint(2, (40,))
    assert has_control(splits_of(torch.arange(40) % 20, labels))
    assert not has_control(splits_of(torch.arange(40), labels))


def test_the_constant_answer():
    assert constant_answer(torch.tensor([2, 0, 2, 1]), classes=True, count=3).tolist() == [2, 2, 2]
    assert constant_answer(torch.tensor([1.0, 2.0, 6.0]), classes=False, count=2).tolist() == [3.0, 3.0]


def test_a_twin_has_the_shape_and_none_of_the_knowledge(tiny):
    model = load_model(tiny, "sequence-classification", num_labels=2)
    before = torch.random.get_rng_state()
    twin, again, other = (random_twin(model, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(before, torch.random.get_rng_state())
    assert twin.config == model.config
    theirs = dict(model.named_parameters())
    weight = "layers.0.attention.query.weight"
    assert twin.get_parameter(weight).shape == theirs[weight].shape
    assert not torch.equal(twin.get_parameter(weight), theirs[weight])
    assert torch.equal(twin.get_parameter(weight), again.get_parameter(weight))
    assert not torch.equal(twin.get_parameter(weight), other.get_parameter(weight))


def test_a_twin_of_an_encoder_alone_has_no_decoder():
    config = {
        "model_type": "t5", "vocab_size": 24, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2,
        "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    model = new_model(config)
    assert random_twin(model).decoder is not None
    model.decoder = None
    assert random_twin(model).decoder is None
