"""What adaptation to the domain gains, and whether it is the domain's text that does it."""

from collections.abc import Iterable

from minitl.experiments.domain.run import ARMS, DOMAIN, MICRO, NONE, UNRELATED
from minitl.experiments.experiment import Results, Statement
from minitl.experiments.paired import Score, macro_f1, read, sampling_variance, share_right
from minitl.experiments.statistics import Measured, margin
from minitl.pages.claims import Verdict
from minitl.pages.formats import percent, points

GAIN = 0.03  # the guide: 3 to 8 points
SEVERAL = 2  # tasks, at the least, that must say so
TITLES = {"chemprot": "ChemProt", "sci_cite": "SciCite", "citation_intent": "ACL-ARC"}


def title(task: str) -> str:
    return TITLES.get(task, task)


def f1(results: Results, task: str, arm: str) -> Measured:
    """Of the test texts, once per seed."""
    return Measured(tuple(line["f1"] for line in results["lines"] if (line["task"], line["arm"]) == (task, arm)))


def gain(results: Results, task: str, arm: str, other: str) -> tuple[float, float]:
    """By how much `arm` is ahead of `other`, and the noise of that: of the seeds, and of test texts that both read."""
    first, second = f1(results, task, arm), f1(results, task, other)
    items = len(read(results["tasks"][task]["labels"]))
    scores = [_score(results, task, one) for one in (arm, other)]
    noise = margin(first, second, sampling_variance(scores[0], scores[1], items), len(results["tasks"]))
    return first.mean - second.mean, noise


def _score(results: Results, task: str, arm: str) -> Score:
    told = results["tasks"][task]
    labels = read(told["labels"])
    predicted = [read(line["predicted"]) for line in results["lines"] if (line["task"], line["arm"]) == (task, arm)]
    if told["averaging"] == MICRO:
        wrong = [[int(said != true) for said, true in zip(one, labels, strict=True)] for one in predicted]
        return share_right(wrong, [1] * len(labels))
    return macro_f1(predicted, labels, told["classes"])


def _gains(results: Results) -> tuple[str, Verdict]:
    gains = {task: gain(results, task, DOMAIN, NONE) for task in results["tasks"]}
    enough = {task: one > noise and one >= GAIN for task, (one, noise) in gains.items() if _tells(one, noise)}
    some = any(one > noise for one, noise in gains.values())
    return _told(results, gains, NONE), _verdict(enough.values(), some)


def _is_the_domain(results: Results) -> tuple[str, Verdict]:
    gains = {task: gain(results, task, DOMAIN, UNRELATED) for task in results["tasks"]}
    ahead = {task: one > noise for task, (one, noise) in gains.items() if _tells(one, noise)}
    return _told(results, gains, UNRELATED), _verdict(ahead.values(), any(ahead.values()))


def _tells(difference: float, noise: float) -> bool:
    """Whether there surely is a gain, or surely none of the size in question."""
    return difference > noise or difference + noise < GAIN


def _verdict(found: Iterable[bool], some: bool) -> Verdict:
    """Of what the tasks say that say something."""
    known = list(found)
    if not known:
        return Verdict.UNKNOWN
    if all(known):
        return Verdict.HOLDS if len(known) >= SEVERAL else Verdict.IN_PART
    return Verdict.IN_PART if some else Verdict.FAILS


def _told(results: Results, gains: dict[str, tuple[float, float]], other: str) -> str:
    against = "no adaptation" if other == NONE else "novels"
    told = (
        f"{title(task)} {points(one)}, {percent(f1(results, task, other).mean)} to "
        f"{percent(f1(results, task, DOMAIN).mean)} (noise ±{noise * 100:.1f})"
        for task, (one, noise) in gains.items()
    )
    return f"Against {against}: {'; '.join(told)}."


def tell(results: Results) -> str:
    """Every arm on every task, what adaptation itself learned, and what was left out."""
    scores = "; ".join(
        f"{title(task)} " + ", ".join(f"{arm} {percent(f1(results, task, arm).mean)}" for arm in ARMS)
        for task in results["tasks"]
    )
    adapted = results["adaptation"]
    losses = ", ".join(f"{arm} {adapted[arm]['loss']:.2f}" for arm in ARMS)
    dropped = ", ".join(f"{told['dropped']} of {title(task)}" for task, told in results["tasks"].items())
    averaged = ", ".join(f"{told['averaging']} for {title(task)}" for task, told in results["tasks"].items())
    return (
        f"Test F1 ({averaged}, as in arXiv:2004.10964) by what was adapted to: {scores}. {adapted['steps']:,} steps on "
        f"{adapted[DOMAIN]['tokens']:,} tokens of the three training sets, and on {adapted[UNRELATED]['tokens']:,} of "
        f"novels, which the model had read before. Masked-LM loss on the domain's validation texts, in nats: {losses}. "
        "No validation or test text was adapted to or fine-tuned on: training texts that are among them were left out, "
        f"{dropped}. The domain's text is that of the tasks alone, a few megabytes where the guide asks for a hundred."
    )


STATEMENTS = (
    Statement(
        "Going on with masked-LM pretraining on the domain's text can improve accuracy on its tasks by 3–8 points.",
        "Holds when every task gains three points or more, and more than the noise; in part when one gains more than "
        "the noise. A task that surely neither gains nor is short of three points says nothing, and one alone "
        "says no more than in part.",
        _gains,
    ),
    Statement(
        "Asked beside the guide: it is the domain's text that helps, not more pretraining.",
        "Holds when on every task adaptation to the domain is ahead of as many steps on novels by more than the noise, "
        "in part when on one; tasks are passed by as above.",
        _is_the_domain,
    ),
)
