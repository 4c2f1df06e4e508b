import pytest
import torch
import torch.nn.functional as F

from minitl.nn.norms import RMSNorm


@pytest.mark.parametrize("eps", [1e-6, 1e-1])
@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7)])
def test_rms_norm_and_its_gradients_equal_torchs(shape: tuple[int, ...], eps: float) -> None:
    norm = RMSNorm(7, eps)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(shape, requires_grad=True)
    y = norm(x)
    expected = F.rms_norm(x, (7,), norm.weight, eps)
    torch.testing.assert_close(y, expected)
    direction = torch.randn(shape)
    torch.testing.assert_close(
        torch.autograd.grad(y, (x, norm.weight), direction), torch.autograd.grad(expected, (x, norm.weight), direction)
    )


def test_rms_norm_of_zeros_is_zero_and_not_nan() -> None:
    assert torch.equal(RMSNorm(4, 1e-6)(torch.zeros(2, 4)), torch.zeros(2, 4))


def test_squares_that_half_precision_cannot_hold_do_no_harm() -> None:
    norm, x = RMSNorm(8, 1e-6).half(), torch.full((1, 8), 1000.0, dtype=torch.float16)  # 1000² > 65504
    y = norm(x)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y, torch.ones_like(y))
