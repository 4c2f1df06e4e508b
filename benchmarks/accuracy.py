"""What the peers' own training loop reaches on the labels of our SST-2 study: `python -m benchmarks.accuracy`.

    benchmarks/results/studies/sst2.json ─► the same labels, rates, seeds and precision ─► … /sst2-peers.json

The peers' rate is chosen as ours is: the best of the arm's three by the mean validation accuracy of the search's seeds.
Only full fine-tuning and LoRA are compared; each training is a process of its own.
"""

import json
import statistics
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks.protocol import RESULTS, answered, circumstances, peers_python
from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.hub import bundled_checkpoint
from minitl.checkpoints.weights import read_json
from minitl.data import Dataset, Example, load_dataset, sample
from minitl.experiments.study.arms import arms_named
from minitl.experiments.study.reproduce import SEARCH_SEEDS

STUDY = RESULTS / "studies" / "sst2.json"
OURS_AND_THEIRS = {"full": "transformers", "lora": "PEFT"}


class Peers:
    """Trains in the peers' environment what the study trains here."""

    def __init__(self, settings: dict[str, Any], dataset: Dataset) -> None:
        self.settings, self.dataset, self.folder, self.python = settings, dataset, bundled_checkpoint(), peers_python()

    def search(self, arm: str, rate: float, seed: int) -> dict[str, Any]:
        return self._learn(arm, rate, seed, self.settings["search"], [])

    def run(self, arm: str, rate: float, seed: int) -> dict[str, Any]:
        return self._learn(arm, rate, seed, self.settings["validation"], self.dataset.test)

    def _learn(self, arm: str, rate: float, seed: int, judges: int, test: Sequence[Example]) -> dict[str, Any]:
        labels, data = self.settings["labels"], self.dataset
        splits = {
            "train": sample(data.train, labels, seed),
            "validation": sample(data.validation, min(labels, judges, len(data.validation)), seed),
            "test": test,
        }
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            json.dump({name: [[e.text, e.label] for e in split] for name, split in splits.items()}, file)
            file.flush()
            arguments = [self.folder, file.name, arm, str(rate), str(seed), self.settings["autocast"]]
            answer = answered("benchmarks.workers.learn", *arguments, python=self.python)
        print(arm, rate, seed, answer, flush=True)
        return answer


def compare_arm(peers: Peers, arm: str, rates: Sequence[float], seeds: Sequence[int]) -> dict[str, Any]:
    """The peers' search and their runs at its best rate."""
    tried = {rate: [peers.search(arm, rate, seed)["validation_accuracy"] for seed in SEARCH_SEEDS] for rate in rates}
    best = max(tried, key=lambda rate: statistics.fmean(tried[rate]))
    return {
        "arm": arm,
        "library": OURS_AND_THEIRS[arm],
        "search": [{"learning_rate": rate, "validation_accuracies": found} for rate, found in tried.items()],
        "learning_rate": best,
        "runs": [{"seed": seed, **peers.run(arm, best, seed)} for seed in seeds],
    }


def main() -> None:
    study = read_json(STUDY)
    settings = study["settings"]
    peers = Peers(settings, load_dataset(settings["data"]))
    arms = [compare_arm(peers, arm.name, arm.rates, settings["seeds"]) for arm in arms_named(list(OURS_AND_THEIRS))]
    path = STUDY.with_name("sst2-peers.json")
    write_json(
        path,
        {
            "command": "python -m benchmarks.accuracy",
            **circumstances(peers.python),
            "arms": arms,
        },
    )
    print(path)


if __name__ == "__main__":
    main()
