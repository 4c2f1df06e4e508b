"""The published checkpoints that are known to fit, by short name: weights/manifest.json, which explains its fields."""

import json
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]


def manifest() -> dict[str, dict[str, Any]]:
    """Short name → id, family, revision, status and, where known, parameters, format, safetensors, reference."""
    for file in (CHECKOUT / "weights" / "manifest.json", Path(__file__).with_name("manifest.json")):
        if file.is_file():  # a checkout has it beside the weights, an installed package beside this file
            checkpoints: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["checkpoints"]
            return checkpoints
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
