"""The published checkpoints that are known to fit, by short name: weights/manifest.json, which explains its fields."""

import json
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]


def manifest() -> dict[str, dict[str, Any]]:
    """Short name → id, family, revision, status and, where known, parameters, format, safetensors, reference."""
    return _section("checkpoints")


def elsewhere() -> dict[str, dict[str, Any]]:
    """Short name → family, urls, load and status of what is published outside the hub."""
    return _section("elsewhere")


def where_to_get(name: str) -> str:
    """Where what is called `name` is published outside the hub, and how it is loaded: for an error; else empty."""
    entry = elsewhere().get(name)
    if entry is None:
        return ""
    return f"it is published outside the hub, download it from {' and '.join(entry['urls'])}, then {entry['load']}"


def _section(name: str) -> dict[str, dict[str, Any]]:
    for file in (CHECKOUT / "weights" / "manifest.json", Path(__file__).with_name("manifest.json")):
        if file.is_file():  # a checkout has it beside the weights, an installed package beside this file
            section: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))[name]
            return section
    return {}


def safetensors_elsewhere(source: str | Path, revision: str | None = None) -> str:
    """Where the safetensors of `source` are, if it holds pytorch_model.bin alone: for the end of an error.

    source     a hub id, or a folder, which is known by the name that it has in weights/ or on the hub
    revision   where they are not, though

    Empty where no such place is known.
    """
    for name, entry in manifest().items():
        known = entry["revision"] if entry["revision"] != "main" else entry.get("safetensors")
        if known not in (None, revision) and _is_called(source, name, entry["id"]):
            return f"; or take the revision {known!r} of {entry['id']}, which is known to hold safetensors"
    return ""


def _is_called(source: str | Path, name: str, hub_id: str) -> bool:
    if source == hub_id:
        return True
    folder, pulled = Path(source).resolve(), hub_id.replace("/", "--")
    return folder.parent.name == pulled or folder.name in (name, pulled, hub_id.partition("/")[2])
