"""The guide's claims beside what this study measured, with a verdict that code reaches by stated thresholds.

"The guide" is the introduction to transfer learning in NLP that the study puts to the test. Each function takes the
study and returns one `Claim`; `judge` lists them in the order of the report. Nothing is judged that was not run, and no
difference smaller than its noise (`statistics.noise`) counts for or against a claim.
"""

import math
from collections.abc import Callable

from minitl.experiments.statistics import Measured, mean_interval, noise
from minitl.experiments.study.summary import SCRATCH, MeasuredArm, Study
from minitl.pages.claims import Claim, Verdict
from minitl.pages.formats import duration, megabytes, percent, points, with_noise

SCRATCH_RANGE = (0.55, 0.65)  # the guide, at 1,000 labels
TRANSFER_RANGE = (0.87, 0.94)
GUIDE_LABELS = 1000
LORA_LOSS = 0.01
LORA_PERCENT = (0.5, 1.0)  # holds below the first, in part below the second
ADAPTER_BYTES = 50e6
COMPUTE = (1000, 10)  # holds from the first, in part from the second
AFTERNOON, DAY = 4 * 3600, 24 * 3600  # seconds


def judge(study: Study) -> list[Claim]:
    """Every claim with its verdict, in the order of the report."""
    judges: list[Callable[[Study], Claim]] = [
        transfer_is_ahead,
        accuracy_from_scratch,
        accuracy_with_transfer,
        few_labels_suffice,
        lora_matches_full,
        lora_trains_few,
        adapter_is_small,
        lora_saves_compute,
        fits_an_afternoon,
    ]
    return [judge_one(study) for judge_one in judges]


def transfer_is_ahead(study: Study) -> Claim:
    says = "On the same labels, a pretrained model is far ahead of a randomly initialised one."
    rule = "Holds when every transfer regime is ahead by more than the noise, in part when some are."
    scratch = study.arm(SCRATCH)
    arms = [arm for arm in study.transfer_arms if arm.accuracy]
    if scratch is None or not scratch.accuracy or not arms:
        return Claim(says, "No accuracies to compare.", Verdict.UNKNOWN, rule)
    gains = [arm.accuracy.mean - scratch.accuracy.mean for arm in arms]
    margins = [noise(arm.accuracy, scratch.accuracy, study.test_size, len(arms)) for arm in arms]
    wins = sum(gain > margin for gain, margin in zip(gains, margins, strict=True))
    losses = sum(-gain > margin for gain, margin in zip(gains, margins, strict=True))
    if wins == len(arms):
        verdict = Verdict.HOLDS
    elif wins:
        verdict = Verdict.IN_PART
    else:
        verdict = Verdict.FAILS if losses else Verdict.UNKNOWN
    found = "; ".join(f"{arm.short} {points(gain)}" for arm, gain in zip(arms, gains, strict=True))
    return Claim(says, f"{found} (noise ±{max(margins) * 100:.1f}).", verdict, rule)


def accuracy_from_scratch(study: Study) -> Claim:
    low, high = SCRATCH_RANGE
    says = f"From scratch, about {low:.0%} to {high:.0%} accuracy at 1,000 labels."
    rule = "Holds when the mean lies in the range, in part when only its 95% interval reaches it."
    labels, found = _near_thousand(study, [arm for arm in study.arms if arm.name == SCRATCH])
    if not found:
        return Claim(says, "No accuracy at about 1,000 labels.", Verdict.UNKNOWN, rule)
    arm, measured = found[0]
    verdict = against_range(measured, study.test_size, low, high)
    return Claim(says, f"{arm.short} {with_interval(measured, study.test_size)} at {labels:,} labels.", verdict, rule)


def accuracy_with_transfer(study: Study) -> Claim:
    low, high = TRANSFER_RANGE
    says = f"With transfer, about {low:.0%} to {high:.0%} accuracy at 1,000 labels."
    rule = f"Holds when every regime's mean is at least {low:.0%}, in part when some are or an interval reaches it."
    labels, found = _near_thousand(study, study.transfer_arms)
    if not found:
        return Claim(says, "No accuracy at about 1,000 labels.", Verdict.UNKNOWN, rule)
    verdicts = {against_range(measured, study.test_size, low, 1.0) for _, measured in found}
    verdict = verdicts.pop() if len(verdicts) == 1 else Verdict.IN_PART
    text = "; ".join(f"{arm.short} {percent(measured.mean)}" for arm, measured in found)
    return Claim(says, f"{text} at {labels:,} labels.", verdict, rule)


def few_labels_suffice(study: Study) -> Claim:
    says = "Transfer needs 100 to 10,000 labels where training from scratch needs millions."
    rule = (
        "Holds when transfer with at most a fifth of the labels beats scratch with all of them by more than the noise, "
        "in part when it is level, does not hold when it is behind."
    )
    scratch = study.arm(SCRATCH)
    few = max((n for by_labels in study.curve.values() for n in by_labels if 5 * n <= study.full_labels), default=None)
    arms = [arm for arm in study.transfer_arms if few is not None and study.curve.get(arm.name, {}).get(few)]
    if scratch is None or not scratch.accuracy or few is None or not arms:
        return Claim(says, "No comparison with fewer labels.", Verdict.UNKNOWN, rule)
    best = max(arms, key=lambda arm: study.curve[arm.name][few].mean)
    accuracy = study.curve[best.name][few]
    gain = accuracy.mean - scratch.accuracy.mean
    margin = noise(accuracy, scratch.accuracy, study.test_size, len(arms))
    verdict = Verdict.HOLDS if gain > margin else Verdict.IN_PART if gain >= -margin else Verdict.FAILS
    text = (
        f"{best.short} {percent(accuracy.mean)} with {few:,} labels, {scratch.short} {percent(scratch.accuracy.mean)} "
        f"with {study.full_labels:,}: {with_noise(gain, margin)}."
    )
    return Claim(says, text, verdict, rule)


def lora_matches_full(study: Study) -> Claim:
    says = "LoRA is typically less than 1 point behind full fine-tuning."
    rule = "Holds when the whole 95% interval of the gap is under 1 point, does not hold when all of it is over."
    pair = _pair(study, "accuracy")
    if pair is None:
        return Claim(says, "LoRA and full fine-tuning were not both run.", Verdict.UNKNOWN, rule)
    lora, full = pair
    behind = full.mean - lora.mean
    margin = noise(lora, full, study.test_size)
    if behind + margin < LORA_LOSS:
        verdict = Verdict.HOLDS
    else:
        verdict = Verdict.FAILS if behind - margin > LORA_LOSS else Verdict.UNKNOWN
    text = f"LoRA {percent(lora.mean)}, full {percent(full.mean)}: {with_noise(-behind, margin)}."
    if verdict is Verdict.UNKNOWN:
        text += f" {study.test_size:,} test examples cannot resolve 1 point."
    return Claim(says, text, verdict, rule)


def lora_trains_few(study: Study) -> Claim:
    low, high = LORA_PERCENT
    says = f"LoRA trains less than {low}% of the parameters (said of a 7-billion model at rank 16)."
    rule = f"Holds under {low}%, in part under {high:g}%."
    lora = study.arm("lora")
    if lora is None or not math.isfinite(lora.percent):
        return Claim(says, "LoRA was not run.", Verdict.UNKNOWN, rule)
    verdict = Verdict.HOLDS if lora.percent < low else Verdict.IN_PART if lora.percent < high else Verdict.FAILS
    return Claim(says, f"{lora.trainable:,} of {lora.total:,}: {lora.percent:.2f}%.", verdict, rule)


def adapter_is_small(study: Study) -> Claim:
    says = "The saved adapter is tiny: 5 to 50 MB even for a 7-billion model."
    rule = "Holds when it takes at most 50 MB and a tenth of the saved full model, in part when only one is so."
    pair = _pair(study, "saved_bytes")
    if pair is None:
        return Claim(says, "LoRA and full fine-tuning were not both saved.", Verdict.UNKNOWN, rule)
    lora, full = pair
    met = (lora.mean <= ADAPTER_BYTES) + (10 * lora.mean <= full.mean)
    verdict = (Verdict.FAILS, Verdict.IN_PART, Verdict.HOLDS)[met]
    return Claim(says, f"Adapter {megabytes(lora.mean)}, full model {megabytes(full.mean)}.", verdict, rule)


def lora_saves_compute(study: Study) -> Claim:
    most, some = COMPUTE
    says = f"LoRA behaves like full fine-tuning with {most}× less compute."
    rule = f"Training time stands for compute. Holds from {most}×, in part from {some}×."
    pair = _pair(study, "seconds")
    if pair is None or not pair[0].mean:
        return Claim(says, "LoRA and full fine-tuning were not both timed.", Verdict.UNKNOWN, rule)
    lora, full = pair
    ratio = full.mean / lora.mean
    verdict = Verdict.HOLDS if ratio >= most else Verdict.IN_PART if ratio >= some else Verdict.FAILS
    return Claim(says, f"LoRA {duration(lora.mean)}, full {duration(full.mean)}: {ratio:.2f}×.", verdict, rule)


def fits_an_afternoon(study: Study) -> Claim:
    says = "Fine-tuning takes minutes to hours; a laptop and an afternoon are enough."
    rule = "Holds when the slowest transfer run took at most 4 hours, in part at most a day."
    slowest = max(study.transfer_arms, key=lambda arm: _or_zero(arm.measured("seconds").largest), default=None)
    seconds = slowest.measured("seconds").largest if slowest else math.nan
    if slowest is None or not math.isfinite(seconds):
        return Claim(says, "No transfer run was timed.", Verdict.UNKNOWN, rule)
    verdict = Verdict.HOLDS if seconds <= AFTERNOON else Verdict.IN_PART if seconds <= DAY else Verdict.FAILS
    where = f"on {study.results['machine']['cores']} cores"
    return Claim(says, f"Slowest: {slowest.short}, {duration(seconds)} {where}.", verdict, rule)


def _near_thousand(
    study: Study, arms: list[MeasuredArm] | tuple[MeasuredArm, ...]
) -> tuple[int, list[tuple[MeasuredArm, Measured]]]:
    """The number of labels nearest to 1,000, within a factor of two, and the accuracies measured there."""
    counts = {n for arm in arms for n in study.curve.get(arm.name, {}) if GUIDE_LABELS / 2 <= n <= GUIDE_LABELS * 2}
    labels = min(counts, key=lambda n: abs(math.log(n / GUIDE_LABELS)), default=0)
    found = [(arm, study.curve.get(arm.name, {}).get(labels, Measured(()))) for arm in arms]
    return labels, [(arm, measured) for arm, measured in found if measured]


def against_range(measured: Measured, size: int, low: float, high: float) -> Verdict:
    """Holds where the mean lies in the range, in part where only its 95% interval reaches it."""
    if low <= measured.mean <= high:
        return Verdict.HOLDS
    bottom, top = mean_interval(measured, size)
    return Verdict.IN_PART if bottom <= high and top >= low else Verdict.FAILS


def with_interval(measured: Measured, size: int) -> str:
    """A mean accuracy on `size` test examples: "91.2% (95% interval 89.9 to 92.3)"."""
    low, high = mean_interval(measured, size)
    return f"{percent(measured.mean)} (95% interval {low * 100:.1f} to {high * 100:.1f})"


def _pair(study: Study, field: str) -> tuple[Measured, Measured] | None:
    """`field` of LoRA and of full fine-tuning, where both were measured."""
    lora, full = study.arm("lora"), study.arm("full")
    if lora is None or full is None or not lora.measured(field) or not full.measured(field):
        return None
    return lora.measured(field), full.measured(field)


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
