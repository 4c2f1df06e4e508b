"""What an epoch reads: the same examples each time, or of a stream the next portion.

portion k     trained on ─────────────────────┐
portion k+1   read and tokenised by a thread ─┴─► trained on …
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from minitl.data import Stream
from minitl.data.stream import Place
from minitl.errors import DataError
from minitl.tasks.task import Task
from minitl.training.feeds import Feed

MakeFeed = Callable[[Sequence[Any]], Feed]


def source_of(train: "Sequence[Any] | Stream[Any]", task: Task[Any, Any], make_feed: MakeFeed) -> "Source":
    """The feeds of what is to be learnt from; a stream's examples are checked when they come."""
    if not isinstance(train, Stream):
        return Whole(make_feed(train))

    def checked(examples: Sequence[Any]) -> Feed:
        task.check(examples, "training")
        return make_feed(examples)

    return Portions(train, checked)


class Source(Protocol):
    """Where the feeds of a training come from."""

    def begin(self, place: Place | None) -> Feed:
        """The feed of the first epoch, or of that which began at `place`."""

    def turn(self) -> Feed:
        """The feed of the epoch after."""

    @property
    def place(self) -> Place | None:
        """Where the present feed begins; None where each is the same."""


class Whole:
    """Of examples that are all in memory: one feed, whose order alone changes."""

    place: Place | None = None

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    def begin(self, place: Place | None) -> Feed:  # noqa: ARG002
        return self.feed

    def turn(self) -> Feed:
        return self.feed


class Portions:
    """Of a stream: its portions one by one, each checked and tokenised while the one before is trained on."""

    def __init__(self, stream: Stream[Any], make_feed: MakeFeed) -> None:
        self.stream, self.make_feed = stream, make_feed
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="portions")
        self.place: Place | None = None
        self.ahead: Future[tuple[Place, Feed]]
        self.portions: Iterator[tuple[Place, list[Any]]]

    def begin(self, place: Place | None) -> Feed:
        self.portions = self.stream.portions(place)
        self.ahead = self.thread.submit(self._read, self.portions)
        return self.turn()

    def turn(self) -> Feed:
        self.place, feed = self.ahead.result()
        self.ahead = self.thread.submit(self._read, self.portions)
        return feed

    def _read(self, portions: Iterator[tuple[Place, list[Any]]]) -> tuple[Place, Feed]:
        place, examples = next(portions)
        feed = self.make_feed(examples)
        if not feed.items:
            raise DataError(
                f"{self.stream.rows.origin}: the portion from row {place['row'] + 1} on holds nothing to learn"
            )
        return place, feed
