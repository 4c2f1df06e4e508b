"""The guide's table of layers beside what probes found in a model.

    layers of 12        1–3     4–6     7–9         10–12
    what they hold      form    syntax  semantics   task

A model of another depth is parted alike: layer l of n belongs to the quarter in which l / n lies, and the embeddings,
layer 0, to none. A task is at home in the quarter of its best layer, which validation chose; a layer is as good as the
best where the 95% interval of how far it is behind, under the same draws of texts, reaches 0. Three things are no
evidence: a task of which no layer tells more than one knows without its vectors; one that has a layer as good as the
best in every quarter; and a best layer where not all were asked.

Nothing is rounded up: a task counts for a row with its best layer alone. Where that is elsewhere and a layer of the row
as good, the row holds by it no more and may fail by it no more: then it cannot be judged.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from minitl.pages.claims import Claim, Verdict
from minitl.probing.metrics import Estimate
from minitl.probing.task import Kind

KINDS: tuple[Kind, ...] = ("form", "syntax", "semantics", "task")
ROWS = {  # of each kind: its layers of 12, what the guide says is learnt there, what of it no data at hand asks
    "form": ("layers 1–3", "surface features: spelling, morphology, parts of speech, basic syntax", ""),
    "syntax": (
        "layers 4–6",
        "syntactic structure: dependencies, subject-verb agreement, phrase boundaries",
        "phrase boundaries",
    ),
    "semantics": (
        "layers 7–9",
        "semantic roles, entity types, coreference",
        "semantic roles and coreference",
    ),
    "task": ("layers 10–12", "task-specific reasoning, discourse, the meaning of sentences", "discourse and reasoning"),
}
PATTERN = "The pattern: lower layers encode form, higher layers meaning and reasoning"
RULE = (
    "Holds where every task of the row has its best layer in that part of the model, and at least half of them none as "
    "good elsewhere; in part where at least half have their best layer there. Where fewer have, it cannot be judged if "
    "they are half together with those of which a layer there cannot be told from their best; else it does not hold. "
    "The embeddings are in no part. A task does not count whose best layer is not above what one gets without vectors, "
    "or that has a layer as good as the best in every part of the model; nothing is judged where layers were left out."
)
ORDER_RULE = (
    "Holds where the mean centre of gravity rises from form to syntax to semantics to task, each time by more than two "
    "standard errors over seeds, in part where that of the last of these that were asked is so far above that of the "
    "first, and where not all four were asked; nothing is judged where layers were left out."
)


@dataclass(frozen=True)
class Profile:
    """Where in a model a task is solved.

    layers    which were asked, 0 = embeddings
    scores    one for each of them
    best      which of them validation chose
    behind    how far each is behind the best
    floor     what is right without looking at a vector
    centre    of gravity, in layers; None where it was not measured
    error     of the centre: its standard error over seeds; infinite of one seed
    """

    title: str
    kind: Kind
    layers: tuple[int, ...]
    scores: tuple[Estimate, ...]
    best: int
    behind: tuple[Estimate, ...]
    floor: float
    centre: float | None = None
    error: float = 0.0

    @property
    def solved(self) -> bool:
        """Whether the best layer is surely above the floor."""
        return self.scores[self.layers.index(self.best)].low > self.floor

    @property
    def plateau(self) -> tuple[int, ...]:
        """The layers as good as the best."""
        return tuple(layer for layer, gap in zip(self.layers, self.behind, strict=True) if gap.low <= 0)

    def tells_layers_apart(self, depth: int) -> bool:
        """Whether some quarter of the model has no layer as good as the best."""
        quarters = {quarter(layer, depth) for layer in range(1, depth + 1)}
        return not quarters <= {quarter(layer, depth) for layer in self.plateau if layer}


def quarter(layer: int, depth: int) -> int:
    """Which quarter, 0 to 3, of a model with `depth` layers a layer, from 1, belongs to."""
    return -(-4 * layer // depth) - 1


def layers_of(kind: Kind, depth: int) -> tuple[int, ...]:
    """The layers of a model with `depth` of them that stand for those the guide gives to a kind."""
    return tuple(layer for layer in range(1, depth + 1) if KINDS[quarter(layer, depth)] == kind)


def said_of(kind: Kind) -> str:
    """A row of the guide's table in words."""
    layers, what, _ = ROWS[kind]
    return f"{layers.capitalize()} of 12: {what}"


def judged_rows(profiles: Sequence[Profile], depth: int) -> list[Claim]:
    """One claim for each row of the guide's table; it also says what of the row cannot be judged here."""
    return [_row(kind, [one for one in profiles if one.kind == kind], depth) for kind in KINDS]


def judged_order(profiles: Sequence[Profile], depth: int) -> Claim:
    """Whether lower layers hold form and higher ones meaning."""
    measured = [
        one
        for one in profiles
        if one.solved and one.centre is not None and math.isfinite(one.error) and _whole(one, depth)
    ]
    centres = {kind: _mean_centre([one for one in measured if one.kind == kind]) for kind in KINDS}
    found = {kind: centre for kind, centre in centres.items() if centre is not None}
    if len(found) < 2:
        few = "centres of gravity, over several seeds, of fewer than two kinds of tasks"
        return Claim(PATTERN, few, Verdict.UNKNOWN, ORDER_RULE)
    told = ", ".join(f"{kind} {centre:.2f} ± {error:.2f}" for kind, (centre, error) in found.items())
    low, *_, high = found.values()
    rises = len(found) == len(KINDS) and all(_above(upper, lower) for lower, upper in pairwise(found.values()))
    verdict = Verdict.HOLDS if rises else Verdict.IN_PART if _above(high, low) else Verdict.FAILS
    return Claim(PATTERN, f"centre of gravity, with its standard error: {told}", verdict, ORDER_RULE)


def _mean_centre(profiles: Sequence[Profile]) -> tuple[float, float] | None:
    """Over tasks, and its standard error."""
    centres = [one.centre for one in profiles if one.centre is not None]
    return (fmean(centres), math.hypot(*(one.error for one in profiles)) / len(centres)) if centres else None


def _above(upper: tuple[float, float], lower: tuple[float, float]) -> bool:
    return upper[0] - lower[0] > 2 * math.hypot(upper[1], lower[1])


def _whole(profile: Profile, depth: int) -> bool:
    return set(profile.layers) == set(range(depth + 1))


def _row(kind: Kind, profiles: Sequence[Profile], depth: int) -> Claim:
    _, _, unasked = ROWS[kind]
    here, says = layers_of(kind, depth), said_of(kind)
    left = f"; {unasked}: cannot be judged here, there is no data at hand" if unasked else ""
    if not here:
        return Claim(says, f"a model of {depth} layers has none that stands for these", Verdict.UNKNOWN, RULE)
    if not profiles:
        return Claim(says, f"no task of this kind was asked{left}", Verdict.UNKNOWN, RULE)
    told = "; ".join(f"{one.title}: {_told(one)}" for one in profiles)
    return Claim(says, f"here {_layers(here)}. {told}{left}", _verdict(kind, profiles, depth), RULE)


def _verdict(kind: Kind, profiles: Sequence[Profile], depth: int) -> Verdict:
    telling = [one for one in profiles if one.solved and one.tells_layers_apart(depth)]
    if not telling or not all(_whole(one, depth) for one in telling):
        return Verdict.UNKNOWN
    here = set(layers_of(kind, depth))
    at_home = [one for one in telling if one.best in here]
    alone = [one for one in at_home if here.issuperset(one.plateau)]
    near = [one for one in telling if one.best not in here and not here.isdisjoint(one.plateau)]
    half = len(telling) / 2
    if len(at_home) == len(telling) and len(alone) >= half:
        return Verdict.HOLDS
    if len(at_home) >= half:
        return Verdict.IN_PART
    return Verdict.UNKNOWN if len(at_home) + len(near) >= half else Verdict.FAILS


def _told(profile: Profile) -> str:
    if not profile.solved:
        return "no layer tells more than one knows without vectors"
    return f"best at {_layer(profile.best)}{_also(profile)}"


def _also(profile: Profile) -> str:
    others = [layer for layer in profile.plateau if layer != profile.best]
    return f", as good {_layers(others)}" if others else ""


def _layer(layer: int) -> str:
    return "the embeddings" if layer == 0 else f"layer {layer}"


def _layers(layers: Sequence[int]) -> str:
    """ "layers 2–4 and 6", "the embeddings and layer 1"."""
    if layers[0] == 0:
        return "the embeddings" + (f" and {_layers(layers[1:])}" if layers[1:] else "")
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    shown = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    return ("layer " if len(layers) == 1 else "layers ") + " and ".join(shown)
