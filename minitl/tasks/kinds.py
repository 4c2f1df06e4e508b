"""The tasks by name: the data they read, the head they need, and how they are made.

Each has two dataclasses, whose fields are the keys of a recipe: where its data comes from, and its own options.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from minitl.data import Dataset, load_dataset, load_instructions, load_pairs, load_questions, load_tagged, load_text
from minitl.errors import DataError, InputError
from minitl.models.base import Model
from minitl.tasks.causal_lm import CausalLM
from minitl.tasks.instruction import Instruction
from minitl.tasks.masked_lm import MaskedLM
from minitl.tasks.question_answering import QuestionAnswering
from minitl.tasks.regression import Regression
from minitl.tasks.replaced_tokens import ReplacedTokens, load_generator
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.tasks.sequence_to_sequence import Summarisation, Translation
from minitl.tasks.task import Task
from minitl.tasks.token_classification import TokenClassification
from minitl.tokenization import Tokenizer


@dataclass(frozen=True)
class Texts:
    """Labelled texts or pairs of texts, see `minitl.data.load_dataset`."""

    source: str
    text: str | None = None
    pair: str | None = None
    label: str | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.0


@dataclass(frozen=True)
class Sentences:
    """Tagged sentences, see `minitl.data.load_tagged`."""

    source: str
    column: str | int | None = None
    validation_fraction: float = 0.1


@dataclass(frozen=True)
class Questions:
    """Questions on texts, see `minitl.data.load_questions`."""

    source: str
    validation_fraction: float = 0.1
    test_fraction: float = 0.1


@dataclass(frozen=True)
class Raw:
    """Unlabelled text, see `minitl.data.load_text`."""

    source: str
    text: str | None = None
    validation_fraction: float = 0.05


@dataclass(frozen=True)
class Instructions:
    """Prompts and completions, see `minitl.data.load_instructions`."""

    source: str
    prompt: str = "prompt"
    completion: str = "completion"
    group: str | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.1


@dataclass(frozen=True)
class Pairs:
    """Texts with what is to be written of them, see `minitl.data.load_pairs`."""

    source: str
    text: str | None = None
    pair: str | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.1


@dataclass(frozen=True)
class Length:
    """max_length   tokens of a row, special tokens included; None = 128, or all that the model can read."""

    max_length: int | None = None


@dataclass(frozen=True)
class Windows:
    """The options of `QuestionAnswering`; max_length None = 384, or all that the model can read."""

    max_length: int | None = None
    overlap: int = 128
    longest: int = 30
    may_be_none: bool = False


@dataclass(frozen=True)
class Masks:
    """The options of `MaskedLM`; max_length None = 128, or all that the model can read."""

    max_length: int | None = None
    share: float = 0.15
    whole_words: bool = False


@dataclass(frozen=True)
class Replaced:
    """The options of `ReplacedTokens`; generator is the folder or hub id of a masked-lm model of the same vocabulary,
    max_length None = 128, or all that the model can read."""

    generator: str
    max_length: int | None = None
    share: float = 0.15


@dataclass(frozen=True)
class Told:
    """The options of `Instruction`; max_length None = 512, or all that the model can read."""

    max_length: int | None = None
    template: str = "{prompt}\n"
    packed: bool = True


@dataclass(frozen=True)
class Writing:
    """The options of `SequenceToSequence`; max_length None = 128 of a translator, 512 of a summariser, or all that the
    model can read."""

    max_length: int | None = None
    max_new_tokens: int | None = None
    num_beams: int = 1
    smoothing: float = 0.1
    generated: int = 200
    prefix: str = ""
    source_language: str | None = None
    target_language: str | None = None


@dataclass(frozen=True)
class Kind:
    """One task.

    head          the head its model needs, as in `load_model`
    data          the dataclass of where its data comes from
    options       the dataclass of its options, of which all have max_length
    usual_length  of its rows
    load          the data set of a `data`
    make          the task, for a model, its tokenizer, the labels and options with a max_length
    num_labels    outputs of a head that has no labels by name
    """

    head: str
    data: type
    options: type
    usual_length: int
    load: Callable[[Any], Dataset[Any]]
    make: Callable[[Model, Tokenizer, Sequence[str] | None, Any], Task[Any, Any]]
    num_labels: int | None = None

    def head_options(self, labels: Sequence[str] | None) -> dict[str, Any]:
        """What `load_model` is told of the head."""
        if labels is not None:
            return {"labels": list(labels)}
        return {} if self.num_labels is None else {"num_labels": self.num_labels}

    def length(self, model: Model, asked: int | None) -> int:
        """Tokens of a row: as asked, else as usual, but no more than the model has positions for.

        Raises InputError where more is asked for.
        """
        limit = model.position_limit
        if asked is not None and (asked < 1 or (limit is not None and asked > limit)):
            raise InputError(f"max_length {asked}: expected 1 to {limit or 'any number'}, this model's positions")
        length = self.usual_length if asked is None else asked
        return length if limit is None else min(length, limit)


# What a head is taken to have been taught where nothing says more.
OF_HEADS = {
    "sequence-classification": "classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "causal-lm": "causal-lm",
    "masked-lm": "masked-lm",
}


def _load_texts(where: Texts) -> Dataset[Any]:
    options = {name: value for name, value in asdict(where).items() if name != "source"}
    return load_dataset(where.source, **options)


def _load_classes(where: Texts) -> Dataset[Any]:
    data = _load_texts(where)
    if not data.label_names or len(data.label_names) < 2:
        found = data.label_names or "none by name: the task of scores is regression"
        raise DataError(f"{where.source}: a classifier needs two labels or more, found {found}")
    return data


def _load_scores(where: Texts) -> Dataset[Any]:
    data = _load_texts(where)
    if data.label_names:
        raise DataError(f"{where.source}: regression needs scores, found the labels {', '.join(data.label_names)}")
    return data


def _load_raw(where: Raw) -> Dataset[Any]:
    return load_text(where.source, text=where.text, validation_fraction=where.validation_fraction)


def _load_pairs(where: Pairs) -> Dataset[Any]:
    return load_pairs(where.source, **{name: value for name, value in asdict(where).items() if name != "source"})


def _replaced_tokens(model: Model, tokenizer: Tokenizer, options: Replaced) -> ReplacedTokens:
    assert options.max_length is not None
    generator = load_generator(options.generator, model, tokenizer, options.max_length)
    return ReplacedTokens(tokenizer, generator, options.max_length, options.share)


KINDS: dict[str, Kind] = {
    "classification": Kind(
        "sequence-classification",
        Texts,
        Length,
        128,
        _load_classes,
        lambda _model, tokenizer, labels, options: SequenceClassification(tokenizer, labels or (), options.max_length),
    ),
    "regression": Kind(
        "sequence-classification",
        Texts,
        Length,
        128,
        _load_scores,
        lambda _model, tokenizer, _labels, options: Regression(tokenizer, options.max_length),
        num_labels=1,
    ),
    "token-classification": Kind(
        "token-classification",
        Sentences,
        Length,
        128,
        lambda w: load_tagged(w.source, column=w.column, validation_fraction=w.validation_fraction),
        lambda _model, tokenizer, labels, options: TokenClassification(tokenizer, labels or (), options.max_length),
    ),
    "causal-lm": Kind(
        "causal-lm",
        Raw,
        Length,
        128,
        _load_raw,
        lambda _model, tokenizer, _labels, options: CausalLM(tokenizer, options.max_length),
    ),
    "instruction": Kind(
        "causal-lm",
        Instructions,
        Told,
        512,
        lambda w: load_instructions(w.source, **{k: v for k, v in asdict(w).items() if k != "source"}),
        lambda _model, tokenizer, _labels, options: Instruction(tokenizer, **asdict(options)),
    ),
    "masked-lm": Kind(
        "masked-lm",
        Raw,
        Masks,
        128,
        _load_raw,
        lambda _model, tokenizer, _labels, options: MaskedLM(tokenizer, **asdict(options)),
    ),
    "replaced-tokens": Kind(
        "replaced-token-detection",
        Raw,
        Replaced,
        128,
        _load_raw,
        lambda model, tokenizer, _labels, options: _replaced_tokens(model, tokenizer, options),
    ),
    "question-answering": Kind(
        "question-answering",
        Questions,
        Windows,
        384,
        lambda w: load_questions(w.source, validation_fraction=w.validation_fraction, test_fraction=w.test_fraction),
        lambda _model, tokenizer, _labels, options: QuestionAnswering(tokenizer, **asdict(options)),
    ),
    "translation": Kind(
        "seq2seq-lm",
        Pairs,
        Writing,
        128,
        _load_pairs,
        lambda model, tokenizer, _labels, options: Translation(model, tokenizer, **asdict(options)),
    ),
    "summarisation": Kind(
        "seq2seq-lm",
        Pairs,
        Writing,
        512,
        _load_pairs,
        lambda model, tokenizer, _labels, options: Summarisation(model, tokenizer, **asdict(options)),
    ),
}
