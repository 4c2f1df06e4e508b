"""A teacher, and a student with some of its layers, from the command line."""

import json
import tomllib
from pathlib import Path

import pytest

from minitl import load_model
from minitl.cli.main import main


@pytest.fixture
def teacher(tiny: Path, reviews: Path, tmp_path: Path) -> Path:
    out = tmp_path / "teacher"
    arguments = [
        "--data",
        str(reviews),
        "--out",
        str(out),
        "--epochs",
        "8",
        "--batch-size",
        "8",
        "--learning-rate",
        "5e-3",
    ]
    assert main(["train", str(tiny), *arguments]) == 0
    return out / "model"


def test_a_student_is_taught_measured_and_asked(
    teacher: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "student.toml", tmp_path / "student"
    path.write_text(
        f"""out = {json.dumps(str(out))}
        [model]
        source = {json.dumps(str(teacher))}
        layers = [0, 2]
        [data]
        source = {json.dumps(str(reviews))}
        [distillation]
        teacher = {json.dumps(str(teacher))}
        temperature = 3.0
        [training]
        epochs = 6
        batch_size = 8
        learning_rate = 5e-3
        """
    )
    assert main(["train", str(path)]) == 0
    facts = json.loads((out / "training.json").read_text())
    assert facts["test"]["accuracy"] >= 0.9
    assert len(load_model(out / "model").layers) == 2
    saved = tomllib.loads((out / "recipe.toml").read_text())
    assert saved["distillation"] == {
        "teacher": str(teacher),
        "temperature": 3.0,
        "soft": 5.0,
        "hard": 2.0,
        "hidden": 1.0,
    }
    capsys.readouterr()
    assert main(["evaluate", str(out), "--data", str(reviews)]) == 0  # without the teacher: the task's own loss
    assert f"accuracy {facts['test']['accuracy']:.4f}" in capsys.readouterr().out
    assert main(["predict", str(out), "the good film"]) == 0
    assert capsys.readouterr().out.startswith("positive\t")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("distillation.techer=x", "distillation: unknown key 'techer', did you mean 'teacher'?"),
        ("distillation.temperature=2.0", "distillation.teacher is missing: a string"),
        ("distillation={teacher=1}", "distillation.teacher must be a string, got 1"),
        ("distillation={teacher='x', temperature=0}", "distillation: temperature must be above 0, got 0"),
        ("model.layers=[0, 9]", "layers [0, 9]: expected some of 0 to 2, in rising order"),
        ("model.layers=[0, 0.5]", "model.layers must be a list of whole numbers"),
    ],
)
def test_a_mistake_is_one_line(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, complaint: str
) -> None:
    key, _, value = change.partition("=")
    arguments = ["--data", str(reviews), "--out", str(tmp_path / "out"), "--set", f"{key}={value}"]
    assert main(["train", str(tiny), *arguments]) == 1
    message = capsys.readouterr().err
    assert complaint in message
    assert message.count("\n") == 1


def test_an_adapter_has_all_the_layers_of_its_base(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(reviews), "--out", str(tmp_path / "out"), "--strategy", "lora"]
    assert main(["train", str(tiny), *arguments, "--set", "model.layers=[0]"]) == 1
    assert "an adapter's base is a checkpoint as it lies" in capsys.readouterr().err


def test_a_teacher_with_other_tokens_is_refused(
    tiny: Path, minilm: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(reviews), "--out", str(tmp_path / "out"), "--set", f"distillation.teacher={minilm}"]
    assert main(["train", str(tiny), *arguments]) == 1
    assert "has other tokens than the student" in capsys.readouterr().err
