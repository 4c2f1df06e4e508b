"""Data: texts and labels found by name, drawn, and put into batches of similar length."""

from minitl.data.batching import batches_by_length, length_grouped_batches
from minitl.data.datasets import load_dataset
from minitl.data.examples import Dataset, Example, ParsedSentence, Preference, Question, Related, TaggedSentence
from minitl.data.instructions import load_instructions
from minitl.data.pairs import load_pairs
from minitl.data.preferences import load_preferences, load_prompts
from minitl.data.questions import load_questions
from minitl.data.raw import load_text
from minitl.data.related import load_related
from minitl.data.splits import sample
from minitl.data.stream import Stream
from minitl.data.tagged import load_tagged
from minitl.data.treebank import load_treebank

__all__ = [
    "Dataset",
    "Example",
    "ParsedSentence",
    "Preference",
    "Question",
    "Related",
    "Stream",
    "TaggedSentence",
    "batches_by_length",
    "length_grouped_batches",
    "load_dataset",
    "load_instructions",
    "load_pairs",
    "load_preferences",
    "load_prompts",
    "load_questions",
    "load_related",
    "load_tagged",
    "load_text",
    "load_treebank",
    "sample",
]
