"""The trainings and measurements of an experiment, each carried out once: what it gave is a file.

    FOLDER/runs/KEY.json        {"settings": …, "result": …}
    FOLDER/runs/KEY/            what it wrote on the way: the state of a training, a model that later runs begin with

An interrupted experiment goes on where it was; a run whose settings have changed since is carried out again.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.weights import read_json
from minitl.nn.device import usual_device
from minitl.pages.machine import device_name
from minitl.training import Listener, discard_state

Listen = Callable[[str], Listener | None]  # from the title of a training to who hears of its steps
Work = Callable[[Path, Listener | None], dict[str, Any]]  # in a folder of its own, with a listener, to what it gave


def unheard(_title: str) -> None:
    """A `Listen` where nobody does."""


class Runs:
    """Those of one experiment."""

    def __init__(self, folder: Path, listen: Listen = unheard) -> None:
        self.folder, self._listen = folder / "runs", listen

    def at(self, key: str) -> Path:
        """The folder of a run."""
        return self.folder / key

    def once(
        self,
        key: str,
        settings: Mapping[str, Any],
        work: Work,
        makes: str | None = None,
        after: Sequence[str] = (),
        alone: bool = False,
    ) -> dict[str, Any]:
        """What the run gave, and on which "device": read where it was carried out before.

        key        names its file
        settings   all that decides what it gives, as JSON
        makes      a file or folder of the run's own that must be there, too, for what comes after
        after      keys of runs that must be done, for it begins with what they made
        alone      whether nothing may run beside it, for it is timed

        `after` and `alone` tell `sharing` what may run beside what; here one comes after the other anyway.
        """
        with self._turn(key, after, alone) as mine:
            return self._carried_out(key, settings, work, makes) if mine else {}

    @contextlib.contextmanager
    def _turn(self, key: str, after: Sequence[str], alone: bool) -> Iterator[bool]:  # noqa: ARG002
        """Whether the run is for this process, and now."""
        yield True

    def _facts(self) -> dict[str, Any]:
        """What is noted beside the result of a run that is carried out."""
        return {"device": device_name(usual_device())}

    def _carried_out(self, key: str, settings: Mapping[str, Any], work: Work, makes: str | None) -> dict[str, Any]:
        path = self.folder / f"{key}.json"
        told = json.loads(json.dumps(settings))
        if path.exists() and (makes is None or (self.at(key) / makes).exists()):
            before = read_json(path)
            if before["settings"] == told:
                result: dict[str, Any] = before["result"]
                return result
        self._make_room(key, told)
        result = {**self._facts(), **work(self.at(key), self._listen(key))}
        write_json(path, {"settings": told, "result": result})
        discard_state(self.at(key))
        return result

    def _make_room(self, key: str, settings: Any) -> None:
        """The run's folder; what a run of other settings left there goes, and what it gave."""
        (self.folder / f"{key}.json").unlink(missing_ok=True)
        begun = self.at(key) / "settings.json"
        if self.at(key).exists() and not (begun.exists() and read_json(begun) == settings):
            shutil.rmtree(self.at(key))
        self.at(key).mkdir(parents=True, exist_ok=True)
        write_json(begun, settings)
