"""Where the files of a data set lie: at a path, in a folder of splits, or under MINITL_ASSETS by a name."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from minitl.data.assets import VARIABLE, assets_folder
from minitl.errors import DataError

SPLIT_NAMES = {
    "train": ("train",),
    "validation": ("validation", "dev", "valid", "val"),
    "test": ("test",),
}


class NotFound(DataError):
    """There is no data set of that name, neither at a path nor under MINITL_ASSETS."""


def find_files(
    name: str | Path, declared: Mapping[str, Mapping[str, str]], endings: Sequence[str], what: str
) -> tuple[dict[str, Path], str]:
    """The files of the set `name` by split, and its origin.

    declared   the sets known by name: for each split a path under data/ of MINITL_ASSETS
    endings    of the files of a folder
    what       the set in words, for messages

    A file is the training split. NotFound lists what was tried.
    """
    path = Path(name).expanduser()
    if path.exists():
        return (files_in(path, endings) if path.is_dir() else {"train": path}), str(path)
    data = assets_folder()
    if isinstance(data, str):
        tried = data
    elif str(name) not in declared:
        tried = f"it knows {', '.join(declared)}" if declared else "it holds none of this kind"
    else:
        files = {split: data / file for split, file in declared[str(name)].items()}
        absent = [file for file in files.values() if not file.is_file()]
        if not absent:
            return files, str(next(iter(files.values())).parent)
        tried = f"{absent[0]} is absent"
    raise NotFound(
        f"no {what} {str(name)!r} was found; tried: a file or folder of that name ({path.absolute()} is absent); "
        f"{VARIABLE} ({tried})"
    )


def files_in(folder: Path, endings: Sequence[str]) -> dict[str, Path]:
    """The files of a folder that are named like splits; DataError where there is none, or two for one split."""
    found: dict[str, Path] = {}
    for split, stems in SPLIT_NAMES.items():
        files = sorted(path for stem in stems for e in endings if (path := folder / f"{stem}{e}").is_file())
        if len(files) > 1:
            raise DataError(f"{folder}: two files for the {split} split: {files[0].name} and {files[1].name}")
        if files:
            found[split] = files[0]
    if not found:
        raise DataError(
            f"{folder}: no data file in this folder; expected train, validation and test, each with one of "
            f"the endings {', '.join(endings)}"
        )
    return found
