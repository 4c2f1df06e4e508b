"""A batch of mixed lengths without most of its padding: rows of like length are read together, each group cut to its
longest.

    ██████████████            ██████████████
    ███···········    ─►      ████████████··     +    ███     +    █
    ████████████··                                    ██·
    ██············
    █·············

Padding costs what text costs, so a batch whose mean length is half its longest takes twice the time it needs. This
stands outside the model: its forward stays one graph of dense tensors, for `torch.compile` and `torch.export`.
"""

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.nn.output import Output

# What a group costs beyond its tokens, in tokens' worth of time: on a CPU a dozen operations a layer, on a GPU the
# time until the processor is busy at all.
OVERHEAD = {"cpu": 16, "cuda": 1024}


def forward_unpadded(
    model: Model, input_ids: Tensor, attention_mask: Tensor, *, output_hidden_states: bool = False, **inputs: Tensor
) -> Output:
    """`model(input_ids, attention_mask, …)`, computing little of the padding.

    model                       an encoder or a decoder
    input_ids, attention_mask   [batch, length], padded on either side
    inputs                      others of the model, each [batch, length]

    The result is the model's own on real tokens, and 0 where `attention_mask` is. InputError where a shape does not
    fit, for a model with a decoder beside its encoder, whose targets have lengths of their own, or while adapters are
    mixed in one batch.
    """
    if model.rows_are_named:
        raise InputError(
            "each row of the batch has an adapter of its own, and forward_unpadded reads rows in another order: "
            "call the model itself, or use_adapter with one name"
        )
    if getattr(model, "decoder", None) is not None:
        raise InputError(
            f"a {model.config.model_type} model reads sources and targets of unlike lengths: call it itself"
        )
    given = {"input_ids": input_ids, "attention_mask": attention_mask, **inputs}
    for name, values in given.items():
        if values.shape != input_ids.shape:
            raise InputError(
                f"{name} must be [batch, length] like input_ids, {list(input_ids.shape)}, got {list(values.shape)}"
            )
    real = attention_mask.bool()
    lengths = _widths(real).tolist()
    parts = []
    for rows in groups_by_length(lengths, OVERHEAD.get(input_ids.device.type, OVERHEAD["cuda"])):
        index = torch.tensor(rows, device=input_ids.device)
        columns = real[index].any(0)
        if not columns.any():  # nothing but padding: one token of it stands for the row
            columns[0] = True
        columns = columns.nonzero()[:, 0]
        part = {name: value[index][:, columns] for name, value in given.items()}
        parts.append((index, columns, model(**part, output_hidden_states=output_hidden_states)))
    return _joined(parts, real, model.task)


def groups_by_length(lengths: list[int], overhead: int) -> list[list[int]]:
    """Rows put into groups so that the sum over groups of rows · longest + overhead is as small as can be."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    # best[n]: the least cost of the n shortest rows, and where their last group begins
    best: list[tuple[int, int]] = [(0, 0)]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        best.append(min((best[start][0] + (end - start) * longest + overhead, start) for start in range(end)))
    groups: list[list[int]] = []
    end = len(order)
    while end:
        start = best[end][1]
        groups.append(order[start:end])
        end = start
    return groups


def _widths(real: Tensor) -> Tensor:
    """How many columns each row needs, [batch]: all between its first and its last real token."""
    places = torch.arange(real.shape[1], device=real.device)
    first = torch.where(real, places, real.shape[1]).amin(1)
    last = torch.where(real, places, -1).amax(1)
    return (last - first + 1).clamp(min=1)


def _joined(parts: list[tuple[Tensor, Tensor, Output]], real: Tensor, task: str) -> Output:
    """The groups' outputs in their rows and columns of the batch."""
    per_text = {"pooler_output"} | ({"logits"} if task == "sequence-classification" else set())

    def join(name: str, pieces: list[Tensor]) -> Tensor:
        shape = (len(real), *pieces[0].shape[1:]) if name in per_text else (*real.shape, *pieces[0].shape[2:])
        whole = pieces[0].new_zeros(shape)
        for (rows, columns, _), piece in zip(parts, pieces, strict=True):
            if name in per_text:
                whole[rows] = piece
            else:
                here = real[rows][:, columns].view(*piece.shape[:2], *[1] * (piece.dim() - 2))
                whole[rows[:, None], columns] = piece.where(here, 0)
        return whole

    joined: dict[str, Any] = {}
    for name in (field.name for field in fields(Output)):
        values = [getattr(output, name) for _, _, output in parts]
        if values[0] is None:
            continue
        if isinstance(values[0], tuple):
            joined[name] = tuple(join(name, list(layer)) for layer in zip(*values, strict=True))
        else:
            joined[name] = join(name, values)
    return Output(**joined)
