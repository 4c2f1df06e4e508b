"""The position-wise feed-forward network of a transformer layer, plain and gated."""

from torch import Tensor, nn

from minitl.nn.activations import ACTIVATIONS
from minitl.nn.dropout import Dropout
from minitl.nn.tapped import Tapped


class FeedForward(Tapped):
    """down(dropout(act(up(x))))  (Vaswani et al. 2017, equation 2, with the activation the checkpoint names)."""

    points = ("inner",)

    def __init__(self, hidden: int, inner: int, act: str, bias: bool = True, dropout_p: float = 0.0) -> None:
        super().__init__()
        self.up = nn.Linear(hidden, inner, bias=bias)
        self.act = ACTIVATIONS[act]
        self.dropout = Dropout(dropout_p)
        self.down = nn.Linear(inner, hidden, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # [..., hidden] -> [..., inner] -> [..., hidden]
        return self.down(self.dropout(self.tap("inner", self.act(self.up(x)))))


class GatedFeedForward(Tapped):
    """down(dropout(act(gate(x)) · up(x))): SwiGLU where act is SiLU  (Shazeer 2020, equation 6)."""

    points = ("inner",)

    def __init__(self, hidden: int, inner: int, act: str, bias: bool = False, dropout_p: float = 0.0) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden, inner, bias=bias)
        self.up = nn.Linear(hidden, inner, bias=bias)
        self.act = ACTIVATIONS[act]
        self.dropout = Dropout(dropout_p)
        self.down = nn.Linear(inner, hidden, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # [..., hidden] -> [..., inner] -> [..., hidden]
        return self.down(self.dropout(self.tap("inner", self.act(self.gate(x)) * self.up(x))))


class FusedGatedFeedForward(Tapped):
    """down(dropout(act(gate) · up)), gate and up being the two halves of one projection: GeGLU where act is GELU."""

    points = ("inner",)

    def __init__(self, hidden: int, inner: int, act: str, dropout_p: float, bias: bool) -> None:
        super().__init__()
        self.gate_up = nn.Linear(hidden, 2 * inner, bias=bias)
        self.act = ACTIVATIONS[act]
        self.dropout = Dropout(dropout_p)
        self.down = nn.Linear(inner, hidden, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # [..., hidden] -> [..., 2 · inner] -> [..., hidden]
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(self.dropout(self.tap("inner", self.act(gate) * up)))
