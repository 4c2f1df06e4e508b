"""What the programs beside this one teach: a model, its task and examples, always the same ones."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from minitl import add_tokens, load_model, load_tokenizer, new_model
from minitl.data import Example, Preference, Related, Stream, TaggedSentence
from minitl.data.stream import Rows
from minitl.data.tables import Table
from minitl.models.base import Model
from minitl.tasks.causal_lm import CausalLM
from minitl.tasks.distillation import Distillation, Distilled
from minitl.tasks.dpo import DPO
from minitl.tasks.grpo import GRPO
from minitl.tasks.sentence_embedding import SentenceEmbedding
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.tasks.task import Task
from minitl.tasks.token_classification import TokenClassification
from minitl.tasks.vector_losses import make_loss
from minitl.tokenization import Tokenizer

LABELS = ["negative", "positive"]
TAGS = ["A", "B"]
REVIEWS = [
    Example(f"{'a ' * (i % 5)}{['bad', 'good'][i % 2]} film {'very ' * (i % 3)}", label=i % 2) for i in range(21)
]
NOUNS = ["film", "book", "food", "hotel", "day", "we", "it"]
TRIPLETS = [
    Related(f"{'a ' * (i % 4)}{NOUNS[i % 7]} {word}", f"the {NOUNS[i % 7]} was {word}", f"not {NOUNS[i % 5]}")
    for i, word in enumerate(["good", "bad", "fine", "poor", "really", "very", "but"] * 3)
]
PREFERENCES = [
    Preference(f"the {NOUNS[i % 7]} was", f"{'very ' * (i % 3)}good", f"{'really ' * (i % 2)}bad") for i in range(21)
]
PROMPTS = [Example(f"the {noun} was {word}") for noun in NOUNS for word in ("", "very", "not very")]
NEW = ["splendid", "dreadful"]


class Subject(NamedTuple):
    model: Model
    task: Task[Any, Any]
    examples: Sequence[Any]
    stream: Stream[Any] | None = None  # of the same examples


Make = Callable[[str], Subject]


def classifier(checkpoint: str) -> Subject:
    model = load_model(checkpoint, "sequence-classification", labels=LABELS)
    return Subject(model, SequenceClassification(load_tokenizer(checkpoint), LABELS, max_length=16), REVIEWS)


def streamed(checkpoint: str) -> Subject:
    """In portions of 8, 8 and 5."""
    import datasets

    def rows() -> Iterator[dict[str, Any]]:
        yield from ({"text": one.text, "label": one.label} for one in REVIEWS)

    def read(table: Table) -> list[Example]:
        return [Example(row["text"], label=row["label"]) for row in table.rows]

    made = Rows("reviews", lambda: datasets.IterableDataset.from_generator(rows), 0)
    return classifier(checkpoint)._replace(stream=Stream(made, read, 8))


def distilled(checkpoint: str) -> Subject:
    """The own loss is over words, the teacher's over tokens: of a share, their numbers are in no proportion."""
    task = TokenClassification(load_tokenizer(checkpoint), TAGS, max_length=16)
    teacher, student = (load_model(checkpoint, "token-classification", labels=TAGS) for _ in range(2))
    teacher.untaught = ()  # let it be one that was taught
    texts = [tuple(one.text.split()) for one in REVIEWS]
    sentences = [TaggedSentence(words, tuple(TAGS[len(word) % 2] for word in words)) for words in texts]
    return Subject(student, Distilled(task, teacher, student, Distillation("teacher")), sentences)


def in_batch(checkpoint: str) -> Subject:
    task = SentenceEmbedding(load_tokenizer(checkpoint), make_loss("in-batch"), max_length=16)
    return Subject(load_model(checkpoint, "backbone"), task, TRIPLETS)


def nested(checkpoint: str) -> Subject:
    """Of pairs, and two sizes of vectors."""
    loss = make_loss("in-batch", scale=10.0, dims=[24, 8])
    task = SentenceEmbedding(load_tokenizer(checkpoint), loss, max_length=16)
    return Subject(load_model(checkpoint, "backbone"), task, [Related(*one.texts[:2]) for one in TRIPLETS])


def grown(checkpoint: str) -> Subject:
    """Words that the model did not know say what is right."""
    model, task, *_ = classifier(checkpoint)
    add_tokens(model, task.tokenizer, NEW)  # type: ignore[attr-defined]
    return Subject(model, task, [Example(f"{one.text} {NEW[one.label]}", label=one.label) for one in REVIEWS])  # type: ignore[index]


def grown_writer(checkpoint: str) -> Subject:
    """The new rows of an embedding are those of the output layer too."""
    model, tokenizer = writer(checkpoint)
    add_tokens(model, tokenizer, NEW)
    texts = [Example(f"{one.prompt} {one.chosen} {NEW[i % 2]}") for i, one in enumerate(PREFERENCES)]
    return Subject(model, CausalLM(tokenizer, max_length=4), texts)


def preferring(checkpoint: str) -> Subject:
    model, tokenizer = writer(checkpoint)
    return Subject(model, DPO(tokenizer, model, max_length=16), PREFERENCES)


def drawing(checkpoint: str) -> Subject:
    model, tokenizer = writer(checkpoint)
    return Subject(model, GRPO(tokenizer, model, goods, max_length=16, group=4, max_new_tokens=5), PROMPTS)


def goods(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:  # noqa: ARG001
    return [float("good" in text.split()) for text in completions]


def writer(checkpoint: str) -> tuple[Model, Tokenizer]:
    """A small GPT-2, with BERT's words and an end token as a decoder has one."""
    tokenizer = load_tokenizer(checkpoint)
    tokenizer.token_types = False
    tokenizer._special_tokens = {**tokenizer._special_tokens, "eos": "[SEP]"}
    config = {"model_type": "gpt2", "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 48}
    return new_model({**config, "vocab_size": tokenizer.vocab_size}, "causal-lm"), tokenizer


def drawn_alike(make: Make, checkpoint: str) -> Subject:
    """What is fresh in a model is that of one seed."""
    torch.manual_seed(1)
    return make(checkpoint)
