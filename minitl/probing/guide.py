"""The guide's table of layers beside what probes found in a model.

    layers of 12        1–3     4–6     7–9         10–12
    what they hold      form    syntax  semantics   task

A model of another depth is parted alike: layer l of n belongs to the quarter in which l / n lies, and the embeddings,
layer 0, to the first. A task is at home in the quarter of its best layer; a layer is as good as the best where the 95%
interval of how far it is behind, under the same draws of texts, reaches 0. Two things are no evidence: a task of which
no layer tells more than one knows without its vectors, and a best layer where not all were asked.
"""

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
RULE = (
    "Holds where every task of the row has its best layer in that part of the model, in part where one of them has, or "
    "has a layer there that cannot be told from its best; else it does not hold. A task whose best layer is not above "
    "what one gets without vectors does not count, and nothing is judged where layers were left out."
)
ORDER_RULE = (
    "Holds where the mean centre of gravity rises from form to syntax to semantics to task, in part where that of the "
    "last of these that were asked is above that of the first."
)


@dataclass(frozen=True)
class Profile:
    """Where in a model a task is solved.

    layers    which were asked, 0 = embeddings
    scores    one for each of them
    behind    how far each is behind the best
    floor     what is right without looking at a vector
    centre    of gravity, in layers; None where it was not measured
    """

    title: str
    kind: Kind
    layers: tuple[int, ...]
    scores: tuple[Estimate, ...]
    behind: tuple[Estimate, ...]
    floor: float
    centre: float | None = None

    @property
    def best(self) -> int:
        """The layer of the highest score; of several the lowest."""
        return self.layers[self._best]

    @property
    def solved(self) -> bool:
        """Whether the best layer is surely above the floor."""
        return self.scores[self._best].low > self.floor

    @property
    def plateau(self) -> tuple[int, ...]:
        """The layers as good as the best."""
        return tuple(layer for layer, gap in zip(self.layers, self.behind, strict=True) if gap.low <= 0)

    @property
    def _best(self) -> int:
        means = [one.mean for one in self.scores]
        return means.index(max(means))


def quarter(layer: int, depth: int) -> int:
    """Which quarter, 0 to 3, of a model with `depth` layers a layer belongs to."""
    return max(0, -(-4 * layer // depth) - 1)


def layers_of(kind: Kind, depth: int) -> tuple[int, ...]:
    """The layers of a model with `depth` of them that stand for those the guide gives to a kind; layer 0 not named."""
    return tuple(layer for layer in range(1, depth + 1) if KINDS[quarter(layer, depth)] == kind)


def judged_rows(profiles: Sequence[Profile], depth: int) -> list[Claim]:
    """One claim for each row of the guide's table; it also says what of the row cannot be judged here."""
    return [_row(kind, [one for one in profiles if one.kind == kind], depth) for kind in KINDS]


def judged_order(profiles: Sequence[Profile]) -> Claim:
    """Whether lower layers hold form and higher ones meaning."""
    says = "The pattern: lower layers encode form, higher layers meaning and reasoning"
    centres = {
        kind: fmean(found)
        for kind in KINDS
        if (found := [one.centre for one in profiles if one.kind == kind and one.solved and one.centre is not None])
    }
    if len(centres) < 2:
        return Claim(says, "centres of gravity of fewer than two kinds of tasks", Verdict.UNKNOWN, ORDER_RULE)
    found = list(centres.values())
    rises = all(low < high for low, high in pairwise(found))
    measured = "centre of gravity: " + ", ".join(f"{kind} {centre:.2f}" for kind, centre in centres.items())
    verdict = Verdict.HOLDS if rises else Verdict.IN_PART if found[-1] > found[0] else Verdict.FAILS
    return Claim(says, measured, verdict, ORDER_RULE)


def _row(kind: Kind, profiles: Sequence[Profile], depth: int) -> Claim:
    layers, what, unasked = ROWS[kind]
    here = layers_of(kind, depth)
    says = f"{layers.capitalize()} of 12: {what}"
    left = f"; {unasked}: cannot be judged here, there is no data at hand" if unasked else ""
    if not here:
        return Claim(says, f"a model of {depth} layers has none that stands for these", Verdict.UNKNOWN, RULE)
    if not profiles:
        return Claim(says, f"no task of this kind was asked{left}", Verdict.UNKNOWN, RULE)
    told = "; ".join(f"{one.title}: {_told(one)}" for one in profiles)
    return Claim(f"{says} (here {_layers(here)})", f"{told}{left}", _verdict(kind, profiles, depth), RULE)


def _verdict(kind: Kind, profiles: Sequence[Profile], depth: int) -> Verdict:
    solved = [one for one in profiles if one.solved]
    if not solved or any(set(one.layers) != set(range(depth + 1)) for one in solved):
        return Verdict.UNKNOWN
    at_home = [one for one in solved if KINDS[quarter(one.best, depth)] == kind]
    near = [one for one in solved if any(KINDS[quarter(layer, depth)] == kind for layer in one.plateau)]
    return Verdict.HOLDS if len(at_home) == len(solved) else Verdict.IN_PART if near else Verdict.FAILS


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
    """ "layers 2–4 and 6"; the embeddings are 0."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    shown = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    return ("layer " if len(layers) == 1 else "layers ") + " and ".join(shown)
