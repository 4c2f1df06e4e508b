import pytest
import torch

from minitl.nn.activations import ACTIVATIONS
from minitl.nn.characters import CharacterEncoder, Highway


def test_a_highway_carries_or_transforms() -> None:
    highway, x = Highway(4), torch.randn(3, 4)
    with torch.no_grad():
        highway.gate.weight.zero_()
        highway.gate.bias.fill_(-100)
        torch.testing.assert_close(highway(x), x)
        highway.gate.bias.fill_(100)
        torch.testing.assert_close(highway(x), highway.transform(x).relu())


@pytest.mark.parametrize("output", [5, 10], ids=["projected", "not projected"])
def test_a_word_is_the_maximum_over_its_places(output: int) -> None:
    encoder = CharacterEncoder(20, 3, [(1, 4), (3, 6)], 0, output, ACTIVATIONS["tanh"])
    ids = torch.tensor([4, 9, 2, 7])
    x = encoder.character.weight[ids]
    joined = []
    for convolution, width in zip(encoder.convolutions, (1, 3), strict=True):
        windows = torch.stack([x[i : i + width] for i in range(len(ids) - width + 1)])  # [places, width, size]
        joined.append((torch.einsum("pws,osw->po", windows, convolution.weight) + convolution.bias).amax(0).tanh())
    torch.testing.assert_close(encoder(ids[None])[0], encoder.projection(torch.cat(joined)))


def test_words_of_any_shape_are_read_one_by_one() -> None:
    encoder = CharacterEncoder(20, 3, [(1, 4), (2, 5)], 2, 6, ACTIVATIONS["relu"])
    ids = torch.randint(0, 20, (2, 3, 7))
    whole = encoder(ids)
    assert whole.shape == (2, 3, 6)
    torch.testing.assert_close(whole[1, 2], encoder(ids[1, 2][None])[0])


def test_no_character_is_zero_and_stays_so() -> None:
    encoder = CharacterEncoder(20, 3, [(1, 4)], 1, 6, ACTIVATIONS["relu"])
    encoder(torch.tensor([[0, 5, 0]])).square().sum().backward()
    assert encoder.character.weight[0].eq(0).all()
    assert encoder.character.weight.grad[0].eq(0).all()
    assert encoder.character.weight.grad[5].ne(0).any()
