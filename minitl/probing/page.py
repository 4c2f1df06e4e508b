"""The report as files: probe.html, probe.json, and the figures as pictures.

The page opens with the guide's table beside this model; then every score, the curves behind them, the controls, and
what was run.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from minitl.checkpoints.atomic import write_json, write_text
from minitl.pages.claims import claim_list
from minitl.pages.document import definitions, document, masthead, plot, section, text, value
from minitl.pages.drawing import drawing, png, svg
from minitl.pages.formats import MISSING, duration, model_name, plural
from minitl.probing.figures import (
    METRICS,
    describe_curve,
    describe_gravity,
    draw_curve,
    draw_curves,
    draw_gravity,
    draw_heat,
    shade,
)
from minitl.probing.guide import KINDS, Profile
from minitl.probing.metrics import Estimate
from minitl.probing.probe import Found, Report
from minitl.probing.profile import (
    best_score,
    by_heart,
    floor,
    profile_of,
    shown_loss,
    shown_metric,
    shown_scores,
    signed_interval,
)
from minitl.probing.record import record, verdicts
from minitl.probing.sweep import Curve
from minitl.probing.task import Task
from minitl.probing.tree_sweep import TreeCurve

ASKED = {  # what the tasks of each kind ask for
    "form": "the form of words and sentences", "syntax": "syntax", "semantics": "the types of things",
    "task": "what a text says as a whole",
}  # fmt: skip
TREE_METRICS = {
    "uuas": "UUAS", "distance-spearman": "distances, Spearman’s ρ", "root-accuracy": "root found",
    "depth-spearman": "depths, Spearman’s ρ",
}  # fmt: skip
PICTURES = {
    "curves.png": draw_curves,
    "layers.png": lambda report: draw_heat([profile_of(found) for found in report.found]),
    "gravity.png": draw_gravity,
}
GUIDE = """<p>“The Story That Explains Transfer Learning” is the guide that minitl puts to the test; its table of layers
is of BERT's twelve. This model's layers are parted in the same proportion. A verdict is about this model and these
tasks.</p>
"""


def write_report(report: Report, folder: str | Path, facts: Mapping[str, Any]) -> Path:
    """Write probe.html, probe.json and the pictures into `folder`; the page's path.

    facts   what to say of the run beside the report: the command, the machine

    CheckpointError where the folder cannot be written into.
    """
    folder = Path(folder)
    write_json(folder / "probe.json", {**record(report), "run": dict(facts)})
    with drawing(picture=True):
        for name, draw in PICTURES.items():
            if name != "gravity.png" or _has_gravity(report):
                png(draw(report), folder / name)
    page = folder / "probe.html"
    write_text(page, render(report, facts))
    return page


def render(report: Report, facts: Mapping[str, Any]) -> str:
    """The whole page."""
    sections = [
        section("results", "The guide's table, beside this model", GUIDE + claim_list(verdicts(report))),
        section("layers", "What each layer knows", _heat(report)),
        section("curves", "Layer by layer", _curves(report)),
        section("gravity", "Where a task draws from, when it may mix", _gravity(report)),
        section("trees", "The dependency tree, read off distances and depths", _trees(report)),
        section("controls", "Held against what could fool it", _controls(report)),
        section("before", "Before and after fine-tuning", _before(report)),
        section("setup", "What was run", _setup(report, facts)),
    ]
    name = model_name(report.source) or report.family
    top = masthead(
        f"minitl · probes of <b>{text(name)}</b>",
        "What each layer knows",
        _headline(report),
        [
            ("Model", name, f"{report.family}, {plural(report.depth, 'layer')} of {report.hidden}"),
            ("Tasks", len(report.found), ", ".join(dict.fromkeys(one.task.corpus.name for one in report.found))),
            ("Probes", report.probe, f"every layer, {plural(len(report.seeds), 'seed')}"),
            ("Run", duration(report.seconds), facts.get("created", "")),
        ],
    )
    style = resources.files("minitl.probing").joinpath("page.css").read_text(encoding="utf-8")
    return document(f"What each layer knows: {name}", top, sections, "Written by minitl; probe.json has it all.", style)


def _headline(report: Report) -> str:
    """From the lowest to the highest best layer of the tasks of each kind that some layer solves."""
    solved = [profile for one in report.found if (profile := profile_of(one)).solved]
    told = []
    for kind in KINDS:
        those = [profile for profile in solved if profile.kind == kind]
        if those:
            best = sorted(profile.best for profile in those)
            asked = ASKED[kind] if len(those) > 1 else text(those[0].title)
            told.append(f"<b>{_span(best[0], best[-1])}</b> for {asked}")
    depth = plural(report.depth, "layer")
    if not told:
        return f"Of {depth}, none tells a {text(report.probe)} probe more than one knows without vectors."
    return f"Where {text(report.probe)} probes do best, of {depth}: {'; '.join(told)}."


def _span(low: int, high: int) -> str:
    """ "layer 3", "the embeddings", "layers 2 to 4", "the embeddings to layer 2"."""
    if low == high:
        return f"layer {low}" if low else "the embeddings"
    return f"layers {low} to {high}" if low else f"the embeddings to layer {high}"


def _heat(report: Report) -> str:
    layers = report.found[0].curve.layers
    head = "".join(f'<th scope="col">{"emb" if layer == 0 else layer}</th>' for layer in layers)
    rows = ""
    for found in report.found:
        profile = profile_of(found)
        cells = "".join(
            _cell(profile, one, layer == profile.best)
            for layer, one in zip(profile.layers, profile.scores, strict=True)
        )
        metric = METRICS[shown_metric(found.curve)]
        rows += f'<tr><th scope="row">{text(found.task.title)}<small>{metric}</small></th>{cells}</tr>\n'
    return f"""<div class="scroll" role="region" aria-label="Scores by task and layer" tabindex="0">
<table class="heat layers">
<caption>On test examples, mean over {plural(len(report.seeds), "seed")}. The shade goes from what one gets without
looking at a vector to the task's best layer, which is bold; below each score is its 95% interval, by drawing texts.
Layers are counted from 1, after the embeddings (emb): layer 1 is layer 0 of <code>minitl inspect</code>, and what
<code>minitl.trace</code> calls layers.0.</caption>
<thead><tr><th scope="col">Task</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>
"""


def _cell(profile: Profile, one: Estimate, best: bool) -> str:
    shown = value(one.mean, f"{one.mean * 100:.1f}")
    shown = f"<b>{shown}</b>" if best else shown
    return f'<td style="--share:{shade(profile, one):.2f}">{shown}<small>{_interval(one)}</small></td>'


def _curves(report: Report) -> str:
    panels = ""
    for index, found in enumerate(report.found):
        with drawing():
            drawn = svg(draw_curve(found), f"curve-{index}", True, describe_curve(found))
        panels += f"<figure><figcaption>{text(found.task.title)}</figcaption>{drawn}</figure>\n"
    return f"""<p>Bands are 95% intervals. The random twin has the model's shape and has learnt nothing: what it is good
for comes from the tokens. A control task has the same vectors and made-up labels, one for each word type.</p>
<ul class="legend shown" aria-label="Legend">{_legend(report.found)}</ul><div class="panels">{panels}</div>
"""


def _legend(found: Sequence[Found]) -> str:
    """Of the lines that some panel has."""
    lines = (
        ("line-1", "the model", True),
        ("line-0", "its random twin", any(one.twin is not None for one in found)),
        (
            "line-3",
            "control task",
            any(isinstance(one.curve, Curve) and one.curve.control is not None for one in found),
        ),
        ("line-4", "before fine-tuning", any(one.before is not None for one in found)),
        ("muted", "without vectors", True),
    )
    return "".join(
        f'<li><svg class="swatch" viewBox="0 0 12 12" aria-hidden="true" fill="var(--{colour})">'
        f'<circle cx="6" cy="6" r="4.5"/></svg>{name}</li>'
        for colour, name, is_drawn in lines
        if is_drawn
    )


def _trees(report: Report) -> str:
    """All that a structural probe is judged by (Hewitt and Manning 2019), of which the heat map shows the first."""
    tables = ""
    for found in report.found:
        if isinstance(curve := found.curve, TreeCurve):
            names = "".join(f'<th scope="col">{"emb" if layer == 0 else layer}</th>' for layer in curve.layers)
            rows = "".join(
                f'<tr><th scope="row">{name}</th>'
                + "".join(f"<td>{_estimate(one)}</td>" for one in curve.scores[metric])
                + f"<td>{value(curve.chain[metric], f'{curve.chain[metric] * 100:.1f}')}</td></tr>\n"
                for metric, name in TREE_METRICS.items()
            )
            tables += f"""<div class="scroll" role="region" aria-label="Trees by layer" tabindex="0">
<table class="layers"><caption>{text(found.task.title)}: edges of the least spanning tree, roots, and rank correlations
over texts of 5 to 50 words, in points; a chain hangs each word on the one before it.</caption>
<thead><tr><th scope="col">Metric</th>{names}<th scope="col">Chain</th></tr></thead><tbody>{rows}</tbody></table></div>
"""
    return tables


def _has_gravity(report: Report) -> bool:
    return any(profile_of(one).centre is not None for one in report.found)


def _gravity(report: Report) -> str:
    if not _has_gravity(report):
        return ""
    drawings = []
    for narrow in (False, True):
        with drawing():
            drawn = svg(draw_gravity(report, narrow), "gravity", narrow, describe_gravity(report))
        drawings.append(("narrow" if narrow else "wide", drawn))
    caption = (
        "A probe on a learnt mix of all layers: the mean of the layers by their weights (Tenney et al. 2019), and the "
        "deviation over seeds. Weights spread over many layers give a centre in the middle."
    )
    return plot(drawings, caption)


COLUMNS = (
    "Best layer", "Score", "Without vectors", "Embeddings", "Random twin's best", "Control task", "Selectivity",
    "Compression", "Test examples",
)  # fmt: skip


def _controls(report: Report) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    rows = "".join(_control_row(found) for found in report.found)
    notes = "".join(
        f"<li><b>{text(found.task.title)}</b>: {text(note)}</li>"
        for found in report.found
        if isinstance(found.task, Task)
        for note in [*found.task.notes, *_left_out(found)]
    )
    left = f"<details><summary>What was left out, and why</summary><ul>{notes}</ul></details>" if notes else ""
    return f"""{_by_heart(report)}<div class="scroll" role="region" aria-label="Baselines and controls" tabindex="0">
<table class="controls"><caption>At the best layer. Selectivity is the score less that of the control task (Hewitt and
Liang 2019). Compression is how much shorter the labels' code is than without the vectors (Voita and Titov 2020).
</caption><thead><tr><th scope="col">Task</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>
{left}"""


def _by_heart(report: Report) -> str:
    """What a selectivity near 0 means, where there is one."""
    names = [found.task.title for found in report.found if by_heart(found.curve)]
    if not names:
        return ""
    return f"""<p>Selectivity is not surely above 0 of: <b>{text(", ".join(names))}</b>. There a probe learns made-up
labels of the words as well as the true ones: it could know words by heart, and its score alone is no evidence that the
layer knows the task. What words by heart come to, the column of the embeddings tells; evidence is what a layer has
above that, and above the random twin.</p>
"""


def _control_row(found: Found) -> str:
    curve, profile = found.curve, profile_of(found)
    best = curve.layers.index(profile.best)
    own, twin = shown_scores(curve), None if found.twin is None else best_score(found.twin)
    labelled = curve if isinstance(curve, Curve) else None
    control = labelled.control[labelled.metric][best] if labelled and labelled.control else None
    selectivity = labelled.selectivity[best] if labelled and labelled.selectivity else None
    compression = None if found.code is None else float(found.code.compression[best].mean())
    cells = (
        "embeddings" if profile.best == 0 else str(profile.best),
        _estimate(own[best]),
        value(floor(curve), f"{floor(curve) * 100:.1f}"),
        _estimate(own[0]) if curve.layers[0] == 0 else MISSING,
        _estimate(twin) if twin else MISSING,
        _estimate(control) if control else MISSING,
        _estimate(selectivity) if selectivity else MISSING,
        MISSING if compression is None else value(compression, f"{compression:.2f}×"),
        f"{curve.examples['test']:,}",
    )
    return f'<tr><th scope="row">{text(found.task.title)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>\n'


def _left_out(found: Found) -> list[str]:
    gone = {split: count for split, count in found.curve.left_out.items() if count}
    return [f"{count:,} of {split} in texts without vectors" for split, count in gone.items()]


def _before(report: Report) -> str:
    if report.alike is None:
        return ""
    asked = [one for one in report.found if one.before is not None]
    head = "".join(f'<th scope="col">{text(one.task.title)}</th>' for one in asked)
    rows = ""
    for row, (layer, alike) in enumerate(zip(report.found[0].curve.layers, report.alike, strict=True)):
        gains = "".join(f"<td>{_gain(one, row)}</td>" for one in asked)
        name = "embeddings" if layer == 0 else layer
        rows += f'<tr><th scope="row">{name}</th><td>{value(alike, f"{alike:.3f}")}</td>{gains}</tr>\n'
    return f"""<p>Before: {text(report.before)}. Likeness is linear CKA (Kornblith et al. 2019) of the layer before and
after, 1 where nothing changed but scale and direction; then the change of each task's score, in points, with its 95%
interval, for which both are scored on the same draws of test texts, and the change of the probe's loss. A change whose
interval holds 0 may be none.</p>
<div class="scroll" role="region" aria-label="Before and after, by layer" tabindex="0"><table class="changed">
<thead><tr><th scope="col">Layer</th><th scope="col">Likeness</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>
"""


def _gain(found: Found, row: int) -> str:
    assert found.before is not None
    assert found.gain is not None
    gain = found.gain[row]
    lost = shown_loss(found.curve)[row] - shown_loss(found.before)[row]
    shown = value(gain.mean, f"{gain.mean * 100:+.1f}")
    return f"{shown}<small>{signed_interval(gain)}</small><small>loss {value(lost, f'{lost:+.3f}')}</small>"


def _setup(report: Report, facts: Mapping[str, Any]) -> str:
    data = {
        found.task.title: f"{found.task.corpus.name}; "
        + ", ".join(f"{count:,} {split}" for split, count in found.curve.examples.items())
        for found in report.found
    }
    model = {"source": report.source, "family": report.family, "layers": report.depth, "hidden": report.hidden}
    groups = (("Model", model), ("Examples", data), ("Run", facts))
    lists = "".join(f"<section><h3>{title}</h3>{definitions(values)}</section>" for title, values in groups)
    return f'<div class="columns">{lists}</div>'


def _estimate(one: Estimate) -> str:
    spread = f" ± {one.deviation * 100:.1f}" if one.deviation == one.deviation else ""
    return f"{value(one.mean, f'{one.mean * 100:.1f}')}{spread}<small>{_interval(one)}</small>"


def _interval(one: Estimate) -> str:
    return f"{one.low * 100:.1f}–{one.high * 100:.1f}"
