"""Each probe of a batch is what PyTorch's own modules compute for it alone."""

import pytest
import torch
import torch.nn.functional as F

from minitl.probing.mixing import HASTE, Mixed, Mixture
from minitl.probing.probes import MLP, Linear, Sizes, Span

QUESTIONS, LAYERS, SEEDS, BATCH, SIZE, CLASSES = 2, 3, 2, 5, 4, 3


def parameters_of(probe, sizes):
    rows = probe.rows(sizes.layers)
    one = probe.new(sizes, torch.Generator().manual_seed(0))
    return {name: torch.randn(QUESTIONS, rows, SEEDS, *value.shape) for name, value in one.items()}


def each(probe, sizes):
    """(question, row, seed) and its parameters without the dimensions in front."""
    parameters = parameters_of(probe, sizes)
    places = [(q, r, s) for q in range(QUESTIONS) for r in range(probe.rows(sizes.layers)) for s in range(SEEDS)]
    return parameters, [(place, {name: value[place] for name, value in parameters.items()}) for place in places]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("probe", [Linear(), MLP(6)])
def test_pooled_probes(probe, shared):
    sizes = Sizes(LAYERS, 1, SIZE, CLASSES)
    x = torch.randn(LAYERS, 1 if shared else SEEDS, BATCH, SIZE)
    parameters, alone = each(probe, sizes)
    outputs = probe(parameters, x, torch.ones(x.shape[1:3], dtype=torch.bool))
    assert outputs.shape == (QUESTIONS, LAYERS, SEEDS, CLASSES, BATCH)
    for (q, layer, s), p in alone:
        vectors = x[layer, 0 if shared else s]
        if isinstance(probe, MLP):
            vectors = F.linear(vectors, p["hidden.weight"], p["hidden.bias"]).relu()
        torch.testing.assert_close(outputs[q, layer, s].T, F.linear(vectors, p["out.weight"], p["out.bias"]))


def span_alone(p, x, real):
    """One example: x [places, longest, size], real [places, longest]; in a loop, from the paper's words."""
    pooled = []
    for k in range(len(x)):
        projected = x[k][real[k]] @ p[f"project.{k}.weight"].T + p[f"project.{k}.bias"]
        attention = (projected @ p[f"attend.{k}.weight"].T)[:, 0].softmax(0)
        pooled.append((attention[:, None] * projected).sum(0))
    hidden = (p["hidden.weight"] @ torch.cat(pooled) + p["hidden.bias"]).relu()
    return p["out.weight"] @ hidden + p["out.bias"]


@pytest.mark.parametrize("places", [1, 2])
@pytest.mark.parametrize("shared", [True, False])
def test_span_probes(places, shared):
    probe, sizes = Span(6), Sizes(LAYERS, places, SIZE, CLASSES)
    seeds = 1 if shared else SEEDS
    x = torch.randn(LAYERS, seeds, BATCH, places, 4, SIZE)
    real = torch.arange(4) < torch.randint(1, 5, (seeds, BATCH, places, 1))
    parameters, alone = each(probe, sizes)
    outputs = probe(parameters, x, real)
    for (q, layer, s), p in alone:
        s_x = 0 if shared else s
        for i in range(BATCH):
            expected = span_alone(p, x[layer, s_x, i], real[s_x, i])
            torch.testing.assert_close(outputs[q, layer, s, :, i], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("probe", [Linear(), Span(6)])
def test_mixed_probes_read_the_mix_of_the_layers_up_to_theirs(probe):
    mixed, sizes = Mixed(probe), Sizes(LAYERS, 1, SIZE, CLASSES)
    shape = (LAYERS, SEEDS, BATCH, SIZE) if probe.reads == "pooled" else (LAYERS, SEEDS, BATCH, 1, 2, SIZE)
    x, real = torch.randn(shape), torch.ones(shape[1:-1], dtype=torch.bool)
    parameters, alone = each(mixed, sizes)
    outputs = mixed(parameters, x, real)
    for (q, row, s), p in alone:
        shares = (HASTE * p["mix.share"][: row + 1]).softmax(0)
        mix = p["mix.gamma"] * sum(share * x[layer, s] for layer, share in enumerate(shares))
        for i in range(BATCH):
            if probe.reads == "pooled":
                expected = F.linear(mix[i], p["out.weight"], p["out.bias"])
            else:
                expected = span_alone(p, mix[i], real[s, i])
            torch.testing.assert_close(outputs[q, row, s, :, i], expected, rtol=1e-4, atol=1e-5)
    shares = mixed.shares(parameters)
    torch.testing.assert_close(shares.sum(-1), torch.ones(shares.shape[:-1]))
    assert shares.shape == (QUESTIONS, LAYERS, SEEDS, LAYERS)


def test_a_mix_begins_as_the_mean():
    new = Mixed(Linear()).new(Sizes(LAYERS, 1, SIZE, CLASSES), torch.Generator())
    assert new["mix.gamma"] == 1
    assert torch.equal(new["mix.share"].softmax(0), torch.full((LAYERS,), 1 / LAYERS))


def test_centre_of_gravity_and_expected_layer_by_hand():
    mixture = Mixture(
        torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.7, 0.8], [0.4, 0.4, 0.3]])
    )
    assert mixture.centre_of_gravity((0, 1, 2)).tolist() == [0.75, 2.0]
    torch.testing.assert_close(mixture.differences(), torch.tensor([[0.2, 0.1], [0.0, -0.1]]))
    expected = mixture.expected_layer((0, 1, 2))
    assert expected[0] == pytest.approx((1 * 0.2 + 2 * 0.1) / 0.3)
    assert expected[1].isnan()  # nothing was gained
