import pytest
import torch
import torch.nn.functional as F

from minitl.nn.feed_forward import FeedForward, FusedGatedFeedForward, GatedFeedForward


def test_the_plain_network_is_its_formula() -> None:
    network, x = FeedForward(6, 10, "relu"), torch.randn(2, 3, 6)
    inner = F.relu(x @ network.up.weight.t() + network.up.bias)
    torch.testing.assert_close(network(x), inner @ network.down.weight.t() + network.down.bias)


@pytest.mark.parametrize("bias", [False, True])
def test_the_gate_passes_through_the_activation_and_the_other_branch_does_not(bias: bool) -> None:
    network, x = GatedFeedForward(6, 10, "silu", bias=bias), torch.randn(2, 3, 6)
    inner = F.silu(network.gate(x)) * network.up(x)
    torch.testing.assert_close(network(x), network.down(inner))
    assert all((part.bias is not None) == bias for part in (network.gate, network.up, network.down))


@pytest.mark.parametrize("bias", [False, True])
def test_the_fused_gate_is_the_first_half_of_one_projection(bias: bool) -> None:
    fused, separate = FusedGatedFeedForward(6, 10, "gelu", 0.0, bias), GatedFeedForward(6, 10, "gelu", bias)
    for i, part in enumerate((separate.gate, separate.up)):
        part.weight.data = fused.gate_up.weight.data[10 * i : 10 * (i + 1)]
        if bias:
            part.bias.data = fused.gate_up.bias.data[10 * i : 10 * (i + 1)]
    separate.down.load_state_dict(fused.down.state_dict())
    x = torch.randn(2, 3, 6)
    torch.testing.assert_close(fused(x), separate(x))
    assert all((part.bias is not None) == bias for part in (fused.gate_up, fused.down))
