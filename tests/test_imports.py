"""Who imports whom: down the floors of the house, in no circle, and never the peer libraries."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import minitl

ROOT = Path(__file__).parents[1]
PEERS = {"transformers", "peft", "sentence_transformers", "accelerate", "gensim"}

# A folder imports from lower floors, and on its own floor as long as that makes no circle.
FLOORS = {
    "__main__": 6,
    "cli": 5,
    "experiments": 5,
    "inspect": 5,
    "training": 4,
    "tasks": 4,
    "probing": 4,
    "prompting": 4,
    "adapters": 3,
    "models": 2,
    "generation": 3,
    "pages": 1,
    "nn": 1,
    "checkpoints": 0,
    "tokenization": 0,
    "data": 0,
    "errors": -1,
}


def _modules(folder: Path) -> dict[str, Path]:
    """Every module of a package, from its dotted name to its file."""
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MINITL = _modules(ROOT / "minitl")
KERNELS = _modules(ROOT / "kernels" / "minitl_kernels")


def _imports(tree: ast.AST, module: str = "", is_package: bool = False) -> Iterator[tuple[str, str | None]]:
    """Each imported (module, name or None) in a syntax tree, at whatever depth, relative and dynamic ones included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parents = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parents, base] if base else parents)
            yield from ((base, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in {"import_module", "__import__", "find_spec"} and isinstance(node.args[0].value, str):
                yield node.args[0].value, None


def _imports_of(module: str, path: Path) -> Iterator[tuple[str, str | None]]:
    yield from _imports(ast.parse(path.read_text(encoding="utf-8")), module, path.name == "__init__.py")


def _inner_imports(module: str, path: Path) -> set[str]:
    """The modules of minitl that `module` imports; a name of the public face counts as the module that defines it."""
    found = set()
    for target, name in _imports_of(module, path):
        if name is not None and f"{target}.{name}" in MINITL:
            found.add(f"{target}.{name}")
        elif target == "minitl" and name in minitl.__all__:
            found.add(minitl._HOME[name])
        elif target in MINITL and target != "minitl":
            found.add(target)
    return found - {module}


def _folder(module: str) -> str:
    return module.split(".")[1]


def _circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of the graph, first node repeated at the end; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


# The public face, minitl/__init__.py, stands outside the house: it names what is on every floor.
INNER = {name: _inner_imports(name, path) for name, path in MINITL.items() if name != "minitl"}


@pytest.mark.parametrize("module", [*MINITL, *KERNELS])
def test_no_module_imports_a_peer_library(module: str) -> None:
    path = (MINITL | KERNELS)[module]
    peers = {target for target, _ in _imports_of(module, path) if target.split(".")[0] in PEERS}
    assert not peers


@pytest.mark.parametrize(
    "line",
    [
        "import transformers",
        "import torch, peft.tuners",
        "from sentence_transformers.models import Pooling",
        "def f():\n    import accelerate as a",
        "importlib.import_module('transformers.models.bert')",
        "import_module('peft')",
        "__import__('transformers')",
        "importlib.util.find_spec('peft')",
    ],
)
def test_every_form_of_import_is_seen(line: str) -> None:
    assert any(target.split(".")[0] in PEERS for target, _ in _imports(ast.parse(line)))


@pytest.mark.parametrize("line", ["library = 'peft'", "# import transformers", "describe('transformers')"])
def test_a_mention_is_not_an_import(line: str) -> None:
    assert not list(_imports(ast.parse(line)))


def test_relative_imports_are_resolved() -> None:
    tree = ast.parse("from . import masks\nfrom ..errors import InputError")
    assert list(_imports(tree, "minitl.nn.attention")) == [("minitl.nn", "masks"), ("minitl.errors", "InputError")]
    assert list(_imports(tree, "minitl.nn", is_package=True)) == [
        ("minitl.nn", "masks"),
        ("minitl.errors", "InputError"),
    ]


def test_every_module_imports_without_the_peer_libraries() -> None:
    # None in sys.modules makes an import fail as if the package were not installed; __main__ would run the program.
    names = [name for name in [*MINITL, *KERNELS] if not name.endswith("__main__")]
    script = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({sorted(PEERS)!r}))
for name in {names!r}:
    importlib.import_module(name)
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_every_folder_has_a_floor() -> None:
    assert {_folder(module) for module in INNER} <= FLOORS.keys()


def test_imports_only_go_down_the_floors() -> None:
    climbing = [
        f"{module} imports {target}"
        for module, targets in INNER.items()
        for target in sorted(targets)
        if FLOORS[_folder(target)] > FLOORS[_folder(module)]
    ]
    assert not climbing


def test_modules_import_each_other_in_no_circle() -> None:
    assert not _circle(INNER)


def test_folders_import_each_other_in_no_circle() -> None:
    folders: dict[str, set[str]] = {}
    for module, targets in INNER.items():
        folders.setdefault(_folder(module), set()).update({_folder(target) for target in targets} - {_folder(module)})
    assert not _circle(folders)


def test_a_circle_is_seen() -> None:
    assert set(_circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}


def test_kernels_know_only_torch_and_triton() -> None:
    allowed = {"torch", "triton", "minitl_kernels", *sys.stdlib_module_names}
    strangers = [
        f"{module} imports {target}"
        for module, path in KERNELS.items()
        for target, _ in _imports_of(module, path)
        if target.split(".")[0] not in allowed
    ]
    assert not strangers


def test_importing_minitl_loads_only_the_standard_library() -> None:
    script = """
import sys
before = set(sys.modules)
import minitl
print(*sorted(set(sys.modules) - before))
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "minitl" in loaded
    assert {name for name in loaded if name.split(".")[0] not in sys.stdlib_module_names} == {"minitl"}


@pytest.mark.parametrize("name", minitl.__all__)
def test_every_public_name_resolves(name: str) -> None:
    home = importlib.import_module(minitl._HOME[name])
    assert getattr(minitl, name) is getattr(home, name)


@pytest.mark.parametrize("package", ["minitl", "kernels/minitl_kernels"])
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
