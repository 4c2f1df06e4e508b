"""What there is to see of languages: tags in each, and what finds its translation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from minitl.experiments.experiment import Picture, Results
from minitl.experiments.languages.judge import LANGUAGES, accuracy, share
from minitl.experiments.languages.run import ENGLISH, MULTILINGUAL, TWIN
from minitl.experiments.lines import draw_rows
from minitl.pages.drawing import COLOURS, MUTED, new_figure
from minitl.pages.formats import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {MULTILINGUAL: "multilingual", TWIN: "monolingual twin"}
FLOOR = {"tagging": "the commonest tag", "near": "chance"}
MEASURES = (
    ("words", "first", "word, nearest"),
    ("words", "among", "word, among 5"),
    ("sentences", "first", "sentence"),
)

APART = 0.22  # of a row: how far below one another the series of a row stand

Series = Mapping[str, Sequence[Sequence[float]]]  # by its name, for each row, a value or one a seed


def _tags(results: Results) -> tuple[list[str], Series]:
    languages = [ENGLISH, *results["seen"], *results["unseen"]]
    rows = [f"{LANGUAGES[one]}{'' if one not in results['unseen'] else ', never read'}" for one in languages]
    models = dict.fromkeys(line["model"] for line in results["tagging"]["lines"])
    series = {TITLES.get(model, model): [accuracy(results, model, one).values for one in languages] for model in models}
    floor = results["tagging"]["floor"]
    return rows, {**series, FLOOR["tagging"]: [[floor[one]["share"]] for one in languages]}


def _near(results: Results) -> tuple[list[str], Series]:
    places = [(what, which, title, language) for what, which, title in MEASURES for language in results["seen"]]
    rows = [f"{LANGUAGES[language]} {title}" for _, _, title, language in places]
    series = {
        TITLES.get(model, model): [share(results, model, what, one, which).values for what, which, _, one in places]
        for model in results["near"]
    }
    chances = []
    for what, which, _, language in places:
        one = results["near"][MULTILINGUAL][what][language]
        chances.append([(one["most"] if which == "among" else 1) / one["of"]])
    return rows, {**series, FLOOR["near"]: chances}


def _draw_tags(results: Results, narrow: bool) -> "Figure":
    return _drawn(*_tags(results), "words tagged right, %", narrow)


def _draw_near(results: Results, narrow: bool) -> "Figure":
    return _drawn(*_near(results), "found in English, %", narrow)


def _drawn(rows: Sequence[str], series: Series, label: str, narrow: bool) -> "Figure":
    figure, axes = new_figure(narrow, wide=(8.4, 0.8 + 0.36 * len(rows)), small=(3.9, 1.2 + 0.36 * len(rows)))
    middle = (len(series) - 1) / 2
    for number, (name, values) in enumerate(series.items()):
        heights = [row + (number - middle) * APART for row in range(len(rows))]
        draw_rows(axes, heights, values, int(2 * middle - number) % len(COLOURS), name)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel(label, color=MUTED)
    figure.legend(loc="outside upper center", ncols=1 if narrow else len(series), frameon=False, fontsize=9.5)
    return figure


def _described(rows: Sequence[str], series: Series) -> str:
    told = []
    for row, title in enumerate(rows):
        listed = ", ".join(f"{name} {percent(sum(one[row]) / len(one[row]))}" for name, one in series.items())
        told.append(f"{title}: {listed}")
    return ". ".join(told) + "."


PICTURES = (
    Picture(
        "tagging",
        "Taught English tags alone: words tagged right by language; every seed a small dot.",
        _draw_tags,
        lambda results: _described(*_tags(results)),
    ),
    Picture(
        "neighbours",
        "Words and sentences whose English translation is nearest to them, or among the five nearest.",
        _draw_near,
        lambda results: _described(*_near(results)),
    ),
)
