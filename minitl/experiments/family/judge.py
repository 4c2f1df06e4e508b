"""What the guide's table says of the BERT family, and how each is judged."""

from functools import partial
from statistics import median
from typing import Any

from minitl.experiments.experiment import Results, Statement
from minitl.experiments.family.run import REFERENCE, TITLES, speed_ups
from minitl.experiments.ratios import Ratio, ratio_of
from minitl.pages.claims import Verdict, all_or_some

MILLIONS = {
    REFERENCE: 110,
    "roberta-base": 125,
    "distilbert-base-uncased": 66,
    "deberta-v3-base": 86,
    "bert-large-uncased": 340,
    "xlm-roberta-base": 278,
    "ModernBERT-base": 149,
}
NEAR = 0.02
TWICE, NEARLY = 2.0, 1.5
ALIKE = 1.25  # "moderate" as BERT-base: at most a quarter faster or slower


def ratios(results: Results, name: str) -> dict[int, Ratio]:
    """By length, how many times as fast as BERT-base."""
    return {length: ratio_of(values) for length, values in speed_ups(results, name).items()}


def told(found: dict[int, Ratio]) -> str:
    """The ratios in words, length by length."""
    return ", ".join(f"{ratio} at {length:,} tokens" for length, ratio in found.items())


def member(results: Results, name: str) -> dict[str, Any]:
    """How many parameters it has, "total" and of them "embeddings"."""
    found: dict[str, Any] = next(one for one in results["members"] if one["name"] == name)
    return found


def _parameters(name: str, results: Results) -> tuple[str, Verdict]:
    one, said = member(results, name), MILLIONS[name] * 1e6
    rest = one["total"] - one["embeddings"]
    measured = (
        f"{one['total']:,}, {rest:,} without the embeddings; {one['total'] * 4 / 1e6:,.0f} MB in float32, "
        f"{one['total'] * 2 / 1e6:,.0f} MB in half precision."
    )
    if abs(one["total"] / said - 1) <= NEAR:
        return measured, Verdict.HOLDS
    return measured, Verdict.IN_PART if abs(rest / said - 1) <= NEAR else Verdict.FAILS


def _short(results: Results, name: str) -> dict[int, Ratio]:
    """At the lengths that BERT-base itself has positions for."""
    return {length: one for length, one in ratios(results, name).items() if length <= results["own_positions"]}


def _long(results: Results, name: str) -> dict[int, Ratio]:
    return {length: one for length, one in ratios(results, name).items() if length > results["own_positions"]}


def _twice(results: Results) -> tuple[str, Verdict]:
    found = _short(results, "distilbert-base-uncased")
    near = all(one.median >= NEARLY for one in found.values())
    reached = [one.high >= TWICE and one.median >= NEARLY for one in found.values()]
    if all(reached):
        return f"{told(found)}.", Verdict.HOLDS
    return f"{told(found)}.", Verdict.IN_PART if any(reached) or near else Verdict.FAILS


def _moderate(results: Results) -> tuple[str, Verdict]:
    names = ("roberta-base", "deberta-v3-base", "xlm-roberta-base")
    found = {name: _short(results, name) for name in names}
    alike = [all(1 / ALIKE <= one.median <= ALIKE for one in by_length.values()) for by_length in found.values()]
    measured = "; ".join(f"{TITLES[name]} {told(by_length)}" for name, by_length in found.items())
    return f"{measured}.", all_or_some(alike)


def _slow(results: Results) -> tuple[str, Verdict]:
    found = _short(results, "bert-large-uncased")
    if all(one.high < 1 / ALIKE for one in found.values()):
        return f"{told(found)}.", Verdict.HOLDS
    slower = any(one.high < 1 for one in found.values())
    return f"{told(found)}.", Verdict.IN_PART if slower else Verdict.FAILS


def _fast_when_long(results: Results) -> tuple[str, Verdict]:
    short, long = _short(results, "ModernBERT-base"), _long(results, "ModernBERT-base")
    measured = f"{told(long)}, beside a BERT-base that is given so many positions; {told(short)}."
    return measured, all_or_some(one.low > 1 for one in long.values())


def tell(results: Results) -> str:
    """The results in a paragraph."""
    longest = results["own_positions"]
    times = {}
    for line in results["speed"]:
        if line["length"] == longest:
            times[TITLES[line["name"]]] = median(line["seconds"]) / line["batch"] * 1000
    shown = ", ".join(f"{title} {milliseconds:,.0f} ms" for title, milliseconds in times.items())
    embeddings = max(results["members"], key=lambda one: one["embeddings"] / one["total"])
    return (
        f"Much of a base model's size is its vocabulary: of {TITLES[embeddings['name']]}'s parameters "
        f"{embeddings['embeddings'] / embeddings['total']:.0%} are embeddings, of which a text reads a few rows; speed "
        f"goes with the layers. A text of {longest} tokens takes {shown}. The shapes are the published ones, the "
        "weights random, which makes no difference to either; accuracy is not judged here."
    )


STATEMENTS = (
    *(
        Statement(
            f"{title} has {MILLIONS[name]}M parameters.",
            "Counted from the published configuration, without a head: holds within 2%, in part when only the number "
            "without the embeddings is so near.",
            partial(_parameters, name),
        )
        for name, title in TITLES.items()
    ),
    Statement(
        "DistilBERT is 2× faster than BERT-base.",
        "Rounds in turns: holds when at every length the median ratio is at least 1.5 and its 95% interval reaches 2, "
        "in part when at some, or when every median is at least 1.5.",
        _twice,
    ),
    Statement(
        "RoBERTa, DeBERTa-v3 and XLM-RoBERTa are of moderate speed, like BERT-base.",
        "Holds when the medians of all three are between 0.8 and 1.25 times BERT-base's speed at every length, in part "
        "when those of some are.",
        _moderate,
    ),
    Statement(
        "BERT-large is slow.",
        "Holds when the whole 95% interval is below 0.8 times BERT-base's speed at every length, in part when it is "
        "below 1 at some.",
        _slow,
    ),
    Statement(
        "ModernBERT is fast, on long documents.",
        "Holds when the whole 95% interval is above BERT-base's speed at every length beyond 512 tokens, in part when "
        "it is at some. On this processor: the guide has a GPU in mind.",
        _fast_when_long,
    ),
)
