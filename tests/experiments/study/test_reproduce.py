"""The study, on a tiny model and a tiny data set."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from minitl.cli.main import main
from minitl.errors import DataError, InputError, Interrupted
from minitl.experiments.study.arms import ARMS, arms_named
from minitl.experiments.study.reproduce import Request, reproduce
from minitl.experiments.study.run import Plan, Run, runs_of, settings_for
from minitl.training import Step, Validation


class Silent:
    """Watches without a word; interrupts after `steps` steps."""

    def __init__(self, steps: int = -1) -> None:
        self.left = steps
        self.runs: list[Run] = []

    def run(self, run: Run, number: int, of: int, searching: bool) -> "Silent":  # noqa: ARG002
        self.runs.append(run)
        return self

    def on_start(self, steps: int, done: int) -> None: ...

    def on_step(self, step: Step) -> None:  # noqa: ARG002
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)

    def on_validation(self, validation: Validation) -> None: ...


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps where there are few labels: here nothing has to be learnt well."""
    monkeypatch.setattr("minitl.experiments.study.reproduce.Plan", partial(Plan, least_steps=8))


def request(tiny: Path, reviews: Path, tmp_path: Path, **changes: object) -> Request:
    asked = Request("study", str(reviews), str(tiny), labels=40, curve=(10,), out=tmp_path / "runs")
    return replace(asked, **changes)


def without_clock(results: dict) -> dict:
    """The results without what differs between two runs of the same study."""
    text = json.loads(json.dumps(results))
    for arm in text["arms"]:
        for run in arm["runs"]:
            for key in ("seconds", "peak_memory_mb", "test_seconds"):
                run.pop(key)
    return {key: text[key] for key in ("arms", "learning_curve", "search", "examples", "data")}


def test_the_study_compares_five_arms_and_keeps_model_adapter_and_report(tiny: Path, reviews: Path, tmp_path: Path):
    results, folder = reproduce(request(tiny, reviews, tmp_path), Silent())
    assert [arm["arm"] for arm in results["arms"]] == ["scratch", "frozen", "gradual", "lora", "full"]
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(results))
    assert {(p["arm"], p["labels"]) for p in results["learning_curve"]} == {
        (arm.name, labels) for arm in ARMS for labels in (10, 40)
    }
    for name in ("scratch", "frozen", "gradual", "full"):
        assert (folder / name / "model.safetensors").exists()
    assert (folder / "lora" / "adapter_model.safetensors").exists()
    assert "<svg" in (folder / "report.html").read_text()
    by_arm = {arm["arm"]: arm for arm in results["arms"]}
    assert by_arm["frozen"]["trainable"] == 2 * 24 + 2
    assert by_arm["full"]["trainable"] == by_arm["full"]["total"]
    saved = (folder / "lora" / "adapter_model.safetensors").stat().st_size
    assert by_arm["lora"]["runs"][0]["saved_bytes"] == saved


def test_the_saved_model_and_adapter_give_the_accuracy_that_was_reported(tiny: Path, reviews: Path, tmp_path: Path):
    from minitl import load_adapter, load_model, load_tokenizer
    from minitl.data import load_dataset
    from minitl.tasks.sequence_classification import SequenceClassification
    from minitl.training import evaluate

    results, folder = reproduce(request(tiny, reviews, tmp_path, arms=("lora", "full"), curve=()), Silent())
    data = load_dataset(str(reviews))
    full = load_model(folder / "full")
    adapted = load_model(tiny, "sequence-classification", labels=data.label_names)
    load_adapter(adapted, folder / "lora")
    for name, model in (("full", full), ("lora", adapted)):
        task = SequenceClassification(load_tokenizer(tiny), data.label_names or [])
        reported = next(arm for arm in results["arms"] if arm["arm"] == name)["runs"][0]
        assert evaluate(model, data.test, task=task)["accuracy"] == pytest.approx(reported["accuracy"]), name


@pytest.mark.parametrize("steps", [30, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 95))])
def test_an_interrupted_study_goes_on_and_gives_the_same_results(tiny: Path, reviews: Path, tmp_path: Path, steps: int):
    few = request(tiny, reviews, tmp_path, arms=("frozen", "lora"), curve=())
    whole, _ = reproduce(replace(few, name="whole"), Silent())
    asked = replace(few, name="broken")
    with pytest.raises(Interrupted):
        reproduce(asked, Silent(steps))
    broken, _ = reproduce(asked, Silent())
    assert without_clock(broken) == without_clock(whole)


def test_another_study_does_not_go_on_in_an_unfinished_ones_folder(tiny: Path, reviews: Path, tmp_path: Path):
    asked = request(tiny, reviews, tmp_path, arms=("frozen",), curve=())
    with pytest.raises(Interrupted):
        reproduce(asked, Silent(3))
    with pytest.raises(InputError, match=r"another study.*--name.*--restart"):
        reproduce(replace(asked, labels=30), Silent())
    results, _ = reproduce(replace(asked, labels=30, restart=True), Silent())
    assert results["settings"]["labels"] == 30


def test_a_finished_study_is_kept_until_it_is_to_restart(tiny: Path, reviews: Path, tmp_path: Path):
    asked = request(tiny, reviews, tmp_path, arms=("frozen",), curve=())
    first, folder = reproduce(asked, Silent())
    again, anew = Silent(), Silent()
    results, _ = reproduce(asked, again)
    assert (again.runs, results) == ([], json.loads(json.dumps(first)))
    reproduce(replace(asked, restart=True), anew)
    assert [run.key for run in anew.runs] == ["frozen-40-0"]
    with pytest.raises(InputError, match="another study"):
        reproduce(replace(asked, seeds=(1,)), Silent())
    assert (folder / "results.json").exists()


def test_a_study_with_a_search_is_another_one_than_without(tiny: Path, reviews: Path, tmp_path: Path):
    """Neither goes on with the other's runs, whose rates differ, nor stands for it once it is finished."""
    asked = request(tiny, reviews, tmp_path, arms=("frozen",), curve=())
    for name, steps in (("finished", -1), ("broken", 1)):
        plain = replace(asked, name=name)
        with contextlib.nullcontext() if steps < 0 else pytest.raises(Interrupted):
            reproduce(plain, Silent(steps))
        with pytest.raises(InputError, match="another study"):
            reproduce(replace(plain, search=True), Silent())


def test_a_single_file_has_its_test_split_cut_off(tiny: Path, reviews: Path, tmp_path: Path):
    rows = (reviews / "train.csv").read_text().splitlines()
    (tmp_path / "all.csv").write_text("\n".join(rows) + "\n")
    asked = request(tiny, tmp_path / "all.csv", tmp_path, arms=("frozen",), labels=None)
    results, _ = reproduce(asked, Silent())
    sizes = {split: results["data"][split] for split in ("train", "validation", "test")}
    assert sum(sizes.values()) == len(rows) - 1
    assert sizes["test"] == round(0.2 * (len(rows) - 1))


def test_the_models_size_does_not_count_adapters(tiny: Path, reviews: Path, tmp_path: Path):
    results, _ = reproduce(request(tiny, reviews, tmp_path, arms=("lora", "full"), curve=()), Silent())
    totals = {arm["arm"]: arm["total"] for arm in results["arms"]}
    assert results["model"]["parameters"] == totals["full"] < totals["lora"]


def test_a_folder_that_holds_something_else_is_not_touched(tiny: Path, reviews: Path, tmp_path: Path):
    mine = tmp_path / "runs" / "study" / "notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match="holds no study"):
        reproduce(request(tiny, reviews, tmp_path), Silent())
    assert mine.read_text() == "mine"


@pytest.mark.slow
def test_the_search_looks_at_validation_data_only_and_its_choice_is_used(tiny: Path, reviews: Path, tmp_path: Path):
    asked = request(tiny, reviews, tmp_path, arms=("full", "frozen"), curve=(), search=True)
    results, folder = reproduce(asked, Silent())
    assert len(results["search"]) == 6
    for arm in results["arms"]:
        tried = [e for e in results["search"] if e["arm"] == arm["arm"]]
        mean = {e["learning_rate"]: statistics.fmean(e["validation_accuracies"]) for e in tried}
        assert mean[arm["learning_rate"]] == max(mean.values())
        assert arm["runs"][0]["learning_rate"] == arm["learning_rate"]
    searched = [json.loads(file.read_text())["result"] for file in (folder / "runs").glob("search-*.json")]
    assert len(searched) == 12  # two arms, three rates, two seeds
    for line in searched:
        assert "validation_accuracy" in line
        assert "accuracy" not in line


def test_few_labels_get_smaller_batches_and_more_epochs_until_there_are_enough_steps():
    plan = Plan("", "", 1000, (), (0,), (), {}, batch_size=32, few_labels=500, least_steps=40)
    full = arms_named(["full"])[0]
    many, few = settings_for(Run(full, 1000, 0), plan), settings_for(Run(full, 50, 0), plan)
    assert (many.epochs, many.batch_size) == (3, 32)
    assert (few.epochs, few.batch_size) == (10, 16)


def test_every_arm_runs_at_every_size_and_seed_and_the_main_comparison_first():
    plan = Plan("", "", 100, (10, 50, 100), (0, 1), (), {})
    runs = runs_of(plan, list(ARMS))
    assert len({run.key for run in runs}) == len(runs) == 5 * 3 * 2
    assert [run.labels for run in runs[:10]] == [100] * 10


def test_bad_requests_are_refused(tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(InputError, match="unknown arm partial; known: scratch"):
        reproduce(request(tiny, reviews, tmp_path, arms=("partial",)), Silent())
    (reviews / "test.csv").write_text("text\ngood film\n")
    with pytest.raises(DataError, match="1 examples of the test split have no label"):
        reproduce(request(tiny, reviews, tmp_path), Silent())
    assert main(["reproduce", "--data", str(tmp_path / "nothing.csv"), "--out", str(tmp_path)]) == 1
    assert "nothing.csv" in capsys.readouterr().err


@pytest.mark.parametrize(("out", "name"), [(".", "file"), ("file", "study")])
def test_an_unwritable_place_is_refused_before_any_training(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, name: str
):
    (tmp_path / "file").write_text("mine")
    words = ["--model", str(tiny), "--data", str(reviews), "--labels", "8"]
    assert main(["reproduce", *words, "--out", str(tmp_path / out), "--name", name]) == 1
    assert capsys.readouterr().err == f"minitl: {tmp_path / out / name}: cannot write here: Not a directory\n"
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"labels": 0}, "a study with 0 labels cannot be run"),
        ({"labels": 10**6}, "training examples; a study with 1000000 labels"),
        ({"curve": (0,)}, "lie between 1 and 39"),
        ({"curve": (40,)}, "lie between 1 and 39"),
        ({"seeds": (0, 0)}, "different seeds"),
        ({"seeds": ()}, "different seeds"),
    ],
    ids=str,
)
def test_numbers_that_make_no_study_are_refused_before_it_begins(
    tiny: Path, reviews: Path, tmp_path: Path, changed: dict[str, object], complaint: str
):
    with pytest.raises(InputError, match=complaint):
        reproduce(request(tiny, reviews, tmp_path, **changed), Silent())
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_command_runs_the_study_and_says_how_to_go_on(tiny: Path, reviews: Path, tmp_path: Path):
    words = ["-m", "minitl", "reproduce", "--model", str(tiny), "--data", str(reviews), "--labels", "40"]
    command = [sys.executable, *words, "--curve", "10", "--out", str(tmp_path / "runs")]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=one_thread,
        # A shell that runs the tests in the background has them, and all that they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    study = tmp_path / "runs" / reviews.stem
    runs = study / "runs"
    while not list(runs.glob("*.json")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"go on with: python -m minitl reproduce --model {tiny}" in message
    assert "Traceback" not in message
    kept = {path: path.stat().st_mtime_ns for path in runs.glob("*.json")}
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=one_thread).stdout
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())
    assert "Full fine-tuning" in shown
    assert f"Report: {study / 'report.html'}" in shown
    results = json.loads((study / "results.json").read_text())
    assert {point["labels"] for point in results["learning_curve"]} == {10, 40}
