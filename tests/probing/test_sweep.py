"""A sweep finds what was planted, finds nothing in noise, and says how sure it is."""

from dataclasses import replace

import pytest
import torch

from minitl.errors import DataError
from minitl.probing import material
from minitl.probing.description_length import online_code
from minitl.probing.material import gather
from minitl.probing.mixing import Mixed
from minitl.probing.probes import MLP, Linear, Span
from minitl.probing.regimen import Regimen
from minitl.probing.representations import Unread
from minitl.probing.sweep import sweep
from minitl.probing.task import Examples, Task
from minitl.probing.vectors import pooled
from tests.probing.made import SPLITS, representations_of, swept, word_task

LENGTHS = [5] * 120
N, HIDDEN = sum(LENGTHS), 12
QUICK = Regimen(rounds=8, batch_size=32, learning_rate=1e-2)
BRIEF = Regimen(rounds=1, round_steps=1)
CLASSES = ("a", "b", "c")


def planted(labels, layer=1, layers=3):
    """Noise in which one layer says the label linearly."""
    words = torch.randn(layers, N, HIDDEN)
    words[layer, :, :3] += 6 * torch.nn.functional.one_hot(labels.long(), 3)
    return words


@pytest.fixture
def labels():
    return torch.randint(3, (N,))


@pytest.mark.parametrize("probe", [Linear(), MLP(16), Span(16)])
def test_what_is_planted_is_found_where_it_is_and_nowhere_else(labels, probe):
    representations = representations_of(planted(labels), LENGTHS, shards=3)
    task = word_task(representations.corpus, labels, CLASSES, kinds=torch.arange(N) % 40)
    curve = swept(representations, task, probe, regimen=QUICK)
    accuracy = curve.scores["accuracy"]
    assert accuracy[1].mean > 0.98
    for layer in (0, 2):
        assert accuracy[layer].low < 1 / 3 + 0.08
        assert accuracy[layer].high > 1 / 3 - 0.08
    assert curve.metric == "accuracy"
    assert curve.layers == (0, 1, 2)
    assert curve.examples == {"train": 360, "validation": 120, "test": 120}
    assert curve.loss[1] < 0.1 < curve.loss[0]


def test_the_test_part_does_not_choose_the_best_layer(labels):
    """Layer 0 knows the validation part's labels and layer 2 the test part's; training teaches both."""
    words = torch.randn(3, N, HIDDEN)
    known = 6 * torch.nn.functional.one_hot(labels, 3)
    words[0, :480, :3] += known[:480]
    words[2, :360, :3] += known[:360]
    words[2, 480:, :3] += known[480:]
    representations = representations_of(words, LENGTHS)
    task = word_task(representations.corpus, labels, CLASSES)
    curve = swept(representations, task, regimen=QUICK, seeds=(0,))
    assert curve.best == 0
    assert curve.scores["accuracy"][2].mean > 0.9 > curve.scores["accuracy"][0].mean
    assert curve.loss[2] < curve.loss[0]
    assert curve.behind[2].mean < 0 == curve.behind[0].mean


def test_selectivity_by_hand():
    """A layer that holds the word type alone: the task, which follows the type, and its control are both memorised."""
    kinds = torch.randint(4, (N,))
    labels = kinds % 2
    words = torch.randn(2, N, HIDDEN)
    words[0] = 6 * torch.nn.functional.one_hot(kinds, HIDDEN)  # the type, and with it either labelling
    words[1] = 0.1 * torch.randn(N, HIDDEN)
    words[1, :, 0] += 2.0 * labels  # the label alone: of the control task, whose labels follow the type, less
    representations = representations_of(words, LENGTHS)
    curve = swept(
        representations, word_task(representations.corpus, labels, kinds=kinds), seeds=(0, 1, 2, 3), regimen=QUICK
    )
    assert [one.mean for one in curve.scores["accuracy"]] == [1.0, 1.0]
    assert curve.control["accuracy"][0].mean == 1.0
    assert curve.selectivity[0].mean == 0.0
    assert curve.selectivity[1].mean == pytest.approx(1 - curve.control["accuracy"][1].mean)
    assert curve.selectivity[1].mean > 0.1


def test_what_was_asked_alone_is_what_was_asked_beside_a_control(labels):
    representations = representations_of(planted(labels), LENGTHS)
    task = word_task(representations.corpus, labels, CLASSES, kinds=torch.arange(N) % 9)
    both, alone = (swept(representations, task, regimen=QUICK, control=c) for c in (True, False))
    assert alone.control is None
    assert alone.selectivity is None
    for left, right in zip(both.scores["accuracy"], alone.scores["accuracy"], strict=True):
        assert left.mean == pytest.approx(right.mean, abs=0.02)


def test_layers_in_groups_are_layers_at_once(labels):
    representations = representations_of(planted(labels), LENGTHS)
    task = word_task(representations.corpus, labels, CLASSES)
    whole = swept(representations, task, regimen=QUICK)
    parts = swept(representations, task, regimen=QUICK, room=N * HIDDEN * 4)  # a layer at a time
    for name, scores in whole.scores.items():
        for left, right in zip(scores, parts.scores[name], strict=True):
            assert left.mean == pytest.approx(right.mean, abs=0.01)
    assert parts.loss == pytest.approx(whole.loss, abs=1e-3)


@pytest.mark.parametrize("probe", [Linear(), MLP(16)])
def test_scores_are_regressed(probe):
    words = torch.randn(2, N, HIDDEN)
    scores = 100 + 50 * (words[1, :, 0] - words[1, :, 1]) + torch.randn(N)
    representations = representations_of(words, LENGTHS)
    curve = swept(representations, word_task(representations.corpus, scores, names=None), probe, regimen=QUICK)
    assert curve.metric == "spearman"
    assert curve.scores["spearman"][1].mean > 0.95
    assert curve.scores["pearson"][1].mean > 0.95
    assert abs(curve.scores["spearman"][0].mean) < 0.3
    assert curve.constant == {"spearman": 0.0, "pearson": 0.0}


def test_two_places_show_whether_they_agree():
    """The label is whether two words are alike: neither of them says it alone, and a sum of both cannot."""
    kinds = torch.randint(2, (N,))
    words = torch.nn.functional.one_hot(kinds, HIDDEN).float()[None] + 0.1 * torch.randn(1, N, HIDDEN)
    representations = representations_of(words, [N])
    at = torch.arange(N - 1)
    spans = torch.stack([torch.stack([at, at + 1], -1), torch.stack([at + 1, at + 2], -1)], 1)
    same = (kinds[:-1] == kinds[1:]).long()
    cuts = [slice(0, 350), slice(350, 450), slice(450, N - 1)]
    splits = {s: Examples(spans[c], same[c]) for s, c in zip(SPLITS, cuts, strict=True)}
    task = Task("same", "", "form", representations.corpus, "words", ("other", "same"), splits)
    for probe in (Linear(), Span(16)):
        assert swept(representations, task, probe, regimen=QUICK).scores["accuracy"][0].mean > 0.97


def test_words_of_one_text_are_drawn_together():
    """Of a text all are right or all are wrong, so as much is known as from one of each."""
    labels = torch.randint(2, (120,)).repeat_interleave(5)
    words = torch.randn(1, 120, 2).repeat_interleave(5, dim=1)
    representations = representations_of(words, LENGTHS)
    (one,) = swept(representations, word_task(representations.corpus, labels), regimen=QUICK, seeds=(0,)).scores[
        "accuracy"
    ]
    deviation = (one.mean * (1 - one.mean) / 24) ** 0.5  # 24 texts of the test part, which have 120 words
    assert one.high - one.low == pytest.approx(2 * 1.96 * deviation, rel=0.15)


def test_texts_are_probed_by_their_vectors():
    classes = torch.randint(2, (120,))
    words = torch.randn(1, N, HIDDEN)
    words[0, :, 0] += 8 * classes.repeat_interleave(5)
    representations = representations_of(words, LENGTHS)
    at = torch.arange(120)
    spans = torch.stack([at, at + 1], -1)[:, None]
    splits = {s: Examples(spans[c], classes[c]) for s, c in zip(SPLITS, at.split(40), strict=True)}
    task = Task("texts", "", "semantics", representations.corpus, "texts", ("a", "b"), splits)
    assert swept(representations, task, regimen=QUICK).scores["accuracy"][0].mean > 0.9


def test_a_mix_weighs_the_layer_that_knows(labels):
    representations = representations_of(planted(labels, layer=2, layers=4), LENGTHS)
    task = word_task(representations.corpus, labels, CLASSES)
    curve = swept(representations, task, Mixed(Linear()), regimen=replace(QUICK, rounds=15, learning_rate=3e-2))
    assert curve.mixture is not None
    assert (curve.mixture.shares.argmax(-1) == 2).all()
    assert curve.mixture.shares.shape == (3, 4)
    assert ((curve.mixture.centre_of_gravity(curve.layers) - 2).abs() < 0.75).all()
    gains = curve.mixture.differences().mean(0)
    assert int(gains.argmax()) == 1  # from layer 1 to layer 2
    assert ((curve.mixture.expected_layer(curve.layers) - 2).abs() < 0.5).all()


def test_a_mix_comes_to_the_layer_that_knows_before_its_probe_is_done(labels):
    """As it is trained unless somebody says otherwise."""
    representations = representations_of(planted(labels, layer=2, layers=4), LENGTHS)
    curve = swept(representations, word_task(representations.corpus, labels, CLASSES), Mixed(Linear()), seeds=(0,))
    assert curve.mixture.shares[0, 2] > 0.95


def test_the_commonest_class_is_told():
    labels = (torch.arange(N) % 4 == 0).long()
    representations = representations_of(torch.randn(1, N, HIDDEN), LENGTHS)
    curve = swept(representations, word_task(representations.corpus, labels), regimen=QUICK, seeds=(0,))
    assert curve.constant["accuracy"] == 0.75
    rare = torch.cat((labels[:480], torch.ones(120).long()))  # of the test part it is the other one
    curve = swept(representations, word_task(representations.corpus, rare), regimen=QUICK, seeds=(0,))
    assert curve.constant["accuracy"] == 0.0


def test_the_mean_of_classes_counts_each_once():
    labels = (torch.arange(N) % 4 == 0).long()
    representations = representations_of(torch.randn(1, N, HIDDEN), LENGTHS)
    curve = swept(representations, word_task(representations.corpus, labels), regimen=QUICK, seeds=(0,))
    assert curve.constant["macro-f1"] == pytest.approx((2 * 0.75 / 1.75) / 2)


def test_unread_texts_are_counted(labels):
    representations = representations_of(planted(labels), LENGTHS, unread=[Unread(0, "long"), Unread(119, "long")])
    curve = swept(representations, word_task(representations.corpus, labels, CLASSES), regimen=QUICK)
    assert curve.left_out == {"train": 5, "validation": 0, "test": 5}
    assert curve.examples["train"] == 355


def test_a_task_of_one_class_is_refused(labels):
    representations = representations_of(planted(labels), LENGTHS)
    with pytest.raises(DataError, match="one class alone, 'a'"):
        swept(representations, word_task(representations.corpus, torch.zeros(N).long()))


def test_scores_are_scaled_by_the_training_part_alone():
    """Who says the training part's mean of a test part three deviations off is off by 3, and the loss is 9."""
    scores = torch.randn(N)
    train, test = scores[:360], scores[480:]
    train[:] = 10 + 2 * (train - train.mean()) / train.std(correction=0)
    test[:] = 16 + 0.02 * (test - test.mean()) / test.std(correction=0)  # three of the training part's deviations off
    representations = representations_of(torch.zeros(1, N, HIDDEN), LENGTHS)  # nothing to learn from but the mean
    still = Regimen(rounds=1, round_steps=1, batch_size=360, learning_rate=1e-9)
    curve = swept(representations, word_task(representations.corpus, scores, names=None), regimen=still, seeds=(0,))
    assert curve.loss[0] == pytest.approx(9, rel=1e-3)


def test_a_mix_has_as_many_of_the_first_examples_as_memory_has_room_for(labels):
    representations = representations_of(planted(labels, layer=2, layers=4), LENGTHS)
    task = word_task(representations.corpus, labels, CLASSES, kinds=torch.arange(N) % 7)
    quarter = N * 4 * HIDDEN * 4 // 4  # bytes of a quarter of the examples in all four layers
    short = gather(representations, task, room=quarter)
    fewer = short.with_all_layers()
    for split, share in (("train", 90), ("validation", 30), ("test", 30)):
        assert len(fewer.splits[split]) == share
        for name in ("spans", "labels", "kinds"):
            assert torch.equal(getattr(fewer.splits[split], name), getattr(task.splits[split], name)[:share])
    assert sum(vectors.values.numel() * 4 for vectors in fewer.whole.values()) <= quarter
    curve = sweep(short, Mixed(Linear()), seeds=(0,), regimen=replace(QUICK, rounds=4, learning_rate=3e-2))
    assert curve.examples == {"train": 90, "validation": 30, "test": 30}
    assert curve.layers == (0, 1, 2, 3)
    assert curve.mixture.shares.argmax() == 2
    assert sweep(short, regimen=BRIEF, seeds=(0,)).examples["train"] == 360  # a layer at a time has room for all
    assert swept(representations, task, Mixed(Linear()), room=4, regimen=BRIEF, seeds=(0,)).examples["train"] == 1


def test_two_places_take_the_room_of_six_vectors():
    """Both parts are there while their four combinations are made."""
    representations = representations_of(torch.randn(3, N, HIDDEN), LENGTHS)
    one, two = (
        gather(representations, word_task(representations.corpus, torch.arange(N - 5) % 2, places=places), room=room)
        for places, room in ((1, 3 * N * HIDDEN * 4), (2, 3 * N * HIDDEN * 4))
    )
    assert one.with_all_layers() is one
    assert len(two.with_all_layers().splits["train"]) == pytest.approx(len(two.splits["train"]) / 6, abs=2)


def test_vectors_are_gathered_once_where_they_fit(labels, monkeypatch):
    representations = representations_of(planted(labels), LENGTHS)
    task = word_task(representations.corpus, labels, CLASSES)
    read = []
    monkeypatch.setattr(material, "pooled", lambda *given: read.append(given[-1]) or pooled(*given))
    whole = gather(representations, task)
    sweep(whole, regimen=BRIEF, seeds=(0,))
    sweep(whole, Mixed(Linear()), regimen=BRIEF, seeds=(0,))
    online_code(whole, regimen=BRIEF)
    assert read == [slice(None)]
    read.clear()
    sweep(gather(representations, task, room=N * HIDDEN * 4), regimen=BRIEF, seeds=(0,))
    assert read == [slice(0, 1), slice(1, 2), slice(2, 3)]
