"""What the embedded review set says beyond text and label: which kind of difficulty each review is of."""

from minitl.data.datasets import EMBEDDED
from minitl.data.tables import read_table


def kinds(split: str = "test") -> list[str]:
    """The kind of each review of a split, in the split's order: plain, negation, concession, sarcasm, mixed, domain."""
    return [row["kind"] for row in read_table(EMBEDDED / f"{split}.tsv").rows]
