"""The stacks of layers that a model has, by how the names of their activations begin, and their residual streams."""

from minitl.models.base import Model
from minitl.models.encoder_decoder import EncoderDecoder


def stacks_of(model: Model) -> tuple[str, ...]:
    """ "" of a model that is one stack, else "encoder." and, where there is one, "decoder."; the last one answers."""
    if not isinstance(model, EncoderDecoder):
        return ("",)
    return ("encoder.",) if model.decoder is None else ("encoder.", "decoder.")


def stream_of(model: Model, stack: str) -> tuple[str, ...]:
    """The names of the residual stream before the first layer and after each, [batch, length, hidden] all."""
    return (
        f"{stack}layers.0.residual.pre",
        *(f"{stack}layers.{i}.residual.post" for i, _ in enumerate(model.get_submodule(f"{stack}layers").children())),
    )
