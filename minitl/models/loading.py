"""From a checkpoint folder to a model and back.

    config.json ─ family, config ─► empty model on the meta device
    *.safetensors ─ key map ──────► its parameters, one tensor at a time from the mapped file

Strict both ways: every tensor of the file has a place or is on the family's list of known drops, every parameter is
filled; all that is wrong is said in one error.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.key_map import KeyMap
from minitl.checkpoints.weights import Weights, dtype_name, open_weights, read_json, save_weights, saving
from minitl.errors import CheckpointError, InputError
from minitl.models.base import Family, Model
from minitl.models.config import Config
from minitl.models.registry import check_task, family_of, task_of

log = logging.getLogger("minitl")


def load_model(
    source: str | Path,
    task: str | None = None,
    *,
    num_labels: int | None = None,
    labels: Sequence[str] | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    revision: str | None = None,
) -> Model:
    """Load a published checkpoint, in eval mode.

    source      a folder in the published layout (config.json and safetensors), or a hub id
    task        None = what config.json's "architectures" says, or "backbone", "masked-lm", "causal-lm",
                "sequence-classification", "token-classification", "question-answering"
    num_labels, labels   for a new classification head: how many classes, or their names
    dtype       type of the parameters, whatever the file's
    revision    branch, tag or commit on the hub

    A head that the file does not hold is made new and announced on the "minitl" logger by name.
    Raises CheckpointError (damaged files; missing, unexpected or mis-shaped tensors, all listed), ConfigError (config.json),
    InputError (a task that the family does not have).
    """
    from minitl.checkpoints.hub import resolve

    folder = resolve(source, revision=revision)
    where = str(folder / "config.json")
    values = read_json(folder / "config.json")
    family = family_of(values.get("model_type"), where)
    config = family.config.from_dict(values, where)
    stored = task_of(family, config.architectures, where)
    task = task or stored
    check_task(family, task)
    config = _with_labels(config, num_labels, labels)
    weights = open_weights(folder)
    model = _empty_model(family, config, task)
    fresh = _fill(model, weights, folder, _plan(model, weights, head_is_stored=task == stored), dtype, device)
    if fresh:
        log.warning("%s: new and untrained, not from the checkpoint: %s", source, ", ".join(fresh))
    return model.eval()


def new_model(
    config: Config | Mapping[str, Any],
    task: str = "backbone",
    *,
    num_labels: int | None = None,
    labels: Sequence[str] | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Model:
    """A model with fresh random weights from torch's generator: what training from scratch begins with; in eval mode.

    config   a family's Config, or the content of a config.json. Other arguments and errors as in `load_model`.
    """
    if not isinstance(config, Config):
        values = dict(config)
        config = family_of(values.get("model_type")).config.from_dict(values)
    family = family_of(config.model_type)
    check_task(family, task)
    model = _empty_model(family, _with_labels(config, num_labels, labels), task)
    model.to_empty(device=device).to(dtype)
    model.initialize()
    model.tie()
    return model.eval()


def save_model(model: Model, folder: str | Path, tokenizer: Any = None, *, max_shard_bytes: int = 5 * 10**9) -> None:
    """Write `model` in the published layout, so that other libraries load it too; tied tensors are written once.

    folder      config.json, model.safetensors (or shards and their index), SHA256SUMS, and the tokenizer's files
    tokenizer   from `load_tokenizer`; None = weights and configuration only

    All files appear together or not at all. InputError where the model carries adapters: merge or remove them first.
    """
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        published = model.key_map.to_published(name)
        if published is None:
            raise InputError(f"{name} has no published name; merge or remove adapters before saving the model")
        value = parameter.detach()
        tensors[published] = value.t() if model.key_map.is_transposed(name) else value
    family, config = model.family, model.config
    name = family.architecture if model.task == "backbone" else family.heads[model.task].architectures[0]
    extra = {k: v for k, v in config.extra.items() if k not in ("dtype", "torch_dtype")}
    extra["torch_dtype"] = dtype_name(next(iter(tensors.values())).dtype)
    with saving(folder) as stage:
        save_weights(tensors, stage, max_shard_bytes)
        write_json(stage / "config.json", replace(config, architectures=[name], extra=extra).to_dict())
        if tokenizer is not None:
            tokenizer.save(stage)


def _with_labels(config: Config, num_labels: int | None, labels: Sequence[str] | None) -> Config:
    if labels is None and num_labels is None:
        return config
    if labels is not None and num_labels not in (None, len(labels)):
        raise InputError(f"num_labels is {num_labels}, but labels names {len(labels)}")
    names = list(labels) if labels is not None else [f"LABEL_{i}" for i in range(num_labels or 0)]
    if not names:
        raise InputError("a classification head needs at least one label")
    return replace(config, id2label={str(i): name for i, name in enumerate(names)})


def _empty_model(family: Family, config: Config, task: str) -> Model:
    """The model with its head, on the meta device: shapes without memory."""
    with torch.device("meta"):
        model = family.model(config)
        if task != "backbone":
            model.head = family.heads[task].build(config)
    model.task = task
    return model


@dataclass
class _Plan:
    """What is to be done with a file's tensors."""

    sources: dict[str, list[str]] = field(default_factory=dict)  # our name -> published names that claim it
    fresh: list[str] = field(default_factory=list)  # our names that no file fills and that a new head needs
    problems: list[str] = field(default_factory=list)


def _plan(model: Model, weights: Weights, head_is_stored: bool) -> _Plan:
    """Give every tensor its place and every parameter its source; collect what does not fit."""
    keys, plan = model.key_map, _Plan()
    others = [model.family.key_map(task) for task in model.family.heads if task != model.task]
    wanted = {name: tuple(p.shape) for name, p in model.named_parameters()}
    for name, shape in weights.shapes.items():
        ours = keys.to_ours(name)
        if ours is not None and ours.startswith("head.") and not head_is_stored:
            continue  # another task's head may bear the same published name
        if ours in wanted:
            plan.sources.setdefault(ours, []).append(name)
            expected = wanted[ours][::-1] if keys.is_transposed(ours) else wanted[ours]
            if shape != expected:
                plan.problems.append(f"{name}: shape {list(shape)} in the file, {list(expected)} in the model")
        elif not keys.is_dropped(name) and not any(_is_head(other, name) for other in others):
            plan.problems.append(f"{name}: unexpected, shape {list(shape)}")
    _settle_missing(model, plan, set(wanted), head_is_stored)
    return plan


def _is_head(keys: KeyMap, name: str) -> bool:
    ours = keys.to_ours(name)
    return ours is not None and ours.startswith("head.")


def _settle_missing(model: Model, plan: _Plan, wanted: set[str], head_is_stored: bool) -> None:
    """Parameters without a source: tied ones have it elsewhere, optional parts go, new heads are noted, others are wrong."""
    tied = {name: group for group in model.tie_groups() for name in group}
    needed = model.family.heads[model.task].needs if model.task != "backbone" else ()
    for name in sorted(wanted - set(plan.sources)):
        part = name.split(".")[0]
        if any(other in plan.sources for other in tied.get(name, ())):
            continue
        if (name.startswith("head.") and not head_is_stored) or (model.key_map.is_optional(name) and part in needed):
            plan.fresh.append(name)
        elif model.key_map.is_optional(name):
            setattr(model, part, None)
        else:
            shape = list(model.get_parameter(name).shape)
            plan.problems.append(f"{model.key_map.to_published(name)}: missing, shape {shape} in the model")


def _fill(
    model: Model, weights: Weights, folder: Path, plan: _Plan, dtype: torch.dtype, device: str | torch.device
) -> list[str]:
    """Replace every meta parameter by a real one. Returns the modules that had to be made new."""
    if plan.problems:
        listed = "\n  ".join(plan.problems)
        raise CheckpointError(
            f"{folder}: the weights do not fit a {model.config.model_type} {model.task} model:\n  {listed}"
        )
    keys = model.key_map
    for name, published in plan.sources.items():
        tensors = [weights[p] for p in published]
        _check_equal(folder, published, tensors)
        stored = tensors[0].t() if keys.is_transposed(name) else tensors[0]
        _set_parameter(model, name, torch.empty(stored.shape, dtype=dtype, device=device).copy_(stored))
    for group in model.tie_groups():
        present = [name for name in group if name in plan.sources]
        tensors = [model.get_parameter(name) for name in present]
        _check_equal(folder, [keys.to_published(name) or name for name in present], tensors)
        if present and present[0] != group[0]:
            _set_parameter(model, group[0], tensors[0].detach())
    model.tie()
    fresh = sorted({name.rpartition(".")[0] for name in plan.fresh})
    for name in fresh:
        module = model.get_submodule(name)
        module.to_empty(device=device, recurse=False).to(dtype)
    model.initialize([model.get_submodule(name) for name in fresh])
    model.tie()
    return fresh


def _set_parameter(model: nn.Module, name: str, value: Tensor) -> None:
    module, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(module), attribute, nn.Parameter(value))


def _check_equal(folder: Path, names: Sequence[str], tensors: Sequence[Tensor]) -> None:
    for name, tensor in zip(names[1:], tensors[1:], strict=True):
        if not torch.equal(tensors[0], tensor):
            raise CheckpointError(
                f"{folder}: {names[0]} and {name} are one tensor in this model, but the file's differ"
            )
