"""The guide's words on LoRA, and how each is judged."""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from minitl.experiments.experiment import Results, Statement
from minitl.experiments.lora.counted import EVERYTHING
from minitl.experiments.lora.run import ALL, FULL, RANK, preferred
from minitl.experiments.paired import paired
from minitl.pages.claims import Verdict, all_or_some
from minitl.pages.formats import duration, megabytes, percent, points, rate, share_trained, with_noise

LOSS = 0.01
ADDED, ROUGHLY, SHARE = 33e6, 0.1, 0.5  # "roughly 33 million" is a tenth more or less; percent
FILE = (5e6, 50e6)
COMPUTE, SOME = 1000, 10
HOURS, CARDS, DAY = 2, (4, 8), 24
PUBLISHED = "3 h on 8 A100s of 80 GB (Alpaca, Taori et al. 2023)"
Lines = Sequence[dict[str, Any]]


def accuracy(lines: Lines) -> float:
    """The mean over seeds."""
    return fmean(line["accuracy"] for line in lines)


def title(line: dict[str, Any]) -> str:
    """A way of learning in words."""
    return "full fine-tuning" if line["arm"] == FULL else f"r = {line['rank']} on {line['modules']}"


def named(results: Results, rank: int, modules: str) -> Lines:
    """The lines of one way of LoRA, at the rate that validation prefers."""
    ways = preferred(results["lines"]).values()
    return next(lines for lines in ways if (lines[0]["rank"], lines[0]["modules"]) == (rank, modules))


def gap(first: Lines, second: Lines) -> tuple[float, float]:
    """How far the first is ahead, and the noise of that, by the seeds that both have."""
    ours, theirs = ({line["seed"]: line["right"] for line in lines} for lines in (first, second))
    both = [seed for seed in ours if seed in theirs]
    return paired([ours[seed] for seed in both], [theirs[seed] for seed in both])


def _within_one_point(results: Results) -> tuple[str, Verdict]:
    full, best = preferred(results["lines"])[FULL], named(results, RANK, ALL)
    gain, margin = gap(best, full)
    verdict = Verdict.UNKNOWN
    if gain - margin > -LOSS:
        verdict = Verdict.HOLDS
    elif gain + margin < -LOSS:
        verdict = Verdict.FAILS
    told = (
        f"{title(best[0])} {percent(accuracy(best))}, full {percent(accuracy(full))}: "
        f"{with_noise(gain, margin)}, at the rates {best[0]['rate']:g} and {full[0]['rate']:g}, {len(full)} seeds."
    )
    if verdict is Verdict.UNKNOWN:
        told += f" {results['tested']:,} examples cannot resolve 1 point."
    return told, verdict


def _rank_is_low(results: Results) -> tuple[str, Verdict]:
    ranks = sorted({line["rank"] for line in results["lines"] if line["modules"] == ALL})
    found = {rank: named(results, rank, ALL) for rank in ranks}
    low, high = next(rank for rank in ranks if rank >= 4), ranks[-1]
    gain, margin = gap(found[low], found[high])
    least, least_margin = gap(found[ranks[0]], found[high])
    told = ", ".join(f"r = {rank} {percent(accuracy(lines))}" for rank, lines in found.items())
    told += (
        f"; r = {low} against r = {high} {with_noise(gain, margin)}, "
        f"r = {ranks[0]} {points(least)} (±{least_margin * 100:.1f})."
    )
    return told, _not_behind(gain, margin)


def _attention_is_enough(results: Results) -> tuple[str, Verdict]:
    rest = named(results, RANK, ALL)
    told, gaps = [f"{title(rest[0])} {percent(accuracy(rest))}"], {}
    for modules in ("attention", "query and value", "feed-forward"):
        lines = named(results, RANK, modules)
        gain, margin = gaps[modules] = gap(lines, rest)
        told.append(f"{modules} {percent(accuracy(lines))}, {with_noise(gain, margin)}")
    return "; ".join(told) + ".", _not_behind(*gaps["attention"])


def _not_behind(gain: float, margin: float) -> Verdict:
    """Whether something small is as good as something large."""
    if gain + margin < 0:
        return Verdict.FAILS
    return Verdict.HOLDS if gain - margin > -LOSS else Verdict.IN_PART


def _added(results: Results) -> tuple[str, Verdict]:
    rows = _adapted(results)
    told = ", ".join(f"{row['trainable'] / 1e6:.1f}M ({row['learns']})" for row in rows)
    own = named(results, RANK, ALL)[0]
    told = f"{told}. Trained here: {own['trainable']:,} of {own['total']:,}."
    return told, all_or_some(abs(row["trainable"] / ADDED - 1) <= ROUGHLY for row in rows)


def _share(results: Results) -> tuple[str, Verdict]:
    rows = [(row["learns"], 100 * row["trainable"] / row["total"]) for row in _adapted(results)]
    told = ", ".join(f"{share_trained(share)} ({learns})" for learns, share in rows)
    return f"{told}.", all_or_some(share < SHARE for _, share in rows)


def _file(results: Results) -> tuple[str, Verdict]:
    """A file in float32, as this library and PEFT write adapters, and in bfloat16; without its header of some kB."""
    sizes = [(row["learns"], width * row["trainable"]) for row in _adapted(results) for width in (4, 2)]
    found = preferred(results["lines"])
    own = ", ".join(f"{title(one)} {megabytes(one['saved_bytes'])}" for one, *_ in found.values())
    told = ", ".join(
        f"{learns} {megabytes(wide)} in float32, {megabytes(half)} in bfloat16"
        for (learns, wide), (_, half) in zip(sizes[::2], sizes[1::2], strict=True)
    )
    return f"Of 7B, r = {RANK}: {told}. On disk here: {own}.", all_or_some(
        FILE[0] <= size <= FILE[1] for _, size in sizes
    )


def _compute(results: Results) -> tuple[str, Verdict]:
    full = _row(results, EVERYTHING)["flops"]["total"]
    ratios = {row["learns"]: full / row["flops"]["total"] for row in _adapted(results)}
    best = max(ratios.values())
    verdict = Verdict.HOLDS if best >= COMPUTE else Verdict.IN_PART if best >= SOME else Verdict.FAILS
    told = ", ".join(f"{ratio:.2f}× ({learns})" for learns, ratio in ratios.items())
    ours, theirs = named(results, RANK, ALL), preferred(results["lines"])[FULL]
    measured = seconds(theirs) / seconds(ours)
    others = max(line.get("jobs", 1) for line in (*ours, *theirs)) - 1
    memory = _memory(theirs) / _memory(ours)
    told = (
        f"Operations of a step at 7B, full to LoRA: {told}: the forward pass and the gradients of what is read "
        f"stay. Measured here{f', beside {others} others' if others else ''}, {title(ours[0])}: {measured:.2f}× the "
        f"time, {memory:.2f}× the peak memory."
    )
    return told + _on_a_gpu(results, "seconds"), verdict


def _two_hours(results: Results) -> tuple[str, Verdict]:
    training = results["training"]
    rows = _adapted(results)
    fits = [row["bytes"]["total"] <= training["card"] for row in rows]
    quick = [row["card_hours"] < HOURS for row in rows]
    told = "; ".join(f"{row['learns']} {row['bytes']['total'] / 1e9:.0f} GB, {row['card_hours']:.1f} h" for row in rows)
    least = max(row["card_hours"] for row in rows) * training["utilisation"] / HOURS
    told = (
        f"Counted, {_assumed(training)}: {told}. Two hours are enough from {percent(least)} of the peak on"
        f"{_on_a_gpu(results, 'peak_memory_bytes')}."
    )
    if all(fits) and all(quick):
        return told, Verdict.HOLDS
    return told, Verdict.IN_PART if all(fits) or all(quick) else Verdict.FAILS


def _without(results: Results) -> tuple[str, Verdict]:
    rows = [row for row in results["counted"] if row["learns"] == EVERYTHING]
    usual = _row(results, EVERYTHING)
    enough = CARDS[0] <= usual["cards"] <= CARDS[1]
    hours = usual["card_hours"] / max(usual["cards"], CARDS[0])
    told = "; ".join(
        f"{row['bytes']['total'] / 1e9:.0f} GB on {row['cards']} cards ({row['precision']}, activations "
        f"{'computed again' if row['recompute'] else 'kept'})"
        for row in rows
    )
    told = (
        f"Counted, {_assumed(results['training'])}: {told}. On {max(usual['cards'], CARDS[0])} cards that share the "
        f"work evenly {hours:.1f} h; all of it is {usual['card_hours']:.1f} h of one card. Published for as much data: "
        f"{PUBLISHED}."
    )
    met = enough + (hours >= DAY)
    return told, (Verdict.FAILS, Verdict.IN_PART, Verdict.HOLDS)[met]


def _assumed(training: dict[str, Any]) -> str:
    return (
        f"{training['batch']} texts of {training['length']} tokens a step, {training['tokens'] / 1e6:.0f} million "
        f"tokens in all, {training['utilisation']:.0%} of {training['peak'] / 1e12:.0f} TFLOP/s, cards of "
        f"{training['card'] / 1e9:.0f} GB"
    )


def _adapted(results: Results) -> list[dict[str, Any]]:
    """The counted rows of LoRA, with activations kept."""
    return [row for row in results["counted"] if row["learns"] != EVERYTHING and not row["recompute"]]


def _row(results: Results, learns: str) -> dict[str, Any]:
    """The first row of it: float32 masters, activations kept."""
    return next(row for row in results["counted"] if row["learns"] == learns)


def _on_a_gpu(results: Results, field: str) -> str:
    """What was measured there, or that nothing was."""
    if not results["measured"]:
        return " (counted only: no GPU was at hand)"
    parts = []
    for line in results["measured"]:
        how = f"{line['learns']}, activations {'computed again' if line['recompute'] else 'kept'}"
        if not line["fits"]:
            parts.append(f"{how}: does not fit")
        elif field == "seconds":
            parts.append(f"{how}: {fmean(line['seconds']):.2f} s a step")
        else:
            parts.append(f"{how}: {line['peak_memory_bytes'] / 1e9:.0f} GB")
    return f" (measured with random weights on {results['measured'][0]['device']}: {'; '.join(parts)})"


def seconds(lines: Lines) -> float:
    """The median over seeds: what else the machine does makes some of them longer, and none shorter."""
    return median(line["training_seconds"] for line in lines)


def _memory(lines: Lines) -> float:
    return fmean(line["peak_memory_bytes"] for line in lines)


def tell(results: Results) -> str:
    """The results in a paragraph."""
    ways = preferred(results["lines"])
    told = []
    for lines in ways.values():
        one = lines[0]
        told.append(
            f"{title(one)} {percent(accuracy(lines))}, {share_trained(100 * one['trainable'] / one['total'])} of the "
            f"parameters, {megabytes(one['saved_bytes'])} on disk, "
            f"{duration(seconds(lines))} at the rate {rate(one['rate'])}"
        )
    rates = {name: sorted({line["rate"] for line in results["lines"] if (line["arm"] == FULL) == (name == FULL)})
             for name in (FULL, "LoRA")}  # fmt: skip
    tried = "; ".join(f"{name} {' and '.join(map(rate, found))}" for name, found in rates.items())
    return (
        f"{'; '.join(told)}. The rates tried were {tried}, and validation chose; alpha is twice the rank. For a model "
        "of 7 billion parameters LoRA spares gradients, masters and moments, and about a third of the operations: it "
        "fits where full fine-tuning does not, and is not much quicker."
    )


STATEMENTS = (
    Statement(
        "The accuracy difference to full fine-tuning is typically less than 1%.",
        f"r = {RANK} on all linear layers against full fine-tuning, each at the rate that validation prefers: holds "
        "when the whole 95% interval lies above −1 point, does not hold when all of it lies below.",
        _within_one_point,
    ),
    Statement(
        "Weight updates are of low rank: r is typically 4 to 64.",
        "Does not hold when r = 4 is behind the highest rank by more than the noise; holds when it is surely less than "
        "1 point behind, else in part.",
        _rank_is_low,
    ),
    Statement(
        "Two tiny matrices in each attention layer, and only those are updated.",
        "Adapters of attention alone against those of all linear layers: does not hold when they are behind by more "
        "than the noise, holds when they are surely less than 1 point behind, else in part.",
        _attention_is_enough,
    ),
    Statement(
        "A 7B model with LoRA of rank 16 has roughly 33 million trainable parameters.",
        "Counted for Mistral-7B with three choices of layers: holds when all are within a tenth of it, in part when "
        "some are.",
        _added,
    ),
    Statement(
        "That is less than 0.5% of the total.",
        "Holds when it is so with each of three choices of layers, in part with some.",
        _share,
    ),
    Statement(
        "The saved file is typically 5–50 MB even for 7B models.",
        "Counted for three choices of layers in float32 and bfloat16: holds when all are in the range, in part when "
        "some are.",
        _file,
    ),
    Statement(
        "It behaves like a model fully fine-tuned, with 1000× less compute.",
        "By the operations of a step on the same tokens: holds from 1,000×, in part from 10×.",
        _compute,
    ),
    Statement(
        "Mistral-7B is fine-tuned with LoRA in under 2 hours on one A100 of 40 GB.",
        "Counted under the assumptions named: holds when it fits and takes less than 2 hours with each of three "
        "choices of layers, in part when it only fits, or is only so fast.",
        _two_hours,
    ),
    Statement(
        "Without LoRA, it takes 4–8 GPUs and more than 24 hours.",
        "Counted alike, with float32 masters and activations kept: holds when 4 to 8 cards are needed and on so many "
        "it takes 24 hours, in part when one of the two is so.",
        _without,
    ),
)
