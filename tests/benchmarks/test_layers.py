"""The README's table of what each layer knows, from results made by hand."""

import json
from pathlib import Path
from typing import Any

from benchmarks.layers import markdown


def estimates(*means: float) -> list[dict[str, float]]:
    return [{"mean": mean, "deviation": 0.01, "low": mean - 0.02, "high": mean + 0.02} for mean in means]


def page(folder: Path, tasks: list[dict[str, Any]]) -> str:
    run = {"cpu": "a processor", "created": "2026-01-02T03:04:05", "command": "a command"}
    probed = {"tasks": tasks, "model": {"layers": 2}, "seeds": [0, 1, 2], "seconds": 90.0}
    sweep = {"tasks": ["a", "b"], "sentences": 2000, "seeds": 3, "representations": 3, "seconds": 95.6, "run": run}
    (folder / "probed.json").write_text(json.dumps({"results": {"probed": probed}, "run": run}))
    (folder / "sweep.json").write_text(json.dumps(sweep))
    return markdown(folder / "probed.json", folder / "sweep.json")


def test_a_task_has_a_row_with_its_best_layer_in_bold_and_what_it_is_held_against(tmp_path: Path) -> None:
    task: dict[str, Any] = {
        "title": "part of speech", "metric": "accuracy", "layers": [0, 1, 2], "best": 1,
        "scores": {"accuracy": estimates(0.8, 0.9, 0.85)}, "without_vectors": 0.2,
        "twin": {"best": 2, "scores": {"accuracy": estimates(0.7, 0.6, 0.65)}},
        "selectivity": estimates(0.1, 0.3, 0.2), "mixture": {"centre_of_gravity": {"mean": 1.23}},
    }  # fmt: skip
    bare = {**task, "title": "tree", "metric": "uuas", "scores": {"uuas": estimates(0.5, 0.6, 0.4)}, "twin": None}
    table = page(tmp_path, [task, {**bare, "selectivity": None, "mixture": None}])
    assert "| task | metric % | emb | 1 | 2 | random twin |" in table
    assert "| part of speech | accuracy | 80.0 | **90.0** | 85.0 | 65.0 | 20.0 | 30.0 | 1.2 |" in table
    assert "| tree | UUAS | 50.0 | **60.0** | 40.0 | – | 20.0 | – | – |" in table
    assert "mean over 3 seeds" in table
    assert "A sweep of 2 tasks with their control tasks (a, b; 2,000 sentences, 3 seeds, 3 representations)" in table
    assert "at most 4.0 points wide" in table
    assert "memorised" not in table
    known = {**task, "title": "depth", "selectivity": estimates(0.1, 0.015, 0.2)}  # in the best layer from -0.5 points
    assert "Where selectivity is not reliably above 0 (depth), a probe" in page(tmp_path, [task, known])
