import math

import pytest
import torch

from minitl.nn.activations import ACTIVATIONS

# From the defining formulas, written for one number.
FORMULAS = {
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "gelu_new": lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + math.exp(-1.702 * x)),
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "tanh": math.tanh,
}
SYNONYMS = {"gelu_fast": "gelu_new", "gelu_pytorch_tanh": "gelu_new", "swish": "silu"}


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_each_activation_is_its_formula(name: str) -> None:
    points = [-4.0, -1.3, -0.2, 0.0, 0.4, 1.0, 5.0]
    formula = FORMULAS[SYNONYMS.get(name, name)]
    expected = torch.tensor([formula(x) for x in points], dtype=torch.float64)
    torch.testing.assert_close(ACTIVATIONS[name](torch.tensor(points, dtype=torch.float64)), expected)
