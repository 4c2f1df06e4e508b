"""Stop between two steps, not within one: a parameter half updated could not be resumed from."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """`signum` is None until a signal asks to stop."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def _note(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.signum is not None:  # asked twice: do not wait for the end of the step
            raise KeyboardInterrupt
        self.signum = signum


@contextlib.contextmanager
def stop_between_steps() -> Iterator[StopRequest]:
    """Within the block, Ctrl-C and SIGTERM are noted in the request that is yielded, for the loop to obey.

    Signals can only be caught in the main thread; elsewhere nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {signum: signal.signal(signum, request._note) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
