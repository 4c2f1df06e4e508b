"""The published configurations, from which everything but the weights of a checkpoint can be checked."""

import json
from pathlib import Path
from typing import Any

CHECKPOINTS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("published_configs.json").read_text(encoding="utf-8")
)["checkpoints"]


def config_of(name: str) -> dict[str, Any]:
    """A checkpoint's config.json, as far as it decides the shape; with `architectures` where a head counts."""
    entry = CHECKPOINTS[name]
    inherited = config_of(entry["like"]) if "like" in entry else {}
    return {**inherited, **entry.get("config", {})}
