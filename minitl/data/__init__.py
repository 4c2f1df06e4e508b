"""Data: texts and labels found by name, drawn, and put into batches of similar length."""

from minitl.data.batching import batches_by_length, length_grouped_batches
from minitl.data.datasets import load_dataset
from minitl.data.examples import Dataset, Example
from minitl.data.splits import sample

__all__ = ["Dataset", "Example", "batches_by_length", "length_grouped_batches", "load_dataset", "sample"]
