"""The logit lens (nostalgebraist 2020): what a model would say if it stopped after each layer.

    residual.post of a layer ─ final norm ─ the language model's head ─► logits

A model without such a head is read through its own token embedding, transposed; `Lens.through` says which it was.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.models.encoder_decoder import EncoderDecoder
from minitl.nn.output import Output


@dataclass(frozen=True)
class Lens:
    """How the states between a model's layers become words.

    stack     the layers that are read, as their names begin: "", "encoder." or "decoder."
    norm      what stands between the last of them and the head
    head      normed states [..., hidden] -> logits [..., vocabulary]
    through   the head in words
    """

    stack: str
    norm: nn.Module
    head: Callable[[Tensor], Tensor]
    through: str

    def __call__(self, states: Tensor) -> Tensor:
        """The logits [batch, length, vocabulary] of a residual stream [batch, length, hidden].

        After the last layer they are the model's own.
        """
        return self.head(self.norm(states))


def lens_of(model: Model) -> Lens:
    """The lens of `model`: of an encoder-decoder, that of what it writes.

    InputError: neither a language model's head nor an embedding as wide as the hidden states.
    """
    stack = stack_of(model)
    below = model.get_submodule(stack.rstrip(".")) if stack else model
    norm = getattr(below, "norm", nn.Identity())
    if model.task.endswith("-lm"):
        return Lens(stack, norm, lambda x: _logits(model, x), f"the checkpoint's own {model.task} head")
    table = model.get_submodule("embeddings.token").weight
    output = model.get_submodule(f"{stack}layers.0.attention.output").weight
    assert isinstance(table, Tensor)
    assert isinstance(output, Tensor)
    hidden = output.shape[0]
    if table.shape[1] != hidden:
        raise InputError(
            f"this {model.config.model_type} model cannot be read layer by layer: it has no language model's head, "
            f"and its embedding is {table.shape[1]} wide where its layers are {hidden}"
        )
    through = "the token embedding, transposed: this checkpoint has no language model's head"
    return Lens(stack, norm, lambda x: x @ table.detach().T, through)


def stack_of(model: Model) -> str:
    """What the names of the layers begin with that give the model's answer."""
    if not isinstance(model, EncoderDecoder):
        return ""
    return "encoder." if model.decoder is None else "decoder."


def _logits(model: Model, hidden: Tensor) -> Tensor:
    output: Output = model.head(Output(hidden), None)
    assert output.logits is not None  # a language model's head gives them
    return output.logits
