"""`minitl bench` finds the programs of a checkout and runs them with their own options."""

from pathlib import Path

import pytest

from minitl.checkpoints import manifest
from minitl.cli.bench import programs
from minitl.cli.main import main

PROGRAM = """\
\"\"\"What a try costs: `python -m benchmarks.small`.

More of it.
\"\"\"
import sys
from pathlib import Path

Path("said").write_text(" ".join(sys.argv[1:]))
sys.exit(3)
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "part.py").write_text('"""Something that others use."""\n')
    (folder / "small.py").write_text(PROGRAM)
    monkeypatch.setattr(manifest, "CHECKOUT", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("checkout")
def test_without_a_name_it_lists_the_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    assert capsys.readouterr().out == "small  What a try costs\n"


def test_a_program_gets_its_own_options_and_gives_its_exit_code(checkout: Path) -> None:
    assert main(["bench", "small", "--core", "a"]) == 3
    assert (checkout / "said").read_text() == "--core a"


@pytest.mark.usefixtures("checkout")
def test_a_name_that_is_none_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "smal"]) == 1
    assert "did you mean 'small'" in capsys.readouterr().err


def test_where_there_is_no_checkout_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manifest, "CHECKOUT", tmp_path)
    assert main(["bench"]) == 1
    assert "lie in a checkout" in capsys.readouterr().err


def test_the_programs_of_this_checkout_say_in_a_line_what_they_are() -> None:
    found = programs()
    assert {"lora_kernels", "training", "reproduction", "lora_compiled"} <= set(found)
    assert "protocol" not in found
    assert not [what for what in found.values() if "python -m" in what or not what]
