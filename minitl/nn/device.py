"""Where a model's parameters are put: on the processor, unless `models_on` says otherwise.

with models_on("cuda"):
    load_model(…), new_model(…), recipes that name no device
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from minitl.errors import InputError

DEVICES = ("cpu", "cuda", "mps")

_usual: ContextVar[str] = ContextVar("usual device", default="cpu")


def usual_device() -> str:
    """That of a model of which nothing else is said."""
    return _usual.get()


@contextlib.contextmanager
def models_on(device: str) -> Iterator[None]:
    """Put models on `device` within, where nothing else is said. InputError where this machine has no such device."""
    check_device(device)
    check_present(device)
    token = _usual.set(device)
    try:
        yield
    finally:
        _usual.reset(token)


def check_device(name: str) -> None:
    """InputError for a name that is none; whether this machine has it is another question."""
    import torch

    try:
        kind = torch.device(name).type
    except RuntimeError:
        kind = ""
    if kind not in DEVICES:
        raise InputError(f"device must be one of {', '.join(DEVICES)}, got {name!r}")


def check_present(name: str) -> None:
    """InputError where this machine has no such device."""
    import torch

    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name!r}: torch sees {torch.cuda.device_count()} GPUs here")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"device {name!r}: this machine has none")
