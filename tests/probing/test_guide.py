"""The guide's table of layers against profiles made by hand."""

import pytest

from minitl.pages.claims import Verdict
from minitl.probing.guide import KINDS, Profile, judged_order, judged_rows, layers_of, quarter
from minitl.probing.metrics import Estimate
from minitl.probing.task import Kind

FLOOR = -0.5  # what one gets without vectors


def profile(
    kind: Kind, means: list[float], margin: float = 0.01, centre: float | None = None, error: float = 0.0
) -> Profile:
    scores = tuple(Estimate(mean, 0.0, mean - margin, mean + margin) for mean in means)
    best, layers = means.index(max(means)), tuple(range(len(means)))
    return Profile(f"a {kind}", kind, layers, scores, best, gaps(means, margin), FLOOR, centre, error)


def gaps(means: list[float], margin: float) -> tuple[Estimate, ...]:
    return tuple(Estimate(gap, 0.0, gap - margin, gap + margin) for gap in (max(means) - mean for mean in means))


def test_twelve_layers_are_parted_as_the_guide_parts_them() -> None:
    assert [layers_of(kind, 12) for kind in KINDS] == [(1, 2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12)]


@pytest.mark.parametrize("depth", range(1, 30))
def test_every_layer_of_any_model_has_one_place(depth: int) -> None:
    placed = [layer for kind in KINDS for layer in layers_of(kind, depth)]
    assert placed == list(range(1, depth + 1))
    assert (quarter(1, depth) == 0) is (depth >= 4)
    assert quarter(depth, depth) == 3


def test_six_layers_go_by_their_height() -> None:
    assert [layers_of(kind, 6) for kind in KINDS] == [(1,), (2, 3), (4,), (5, 6)]


def test_the_plateau_is_what_reaches_the_best_layer() -> None:
    assert profile("form", [0.5, 0.8, 0.795, 0.8, 0.7]).plateau == (1, 2, 3)


def test_some_layers_alone_keep_their_numbers() -> None:
    means = [0.1, 0.9, 0.5]
    scores = tuple(Estimate(mean, 0.0, mean, mean) for mean in means)
    one = Profile("a", "form", (0, 4, 6), scores, 4, gaps(means, 0.0), FLOOR)
    assert (one.best, one.plateau) == (4, (4,))
    assert judged_rows([one], 12)[0].verdict is Verdict.UNKNOWN  # who knows where layers 1 to 3 are


def test_a_task_that_no_layer_solves_says_nothing() -> None:
    """In a model that learnt nothing, the best layer is the luckiest one."""
    lucky = profile("form", [FLOOR, FLOOR + 0.009, FLOOR, FLOOR, FLOOR])
    found = profile("form", [0.1, 0.2, 0.3, 0.9, 0.1])
    assert judged_rows([lucky], 4)[0].verdict is Verdict.UNKNOWN
    assert judged_rows([lucky, found], 4)[0].verdict is Verdict.FAILS
    told = "here layer 1. a form: no layer tells more than one knows without vectors; a form: best at layer 3"
    assert judged_rows([lucky, found], 4)[0].measured == told
    centres = [profile(kind, [FLOOR], centre=centre) for kind, centre in (("form", 1.0), ("task", 3.0))]
    assert judged_order(centres, 0).verdict is Verdict.UNKNOWN


def test_a_task_that_every_part_of_the_model_solves_alike_says_nothing() -> None:
    flat = profile("task", [0.5, 0.9, 0.9, 0.898, 0.905])
    assert judged_rows([flat], 4)[3].verdict is Verdict.UNKNOWN
    assert judged_rows([flat, profile("task", [0, 0.9, 0.5, 0.5, 0.5])], 4)[3].verdict is Verdict.FAILS


def test_a_row_holds_where_all_of_its_tasks_are_at_home() -> None:
    low, high = profile("form", [0, 0.9, 0.5, 0.5, 0.5]), profile("task", [0, 0.1, 0.2, 0.3, 0.9])
    form, syntax, semantics, task = judged_rows([low, high], 4)
    assert (form.verdict, task.verdict) == (Verdict.HOLDS, Verdict.HOLDS)
    assert (syntax.verdict, semantics.verdict) == (Verdict.UNKNOWN, Verdict.UNKNOWN)
    assert form.measured == "here layer 1. a form: best at layer 1"
    assert "coreference: cannot be judged here" in semantics.measured


AT = {"home": [0, 0.5, 0.5, 0.9, 0.5], "wide": [0, 0.5, 0.895, 0.9, 0.5], "near": [0, 0.5, 0.9, 0.895, 0.5],
      "away": [0, 0.9, 0.5, 0.5, 0.5], "before": [0.9, 0.5, 0.5, 0.5, 0.5]}  # fmt: skip


@pytest.mark.parametrize(
    ("tasks", "verdict"),
    [
        ("home", Verdict.HOLDS),
        ("home wide", Verdict.HOLDS),
        ("wide", Verdict.IN_PART),  # layer 2 may be as good
        ("home wide wide", Verdict.IN_PART),
        ("home away", Verdict.IN_PART),
        ("home near", Verdict.IN_PART),
        ("home away away", Verdict.FAILS),  # one of three is not half
        ("near", Verdict.UNKNOWN),  # the best is elsewhere, or not
        ("near away", Verdict.UNKNOWN),
        ("near away away", Verdict.FAILS),
        ("home near away away", Verdict.UNKNOWN),
        ("away", Verdict.FAILS),
        ("before", Verdict.FAILS),
    ],
)
def test_a_row_is_judged_by_how_many_of_its_tasks_are_there(tasks: str, verdict: Verdict) -> None:
    """Of a model of four layers, the third."""
    assert judged_rows([profile("semantics", AT[name]) for name in tasks.split()], 4)[2].verdict is verdict


def test_the_embeddings_are_no_layer_of_the_first_part() -> None:
    row = judged_rows([profile("form", AT["before"])], 4)[0]
    assert row.verdict is Verdict.FAILS
    assert row.measured == "here layer 1. a form: best at the embeddings"
    also = profile("form", [0.9, 0.895, 0.5, 0.5, 0.5])
    assert judged_rows([also], 4)[0].verdict is Verdict.UNKNOWN
    alike = profile("form", [0.9, 0.5, 0.9, 0.9, 0.9])  # in every part but the first, which has the embeddings
    assert judged_rows([alike], 4)[0].verdict is Verdict.FAILS


def test_a_row_says_what_is_as_good() -> None:
    told = judged_rows([profile("semantics", AT["near"])], 4)[2].measured
    assert told.startswith("here layer 3. a semantics: best at layer 2, as good layer 3")


def test_a_model_with_no_layer_for_a_row_is_not_judged_on_it() -> None:
    claims = judged_rows([profile(kind, [0.1, 0.2, 0.3]) for kind in KINDS], 2)
    assert [claim.verdict for claim in claims] == [
        Verdict.UNKNOWN, Verdict.FAILS, Verdict.UNKNOWN, Verdict.HOLDS,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("centres", "verdict"),
    [
        ((1.0, 2.0, 3.0, 4.0), Verdict.HOLDS),
        ((1.0, 3.0, 2.0, 4.0), Verdict.IN_PART),
        ((3.0, 2.0, 4.0, 1.0), Verdict.FAILS),
        ((1.0, None, None, 4.0), Verdict.IN_PART),
        ((1.0, None, None, None), Verdict.UNKNOWN),
    ],
)
def test_the_pattern_is_judged_by_centres_of_gravity(centres: tuple[float | None, ...], verdict: Verdict) -> None:
    profiles = [profile(kind, [0.5], centre=centre) for kind, centre in zip(KINDS, centres, strict=True)]
    assert judged_order(profiles, 0).verdict is verdict


def test_centres_that_seeds_scatter_as_far_as_they_differ_are_no_pattern() -> None:
    form, task = profile("form", [0.5], centre=2.0, error=0.3), profile("task", [0.5], centre=2.5, error=0.3)
    assert judged_order([form, task], 0).verdict is Verdict.FAILS
    surer = profile("task", [0.5], centre=3.0, error=0.3)
    assert judged_order([form, surer], 0).verdict is Verdict.IN_PART  # the kinds between were not asked
    one_seed = profile("task", [0.5], centre=3.0, error=float("inf"))
    assert judged_order([form, one_seed], 0).verdict is Verdict.UNKNOWN
    assert judged_order([form, surer], 3).verdict is Verdict.UNKNOWN  # layers were left out
