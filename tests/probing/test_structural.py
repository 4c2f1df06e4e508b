"""The structural probe finds trees that are in the vectors, and its loss is the paper's."""

from dataclasses import replace

import pytest
import torch

from minitl.errors import DataError
from minitl.probing.regimen import Regimen, train
from minitl.probing.representations import Unread
from minitl.probing.structural import StructuralLearner, read_trees
from minitl.probing.tree_metrics import score_distances
from minitl.probing.tree_sweep import sweep_trees
from minitl.probing.trees import depths_of, distances_of
from tests.probing.made import representations_of, tree_task

HIDDEN = 12


def random_heads(lengths, generator):
    """Heads counted through the corpus, and for each text within it."""
    heads, own, start = [], [], 0
    for n in lengths:
        order = torch.randperm(n, generator=generator)
        one = torch.full((n,), -1)
        for i in range(1, n):
            one[order[i]] = order[int(torch.randint(i, (1,), generator=generator))]
        own.append(one)
        heads.append(torch.where(one < 0, -1, one + start))
        start += n
    return torch.cat(heads), own


def embedded(own, generator):
    """Vectors whose squared distances are those of the trees: a step to a new dimension for each edge from the root."""
    vectors = []
    for heads in own:
        n = len(heads)
        steps = torch.eye(HIDDEN)[torch.randperm(HIDDEN, generator=generator)[:n]]
        rows = torch.zeros(n, HIDDEN)
        for word in torch.from_numpy(depths_of(heads.numpy())).argsort(stable=True).tolist():
            if heads[word] >= 0:
                rows[word] = rows[heads[word]] + steps[word]
        vectors.append(rows)
    return torch.cat(vectors)


def test_a_tree_that_is_embedded_exactly_is_perfect():
    generator = torch.Generator().manual_seed(0)
    _, own = random_heads([7], generator)
    x = embedded(own, generator)
    said, true = (x[:, None] - x).square().sum(-1), torch.from_numpy(distances_of(own[0].numpy())).float()
    assert torch.equal(said, true)
    score = score_distances(said[None], true, torch.ones(7).bool())
    assert score.right.tolist() == [6]
    assert score.correlation.tolist() == [pytest.approx(1.0)]


@pytest.fixture(scope="module")
def planted():
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(5, 9, (120,), generator=generator).tolist()
    heads, own = random_heads(lengths, generator)
    exact = embedded(own, generator)
    turned = exact @ torch.linalg.qr(torch.randn(HIDDEN, HIDDEN, generator=generator))[0]
    noise = torch.randn(exact.shape, generator=generator)
    representations = representations_of(torch.stack([turned, noise]), lengths, shards=2)
    return representations, tree_task(representations.corpus, heads, (90, 10, 20))


def test_trees_that_are_there_are_found_and_others_are_not(planted):
    regimen = Regimen(rounds=60, batch_size=10, learning_rate=2e-2, weight_decay=0.0, patience=4)
    curve = sweep_trees(*planted, rank=HIDDEN, seeds=(0, 1), regimen=regimen)
    assert curve.scores["uuas"][0].mean == 1.0
    # Not 1: true distances have ties, and what was learnt is off by hundredths, each its own way.
    assert curve.scores["distance-spearman"][0].mean > 0.96
    assert curve.scores["root-accuracy"][0].mean == 1.0
    assert curve.scores["depth-spearman"][0].mean > 0.9
    assert curve.scores["uuas"][1].mean < 0.6
    assert abs(curve.scores["depth-spearman"][1].mean) < 0.4
    assert curve.examples == {"train": 90, "validation": 10, "test": 20}
    assert curve.layers == (0, 1)
    assert curve.best == 0
    assert set(curve.chain) == set(curve.scores)
    assert 0 < curve.chain["uuas"] < 0.8


@pytest.mark.parametrize("measure", ["distance", "depth"])
def test_the_loss_is_the_papers(planted, measure):
    _, task = planted
    parts, _ = read_trees(*planted)
    learner = StructuralLearner(measure, 3, (0, 1), parts)
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(1, 2, 2, HIDDEN, 3, generator=generator)
    found = learner.losses({"map.weight": maps}, "train", torch.tensor([[4, 0], [9, 30]]))
    assert found.shape == (1, 2, 2, 2)
    trees, starts = parts["train"], task.corpus.starts
    for layer in range(2):
        for s, texts in enumerate(([4, 0], [9, 30])):
            for b, text in enumerate(texts):
                n = int(trees.lengths[text])
                own = (task.heads[starts[text] :][:n] - starts[text]).clamp(min=-1).numpy()
                h = trees.vectors.values[layer, trees.vectors.places[text, :n]] @ maps[0, layer, s]
                if measure == "depth":
                    said, true = h.square().sum(-1), torch.from_numpy(depths_of(own))
                    expected = (said - true).abs().sum() / n
                else:
                    said = (h[:, None] - h[None]).square().sum(-1)
                    true = torch.from_numpy(distances_of(own))
                    expected = (said - true).abs().sum() / n**2
                torch.testing.assert_close(found[0, layer, s, b], expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("measure", ["distance", "depth"])
def test_probes_side_by_side_are_probes_alone(planted, measure):
    regimen = Regimen(rounds=3, round_steps=4, batch_size=10, weight_decay=0.0)
    parts, _ = read_trees(*planted)
    together = train(StructuralLearner(measure, 4, (0, 1), parts), regimen)
    for layer in range(2):
        alone, _ = read_trees(*planted, slice(layer, layer + 1))
        for s in range(2):
            one = train(StructuralLearner(measure, 4, (s,), alone), regimen)
            torch.testing.assert_close(one.loss[0, 0, 0], together.loss[0, layer, s], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(
                one.parameters["map.weight"][0, 0, 0],
                together.parameters["map.weight"][0, layer, s],
                rtol=1e-4,
                atol=1e-5,
            )


def test_a_pass_reads_every_text_once_and_all_seeds_texts_of_one_length(planted):
    parts, _ = read_trees(*planted)
    learner = StructuralLearner("distance", 2, (0, 1), parts)
    orders = [learner.order(torch.Generator().manual_seed(seed), 3, 7) for seed in (0, 1)]
    assert all(order.sort().values.tolist() == list(range(90)) for order in orders)
    assert not torch.equal(*orders)
    for left, right in zip(*(order.split(7) for order in orders), strict=True):
        lengths = parts["train"].lengths[torch.cat([left, right])]
        assert int(lengths.max() - lengths.min()) <= 2


def test_layers_in_groups_are_layers_at_once(planted):
    regimen = Regimen(rounds=2, round_steps=4, batch_size=10, weight_decay=0.0)
    whole, parts = (sweep_trees(*planted, rank=4, seeds=(0,), regimen=regimen, room=room) for room in (10**9, 1))
    assert parts.loss["distance"] == pytest.approx(whole.loss["distance"], abs=1e-4)
    for name, scores in whole.scores.items():
        for left, right in zip(scores, parts.scores[name], strict=True):
            assert left.mean == pytest.approx(right.mean, abs=0.02)


def test_unread_texts_are_left_out(planted):
    representations, task = planted
    words = representations.words(torch.arange(len(task.heads)))
    again = representations_of(words, [len(t) for t in task.corpus.texts], unread=[Unread(3, ""), Unread(119, "")])
    parts, left_out = read_trees(again, task)
    assert left_out == {"train": 1, "validation": 0, "test": 1}
    assert len(parts["train"].lengths) == 89


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": torch.tensor([-1, 0, 1])}, "heads and scored must be"),
        ({"splits": {"train": torch.tensor([0])}}, "validation split: expected text numbers from 0 to 119, got 0"),
        ({"splits": {"train": torch.tensor([120])}}, "train split: expected text numbers"),
    ],
)
def test_what_is_no_tree_task_is_refused(planted, change, message):
    representations, task = planted
    with pytest.raises(DataError, match=message):
        read_trees(representations, replace(task, **change))


def test_a_head_in_another_text_is_named(planted):
    representations, task = planted
    heads = task.heads.clone()
    start = int(task.corpus.starts[5])
    heads[start : start + 2] = torch.tensor([start - 1, -1])
    with pytest.raises(DataError, match="train split, text 5: a word hangs on a word of another text"):
        read_trees(representations, replace(task, heads=heads))
