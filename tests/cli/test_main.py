"""Exit codes and errors of the command line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from minitl.cli.main import VERBS, main


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"minitl {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verb", "says"),
    [
        ("probe", "counted from 1, and 0 is the embeddings: layer 1 is what `minitl inspect` and minitl.trace call"),
        ("inspect", "counted from 0, as minitl.trace names them: layer 0 is layer 1 of `minitl probe`"),
    ],
)
def test_verbs_that_count_layers_otherwise_say_so(verb: str, says: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert f"Layers are {says}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("verb", VERBS)
def test_options_go_by_their_whole_names(verb: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--hel"])
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        main([f"--{verb}", "--vers"])
    assert ended.value.code == 2
    capsys.readouterr()


def test_the_overview_names_every_verb(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    overview = capsys.readouterr().out
    assert all(verb in overview for verb in VERBS)


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["train"], ["predict"], ["reproduce", "--labels", "many"]], ids=str)
def test_wrong_usage_exits_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert "usage: minitl" in capsys.readouterr().err


def test_called_without_a_verb_it_lists_them(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main([])
    said = capsys.readouterr().err
    assert all(re.search(rf"^    {verb}\s", said, re.M) for verb in VERBS)


def test_a_failure_is_one_line_on_standard_error_and_exit_code_1(tmp_path: Path):
    ran = subprocess.run(
        [sys.executable, "-m", "minitl", "predict", str(tmp_path / "nowhere"), "a text"],
        capture_output=True,
        text=True,
        env={"PATH": "", "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.startswith("minitl: ")
    assert ran.stderr.count("\n") == 1
    assert "Traceback" not in ran.stderr


def test_version(capsys: pytest.CaptureFixture[str]):
    from minitl import __version__

    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"minitl {__version__}\n"
