"""Tags of entities: B- begins one, I- goes on with it, O is outside (Ramshaw & Marcus 1995; the "IOB2" of CoNLL)."""

from collections.abc import Sequence


def are_entities(names: Sequence[str]) -> bool:
    """Whether these tags mark entities: all but O are B- or I- of something, and B- occurs."""
    rest = [name for name in names if name != "O"]
    return bool(rest) and all(name[:2] in ("B-", "I-") for name in rest) and any(name[:2] == "B-" for name in rest)


def repaired(tags: Sequence[str]) -> list[str]:
    """The same tags, well-formed: an I- that goes on with nothing, or with another type, begins an entity."""
    whole: list[str] = []
    for tag in tags:
        before = whole[-1] if whole else "O"
        goes_on = before != "O" and before[2:] == tag[2:]
        whole.append(f"B-{tag[2:]}" if tag.startswith("I-") and not goes_on else tag)
    return whole


def entities(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Where each entity begins and ends, [begin, end), and its type; of tags as `repaired` makes them."""
    whole = [*repaired(tags), "O"]
    found = []
    for begin, tag in enumerate(whole):
        if tag.startswith("B-"):
            end = next(at for at in range(begin + 1, len(whole)) if not whole[at].startswith("I-"))
            found.append((begin, end, tag[2:]))
    return found
