"""Which tensor of a file goes where in a model: names translated, prefixes and ties resolved, nothing left over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from minitl.checkpoints.weights import Weights
from minitl.models.base import Family, Model
from minitl.models.config import Config


def stored_task(model: Model, weights: Weights) -> str:
    """Whose head the file holds where config.json names none: the model's, if any of it is there, else nobody's.

    Half a head counts as one, so that the other half is missing and not made up; what other heads have too does not.
    """
    head = {n for n, _ in model.stored() if n.startswith("head.") and not n.startswith(_kept(model))}
    return model.task if any(model.key_map.to_ours(name) in head for name in weights) else "backbone"


def holds_untied(family: Family, task: str, config: Config, weights: Weights) -> bool:
    """Whether the file of a `task` has members of a tie group that differ: then they were not tied."""
    keys = family.key_map(task, config)
    names = {keys.to_ours(name): name for name in weights}
    for group in keys.ties:
        first, *others = [names[member] for member in group if member in names] or [""]
        if any(_differ(weights, first, other) for other in others):
            return True
    return False


@dataclass
class Plan:
    """What is to be done with a file's tensors. Of a tie group only the first member is named."""

    sources: dict[str, list[str]] = field(default_factory=dict)  # our name -> published names that claim it
    fresh: list[str] = field(default_factory=list)  # our names that no file fills and that a new head needs
    implied: list[str] = field(default_factory=list)  # our names that no file need fill: what they hold is known
    problems: list[str] = field(default_factory=list)


def plan_loading(model: Model, weights: Weights, stored: str) -> Plan:
    """Give every tensor its place and every parameter its source; collect what does not fit.

    stored   the task whose published names, prefix and ties the file has
    """
    plan, family = Plan(), model.family
    in_file = family.key_map(stored, model.config)
    keys = replace(model.key_map, prefix=in_file.prefix)
    head_is_stored = stored == model.task != "backbone"
    kept = _kept(model)
    # What belongs to another task's head is no surprise, except beside the very head that is asked for.
    other_tasks = [] if head_is_stored else [task for task in family.heads if task != model.task]
    others = [family.key_map(task, model.config) for task in other_tasks]
    tied, tied_in_file = owners(model.tie_groups()), owners(in_file.ties if model.config.tie_word_embeddings else ())
    wanted = {name: tuple(p.shape) for name, p in model.stored() if name not in tied}
    for name, shape in weights.shapes.items():
        # Of tied tensors a file may hold any one: a language model's output layer may be all there is of its embedding.
        ours = tied_in_file.get(in_file.to_ours(name) or "") or keys.to_ours(name) or ""
        ours = tied.get(ours, ours)
        if ours.startswith("head.") and not head_is_stored and not ours.startswith(kept):
            continue  # another task's head may bear the same published name
        if ours in wanted:
            plan.sources.setdefault(ours, []).append(name)
            expected = wanted[ours][::-1] if keys.is_transposed(ours) else wanted[ours]
            if shape != expected:
                plan.problems.append(f"{name}: shape {list(shape)} in the file, {list(expected)} in the model")
            if not weights.dtypes[name].startswith(("F", "BF")):
                plan.problems.append(f"{name}: stored as {weights.dtypes[name]}, not as floating-point numbers")
        elif ours.startswith(_left_out(model)):
            continue
        elif not keys.is_dropped(name) and not any((o.to_ours(name) or "").startswith("head.") for o in others):
            plan.problems.append(f"{name}: unexpected, shape {list(shape)}")
    for names in plan.sources.values():
        if len({keys.bare(name) for name in names}) < len(names):
            plan.problems.append(f"{', '.join(names)}: several spellings of one name")
        plan.problems += _contradictions(weights, names)
    _settle_missing(model, plan, wanted, head_is_stored)
    return plan


def owners(groups: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """Every later member of a tie group -> the group's first."""
    return {name: group[0] for group in groups for name in group[1:]}


def _left_out(model: Model) -> tuple[str, ...]:
    """How the names of the parameters begin that the model's head has no use for."""
    return () if model.task == "backbone" else tuple(f"{part}." for part in model.family.heads[model.task].without)


def _kept(model: Model) -> tuple[str, ...]:
    """How the names of the parameters begin that the model's head takes over from any other head."""
    return () if model.task == "backbone" else tuple(f"{part}." for part in model.family.heads[model.task].keeps)


def _contradictions(weights: Weights, names: Sequence[str]) -> list[str]:
    """A problem for each of the published `names`, which are one tensor in the model, that differs from the first."""
    first, *others = names
    return [
        f"{first} and {other}, shape {list(weights.shapes[first])}: are one tensor in this model, but differ there"
        for other in others
        if weights.shapes[other] == weights.shapes[first]  # else one of them is listed for its shape
        and _differ(weights, first, other)
    ]


def _differ(weights: Weights, first: str, other: str) -> bool:
    if weights.shapes[first] != weights.shapes[other]:
        return True
    return not torch.equal(weights[first], weights[other].to(weights[first].dtype))


def _settle_missing(model: Model, plan: Plan, wanted: Mapping[str, tuple[int, ...]], head_is_stored: bool) -> None:
    """Parameters without a source: optional parts go, a new head and what it needs is noted, others are wrong."""
    needed = () if model.task == "backbone" else model.family.heads[model.task].needs
    for name in sorted(set(wanted) - set(plan.sources)):
        part = name.split(".")[0]
        if name in model.key_map.implied:
            plan.implied.append(name)
            continue
        lacks_part = model.key_map.is_optional(name) and not any(n.startswith(part + ".") for n in plan.sources)
        if not head_is_stored and (part == "head" or (lacks_part and part in needed)):
            plan.fresh.append(name)
        elif lacks_part and part not in needed:
            setattr(model, part, None)
        else:
            plan.problems.append(
                f"{model.key_map.to_published(name)}: missing, shape {list(wanted[name])} in the model"
            )
