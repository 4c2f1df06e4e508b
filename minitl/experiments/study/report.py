"""The study's report: one self-contained HTML file, without scripts and without a request to anywhere.

`write_report` puts the sections in the order of reading: the headline, the results beside the guide's figures, the
claims with their verdicts, accuracy against the number of labels, how each regime learned, where they differ, and how
to repeat it. Every text from the results passes through `text`, every number through `value`.
"""

import math
from importlib import resources
from pathlib import Path
from typing import Any

from minitl.checkpoints import atomic
from minitl.experiments.statistics import Measured, interval, noise
from minitl.experiments.study import figures
from minitl.experiments.study.claims import judge
from minitl.experiments.study.summary import SCRATCH, MeasuredArm, Study, read_study
from minitl.pages.claims import claim_list
from minitl.pages.document import definitions, document, masthead, plot, section, spread_values, text, value
from minitl.pages.formats import (
    MISSING,
    duration,
    megabytes,
    plural,
    points,
    rate,
    share_trained,
    when,
    with_spread,
)

LONGEST_TEXT = 600  # characters of an example that are shown
RESULT_COLUMNS = (
    "Accuracy, %",
    "F1, %",
    "Trainable parameters",
    "Time to train",
    "Peak memory",
    "Saved",
    "Learning rate",
)
_MARKER_SHAPES = (  # the plots' markers, for the legend, in a box of 12 by 12
    '<path d="M3 1l3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3-3-3z"/>',
    '<rect x="2" y="2" width="8" height="8"/>',
    '<path d="M6 1l5 9H1z"/>',
    '<path d="M6 0l5 6-5 6-5-6z"/>',
    '<circle cx="6" cy="6" r="4.5"/>',
)


def write_report(results: dict[str, Any], path: Path) -> None:
    """Write the page for `results` (the dictionary of results.json) to `path`, atomically.

    Raises InputError when a field is missing, CheckpointError when the file cannot be written.
    """
    atomic.write_text(path, render(read_study(results)))


def render(study: Study) -> str:
    """The whole page."""
    sections = [
        section("results", "Results", _results(study)),
        section("claims", "The guide, put to the test", _claims(study)),
        section("labels", "How many labels it takes", _labels(study)),
        section("losses", "How each regime learned", _losses(study)),
        section("kinds", "Which reviews are hard", _kinds(study)),
        section("examples", "Where the regimes disagree", _examples(study)),
        section("setup", "What was run, and how to repeat it", _setup(study)),
    ]
    style = resources.files("minitl.experiments.study").joinpath("report.css").read_text(encoding="utf-8")
    title = f"Transfer learning, measured: {study.results['name']}"
    footer = "Written by minitl from results.json, which lies beside this page."
    return document(title, _masthead(study), sections, footer, style)


def _masthead(study: Study) -> str:
    results, data, model, machine = (
        study.results,
        study.results["data"],
        study.results["model"],
        study.results["machine"],
    )
    size = f"{model['parameters'] / 1e6:,.1f}M parameters" if model.get("parameters") else ""
    shape = f"{model['layers']} layers of {model['hidden']}" if model.get("layers") and model.get("hidden") else ""
    cores = f"{plural(machine['cores'], 'core')}, {plural(machine['threads'], 'thread')}"
    facts = [
        ("Model", Path(str(model["source"])).name, _joined(model.get("model_type"), size, shape)),
        (
            "Data",
            data["name"],
            f"{data['train']:,} to train, {data['validation']:,} to validate, {data['test']:,} to test",
        ),
        ("Machine", machine.get("cpu", MISSING), cores),
        (
            "Run",
            duration(float(results["total_seconds"])),
            _joined(plural(study.seeds, "seed"), when(results["created"])),
        ),
    ]
    eyebrow = f"minitl · study <b>{text(results['name'])}</b>"
    return masthead(eyebrow, "Transfer learning, measured", headline(study), facts)


def headline(study: Study) -> str:
    """The finding in a sentence or two of HTML: transfer against scratch on all labels, and what the noise allows."""
    scratch, best = study.arm(SCRATCH), study.best_transfer
    if best is None or scratch is None or not scratch.accuracy or not best.accuracy:
        return "This run has no accuracies with and without transfer to compare."
    gain = best.accuracy.mean - scratch.accuracy.mean
    margin = noise(best.accuracy, scratch.accuracy, study.test_size)
    if gain > margin:
        finding = f"Transfer is ahead by {text(points(gain)).lstrip('+')}"
    elif gain < -margin:
        finding = f"Transfer is behind by {text(points(-gain)).lstrip('+')}"
    else:
        finding = f"The difference of {text(points(gain))} is within the noise"
    return (
        f"With {study.full_labels:,} labels, {_told(best)} of the test texts right, {_told(scratch)}. "
        f"<strong>{finding}</strong> (noise ±{margin * 100:.1f})."
    )


def _told(arm: MeasuredArm) -> str:
    shown = with_spread(arm.accuracy.mean, arm.accuracy.spread).replace(" ±", "% ±")
    return f"<b>{text(arm.short)}</b> gets {value(arm.accuracy.mean, shown if '%' in shown else shown + '%')}"


def _results(study: Study) -> str:
    seeds = (
        f"Accuracy and F1 are means over {study.seeds} seeds ± their standard deviation"
        if study.seeds > 1
        else "One seed: how much another seed would change is not known from this run"
    )
    figure = plot(
        [
            ("wide", figures.accuracy_against_guide(study)),
            ("narrow", figures.accuracy_against_guide(study, narrow=True)),
        ],
        f"Accuracy on {study.test_size:,} test texts after training on {study.full_labels:,} labels. Lines are 95% "
        "intervals for a test set of this size. Grey bands are what the guide gives at 1,000 labels: 55–65% from "
        "scratch, 87–94% with transfer.",
    )
    rows = "".join(_result_row(study, arm) for arm in study.arms)
    columns = "".join(f'<th scope="col">{head}</th>' for head in RESULT_COLUMNS)
    return f"""{figure}
<div class="scroll" role="region" aria-label="Results by regime" tabindex="0">
<table class="results">
<caption>{seeds}. Below each accuracy: its 95% interval for {study.test_size:,} test texts. Time is the mean,
memory the largest over seeds. The headline takes the transfer regime that is best on validation.</caption>
<thead><tr><th scope="col">Regime</th>{columns}</tr></thead>
<tbody>{rows}</tbody>
</table>
</div>
"""


def _result_row(study: Study, arm: MeasuredArm) -> str:
    low, high = interval(arm.accuracy.mean, study.test_size)
    between = (
        f"{value(low, f'{low * 100:.1f}')}–{value(high, f'{high * 100:.1f}')}"
        if arm.accuracy
        else "a run gave no number"
    )
    f1, seconds = arm.measured("f1"), arm.measured("seconds")
    memory, saved = arm.measured("peak_memory_mb"), arm.measured("saved_bytes")
    cells = [
        f"<b>{spread_values(arm.accuracy.mean, arm.accuracy.spread)}</b><small>{between}</small>",
        f"<span>{spread_values(f1.mean, f1.spread)}</span>",
        f"{value(arm.trainable, f'{arm.trainable:,}')}<small>{value(arm.percent, share_trained(arm.percent))}</small>",
        value(seconds.mean, duration(seconds.mean)),
        value(memory.largest, f"{memory.largest:,.0f} MB" if memory else MISSING),
        value(saved.mean, megabytes(saved.mean)),
        value(arm.learning_rate, rate(arm.learning_rate)),
    ]
    head = f"{_swatch(study, arm.name)}{text(arm.title)}<small>{text(arm.description)}</small>"
    return f'<tr><th scope="row">{head}</th>' + _labelled(cells) + "</tr>\n"


def _labelled(cells: list[str]) -> str:
    """Cells that carry their column's name, for the narrow page, where rows become cards."""
    return "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in zip(RESULT_COLUMNS, cells, strict=True))


def _claims(study: Study) -> str:
    return f"""<p>“The Story That Explains Transfer Learning” is the guide that minitl puts to the test. What it says,
in short, beside what this run measured. The verdicts are computed from the
results by the rules given. Noise is half the 95% interval of a difference: the sampling of {study.test_size:,} test
texts and, with several seeds, their spread; it is wider where several regimes are compared at once. The guide speaks
of its own data and models, so a verdict is about this run alone.</p>
{claim_list(judge(study))}"""


def _labels(study: Study) -> str:
    counts = sorted({labels for by_labels in study.curve.values() for labels in by_labels})
    if len(counts) < 2:
        return ""
    drawings = [("wide", figures.accuracy_by_labels(study)), ("narrow", figures.accuracy_by_labels(study, narrow=True))]
    spread = " Bands are one standard deviation over seeds, dots single seeds." if study.seeds > 1 else ""
    baseline = "always giving the most frequent label" if study.baseline_name == "majority" else "guessing"
    figure = plot(
        drawings, f"Test accuracy against the number of labels.{spread} The dashed line is {baseline}.", _legend(study)
    )
    head = "".join(f'<th scope="col">{count:,}</th>' for count in counts)
    rows = ""
    for arm in study.arms:
        found = study.curve.get(arm.name, {})
        cells = "".join(
            f"<td>{spread_values(found[n].mean, found[n].spread) if n in found else MISSING}</td>" for n in counts
        )
        rows += f'<tr><th scope="row">{text(arm.short)}</th>{cells}</tr>\n'
    return f"""{figure}
<details><summary>The numbers behind this figure</summary>
<div class="scroll" role="region" aria-label="Accuracy by number of labels" tabindex="0">
<table class="curve"><caption>Test accuracy in percent, by number of labels.</caption>
<thead><tr><th scope="col">Regime</th>{head}</tr></thead><tbody>{rows}</tbody></table>
</div></details>
"""


def _losses(study: Study) -> str:
    panels = "".join(
        f"<figure><figcaption>{_swatch(study, arm.name)}{text(arm.short)}</figcaption>"
        f"{figures.loss_curve(study, arm)}</figure>\n"
        for arm in study.arms
        if figures.has_losses(arm)
    )
    if not panels:
        return ""
    return f"""<p>Loss against epochs, on one scale. Pale: every logged training loss; solid: its moving average; open
marks: validation after each epoch.{" Every seed is drawn." if study.seeds > 1 else ""}</p>
<div class="panels">{panels}</div>
"""


def _kinds(study: Study) -> str:
    by_kind = study.results.get("by_kind")
    if not by_kind:
        return ""
    arms = [arm for arm in study.arms if arm.name in by_kind]
    kinds = list(dict.fromkeys(kind for arm in arms for kind in by_kind[arm.name]))
    head = "".join(
        f'<th scope="col">{_swatch(study, arm.name)}<span class="name">{text(arm.short)}</span></th>' for arm in arms
    )
    rows = "".join(
        f'<tr><th scope="row">{text(kind)}</th>{"".join(_heat(by_kind[arm.name].get(kind)) for arm in arms)}</tr>\n'
        for kind in kinds
    )
    return f"""{_legend(study)}<div class="scroll" role="region" aria-label="Accuracy by kind of review" tabindex="0">
<table class="heat">
<caption>Test accuracy in percent by kind of review, darker where higher. A kind has few reviews, so a difference of a
few points within a row means nothing.</caption>
<thead><tr><th scope="col">Kind</th>{head}</tr></thead><tbody>{rows}</tbody></table>
</div>
"""


def _heat(share: float | None) -> str:
    if share is None or not math.isfinite(share):
        return f"<td>{MISSING}</td>"
    return (
        f'<td style="--share:{min(1.0, max(0.0, (share - 0.4) / 0.6)):.2f}">{value(share, f"{share * 100:.1f}")}</td>'
    )


def _examples(study: Study) -> str:
    examples = study.results.get("examples")
    if not examples:
        return ""
    items = ""
    for example in examples:
        whole = str(example["text"])
        shown = whole if len(whole) <= LONGEST_TEXT else whole[:LONGEST_TEXT].rstrip() + " …"
        answers = ""
        for arm in study.arms:
            answer = example["predictions"].get(arm.name)
            if answer is None:
                continue
            right = answer == example["label"]
            verdict = '<b class="right">✓' if right else '<b class="wrong">✗'
            answers += (
                f"<li>{_swatch(study, arm.name)}{text(arm.short)} "
                f"{verdict} {text(answer)}</b><span class='hidden'> ({'right' if right else 'wrong'})</span></li>"
            )
        items += (
            f"<li><blockquote>{text(shown)}</blockquote>"
            f"<p>labelled <b>{text(example['label'])}</b></p><ul>{answers}</ul></li>\n"
        )
    return f"""<p>Test texts on which the regimes gave different answers: chosen for that, not typical.</p>
<ol class="examples">{items}</ol>
"""


def _setup(study: Study) -> str:
    results = study.results
    command = text(results["command"])
    groups = [("Settings", results["settings"]), ("Model", results["model"]), ("Data", results["data"])]
    groups.append(("Machine and versions", results["machine"]))
    lists = "".join(f"<section><h3>{title}</h3>{definitions(values)}</section>" for title, values in groups)
    search = ""
    if results.get("search"):
        titles = {arm.name: arm.short for arm in study.arms}
        rows = "".join(
            f'<tr><th scope="row">{text(titles.get(trial["arm"], trial["arm"]))}</th>'
            f"<td>{value(trial['learning_rate'], rate(trial['learning_rate']))}</td>"
            f"<td>{spread_values(tried.mean, tried.spread)}</td></tr>"
            for trial in results["search"]
            for tried in [Measured(tuple(trial["validation_accuracies"]))]
        )
        trials = len(results["search"][0]["validation_accuracies"])
        search = f"""<details><summary>The search for learning rates, on validation</summary>
<div class="scroll" role="region" aria-label="Search for learning rates" tabindex="0"><table class="search">
<caption>Mean and spread over {plural(trials, "seed")} that the study
does not use; the test set took no part.</caption><thead><tr><th scope="col">Regime</th>
<th scope="col">Learning rate</th><th scope="col">Validation accuracy, %</th></tr></thead>
<tbody>{rows}</tbody></table></div>
</details>
"""
    return f"""<p>To repeat this run, with the same versions and seeds:</p>
<pre tabindex="0" aria-label="Command"><code>{command}</code></pre>
<div class="columns">{lists}</div>
{search}"""


def _legend(study: Study) -> str:
    items = "".join(f"<li>{_swatch(study, arm.name)}{text(arm.short)}</li>" for arm in study.arms)
    return f'<ul class="legend narrow" aria-label="Legend">{items}</ul>'


def _swatch(study: Study, arm: str) -> str:
    index = figures.colour_index(study, arm)
    shape = _MARKER_SHAPES[index]
    return f'<svg class="swatch" viewBox="0 0 12 12" aria-hidden="true" fill="var(--line-{index})">{shape}</svg>'


def _joined(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part)
