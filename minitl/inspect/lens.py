"""The logit lens (nostalgebraist 2020): what a model would say if it stopped after each layer.

    residual.post of a layer ─ final norm ─ the language model's head ─► logits

A model without such a head is read through its own token embedding, transposed; `Lens.through` says which it was.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from minitl.errors import InputError
from minitl.inspect.stacks import stacks_of
from minitl.models.base import Model
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
    stack = stacks_of(model)[-1]
    below = model.get_submodule(stack.rstrip(".")) if stack else model
    norm = getattr(below, "norm", nn.Identity())
    if model.task.endswith("-lm"):
        return Lens(stack, norm, lambda x: _said(model.head, x), f"the checkpoint's own {model.task} head")
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
    return Lens(stack, norm, _tied_head(model, table.detach()), through)


def _tied_head(model: Model, table: Tensor) -> Callable[[Tensor], Tensor]:
    """What the family's language models do with an embedding that is their output layer too: T5's scale its input."""
    for task, head in model.family.heads.items():
        if task.endswith("-lm"):
            built = head.build(model.config)
            if [name for name, _ in built.named_parameters()] == ["decoder.weight"]:
                built.get_submodule("decoder").weight = nn.Parameter(table, requires_grad=False)
                return lambda x: _said(built, x)
    return lambda x: x @ table.T


def _said(head: nn.Module, hidden: Tensor) -> Tensor:
    output: Output = head(Output(hidden), None)
    assert output.logits is not None  # a language model's head gives them
    return output.logits
