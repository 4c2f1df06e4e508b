"""What is installed: the wheel's contents, and dependencies whose tested versions are all written down."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PEERS = {"transformers", "peft", "sentence-transformers", "gensim"}


def _normalised(name: str) -> str:
    """A distribution's name as PyPI compares them (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _names(requirements: list[str]) -> set[str]:
    return {_normalised(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements}


def _pins(path: Path) -> dict[str, str]:
    """Distribution to version of a constraints file; fails where a line is not one exact version."""
    pins = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        requirement = line.split("#")[0].strip()
        if requirement:
            pin = re.fullmatch(r"([\w.-]+)==([\w.]+)", requirement)
            assert pin, f"{path.name}: {line!r} is not one exact version"
            pins[_normalised(pin[1])] = pin[2]
    return pins


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_dependency_has_its_tested_version(project: dict[str, Any]) -> None:
    needed = _names(project["dependencies"] + project["optional-dependencies"]["dev"])
    assert needed <= _pins(ROOT / "constraints.txt").keys()


def test_peer_libraries_are_only_in_their_extra(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    assert _names(extras["peers"]) == PEERS
    assert not PEERS & _names(project["dependencies"] + extras["dev"])
    assert _pins(ROOT / "constraints-peers.txt").keys() >= PEERS
    assert not PEERS & _pins(ROOT / "constraints.txt").keys()


def test_the_constraints_files_share_no_line() -> None:
    assert not _pins(ROOT / "constraints.txt").keys() & _pins(ROOT / "constraints-peers.txt").keys()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (built,) = folder.glob("*.whl")
    return built


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--no-input", "--disable-pip-version-check"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def _tree(parent: Path, package: str) -> set[str]:
    """Every file of a package, as its path in the wheel."""
    files = (path for path in (parent / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(parent).as_posix() for path in files}


@pytest.mark.slow
def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    manifest = {"minitl/checkpoints/manifest.json"}  # in a checkout it lies in weights/
    assert names - metadata == _tree(ROOT, "minitl") | _tree(ROOT / "kernels", "minitl_kernels") | manifest
    assert {"minitl/py.typed", "minitl_kernels/py.typed"} <= names
    assert any(name.startswith("minitl/data/embedded/") for name in names)
    assert any(name.endswith("/licenses/LICENSE") for name in metadata)


@pytest.mark.slow
def test_the_installed_wheel_imports_on_its_own(wheel: Path, tmp_path: Path) -> None:
    _pip("install", "--no-deps", "--target", str(tmp_path), str(wheel))
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import minitl, minitl_kernels
print(minitl.__file__, minitl_kernels.__file__, sep="\\n")
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [Path(line) for line in run.stdout.splitlines()] == [
        tmp_path / "minitl" / "__init__.py",
        tmp_path / "minitl_kernels" / "__init__.py",
    ]
