"""Every error a user can cause, in one small tree.

All derive from `MinitlError`; the command line prints them as one line on standard error and exits with 1. A message
names the file, the field and what was expected.
"""

import difflib
from collections.abc import Iterable


class MinitlError(Exception):
    """Base of everything this library raises on bad input."""


class CheckpointError(MinitlError):
    """A weight file or checkpoint folder that cannot be read, written or matched to its model."""


class ConfigError(MinitlError):
    """A config.json with a missing or mistyped field, or an unknown model type."""


class TokenizerError(MinitlError):
    """Tokenizer files that are absent, damaged or contradictory."""


class DataError(MinitlError):
    """A data set that is absent, empty, or lacks a column; a label out of range."""


class InputError(MinitlError):
    """Arguments that contradict each other or the model: a token id beyond the embedding, an unknown LoRA target."""


class TrainingError(MinitlError):
    """Training that cannot go on: a resume that does not match, or `Diverged`."""


class Diverged(TrainingError):
    """A loss or a gradient that is not finite. The model holds the last good weights, as the message says."""


class Interrupted(MinitlError):
    """Work was stopped by a signal after its state was saved, and can be resumed.

    `signum` is the signal; the command line exits with 128 + signum (130 for Ctrl-C, 143 for SIGTERM).
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """For a message about a name that is not known: ", did you mean 'NEAREST'?", or "" where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""
