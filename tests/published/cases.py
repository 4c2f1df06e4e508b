"""The published outputs of reference.json, and where on this machine a checkpoint lies that they are of."""

import json
import os
from pathlib import Path
from typing import Any

from minitl.checkpoints.hub import at_hand, weights_folder
from minitl.checkpoints.manifest import manifest

Case = dict[str, Any]

REFERENCE: dict[str, Any] = json.loads(Path(__file__).with_name("reference.json").read_text(encoding="utf-8"))
CASES: list[Case] = REFERENCE["cases"]
INPUTS: dict[str, dict[str, Any]] = REFERENCE["inputs"]
NAMES = {entry["id"]: name for name, entry in manifest().items()}


def label(case: Case) -> str:
    return f"{case['kind']}, {case['checkpoint']}"


def find(hub_id: str) -> Path | None:
    """The folder of a checkpoint with safetensors: pulled, installed, or laid by hand under the weights folder or under
    weights/ of MINITL_ASSETS, by its short name or its name on the hub."""
    name = NAMES[hub_id]
    roots = [weights_folder()]
    if os.environ.get("MINITL_ASSETS"):
        roots.append(Path(os.environ["MINITL_ASSETS"]) / "weights")
    by_hand = [root / called for root in roots for called in (name, hub_id.partition("/")[2])]
    places = [at_hand(hub_id), at_hand(name), *by_hand]
    return next((place for place in places if place and any(place.glob("*.safetensors"))), None)
