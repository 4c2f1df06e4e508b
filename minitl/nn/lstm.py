"""An LSTM whose state is projected to a smaller size (Sak et al. 2014, arXiv:1402.1128), with clipping.

PyTorch's own LSTM has the projection and not the clipping, which pretrained weights count on.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FORGET_BIAS = 1.0  # added to the forget gate beside its trained bias, so that a new cell remembers (TensorFlow's cell)


class Gates(nn.Linear):
    """The weights of a cell's gates. They are read in two parts, of the input and of the state, and never called as a
    layer: an adapter in its place would not be heard (`minitl.adapters.kinds`)."""


class ProjectedLSTM(nn.Module):
    """One layer, one direction, from a zero state: x [batch, length, input] -> [batch, length, output].

        input, candidate, forget, output = gates([x, h])
        c = clip(σ(forget + 1) · c + σ(input) · tanh(candidate))      [batch, cell]
        h = clip(projection(σ(output) · tanh(c)))                     [batch, output]

    cell_clip, projection_clip   bounds of |c| and |h|; None = none. Where output = cell, there is no projection and
                                 h is not clipped
    """

    def __init__(
        self, input_size: int, cell: int, output: int, cell_clip: float | None, projection_clip: float | None
    ) -> None:
        super().__init__()
        self.cell, self.output = cell, output
        self.cell_clip, self.projection_clip = cell_clip, projection_clip
        self.gates = Gates(input_size + output, 4 * cell)
        self.projection = nn.Linear(cell, output, bias=False) if output != cell else None

    def forward(self, x: Tensor) -> Tensor:
        of_input, of_state = self.gates.weight.split((x.shape[-1], self.output), dim=1)
        steps = F.linear(x.transpose(0, 1), of_input, self.gates.bias)  # [length, batch, 4 · cell], all in one product
        of_state = of_state.t()
        state = x.new_zeros(x.shape[0], self.output)
        # A running sum, in which bfloat16 would lose what is small beside it.
        memory = x.new_zeros(x.shape[0], self.cell, dtype=torch.promote_types(x.dtype, torch.float32))
        states: list[Tensor] = []
        for step in steps.unbind(0):
            state, memory = self._step(torch.addmm(step, state, of_state), memory)
            states.append(state)
        return torch.stack(states, dim=1)  # [batch, length, output]

    def _step(self, gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        enter, candidate, forget, leave = gates.chunk(4, dim=-1)
        memory = torch.sigmoid(forget + FORGET_BIAS) * memory + torch.sigmoid(enter) * torch.tanh(candidate)
        if self.cell_clip is not None:
            memory = memory.clamp(-self.cell_clip, self.cell_clip)
        state = torch.sigmoid(leave) * torch.tanh(memory).to(leave.dtype)
        if self.projection is not None:
            state = self.projection(state)
            if self.projection_clip is not None:
                state = state.clamp(-self.projection_clip, self.projection_clip)
        return state, memory
