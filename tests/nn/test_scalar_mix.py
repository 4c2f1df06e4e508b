import pytest
import torch

import minitl
from minitl.errors import InputError


def test_it_begins_as_the_plain_mean():
    layers = [torch.randn(2, 3, 4) for _ in range(3)]
    torch.testing.assert_close(minitl.ScalarMix(3)(layers), torch.stack(layers).mean(0))


def test_weights_choose_among_layers_and_gamma_scales():
    layers = [torch.full((1, 2), float(i)) for i in range(3)]
    mix = minitl.ScalarMix(3)
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([-50.0, 50.0, -50.0]))
        mix.gamma.fill_(7.0)
    torch.testing.assert_close(mix(layers), torch.full((1, 2), 7.0))


def test_a_task_can_teach_it_which_layer_it_needs():
    torch.manual_seed(0)
    layers, mix = [torch.randn(16, 4) for _ in range(3)], minitl.ScalarMix(3)
    optimizer = torch.optim.Adam(mix.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        (mix(layers) - 2 * layers[1]).square().mean().backward()
        optimizer.step()
    assert mix.weights.softmax(0)[1] > 0.9
    assert abs(float(mix.gamma.detach()) - 2) < 0.2


@pytest.mark.parametrize("count", [0, 2, 4])
def test_another_number_of_layers_is_refused(count):
    with pytest.raises(InputError, match=f"^this mix weighs 3 layers, got {count}$"):
        minitl.ScalarMix(3)([torch.zeros(1)] * count)


def test_what_is_no_list_of_layers_is_refused():
    with pytest.raises(InputError, match=r"^layers must be a list of tensors, got NoneType; ask for hidden states$"):
        minitl.ScalarMix(3)(None)
    for wrong in (0, -1, "3", 2.0):
        with pytest.raises(InputError, match=f"^layers must be an integer of at least 1, got {wrong!r}$"):
            minitl.ScalarMix(wrong)
