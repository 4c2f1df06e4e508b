"""The page in a browser: by pointer, by keyboard alone, light and dark, narrow and wide, and without a complaint."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minitl.inspect import Look, write_page
from tests.inspect.pages import HOSTILE, large_look

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)} is on the PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """opened(look, width, …): its page, in a context without a network; fails at the end if the page complained."""
    complaints: list[str] = []
    contexts = []

    def open_page(seen: Look, width: int = 1200, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith(("file:", "data:", "blob:")) or complaints.append(request.url),
        )
        write_page(seen, tmp_path / "page.html")
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_selector(".chips.at li small:not(:empty)", state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def focused(page: Any) -> str:
    """The label, or else the text, of what has the focus."""
    label: str = page.evaluate(
        "() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
    )
    return label


def looks_at(page: Any) -> list[str]:
    found: list[str] = page.locator(".chips.at small").all_text_contents()
    return found


def as_shown(weights: list[float]) -> list[str]:
    """Weights as the lists show them."""
    steps = [round(255 * weight) / 255 for weight in weights]
    return ["0" if x == 0 else f"{100 * x:.1f}%" if x < 0.0995 else f"{int(100 * x + 0.5)}%" for x in steps]


def pixels(page: Any, selector: str) -> bytes:
    data: str = page.evaluate(f"() => document.querySelector({selector!r}).toDataURL()")
    return data.encode()


def test_a_head_is_clicked_and_a_token_pointed_at(opened: Open, encoder_look: Look) -> None:
    page = opened(encoder_look)
    maps = encoder_look.stacks[0].maps
    assert looks_at(page) == as_shown(maps[0, 0, 1].tolist())
    before = pixels(page, ".big")
    page.get_by_role("gridcell", name="Layer 1, head 1").click()
    assert page.locator(".one h3").inner_text().startswith("Layer 1, head 1")
    assert pixels(page, ".big") != before
    assert looks_at(page) == as_shown(maps[1, 1, 1].tolist())
    page.locator(".chips.from li").nth(3).hover()
    assert looks_at(page) == as_shown(maps[1, 1, 3].tolist())
    assert page.locator(".chips.from li[aria-selected=true]").inner_text() == encoder_look.stacks[0].tokens[3]
    assert page.locator(".lists .readout").inner_text().startswith(f"{encoder_look.stacks[0].tokens[3]} looks at ")


def test_a_cell_of_the_large_map_is_pointed_at(opened: Open, encoder_look: Look) -> None:
    page = opened(encoder_look)
    tokens = encoder_look.stacks[0].tokens
    box = page.locator(".big").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] - 8)  # the last row's last column
    said = as_shown([float(encoder_look.stacks[0].maps[0, 0, -1, -1])])[0]
    assert page.locator(".lists .readout").inner_text() == f"{tokens[-1]} looks at {tokens[-1]} {said}"
    assert page.locator(".chips.at li[aria-current=true]").count() == 1


def test_all_of_it_by_keyboard_alone(opened: Open, bart_look: Look) -> None:
    """Tab from stop to stop, arrows within: to a head, to a token, to other maps, to a prediction, to a share."""
    page = opened(bart_look)
    decoder = bart_look.stacks[1]
    stops = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("() => document.activeElement.closest('section')?.id ?? document.activeElement.id"))
        if page.evaluate("() => document.activeElement.name") == "stack":
            break
    assert "theme" in stops
    page.keyboard.press("ArrowRight")  # to the decoder
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")  # from self to cross
    assert page.evaluate("() => [document.activeElement.name, document.activeElement.value]") == ["kind", "cross"]
    page.keyboard.press("Tab")
    assert focused(page) == "Layer 0, head 0"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert focused(page) == "Layer 1, head 1"
    assert page.locator(".one h3").inner_text().startswith("Layer 1, head 1")
    while page.evaluate("() => document.activeElement.role ?? document.activeElement.getAttribute('role')") != "option":
        page.keyboard.press("Tab")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert focused(page) == decoder.tokens[1]
    assert decoder.cross is not None
    assert looks_at(page) == as_shown(decoder.cross[1, 1, 1].tolist())
    page.keyboard.press("End")
    assert looks_at(page) == as_shown(decoder.cross[1, 1, -1].tolist())
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    predictions(page, bart_look)


def predictions(page: Any, seen: Look) -> None:
    """On from the tokens to the table of predictions, and through it."""
    assert seen.guesses is not None
    while page.evaluate("() => document.activeElement.closest('section')?.id") != "predictions" or (
        page.evaluate("() => document.activeElement.tagName") != "TD"
    ):
        page.keyboard.press("Tab")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    said = page.locator("#predictions .readout")
    assert said.locator("li .token").all_text_contents() == list(seen.guesses.words[1][2])
    assert "After layer 0" in said.inner_text()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")  # there is nothing above the first row
    assert "Before the first layer" in said.inner_text()


def test_shares_tell_their_numbers(opened: Open, decoder_look: Look) -> None:
    page = opened(decoder_look)
    shares = decoder_look.attributions["integrated gradients"].source.tolist()
    page.locator(".shares").nth(1).locator("li").nth(2).hover()
    said = page.locator(".method .readout").nth(1).inner_text()
    shown = float(said.split(": ")[1].split(",")[0].replace("−", "-"))
    assert shown == pytest.approx(shares[2], rel=1e-3)
    assert "the answer for this text less that for one of masks or padding" in page.locator(".sum").nth(1).inner_text()


def test_where_the_answer_is_made_tells_its_numbers(opened: Open, bart_look: Look) -> None:
    page = opened(bart_look)
    names = [f"encoder {i}" for i in ("in", 0, 1)] + [f"decoder {i}" for i in range(2)]
    for side, shares in enumerate(("source", "target")):
        table = page.locator("#layers table").nth(side)
        assert table.locator("tbody th").all_text_contents() == names
        table.locator("td").nth(1).hover()
        said = page.locator("#layers .readout").nth(side).inner_text()
        lowest = getattr(bart_look.by_layer["encoder.layers.0.residual.pre"], shares)
        shown = float(said.split("pre: ")[1].split(";")[0].replace("−", "-"))
        assert shown == pytest.approx(float(lowest[1]), rel=1e-3)


def test_the_second_text_of_a_pair_is_marked(opened: Open, encoder_look: Look) -> None:
    (stack,) = encoder_look.stacks
    half = len(stack.tokens) // 2
    parts = tuple(int(i >= half) for i in range(len(stack.tokens)))
    page = opened(replace(encoder_look, stacks=(replace(stack, parts=parts),)))
    assert page.locator("#texts .text b").all_text_contents() == ["first", "second"]
    assert page.locator(".chips.from .second").all_text_contents() == list(stack.tokens[half:])
    told = page.locator(".one h3").inner_text()
    first = stack.maps[0, 0, :half, half:].sum(-1).mean()
    assert f"of the first text's weight {100 * first:.0f}% is in the second" in told
    assert "first text's weight" not in opened(encoder_look).locator(".one h3").inner_text()


def test_rollouts_are_one_map_a_layer(opened: Open, decoder_look: Look) -> None:
    page = opened(decoder_look)
    page.get_by_label("rollout").check()
    flow = decoder_look.stacks[0].flow
    assert page.locator(".heads button").count() == len(flow)
    page.get_by_role("gridcell", name="Layers 0 to 1").click()
    assert looks_at(page) == as_shown(flow[1, 1].tolist())


def test_what_changes_with_the_model_is_there_or_not(opened: Open, encoder_look: Look, decoder_look: Look) -> None:
    page = opened(encoder_look)
    assert page.locator("#adapter tbody tr").count() == len(encoder_look.changes)
    assert page.locator("#adapter .spectrum").first.locator("i").count() == 2
    assert "no language model's head" not in page.locator("#predictions").inner_text()
    page = opened(replace(decoder_look, guesses=None, unread="this model has no head"))
    assert page.locator("#adapter").count() == 0
    assert page.locator("#predictions").inner_text().endswith("Not shown: this model has no head.")
    assert page.locator("#stream tbody tr").count() >= 4


@pytest.mark.parametrize("preferred", ["light", "dark"])
def test_the_theme_follows_the_system_and_the_switch(opened: Open, encoder_look: Look, preferred: str) -> None:
    page = opened(encoder_look, color_scheme=preferred)
    background = "() => getComputedStyle(document.body).backgroundColor"
    switch = page.locator("#theme")
    assert switch.get_attribute("aria-pressed") == str(preferred == "dark").lower()
    first, painted = page.evaluate(background), pixels(page, ".big")
    switch.click()
    assert switch.get_attribute("aria-pressed") == str(preferred != "dark").lower()
    assert page.evaluate(background) != first
    assert pixels(page, ".big") != painted
    switch.click()
    assert (page.evaluate(background), pixels(page, ".big")) == (first, painted)


@pytest.mark.parametrize("width", [400, 1600])
def test_nothing_sticks_out_of_the_page(opened: Open, width: int, tmp_path: Path) -> None:
    page = opened(large_look(layers=12, length=64), width)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    shown = page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert shown.startswith(b"\x89PNG")
    widths = page.evaluate("() => [...document.querySelectorAll('.heads canvas')].map((one) => one.clientWidth)")
    assert len(widths) == 144
    assert min(widths) >= 20


def test_hostile_texts_stay_texts(opened: Open, encoder_look: Look) -> None:
    stack = encoder_look.stacks[0]
    tokens = HOSTILE[: len(stack.tokens)]
    seen = replace(encoder_look, source="<b>bold</b>", question="<i>why</i>", stacks=(replace(stack, tokens=tokens),))
    page = opened(seen, 400)
    assert page.locator(".chips.from li").all_text_contents() == list(tokens)
    assert page.locator("main b, main i:not(.spectrum i)").count() == 0
    assert "<i>why</i>" in page.locator("#attributions .lead").inner_text()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 400


def test_no_motion_where_none_is_wanted(opened: Open, encoder_look: Look) -> None:
    behaviour = "() => getComputedStyle(document.documentElement).scrollBehavior"
    assert opened(encoder_look, reduced_motion="reduce").evaluate(behaviour) == "auto"
    assert opened(encoder_look, reduced_motion="no-preference").evaluate(behaviour) == "smooth"


def test_what_takes_the_focus_has_a_role_and_a_name(opened: Open, encoder_look: Look) -> None:
    page = opened(encoder_look)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("a, button, input, [tabindex]")].filter((one) => {
          const name = one.getAttribute("aria-label") ?? (one.closest("label") ?? one).textContent;
          const role = one.getAttribute("role") ?? ["A", "BUTTON", "INPUT"].includes(one.tagName);
          return !name.trim() || !role;
        }).map((one) => one.outerHTML)"""
    )
    assert nameless == []
    roles = page.evaluate(
        "() => [...document.querySelectorAll('[role=option]')].every((one) => one.closest('[role=listbox]'))"
    )
    assert roles
    assert page.locator("[aria-labelledby]").count() == page.evaluate(
        "() => [...document.querySelectorAll('[aria-labelledby]')]"
        ".filter((one) => document.getElementById(one.getAttribute('aria-labelledby'))).length"
    )
