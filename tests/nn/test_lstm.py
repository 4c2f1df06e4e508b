import pytest
import torch

from minitl.nn.lstm import ProjectedLSTM


def torchs_own(ours: ProjectedLSTM, input_size: int) -> torch.nn.LSTM:
    """PyTorch's LSTM with the same weights: gates in its order, the forget gate's added bias in its bias."""
    projection = 0 if ours.projection is None else ours.output
    lstm = torch.nn.LSTM(input_size, ours.cell, batch_first=True, proj_size=projection)
    order = [0, 2, 1, 3]  # input, forget, candidate, output
    weight = ours.gates.weight.unflatten(0, (4, -1))[order].flatten(0, 1)
    bias = ours.gates.bias.unflatten(0, (4, -1))[order].clone()
    bias[1] += 1
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(weight[:, :input_size])
        lstm.weight_hh_l0.copy_(weight[:, input_size:])
        lstm.bias_ih_l0.copy_(bias.flatten())
        lstm.bias_hh_l0.zero_()
        if projection:
            lstm.weight_hr_l0.copy_(ours.projection.weight)
    return lstm


@pytest.mark.parametrize("output", [4, 6], ids=["projected", "not projected"])
@pytest.mark.parametrize("length", [1, 9])
def test_without_clips_it_is_pytorchs_own(output: int, length: int) -> None:
    ours = ProjectedLSTM(5, 6, output, None, None)
    x = torch.randn(3, length, 5)
    torch.testing.assert_close(ours(x), torchs_own(ours, 5)(x)[0])


def test_clips_bound_memory_and_state_and_change_what_follows() -> None:
    free, clipped = ProjectedLSTM(5, 6, 4, None, None), ProjectedLSTM(5, 6, 4, 0.3, 0.1)
    clipped.load_state_dict(free.state_dict())
    x = 3 * torch.randn(2, 8, 5)
    states = clipped(x)
    assert states.abs().max() == 0.1
    assert free(x).abs().max() > 0.1
    gates = torch.randn(2, 24)
    assert clipped._step(gates, torch.full((2, 6), 9.0))[1].max() == 0.3
    assert not torch.equal(free(x).clamp(-0.1, 0.1), states)


def test_an_unprojected_state_is_not_clipped() -> None:
    cell = ProjectedLSTM(5, 6, 6, None, 0.01)
    assert cell.projection is None
    assert cell(torch.randn(1, 4, 5)).abs().max() > 0.01


def test_later_steps_do_not_change_earlier_states() -> None:
    cell, x = ProjectedLSTM(5, 6, 4, 1.0, 1.0), torch.randn(2, 7, 5)
    torch.testing.assert_close(cell(x[:, :4]), cell(x)[:, :4])


def test_in_bfloat16_the_memory_keeps_small_additions() -> None:
    cell = ProjectedLSTM(1, 1, 1, None, None).bfloat16()
    with torch.no_grad():
        cell.gates.weight.zero_()
        cell.gates.bias.copy_(torch.tensor([-5.0, 3.0, 9.0, 0.0]))  # forget nothing, add σ(-5) = 0.0067 each step
    states = cell(torch.zeros(1, 400, 1, dtype=torch.bfloat16))
    assert states.dtype == torch.bfloat16
    expected = torch.full((), 400 * torch.sigmoid(torch.tensor(-5.0)).item()).tanh() / 2
    torch.testing.assert_close(states[0, -1, 0].float(), expected, rtol=0.01, atol=0)
