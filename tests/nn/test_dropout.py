import torch

from minitl.nn.dropout import Dropout


def test_the_module_drops_in_training_mode_only() -> None:
    module, x = Dropout(0.5), torch.ones(1000)
    assert module(x).eq(0).any()
    assert module.eval()(x) is x
