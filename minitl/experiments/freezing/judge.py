"""What the runs say of the guide's table of layers."""

from collections.abc import Sequence

from minitl.experiments.experiment import Results, Statement
from minitl.experiments.freezing.run import ALL, CLASSES, TAGS, WAYS
from minitl.experiments.paired import read, sampling_variance, share_right
from minitl.experiments.statistics import Measured, margin
from minitl.pages.claims import Verdict, all_or_some
from minitl.pages.formats import percent, with_noise

BOTTOM, TOP = "bottom quarter", "top quarter"
COARSE = 0.02  # noise from which on "costs nothing" cannot be told
TITLES = {CLASSES: "sentiment", TAGS: "parts of speech"}


def accuracy(results: Results, subject: str, way: str) -> Measured:
    """Of the test items, or of their words, once per seed."""
    sizes = sum(read(results[subject]["sizes"]))
    return Measured(tuple(1 - sum(wrong) / sizes for wrong in _wrong(results, subject, way)))


def gain(results: Results, subject: str, way: str, other: str, comparisons: int = 1) -> tuple[float, float]:
    """By how much `way` is ahead of `other`, and the noise of that, on the same test items."""
    sizes = read(results[subject]["sizes"])
    scores = [share_right(_wrong(results, subject, one), sizes) for one in (way, other)]
    first, second = (accuracy(results, subject, one) for one in (way, other))
    noise = margin(first, second, sampling_variance(scores[0], scores[1], len(sizes)), comparisons)
    return first.mean - second.mean, noise


def change(results: Results, subject: str) -> list[Measured]:
    """1 − CKA of the embeddings and each layer with what they were, once per seed, where nothing is held."""
    seeds = [line["alike"] for line in results[subject]["lines"] if line["way"] == ALL]
    return [Measured(tuple(1 - alike for alike in layer)) for layer in zip(*seeds, strict=True)]


def _wrong(results: Results, subject: str, way: str) -> list[list[int]]:
    return [read(line["wrong"]) for line in results[subject]["lines"] if line["way"] == way]


def _named(results: Results, way: str) -> str:
    """ "layers 1–2 of 6"."""
    held = results["held"][way]
    return f"layers {held[0] + 1}–{held[-1] + 1} of {results['layers']}"


def _bottom_costs_nothing(results: Results) -> tuple[str, Verdict]:
    told: list[str] = []
    found: list[bool | None] = []
    for subject, title in TITLES.items():
        difference, noise = gain(results, subject, BOTTOM, ALL)
        told.append(f"{title} {with_noise(difference, noise)}")
        found.append(None if -noise <= difference and noise > COARSE else difference >= -noise)
    return f"With {_named(results, BOTTOM)} and the embeddings held: {'; '.join(told)}.", _verdict(found)


def _top_matters_most(results: Results) -> tuple[str, Verdict]:
    told: list[str] = []
    found: list[bool | None] = []
    for subject, title in TITLES.items():
        difference, noise = gain(results, subject, TOP, BOTTOM, len(TITLES))
        told.append(f"{title} {with_noise(difference, noise)}")
        found.append(None if abs(difference) <= noise and noise > COARSE else difference < -noise)
    text = f"With {_named(results, TOP)} held, against {_named(results, BOTTOM)}: {'; '.join(told)}."
    return text, _verdict(found)


def _top_changes_most(results: Results) -> tuple[str, Verdict]:
    told, found = [], []
    for subject, title in TITLES.items():
        changes = change(results, subject)[1:]  # of the layers alone
        bottom, top = (_mean([changes[at] for at in results["held"][way]]) for way in (BOTTOM, TOP))
        told.append(f"{title} {top.mean:.3f} against {bottom.mean:.3f}")
        found.append(top.mean - bottom.mean > margin(top, bottom, comparisons=len(TITLES)))
    text = f"1 − CKA of {_named(results, TOP)} against {_named(results, BOTTOM)}: {'; '.join(told)}."
    return text, _verdict(found)


def _mean(layers: list[Measured]) -> Measured:
    """Over layers, for each seed."""
    return Measured(tuple(sum(values) / len(values) for values in zip(*(one.values for one in layers), strict=True)))


def _verdict(found: Sequence[bool | None]) -> Verdict:
    """Of what the tasks say; None says nothing."""
    return all_or_some(one for one in found if one is not None)


def tell(results: Results) -> str:
    """Every way on both tasks, and how much the layers change."""
    told = []
    for subject, title in TITLES.items():
        ways = ", ".join(f"{way} {percent(accuracy(results, subject, way).mean)}" for way in WAYS)
        changes = ", ".join(f"{one.mean:.3f}" for one in change(results, subject))
        told.append(
            f"{title.capitalize()}: held {ways.replace(ALL, 'nothing', 1)}; 1 − CKA from the embeddings up {changes}."
        )
    return (
        " ".join(told) + " Held layers keep their weights; what stands above the topmost, and the head, learn always. "
        "The guide's layers 1–3 of 12 are the lowest quarter: of six layers one and a half, of which both are held."
    )


STATEMENTS = (
    Statement(
        "Layers 1–3 of 12 rarely need fine-tuning: they are universal across all tasks.",
        "Holds when with the lowest quarter held no task is behind by more than the noise, in part when one is; "
        f"a task whose noise exceeds {COARSE * 100:.0f} points says nothing unless it is behind.",
        _bottom_costs_nothing,
    ),
    Statement(
        "Layers 10–12 are the most important to fine-tune.",
        "Holds when holding the top quarter costs more than holding the lowest, by more than the noise, on both "
        "tasks; in part when on one. The noise is that of two comparisons; a task in which it hides a difference and "
        f"exceeds {COARSE * 100:.0f} points says nothing.",
        _top_matters_most,
    ),
    Statement(
        "Layers 10–12 adapt most to new tasks.",
        "Holds when on both tasks the layers of the top quarter change more (1 − CKA, fine-tuned against before) than "
        "those of the lowest, by more than the noise over seeds, of two comparisons; in part when on one.",
        _top_changes_most,
    ),
)
