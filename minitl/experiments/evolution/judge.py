"""The guide's statements about static and contextual vectors, and the rules by which they are judged."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from minitl.experiments.evolution.pretraining import STATIC, STEPS
from minitl.experiments.evolution.run import SCRATCH
from minitl.experiments.experiment import Results, Statement
from minitl.experiments.statistics import Measured, interval, noise, normal_quantile
from minitl.pages.claims import Verdict, all_or_some
from minitl.pages.formats import percent, with_noise

CONTEXTUAL = tuple(step.name for step in STEPS if step.name != STATIC)
TITLES = {step.name: step.title for step in STEPS} | {SCRATCH: "BERT's shape from scratch"}
SAME, APART = 1e-5, 1e-3  # distances of vectors of length 1: rounding, and more than that
SOLVED, CHANCE = 0.95, 0.5
NAMES = {"reviews": "sentiment", "tagged": "part of speech, fine-tuned"}


def tuned(part: Mapping[str, Any], arm: str) -> Measured:
    """The test scores of an arm's seeds at the rate that validation chose with the first of them."""
    lines = [line for line in part["lines"] if line["arm"] == arm]
    first = lines[0]["seed"]
    best = max((line for line in lines if line["seed"] == first), key=lambda line: line["validation"])["rate"]
    return Measured(tuple(line["test"] for line in lines if line["rate"] == best))


def probed(results: Results, arm: str, task: str, whose: str = "model") -> dict[str, float]:
    """The score of the layer which validation chose: mean, low and high."""
    curve = results["probed"][arm][task][whose]
    best: dict[str, float] = curve["scores"][curve["best"]]
    return best


def gains(results: Results, arm: str, over: str) -> dict[str, tuple[float, float]]:
    """How far an arm is ahead of another, and the noise, by what was measured: each probe, each fine-tuned task.

    The noise is that of as many comparisons; of probes, whose intervals are 95%, as if they were normal.
    """
    found, comparisons = {}, len(results["probed"][arm]) + len(results["tuned"])
    wider = normal_quantile(comparisons) / normal_quantile(1)
    for task in results["probed"][arm]:
        mine, other = (probed(results, one, task) for one in (arm, over))
        margin = wider * math.hypot(*((one["high"] - one["low"]) / 2 for one in (mine, other)))
        found[results["probed"][arm][task]["title"]] = (mine["mean"] - other["mean"], margin)
    for name, part in results["tuned"].items():
        ours, theirs = tuned(part, arm), tuned(part, over)
        found[NAMES[name]] = (ours.mean - theirs.mean, noise(ours, theirs, part["size"], comparisons))
    return found


def _by_probes(results: Results) -> tuple[str, Verdict]:
    titles = {one["title"] for one in results["probed"][STATIC].values()}
    return _ahead(results, lambda title: title in titles)


def _by_tuning(results: Results) -> tuple[str, Verdict]:
    return _ahead(results, lambda title: title in NAMES.values())


def _ahead(results: Results, counts: Callable[[str], bool]) -> tuple[str, Verdict]:
    """Whether the contextual models are ahead of the static one, by the measures that count."""
    told, ahead, behind = [], [], []
    for arm in CONTEXTUAL:
        found = {title: one for title, one in gains(results, arm, STATIC).items() if counts(title)}
        ahead += [gain > margin for gain, margin in found.values()]
        behind += [gain < -margin for gain, margin in found.values()]
        listed = ", ".join(f"{title} {with_noise(*one)}" for title, one in found.items())
        told.append(f"{TITLES[arm]} against {TITLES[STATIC]}: {listed}")
    verdict = Verdict.HOLDS if all(ahead) else Verdict.IN_PART if sum(ahead) > sum(behind) else Verdict.FAILS
    return "; ".join(told) + ".", verdict


def _one_vector(results: Results) -> tuple[str, Verdict]:
    distances = {arm: one["distance"] for arm, one in results["bank"].items()}
    fixed = distances[STATIC] <= SAME
    moved = [distances[arm] > APART for arm in CONTEXTUAL]
    told = ", ".join(f"{TITLES[arm]} {distance:.3f}" for arm, distance in distances.items())
    verdict = Verdict.HOLDS if fixed and all(moved) else Verdict.IN_PART if fixed and any(moved) else Verdict.FAILS
    count = results["bank"][STATIC]["model"]["occurrences"]
    return f"Largest distance from the first of {count} occurrences, vectors of length 1: {told}.", verdict


def shares(one: Mapping[str, Any]) -> tuple[Measured, Measured]:
    """Of a model, and of its random twins: the share of occurrences whose sense the nearest centroid tells."""
    model, twins = one["model"], one["twins"]
    return (
        Measured((model["right"] / model["occurrences"],)),
        Measured(tuple(twin["right"] / twin["occurrences"] for twin in twins)),
    )


def _solved(results: Results) -> tuple[str, Verdict]:
    far, static = results["far"], shares(results["bank"][STATIC])[0]
    words, ahead = _told_apart(far["model_name"], far)
    told = [words, f"{TITLES[STATIC]} {percent(static.mean)}, where chance is 50%"]
    told += [_told_apart(TITLES[arm], results["bank"][arm])[0] for arm in CONTEXTUAL]
    solved = ahead and shares(far)[0].mean >= SOLVED
    return "; ".join(told) + ".", Verdict.HOLDS if solved else Verdict.IN_PART if ahead else Verdict.FAILS


def _told_apart(title: str, one: Mapping[str, Any]) -> tuple[str, bool]:
    """What share of the senses a model tells, and whether it is surely ahead of its random twins and of chance."""
    model, twins = shares(one)
    size = one["model"]["occurrences"]
    margin = noise(model, twins, size)
    told = (
        f"{title} {percent(model.mean)}, its random twins {percent(twins.mean)} (noise ±{margin * 100:.1f}), cosine "
        f"{one['model']['within']:.3f} within senses and {one['model']['between']:.3f} between"
    )
    return told, model.mean - twins.mean > margin and interval(model.mean, size)[0] > CHANCE


def _each_step(results: Results) -> tuple[str, Verdict]:
    told, forward = [], []
    for before, after in pairwise(STEPS):
        found = gains(results, after.name, before.name).values()
        ahead = sum(gain > margin for gain, margin in found)
        behind = sum(gain < -margin for gain, margin in found)
        forward.append(ahead > behind)
        told.append(f"{after.title} is ahead of {before.title} in {ahead} of {len(found)} measures, behind in {behind}")
    return "; ".join(told) + ".", all_or_some(forward)


def tell(results: Results) -> str:
    """The results in a paragraph."""
    budget = results["budget"]
    flops = ", ".join(f"{step.title} {results['taught'][step.name]['flops'] / 1e12:,.1f}" for step in STEPS)
    sizes = ", ".join(f"{step.title} {results['taught'][step.name]['total'] / 1e6:.1f}" for step in STEPS)
    from_scratch = ", ".join(
        f"{NAMES[name]} {percent(tuned(part, 'scratch').mean)}" for name, part in results["tuned"].items()
    )
    return (
        f"What is equal: the text, its vocabulary of {budget['vocabulary']:,} tokens, {budget['tokens']:,} tokens "
        f"read in {budget['steps']:,} steps, and the size of a hidden state. What is not: parameters (millions: "
        f"{sizes}) and products of matrices while learning (TFLOP: {flops}). {TITLES['scratch']}, fine-tuned: "
        f"{from_scratch}. Random twins, probed: {_twins(results)}. GPT sees of a sentence what stands before the word "
        "alone. A budget this small favours what learns fast, and says nothing of what is learnt from a thousand times "
        "the text."
    )


def _twins(results: Results) -> str:
    """What the same shapes come to that learnt nothing, task by task."""
    told = []
    for task, one in results["probed"][STEPS[0].name].items():
        steps = (f"{step.title} {percent(probed(results, step.name, task, 'twin')['mean'])}" for step in STEPS)
        told.append(f"{one['title']} {', '.join(steps)}")
    return "; ".join(told)


STATEMENTS = (
    Statement(
        "word2vec and GloVe embeddings were context-free: the word “bank” had one fixed vector regardless of its "
        "meaning in context.",
        "Holds when all occurrences of the word have one vector in the static model, to rounding, and different ones "
        "in every contextual model; in part when in some.",
        _one_vector,
    ),
    Statement(
        "Transfer learning with contextual models solved this entirely.",
        f"Holds when by the nearest centroid, each occurrence left out in turn, the published model tells at least "
        f"{SOLVED:.0%} of the senses of “bank” and is ahead of its random twins by more than the noise, and surely of "
        "chance; in part when it is ahead. The models taught here have met the word too rarely to judge it by.",
        _solved,
    ),
    Statement(
        "Asked beside the guide: contextual models know more about a word in its sentence than static vectors hold "
        "(probing).",
        "Of each model the layer which validation chose. Holds when every contextual model is ahead of the static one "
        "on every probe by more than the noise, in part when it is ahead more often than behind.",
        _by_probes,
    ),
    Statement(
        "Asked beside the guide: contextual models, fine-tuned, are better than static vectors.",
        "Holds when every contextual model is ahead of the static one on both tasks by more than the noise, in part "
        "when it is ahead more often than behind.",
        _by_tuning,
    ),
    Statement(
        "Word2Vec → ELMo → BERT → GPT is an evolution.",
        "Holds when each is ahead of the one before, by more than the noise, in more measures than it is behind, of "
        "probes and fine-tuned tasks; in part when one is. On as many tokens of one text: the sizes at which the later "
        "ones became known are no part of this.",
        _each_step,
    ),
)
