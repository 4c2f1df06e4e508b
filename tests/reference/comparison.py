"""The side of minitl in the comparison: outputs, loss and gradients, and how far they are from the expected ones."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.models.base import Model
from minitl.models.matching import owners
from minitl.nn.output import Output


def flat_outputs(output: Output) -> dict[str, Tensor]:
    """An Output's fields by name, the tensors of each layer as `hidden_states.0`, `attentions.0`, …"""
    flat: dict[str, Tensor] = {}
    for name, value in output.items():
        flat.update({f"{name}.{i}": t for i, t in enumerate(value)} if isinstance(value, tuple) else {name: value})
    return flat


def outputs(model: Model, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Everything that the model puts out."""
    with torch.no_grad():
        return flat_outputs(model(**inputs, output_hidden_states=True, output_attentions=True))


def loss(output: Output, targets: Mapping[str, Tensor], causal: bool) -> Tensor:
    """The published loss of each task, written out; label -100 marks what does not count."""
    if "hidden_probe" in targets:
        total = (output.last_hidden_state * targets["hidden_probe"]).sum()
        return total if output.pooler_output is None else total + (output.pooler_output * targets["pooler_probe"]).sum()
    if "start_positions" in targets:
        assert output.start_logits is not None
        assert output.end_logits is not None
        start = F.cross_entropy(output.start_logits, targets["start_positions"])
        return (start + F.cross_entropy(output.end_logits, targets["end_positions"])) / 2
    logits, labels = output.logits, targets["labels"]
    assert logits is not None
    if logits.shape == labels.shape and not labels.is_floating_point():  # replaced or not
        return F.binary_cross_entropy_with_logits(logits, labels.float())
    if labels.is_floating_point():
        return F.mse_loss(logits.squeeze(-1), labels)
    if causal:
        logits, labels = logits[:, :-1], labels[:, 1:]
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


def loss_and_gradients(
    model: Model, inputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss in training mode, and each parameter's gradient under its published name, turned as the file has it."""
    model.train()
    model.zero_grad()
    value = loss(model(**inputs), targets, causal=model.task == "causal-lm")
    value.backward()
    model.eval()
    gradients: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        published = model.key_map.to_published(name)
        assert published is not None, f"{name} has no published name"
        assert parameter.grad is not None, f"{name} has no gradient"
        gradients[published] = parameter.grad.t() if model.key_map.is_transposed(name) else parameter.grad
    return value.detach(), gradients


def output_errors(
    actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
) -> dict[str, float]:
    """max |difference| / max |reference| of each expected output, over the real tokens of `inputs`."""
    assert set(expected) <= set(actual), f"not put out: {sorted(set(expected) - set(actual))}"
    source = inputs["attention_mask"].bool()
    target = inputs.get("decoder_attention_mask", source).bool()
    real = {name: source if name.startswith("encoder_") else target for name in expected}
    return {n: relative_error(_only(n, actual[n], real[n]), _only(n, e, real[n])) for n, e in expected.items()}


def gradient_errors(model: Model, actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, float]:
    """max |difference| / max |reference| of each parameter's gradient; of tied ones the peer may name either.

    A gradient that is zero in exact arithmetic is rounding on both sides (BERT's key bias shifts all scores of a query
    alike, which the softmax does not see). Such are measured by the scale of the whole model's gradients instead.
    """
    tied, keys = owners(model.tie_groups()), model.key_map
    ours = {name: keys.to_ours(name) or name for name in expected}
    expected = {keys.to_published(tied.get(ours[name], ours[name])) or name: g for name, g in expected.items()}
    assert set(actual) == set(expected), f"on one side only: {sorted(set(actual) ^ set(expected))}"
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    errors: dict[str, float] = {}
    for name, reference in expected.items():
        vanishes = float(reference.abs().max()) < 1e-5 * scale
        difference = float((actual[name] - reference).abs().max())
        errors[name] = difference / (scale if vanishes else float(reference.abs().max()))
    return errors


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """max |difference| / max |reference|."""
    assert actual.shape == expected.shape, f"{list(actual.shape)} instead of {list(expected.shape)}"
    return float((actual.double() - expected.double()).abs().max() / expected.double().abs().max())


def assert_below(errors: Mapping[str, float], limit: float) -> None:
    """Every error under `limit`; the message lists those that are not (a NaN is not)."""
    over = {name: error for name, error in errors.items() if not error < limit}
    assert not over, f"not below {limit}: " + ", ".join(f"{name} {error:.2e}" for name, error in over.items())


def _only(name: str, tensor: Tensor, real: Tensor) -> Tensor:
    """The part of an output that belongs to real tokens; what padding computes is nobody's promise."""
    if "attentions" in name:
        return tensor.transpose(1, 2)[real]  # [batch, heads, query, key] -> [tokens, heads, key]
    per_text = name == "pooler_output" or (name == "logits" and tensor.dim() == 2)  # [batch, hidden or classes]
    return tensor if per_text else tensor[real]
