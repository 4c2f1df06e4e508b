"""The page holds what was seen, to the step it names, in a file that is whole, small and harmless."""

import errno
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitl.checkpoints import atomic
from minitl.errors import CheckpointError
from minitl.inspect import Look, write_page
from minitl.inspect.page import SCRIPTS, _Maps, _ranges, render
from minitl.inspect.trace import PACKAGE
from tests.inspect.pages import HALF, HOSTILE, large_look, unpacked, weights

every_look = pytest.mark.parametrize("seen", ["encoder_look", "decoder_look", "bart_look"], indirect=True)


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Look:
    found: Look = request.getfixturevalue(request.param)
    return found


@every_look
def test_maps_are_the_models_to_half_a_step(seen: Look) -> None:
    values, cells = unpacked(render(seen))
    assert values["steps"] == 255
    used = 0
    for shown, stack in zip(values["stacks"], seen.stacks, strict=True):
        assert (shown["tokens"], shown["parts"]) == (list(stack.tokens), list(stack.parts))
        assert (shown["cross"] is None) == (stack.cross is None)
        for name, expected in (("maps", stack.maps), ("cross", stack.cross), ("flow", stack.flow[:, None])):
            if expected is not None:
                found = weights(shown[name], cells)
                torch.testing.assert_close(found, expected, atol=HALF + 1e-6, rtol=0)
                used += found.numel()
    assert used == len(cells)


@every_look
def test_numbers_are_the_models_to_six_digits(seen: Look) -> None:
    values, _ = unpacked(render(seen))
    for shown, stack in zip(values["stacks"], seen.stacks, strict=True):
        assert_close(shown["cosines"], stack.cosines)
        assert_close(shown["alike"], stack.alike)
    assert seen.guesses is not None
    assert values["guesses"]["words"] == json.loads(json.dumps(seen.guesses.words))
    assert (values["guesses"]["through"], values["guesses"]["stack"]) == (seen.guesses.through, seen.guesses.stack)
    assert_close(values["guesses"]["probabilities"], seen.guesses.probabilities)
    assert values["question"] == seen.question
    assert [shown["name"] for shown in values["attributions"]] == list(seen.attributions)
    for shown, found in zip(values["attributions"], seen.attributions.values(), strict=True):
        assert_close(shown["source"], found.source)
        assert (shown["target"] is None) == (found.target is None)
        if found.target is not None:
            assert_close(shown["target"], found.target)
    assert [shown["name"] for shown in values["byLayer"]] == list(seen.by_layer)
    for shown, found in zip(values["byLayer"], seen.by_layer.values(), strict=True):
        assert_close(shown["source"], found.source)
        assert found.target is None or len(shown["target"]) == len(found.target)
    promised = values["attributions"][1]
    assert promised["total"] == pytest.approx(seen.attributions["integrated gradients"].total, rel=1e-5)
    assert promised["gap"] == pytest.approx(seen.attributions["integrated gradients"].gap, rel=1e-5)
    assert values["attributions"][0]["total"] is None  # the method promises none


def assert_close(shown: Any, expected: torch.Tensor) -> None:
    torch.testing.assert_close(torch.tensor(shown), expected, rtol=1e-5, atol=1e-12)


def test_an_adapters_changes_are_shown_and_of_none_there_are_none(encoder_look: Look, decoder_look: Look) -> None:
    values, _ = unpacked(render(encoder_look))
    assert [shown["path"] for shown in values["changes"]] == [change.path for change in encoder_look.changes]
    for shown, change in zip(values["changes"], encoder_look.changes, strict=True):
        assert shown["norm"] == pytest.approx(change.norm, rel=1e-5)
        assert shown["relative"] == pytest.approx(change.relative, rel=1e-5)
        assert shown["singular_values"] == pytest.approx(change.singular_values, rel=1e-5)
        assert shown["effective_rank"] == pytest.approx(change.effective_rank, rel=1e-5)
    assert unpacked(render(decoder_look))[0]["changes"] == []


@every_look
def test_the_stream_stands_beside_the_lines_that_made_it(seen: Look) -> None:
    values, _ = unpacked(render(seen))
    for shown in values["points"]:
        file, line = shown["line"].rsplit(":", 1)
        assert shown["code"] == (PACKAGE / file).read_text(encoding="utf-8").splitlines()[int(line) - 1].strip()
        assert "self.tap(" in shown["code"]
    names = {shown["name"]: shown["shape"] for shown in values["points"]}
    prefix = f"{seen.stacks[0].name}." if seen.stacks[0].name else ""
    assert names[f"{prefix}layers.0–1.residual.mid"] == list(seen.steps[0].shape)
    assert len(values["points"]) < len(seen.steps)


def test_what_a_model_cannot_show_is_said(encoder_look: Look) -> None:
    values, _ = unpacked(render(replace(encoder_look, guesses=None, unread="it has no head")))
    assert values["guesses"] is None
    assert values["unread"] == "it has no head"


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def hostile(seen: Look) -> Look:
    """The same with tokens, and a name, that try to be something else."""
    stack = seen.stacks[0]
    return replace(
        seen,
        source='over/here/<img src=x onerror=alert(1)>&"',
        question=HOSTILE[0],
        stacks=(replace(stack, tokens=HOSTILE[: len(stack.tokens)]),),
    )


def test_no_text_becomes_a_part_of_the_page(encoder_look: Look) -> None:
    plain, page = render(encoder_look), render(hostile(encoder_look))
    assert [tag for tag, _ in Elements(page).elements] == [tag for tag, _ in Elements(plain).elements]
    assert page.count("<script") == 3 == page.count("</script>")
    values, _ = unpacked(page)
    assert values["stacks"][0]["tokens"] == list(HOSTILE[: len(encoder_look.stacks[0].tokens)])
    assert values["name"] == '<img src=x onerror=alert(1)>&"'
    assert "over/here" not in page  # where a model lies is nobody's business


def test_a_lone_surrogate_is_written_and_read_again(encoder_look: Look, tmp_path: Path) -> None:
    stack = encoder_look.stacks[0]
    tokens = ("\udc80", *stack.tokens[1:])
    write_page(replace(encoder_look, stacks=(replace(stack, tokens=tokens),)), tmp_path / "page.html")
    values, _ = unpacked((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert values["stacks"][0]["tokens"] == list(tokens)


def test_numbers_that_are_none_are_null(decoder_look: Look) -> None:
    stack = decoder_look.stacks[0]
    broken = replace(stack, maps=torch.full_like(stack.maps, float("nan")), cosines=stack.cosines * float("inf"))
    values, cells = unpacked(render(replace(decoder_look, stacks=(broken,))))
    assert values["stacks"][0]["cosines"][0][0] is None
    assert float(weights(values["stacks"][0]["maps"], cells).abs().max()) == 0


def test_the_page_asks_for_nothing_outside_of_it(bart_look: Look) -> None:
    page = render(bart_look)
    bare = re.sub(r'id="maps">[^<]*', "", page)
    assert not re.search(
        r"https?:|//\w|@import|url\(|\bfetch\(|XMLHttpRequest|WebSocket|^\s*import\b|import\(", bare, re.M
    )
    links = [
        value
        for tag, attributes in Elements(page).elements
        for name, value in attributes.items()
        if name in ("src", "href", "action", "srcset")
    ]
    assert links == ["data:,", "#attention"]
    assert "layer 0 is layer 1 of <code>minitl probe</code>, whose 0, the embeddings, is “in” here" in page
    policy = next(attributes["content"] for _, attributes in Elements(page).elements if "http-equiv" in attributes)
    assert policy is not None
    assert "default-src 'none'" in policy


def test_the_largest_shapes_stay_under_2_megabytes() -> None:
    page = render(large_look(heads=16))
    values, cells = unpacked(page)
    assert len(cells) == 3 * 12 * 16 * 64 * 64 + 2 * 12 * 64 * 64
    assert len(values["changes"]) == 96
    assert len(page.encode()) < 2_000_000


def test_a_stack_of_24_layers_of_16_heads_stays_under_2_megabytes() -> None:
    look = large_look(layers=24, heads=16)
    page = render(replace(look, stacks=look.stacks[:1], guesses=replace(look.guesses, stack=0)))
    assert len(unpacked(page)[1]) == 24 * 16 * 64 * 64 + 24 * 64 * 64
    assert len(page.encode()) < 2_000_000


def test_24_layers_of_16_heads_on_either_side_are_more_than_that() -> None:
    assert 2_000_000 < len(render(large_look(layers=24, heads=16)).encode()) < 3_750_000


def test_every_part_is_in_the_page() -> None:
    folder = resources.files("minitl.inspect").joinpath("browser")
    assert {part.name for part in folder.iterdir()} == {"page.html", "page.css", *(f"{name}.js" for name in SCRIPTS)}


def test_the_size_is_that_of_the_file(encoder_look: Look, tmp_path: Path) -> None:
    size = write_page(encoder_look, tmp_path / "new" / "page.html")
    assert size == (tmp_path / "new" / "page.html").stat().st_size


def test_a_full_disk_leaves_the_old_page(encoder_look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.html").write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"page\.html: cannot be written: No space left on device"):
        write_page(encoder_look, tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "old"


@given(st.lists(st.floats(0, 1, width=32), min_size=1))
def test_any_weight_is_kept_to_half_a_step(drawn: list[float]) -> None:
    maps = _Maps()
    maps.place(torch.zeros(3, 1))
    place = maps.place(torch.tensor([drawn]))
    assert place == {"offset": 3, "shape": [1, len(drawn)]}
    torch.testing.assert_close(weights(place, bytes(maps.cells)), torch.tensor([drawn]), atol=HALF + 1e-6, rtol=0)


@given(st.sets(st.integers(0, 40), min_size=1))
def test_ranges_name_every_layer_once(layers: set[int]) -> None:
    named = _ranges(sorted(layers))
    ends = [[int(end) for end in run.split("–")] for run in named.split(", ")]
    assert [layer for run in ends for layer in range(run[0], run[-1] + 1)] == sorted(layers)
    assert all(one[-1] + 1 < two[0] for one, two in pairwise(ends))
