"""Drawing examples: a stratified order whose every prefix is balanced as the whole.

Item k of a class of m examples gets the place (k + ½) / m; sorted by place, the first n examples hold each class in the
proportion of the pool, to within rounding. Prefixes of one order are nested, hence so are the samples of one seed.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeVar

from minitl.errors import InputError

E = TypeVar("E")


def sample(examples: Sequence[E], n: int, seed: int, stratified: bool = True) -> list[E]:
    """Draw n examples without replacement, with the class proportions of the pool (where labels are classes).

    For one seed and one pool samples are nested: sample(50) is the beginning of sample(100).
    Raises InputError when n < 1 or the pool holds fewer than n examples.
    """
    if not 1 <= n <= len(examples):
        raise InputError(f"cannot draw {n} examples from a pool of {len(examples)}")
    return [examples[index] for index in _order(examples, seed, stratified)[:n]]


def cut_off(examples: list[E], fraction: float, seed: int) -> tuple[list[E], list[E]]:
    """Cut `fraction` of the examples off, stratified: (what remains, in its order; what was cut off).

    A positive fraction cuts at least one example off and leaves at least one; of a single example nothing is cut.
    Raises InputError when the fraction is not in [0, 1).
    """
    if not 0 <= fraction < 1:
        raise InputError(f"the fraction to cut off must be at least 0 and below 1, not {fraction}")
    if fraction == 0 or len(examples) < 2:
        return examples, []
    size = min(max(round(fraction * len(examples)), 1), len(examples) - 1)
    chosen = _order(examples, seed, stratified=True)[:size]
    taken = set(chosen)
    return [example for at, example in enumerate(examples) if at not in taken], [examples[at] for at in chosen]


def _order(examples: Sequence[Any], seed: int, stratified: bool) -> list[int]:
    """Every index once, shuffled; stratified, with the classes evenly interleaved."""
    rng = random.Random(seed)
    groups: dict[int | None, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        label = getattr(example, "label", None)
        groups[label if stratified and isinstance(label, int) else None].append(index)
    places: list[tuple[float, float, int]] = []
    for label in sorted(groups, key=lambda label: -1 if label is None else label):
        members = groups[label]
        rng.shuffle(members)
        places += [((k + 0.5) / len(members), rng.random(), index) for k, index in enumerate(members)]
    return [index for *_, index in sorted(places)]
