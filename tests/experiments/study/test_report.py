"""The report shows what results.json says, escapes its texts, asks nothing of the network and judges by the data."""

import math
import random
import re
import shutil
import subprocess
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from rich.console import Console

from minitl.errors import CheckpointError, InputError
from minitl.experiments.statistics import Measured, interval, noise
from minitl.experiments.study.claims import judge
from minitl.experiments.study.report import headline, write_report
from minitl.experiments.study.summary import read_study
from minitl.experiments.study.terminal import print_table
from minitl.pages.claims import Verdict

HOSTILE = """<script>alert('x')</script> "quoted" & 'single' 🙂 \ud800 \x00 end"""
ARMS = {  # title, description, rate, trainable, accuracy by number of labels, seconds, memory, bytes saved
    "scratch": ("Random initialisation", "no pretraining", 1e-4, 22_861_058, (0.52, 0.57, 0.71), 41, 1510, 91e6),
    "frozen": ("Frozen features + linear head", "body fixed", 1e-2, 770, (0.74, 0.82, 0.86), 14, 620, 4e3),
    "gradual": ("Gradual unfreezing", "from the top down", 1e-4, 22_861_058, (0.7, 0.83, 0.892), 36, 1420, 91e6),
    "lora": ("LoRA (r = 16, all linear layers)", "low rank", 1e-3, 310_274, (0.71, 0.84, 0.897), 33, 1180, 1.25e6),
    "full": ("Full fine-tuning", "every parameter learns", 5e-5, 22_861_058, (0.69, 0.83, 0.906), 42, 1515, 91e6),
}
SHORT = ("Random initialisation", "Frozen features", "Gradual unfreezing", "LoRA", "Full fine-tuning")
LABELS = (50, 200, 1152)


def study_results(seeds: int = 3) -> dict[str, Any]:
    """A results.json like the study's own, from a fixed random source."""
    draw = random.Random(1)
    arms, points = [], []
    for name, (title, description, learning_rate, trainable, levels, seconds, memory, saved) in ARMS.items():
        for labels, level in zip(LABELS, levels, strict=True):
            points += [
                {"arm": name, "labels": labels, "seed": seed, "accuracy": round(level + draw.gauss(0, 0.012), 4)}
                for seed in range(seeds)
            ]
        runs = []
        for point in points[-seeds:]:
            runs.append(
                {
                    "seed": point["seed"],
                    "labels": 1152,
                    "accuracy": point["accuracy"],
                    "f1": round(point["accuracy"] - 0.004, 4),
                    "validation_accuracy": round(point["accuracy"] + draw.gauss(0, 0.01), 4),
                    "seconds": seconds + draw.random(),
                    "peak_memory_mb": memory + draw.random(),
                    "saved_bytes": int(saved),
                    "best_epoch": 3,
                    **_losses(draw, levels[-1]),
                }
            )
        arms.append(
            {
                "arm": name,
                "title": title,
                "description": description,
                "learning_rate": learning_rate,
                "trainable": trainable,
                "total": 22_861_058 + (trainable if name == "lora" else 0),
                "percent": 100 * trainable / 22_861_058,
                "runs": runs,
            }
        )
    kinds = ("plain", "negation", "concession", "sarcasm", "mixed", "domain words")
    by_kind = {
        arm: {kind: round(entry[4][2] - 0.05 * i + draw.gauss(0, 0.02), 3) for i, kind in enumerate(kinds)}
        for arm, entry in ARMS.items()
    }
    texts = (
        "I expected to hate every minute and left the cinema grinning like a child.",
        "Sure, the battery lasts all day, provided your day ends at eleven in the morning.",
        "Not the disaster my brother promised, though I would not queue for it again.",
        "The soup was cold, the waiter colder, and still the cake nearly saved the evening.",
    )
    examples = [
        {"text": text, "label": gold, "predictions": {a: ("positive", "negative")[draw.random() < 0.5] for a in ARMS}}
        for text, gold in zip(texts, ("positive", "negative", "negative", "negative"), strict=True)
    ]
    return {
        "format": 1,
        "name": "demo",
        "created": "2026-03-02T10:11:12+00:00",
        "command": "minitl reproduce --name demo --seeds 3",
        "model": {
            "source": "sentence-transformers/all-MiniLM-L6-v2",
            "model_type": "bert",
            "parameters": 22713216,
            "layers": 6,
            "hidden": 384,
        },
        "data": {
            "name": "embedded",
            "origin": "embedded",
            "train": 1152,
            "validation": 180,
            "test": 360,
            "label_names": ["negative", "positive"],
        },
        "machine": {"cpu": "Intel(R) Xeon(R)", "cores": 2, "threads": 2, "python": "3.11.7", "torch": "2.13.0"},
        "settings": {
            "epochs": 3,
            "batch_size": 32,
            "max_length": 128,
            "seeds": list(range(seeds)),
            "labels": list(LABELS),
            "warmup": 0.1,
            "schedule": "linear",
            "search": True,
        },
        "arms": arms,
        "learning_curve": points,
        "search": [
            {"arm": "full", "learning_rate": rate, "validation_accuracies": [0.8 + rate * 1000, 0.79 + rate * 1000]}
            for rate in (2e-5, 5e-5, 1e-4)
        ],
        "by_kind": by_kind,
        "examples": examples,
        "total_seconds": 210.4,
    }


def _losses(draw: random.Random, accuracy: float) -> dict[str, Any]:
    floor = 1.3 * (1 - accuracy)
    curve = [
        {
            "step": step,
            "epoch": step / 36,
            "loss": floor + (0.69 - floor) * math.exp(-step / 30) + draw.gauss(0, 0.03),
            "learning_rate": 1e-4,
        }
        for step in range(2, 110, 2)
    ]
    validation = [
        {"epoch": epoch, "loss": floor + 0.4 * 0.5**epoch, "accuracy": accuracy - 0.1 * 0.4**epoch}
        for epoch in (1, 2, 3)
    ]
    return {"curve": curve, "validation": validation}


class Page(HTMLParser):
    """What the tests ask of a page: its tags, its text, and the cells of its tables."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.tables: dict[str, list[list[dict[str, Any]]]] = {}
        self._rows: list[list[dict[str, Any]]] = []
        self._cell: dict[str, Any] | None = None
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "table":
            self._rows = self.tables.setdefault(attributes["class"] or "", [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = {"tag": tag, "scope": attributes.get("scope"), "text": "", "values": []}
            self._rows[-1].append(self._cell)
        elif tag == "data" and self._cell is not None:
            self._cell["values"].append(float(attributes["value"] or "nan"))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell is not None:
            self._cell["text"] += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "report.html"
    write_report(study_results(), path)
    return path


def page_of(results: dict[str, Any], tmp_path: Path) -> Page:
    write_report(results, tmp_path / "report.html")
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_every_number_of_the_results_table_is_the_measured_one(written: Path) -> None:
    table = Page(written.read_text(encoding="utf-8")).tables["results"]
    for row, arm in zip(table[1:], study_results()["arms"], strict=True):
        accuracy, f1, trainable, seconds, memory, saved, rate = (cell["values"] for cell in row[1:])
        values = {
            key: [run[key] for run in arm["runs"]] for key in arm["runs"][0] if key not in ("curve", "validation")
        }
        assert arm["title"] in row[0]["text"]
        assert accuracy[:2] == pytest.approx([fmean(values["accuracy"]), stdev(values["accuracy"])])
        assert accuracy[2] < accuracy[0] < accuracy[3]
        assert f1 == pytest.approx([fmean(values["f1"]), stdev(values["f1"])])
        assert trainable == pytest.approx([arm["trainable"], arm["percent"]])
        assert seconds == pytest.approx([fmean(values["seconds"])])
        assert memory == [max(values["peak_memory_mb"])]
        assert saved == [fmean(values["saved_bytes"])]
        assert rate == [arm["learning_rate"]]
        assert f"{fmean(values['accuracy']) * 100:.1f} ± {stdev(values['accuracy']) * 100:.1f}" in row[1]["text"]


def test_the_learning_curve_and_the_kinds_show_their_numbers(written: Path) -> None:
    results, page = study_results(), Page(written.read_text(encoding="utf-8"))
    for row, arm in zip(page.tables["curve"][1:], ARMS, strict=True):
        for cell, labels in zip(row[1:], LABELS, strict=True):
            values = [p["accuracy"] for p in results["learning_curve"] if (p["arm"], p["labels"]) == (arm, labels)]
            assert cell["values"] == pytest.approx([fmean(values), stdev(values)])
    for row in page.tables["heat"][1:]:
        shown = [cell["values"] for cell in row[1:]]
        assert shown == [[results["by_kind"][arm][row[0]["text"]]] for arm in ARMS]


def test_the_page_asks_nothing_of_the_network_and_runs_nothing(written: Path) -> None:
    source = written.read_text(encoding="utf-8")
    tags = Page(source).tags
    assert not re.search(r"https?:|//[a-z]|@import|\burl\((?!#)", source)
    assert not {"script", "iframe", "object", "embed", "img"} & {tag for tag, _ in tags}
    for tag, attributes in tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]


def test_the_page_is_small_and_the_same_each_time(written: Path, tmp_path: Path) -> None:
    write_report(study_results(), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == written.read_bytes()
    assert written.stat().st_size < 500_000


def test_a_long_run_still_gives_a_small_page(tmp_path: Path) -> None:
    results = study_results()
    for arm in results["arms"]:
        for run in arm["runs"]:
            run["curve"] = [{"step": i, "epoch": i / 1000, "loss": 0.5 + i % 7 / 50} for i in range(3000)]
    write_report(results, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_headers_have_scope_figures_have_alternatives_and_ids_are_unique(written: Path) -> None:
    page = Page(written.read_text(encoding="utf-8"))
    assert all(c["scope"] in ("row", "col") for t in page.tables.values() for r in t for c in r if c["tag"] == "th")
    assert all(a.get("aria-hidden") or a.get("aria-label") for tag, a in page.tags if tag == "svg")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {a.get("aria-labelledby") for _, a in page.tags} | {
        (a.get("href") or "")[1:] for t, a in page.tags if t == "a"
    }
    assert used - {None, ""} <= set(ids)


def test_drawings_take_their_colours_from_the_theme(written: Path) -> None:
    body = written.read_text(encoding="utf-8").split("</head>")[1]
    assert "#0102" not in body
    assert set(re.findall(r"#[0-9a-f]{6}\b", body)) <= {"#000000", "#ffffff"}  # matplotlib's own defaults, never seen


def test_texts_from_outside_are_escaped(tmp_path: Path) -> None:
    results = study_results()
    results["name"] = results["command"] = results["machine"]["cpu"] = results["data"]["name"] = HOSTILE
    results["settings"][HOSTILE] = HOSTILE
    results["model"]["source"] = HOSTILE
    results["examples"] = [{"text": HOSTILE, "label": HOSTILE, "predictions": {"full": HOSTILE, "lora": "other"}}]
    results["by_kind"] = {"full": {HOSTILE: 0.5}}
    for arm in results["arms"]:
        arm["title"] = arm["description"] = HOSTILE + " $x_1$"
    page = page_of(results, tmp_path)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count("<script>alert('x')</script> \"quoted\" & 'single' 🙂 \ufffd \ufffd end") > 10


@pytest.mark.parametrize("null", [True, False])
def test_an_absent_part_leaves_out_its_section(null: bool, tmp_path: Path) -> None:
    results = study_results(1)
    for part in ("search", "by_kind", "examples", "learning_curve"):
        del results[part]
        if null:
            results[part] = None
    page = page_of(results, tmp_path)
    assert len(page.tables["results"]) == 6
    for heading in ("Which reviews", "disagree", "How many", "The search"):
        assert heading not in page.text


def test_one_seed_has_no_spread_and_says_so(tmp_path: Path) -> None:
    page = page_of(study_results(1), tmp_path)
    assert not [cell for row in page.tables["results"] for cell in row if "±" in cell["text"]]
    assert "One seed" in page.text


@pytest.mark.parametrize("missing", [math.nan, None])
def test_an_accuracy_that_is_not_a_number_is_a_dash_and_is_not_judged(missing: float | None, tmp_path: Path) -> None:
    results = study_results(2)
    results["arms"][0]["runs"][1]["accuracy"] = missing
    for point in results["learning_curve"]:
        if (point["arm"], point["labels"], point["seed"]) == ("scratch", 1152, 1):
            point["accuracy"] = missing
    page = page_of(results, tmp_path)
    assert page.tables["results"][1][1]["text"].startswith("–")
    assert page.tables["results"][1][1]["values"] == []
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)
    verdicts = {claim.says: claim.verdict for claim in judge(read_study(results))}
    assert [v for says, v in verdicts.items() if "scratch" in says or "randomly" in says] == [Verdict.UNKNOWN] * 3


def test_missing_fields_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    for field in ("arms", "data", "machine", "command", "settings"):
        results = study_results(1)
        del results[field]
        with pytest.raises(InputError, match=field):
            write_report(results, tmp_path / "report.html")
    with pytest.raises(InputError, match="format"):
        write_report({"format": 2}, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot write"):
        write_report(study_results(1), tmp_path / "file" / "report.html")


def with_accuracies(**levels: float) -> dict[str, Any]:
    """The study with the same accuracy for every seed of an arm, on all labels."""
    results = study_results()
    results["learning_curve"] = []
    for arm in results["arms"]:
        for run in arm["runs"]:
            run["accuracy"] = run["validation_accuracy"] = levels[arm["arm"]]
    return results


def verdict_on(results: dict[str, Any], phrase: str) -> Verdict:
    (claim,) = [claim for claim in judge(read_study(results)) if phrase in claim.says]
    return claim.verdict


def test_a_difference_within_the_noise_is_no_win() -> None:
    close = with_accuracies(scratch=0.85, frozen=0.86, gradual=0.86, lora=0.87, full=0.87)
    assert verdict_on(close, "randomly") is Verdict.UNKNOWN
    assert "within the noise" in headline(read_study(close))
    close["data"]["test"] = 1_000_000  # so many test texts that one point is real
    assert verdict_on(close, "randomly") is Verdict.HOLDS
    assert "Transfer is ahead by 2.0 points" in headline(read_study(close))


def test_claims_are_judged_by_their_thresholds() -> None:
    results = with_accuracies(scratch=0.6, frozen=0.88, gradual=0.9, lora=0.90, full=0.905)
    assert verdict_on(results, "From scratch") is Verdict.HOLDS
    assert verdict_on(results, "With transfer") is Verdict.HOLDS
    assert verdict_on(results, "1 point behind") is Verdict.UNKNOWN  # 360 texts cannot tell
    assert verdict_on(results, "0.5%") is Verdict.FAILS
    assert verdict_on(results, "adapter") is Verdict.HOLDS
    assert verdict_on(results, "less compute") is Verdict.FAILS
    assert verdict_on(results, "afternoon") is Verdict.HOLDS
    assert verdict_on(results, "millions") is Verdict.UNKNOWN  # no run with fewer labels
    results["data"]["test"] = 10**6
    assert verdict_on(results, "1 point behind") is Verdict.HOLDS
    worse = with_accuracies(scratch=0.95, frozen=0.7, gradual=0.7, lora=0.6, full=0.7)
    assert {verdict_on(worse, says) for says in ("randomly", "With transfer", "1 point", "From scratch")} == {
        Verdict.FAILS
    }


def test_few_labels_are_compared_with_scratch_on_all() -> None:
    results = with_accuracies(scratch=0.6, frozen=0.88, gradual=0.9, lora=0.9, full=0.9)
    few = {"arm": "frozen", "labels": 200, "seed": 0}
    for accuracy, verdict in ((0.85, Verdict.HOLDS), (0.6, Verdict.IN_PART), (0.4, Verdict.FAILS)):
        results["learning_curve"] = [{**few, "accuracy": accuracy}]
        assert verdict_on(results, "millions") is verdict


def test_claims_about_arms_that_were_not_run_are_not_judged(tmp_path: Path) -> None:
    results = study_results()
    results["arms"] = [arm for arm in results["arms"] if arm["arm"] == "scratch"]
    results["learning_curve"] = [point for point in results["learning_curve"] if point["arm"] == "scratch"]
    page_of(results, tmp_path)
    assert {claim.verdict for claim in judge(read_study(results))[3:]} == {Verdict.UNKNOWN}


def test_the_interval_is_wilsons() -> None:
    assert interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)  # Newcombe 1998, by hand
    low, high = interval(1.0, 100)
    assert low == pytest.approx(0.9630, abs=1e-4)
    assert high == pytest.approx(1.0)


def test_noise_falls_with_the_test_set_and_grows_with_the_spread_and_the_comparisons() -> None:
    calm, restless = Measured((0.8, 0.8)), Measured((0.7, 0.9))
    assert noise(calm, calm, 400) < noise(calm, calm, 100)
    assert noise(calm, calm, 100) < noise(calm, restless, 100)
    assert noise(calm, calm, 100) < noise(calm, calm, 100, comparisons=4)
    assert noise(Measured((1.0,)), Measured((1.0,)), 100) > 0


def test_few_seeds_widen_the_noise_by_students_quantile() -> None:
    endless = 10**12  # so large a test set that only the seeds are left
    two = Measured((0.7, 0.9)), Measured((0.5, 0.5))
    # Spread √0.02, of a mean of two √0.01; Student's 97.5% quantile at one degree of freedom is 12.706.
    assert noise(*two, endless) == pytest.approx(12.706 * 0.1, rel=1e-3)
    many = Measured((0.7, 0.9) * 500), Measured((0.5, 0.5) * 500)
    assert noise(*many, endless) == pytest.approx(1.96 * 0.1 / 1000**0.5, rel=1e-2)


def printed(results: dict[str, Any], **settings: Any) -> str:
    out = StringIO()
    print_table(results, Console(file=out, **settings), Path("runs/demo/report.html"))
    return out.getvalue()


def test_the_terminal_table_shows_the_measured_numbers_in_100_columns() -> None:
    text = printed(study_results(), force_terminal=True, width=100, color_system=None)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert max(map(len, lines)) <= 100
    for arm, short in zip(study_results()["arms"], SHORT, strict=True):
        (line,) = [line for line in lines if line.startswith(short)]
        for field in ("accuracy", "f1"):
            values = [run[field] for run in arm["runs"]]
            assert f"{fmean(values) * 100:.1f} ± {stdev(values) * 100:.1f}" in line
        assert f"{arm['trainable']:,}" in line
        assert f"{fmean(run['seconds'] for run in arm['runs']):.1f}" in line
        assert f"{max(run['peak_memory_mb'] for run in arm['runs']):,.0f} MB" in line
    assert lines[-1] == "Report: runs/demo/report.html"


def test_a_piped_table_is_plain_text_one_line_a_regime() -> None:
    text = printed(study_results(1), width=40)
    assert "\x1b" not in text
    assert not re.search("[─-╿]", text)  # box drawing
    assert len(text.splitlines()) == 8
    assert max(map(len, text.splitlines())) <= 100


def test_markup_in_a_title_is_shown_not_obeyed() -> None:
    results = study_results(1)
    results["arms"][0]["title"] = "[red]x[/red]"
    assert "[red]x[/red]" in printed(results)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_opens_the_page_without_a_complaint(written: Path, tmp_path: Path, scheme: str) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium is installed")
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    switches += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]
    switches += [f"--user-data-dir={tmp_path}", f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"]

    def browse(address: Path) -> subprocess.CompletedProcess[str]:
        command = [browser, *switches, "--dump-dom", f"file://{address}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    opened = browse(written)
    assert "Transfer learning, measured" in opened.stdout
    assert "CONSOLE" not in opened.stderr
    loud = tmp_path / "loud.html"  # the check itself can fail: a page that does complain
    loud.write_text("<script>console.error('heard')</script>", encoding="utf-8")
    assert "CONSOLE" in browse(loud).stderr
