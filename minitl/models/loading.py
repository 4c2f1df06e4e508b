"""From a checkpoint folder to a model and back.

    config.json ─ family, config ─► empty model on the meta device
    *.safetensors ─ key map ──────► its parameters, one tensor at a time from the mapped file

Strict both ways: every tensor of the file has a place or is on the family's list of known drops, every parameter is
filled; all that is wrong is said in one error.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.weights import Weights, dtype_name, open_weights, read_json, save_weights, saving
from minitl.errors import CheckpointError, InputError
from minitl.models.base import Family, Model
from minitl.models.config import Config
from minitl.models.matching import Plan, holds_untied, owners, plan_loading, stored_task
from minitl.models.meta import LeaveEmpty
from minitl.models.registry import check_task, family_of, task_of
from minitl.nn.device import usual_device

log = logging.getLogger("minitl")

LABELLED = ("sequence-classification", "token-classification")  # tasks whose head has one output for each label


def load_model(
    source: str | Path,
    task: str | None = None,
    *,
    num_labels: int | None = None,
    labels: Sequence[str] | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    revision: str | None = None,
) -> Model:
    """Load a published checkpoint, in eval mode.

    source      a folder in the published layout (config.json and safetensors), or a hub id
    task        None = what config.json's "architectures" says, or "backbone", "masked-lm", "causal-lm", "seq2seq-lm",
                "sequence-classification", "token-classification", "question-answering", "replaced-token-detection";
                of the families taught here also "bidirectional-lm" (bilm) and "negative-sampling" (skip-gram)
    num_labels, labels   for a new classification head: how many classes, or their names
    dtype       type of the parameters, whatever the file's
    device      None = the processor, or what `models_on` says
    revision    branch, tag or commit on the hub

    A head of which the file holds nothing is made new and announced on the "minitl" logger by name.
    On the CPU, parameters of the file's own type are views of the mapped file: loading takes no memory, and training
    them changes memory, not the file.

    Raises CheckpointError (damaged files; missing, unexpected, mis-shaped or contradictory tensors, all listed),
    ConfigError (config.json), InputError (a task that the family does not have, another number of labels than its
    head has).
    """
    from minitl.checkpoints.hub import resolve

    folder = resolve(source, revision=revision)
    where = str(folder / "config.json")
    values = read_json(folder / "config.json")
    family = family_of(values.get("model_type"), where)
    config = family.config.from_dict(values, where)
    named = task_of(family, config.architectures, where)
    task = task or named
    check_task(family, task)
    asked = _with_labels(config, num_labels, labels)
    if task == named and task in LABELLED and len(asked.labels) != len(config.labels):
        raise InputError(
            f"{folder}: its {task} head knows {len(config.labels)} labels ({', '.join(config.labels)}), "
            f"{len(asked.labels)} were asked for"
        )
    weights = open_weights(folder)
    if family.ties_as_stored:
        untied = any(holds_untied(family, one, asked, weights) for one in {named, task})
        asked = replace(asked, tie_word_embeddings=not untied)
    model = _empty_model(family, asked, task)
    stored = stored_task(model, weights) if named == "backbone" else named
    plan = plan_loading(model, weights, stored)
    if plan.problems:
        listed = "\n  ".join(plan.problems)
        raise CheckpointError(f"{folder}: the weights do not fit a {config.model_type} {task} model:\n  {listed}")
    device = device or usual_device()
    new = _make_new(model, plan.fresh, dtype, device)
    _make_new(model, plan.implied, dtype, device)
    _fill(model, weights, plan, dtype, device)
    if new:
        log.warning("%s: new and untrained, not from the checkpoint: %s", source, ", ".join(new))
    model.source, model.untaught = str(source), tuple(new)
    return model.eval()


def writing_task(source: str | Path, *, revision: str | None = None) -> str:
    """The task with which a checkpoint of its family writes: "seq2seq-lm", else "causal-lm", whether it can or not."""
    from minitl.checkpoints.hub import resolve

    path = resolve(source, revision=revision) / "config.json"
    family = family_of(read_json(path).get("model_type"), str(path))
    return "seq2seq-lm" if "seq2seq-lm" in family.heads else "causal-lm"


def new_model(
    config: Config | Mapping[str, Any],
    task: str = "backbone",
    *,
    num_labels: int | None = None,
    labels: Sequence[str] | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
) -> Model:
    """A model with fresh random weights from torch's generator: what training from scratch begins with; in eval mode.

    config   a family's Config, or the content of a config.json. Other arguments and errors as in `load_model`.
    """
    if not isinstance(config, Config):
        if not isinstance(config, Mapping):
            raise InputError(f"new_model takes a Config or the content of a config.json, got {config!r}")
        values = dict(config)
        config = family_of(values.get("model_type")).config.from_dict(values)
    family = family_of(config.model_type)
    check_task(family, task)
    model = _empty_model(family, _with_labels(config, num_labels, labels), task)
    if task != "backbone":
        for part in set(model.key_map.optional) - set(family.heads[task].needs):
            setattr(model, part, None)  # nothing above would ever teach it
    tied = owners(model.tie_groups())
    _allocate(model, [name for name, _ in model.stored() if name not in tied], dtype, device or usual_device())
    with LeaveEmpty():  # the tied members
        model.initialize()
    model.tie()
    return model.eval()


def save_model(
    model: Model,
    folder: str | Path,
    tokenizer: Any = None,
    *,
    max_shard_bytes: int = 5 * 10**9,
    beside: Mapping[str, Any] | None = None,
) -> None:
    """Write `model` in the published layout, so that other libraries load it too; tied tensors are written once.

    folder      config.json, model.safetensors (or shards and their index), SHA256SUMS, and the tokenizer's files
    tokenizer   from `load_tokenizer`; None = weights and configuration only
    beside      what further JSON files of the folder hold, by their paths in it (`Task.beside`)

    A failure leaves `folder` as it was. InputError where the model carries adapters, merged or not: remove_lora first.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.stored():
        published = model.key_map.to_published(name)
        if ".adapters." in name:
            raise InputError(f"{name} is an adapter's: remove_lora, after merge_lora if it is to stay, before saving")
        if published is None:
            raise InputError(f"{name} has no published name, and a checkpoint no place for it")
        value = tensor.detach()
        tensors[published] = value.t() if model.key_map.is_transposed(name) else value
    config = model.config
    extra = {k: v for k, v in config.extra.items() if k not in ("dtype", "torch_dtype")}
    extra["torch_dtype"] = dtype_name(next(iter(tensors.values())).dtype)
    with saving(folder) as stage:
        save_weights(tensors, stage, max_shard_bytes)
        write_json(stage / "config.json", replace(config, architectures=[_architecture(model)], extra=extra).to_dict())
        if tokenizer is not None:
            tokenizer.save(stage)
        for path, content in (beside or {}).items():
            write_json(stage / path, content)
    model.has_unsaved_rows = False


def _architecture(model: Model) -> str:
    """The published class name of what `model` is."""
    family = model.family
    if model.task != "backbone":
        return family.heads[model.task].architectures[0]
    for name, missing in family.partial.items():
        if all(getattr(model, part) is None for part in missing):
            return name
    return family.architecture


def _with_labels(config: Config, num_labels: int | None, labels: Sequence[str] | None) -> Config:
    if labels is None and num_labels is None:
        return config
    if labels is not None and num_labels not in (None, len(labels)):
        raise InputError(f"num_labels is {num_labels}, but labels names {len(labels)}")
    names = list(labels) if labels is not None else [f"LABEL_{i}" for i in range(num_labels or 0)]
    if not names or len(set(names)) < len(names):
        raise InputError(f"a classification head needs at least one label, and each once; got {names}")
    return replace(config, id2label={str(i): name for i, name in enumerate(names)})


def _empty_model(family: Family, config: Config, task: str) -> Model:
    """The model with its head, on the meta device: shapes without memory."""
    with torch.device("meta"), LeaveEmpty():
        model = family.model(config)
        if task != "backbone":
            model.head = family.heads[task].build(config)
            for part in family.heads[task].without:
                setattr(model, part, None)
    model.task = task
    return model


def _fill(model: Model, weights: Weights, plan: Plan, dtype: torch.dtype, device: str | torch.device) -> None:
    """Put the file's tensors in place of the parameters on the meta device, views of the file where the type allows."""
    views: dict[str, Tensor] = {}
    for name, (first, *_) in plan.sources.items():
        views[name] = weights[first].t() if model.key_map.is_transposed(name) else weights[first]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # to another type, twice as fast as one tensor after the other
        values = pool.map(lambda view: view.to(device=device, dtype=dtype), views.values())
        for name, value in zip(views, values, strict=True):
            _set_tensor(model, name, value)
    model.tie()


def _make_new(model: Model, names: Sequence[str], dtype: torch.dtype, device: str | torch.device) -> list[str]:
    """Fresh weights for the parameters `names`, before the others are filled. Returns what to call them."""
    _allocate(model, names, dtype, device)
    modules = sorted({name.rpartition(".")[0] for name in names})
    with LeaveEmpty():  # tied members of these modules get their tensor later
        model.initialize([model.get_submodule(name) for name in modules])
    new: list[str] = []
    for module in modules:
        part = model.get_submodule(module)
        own = {f"{module}.{n}" for n, _ in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False))}
        new += [module] if own <= set(names) else sorted(own & set(names))
    return new


def _allocate(model: Model, names: Sequence[str], dtype: torch.dtype, device: str | torch.device) -> None:
    """Memory for parameters and buffers on the meta device."""
    shapes = {name: tensor.shape for name, tensor in model.stored()}
    for name in names:
        shape = shapes[name]
        if model.key_map.is_transposed(name):  # laid out as in files: the same numbers then always give the same bits
            value = torch.empty(shape[::-1], dtype=dtype, device=device).t()
        else:
            value = torch.empty(shape, dtype=dtype, device=device)
        _set_tensor(model, name, value)


def _set_tensor(model: nn.Module, name: str, value: Tensor) -> None:
    path, _, attribute = name.rpartition(".")
    module = model.get_submodule(path)
    is_buffer = attribute in dict(module.named_buffers(recurse=False))
    setattr(module, attribute, value if is_buffer else nn.Parameter(value))
