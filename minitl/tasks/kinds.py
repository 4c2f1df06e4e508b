"""The tasks by name: the data they read, the head they need, and how they are made."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from minitl.data import (
    Dataset,
    load_instructions,
    load_pairs,
    load_preferences,
    load_prompts,
    load_questions,
    load_related,
    load_tagged,
    load_text,
)
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.models.sentence import drop_decoder
from minitl.tasks.bidirectional_lm import BidirectionalLM
from minitl.tasks.causal_lm import CausalLM
from minitl.tasks.dpo import DPO
from minitl.tasks.grpo import GRPO
from minitl.tasks.instruction import Instruction
from minitl.tasks.masked_lm import MaskedLM
from minitl.tasks.negative_sampling import NegativeSampling
from minitl.tasks.options import (
    Drawing,
    Judged,
    Length,
    Masks,
    Neighbours,
    Preferring,
    Replaced,
    Told,
    Vectors,
    Windows,
    Writing,
)
from minitl.tasks.policy import PolicyTask
from minitl.tasks.question_answering import QuestionAnswering
from minitl.tasks.regression import Regression
from minitl.tasks.replaced_tokens import ReplacedTokens, load_generator
from minitl.tasks.reward import RewardModel
from minitl.tasks.rewards import load_reward
from minitl.tasks.sentence_embedding import SentenceEmbedding
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.tasks.sequence_to_sequence import Summarisation, Translation
from minitl.tasks.sources import (
    Instructions,
    Pairs,
    Preferences,
    Prompts,
    Questions,
    Raw,
    RelatedTexts,
    Sentences,
    Texts,
    by_fields,
    load_classes,
    load_scores,
)
from minitl.tasks.task import Task
from minitl.tasks.token_classification import TokenClassification
from minitl.tokenization import Tokenizer


@dataclass(frozen=True)
class Kind:
    """One task.

    task          its class
    data          the dataclass of where its data comes from
    options       the dataclass of its options, of which all have max_length
    usual_length  of its rows
    load          the data set of a `data`
    make          the task, for a model, its tokenizer, the labels and options with a max_length
    num_labels    outputs of a head that has no labels by name
    """

    task: type[Task[Any, Any]]
    data: type
    options: type
    usual_length: int
    load: Callable[[Any], Dataset[Any]]
    make: Callable[[Model, Tokenizer, Sequence[str] | None, Any], Task[Any, Any]]
    num_labels: int | None = None

    @property
    def head(self) -> str:
        """The head its model needs, as in `load_model`."""
        return self.task.name

    @property
    def writes(self) -> bool:
        """Whether the model writes, token by token, while it is taught or validated."""
        return self.task.writes

    @property
    def tunes(self) -> bool:
        """Whether it tunes a model that writes already, and compares it with what that was."""
        return issubclass(self.task, PolicyTask)

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
    "bidirectional-lm": "bidirectional-lm",
    "negative-sampling": "negative-sampling",
}


def _make_embedding(
    model: Model, tokenizer: Tokenizer, _labels: Sequence[str] | None, options: Vectors
) -> Task[Any, Any]:
    drop_decoder(model)
    return SentenceEmbedding(
        tokenizer, options.objective, options.max_length or 128, options.pooling, options.normalize
    )


def _make_grpo(model: Model, tokenizer: Tokenizer, _labels: Sequence[str] | None, options: Drawing) -> GRPO:
    own = {name: value for name, value in asdict(options).items() if name not in ("reward", "label")}
    reward = load_reward(options.reward, options.label, next(model.parameters()).device)
    return GRPO(tokenizer, model, reward, **own)


def _make_replaced(
    model: Model, tokenizer: Tokenizer, _labels: Sequence[str] | None, options: Replaced
) -> ReplacedTokens:
    assert options.max_length is not None
    generator = load_generator(options.generator, model, tokenizer, options.max_length)
    return ReplacedTokens(tokenizer, generator, options.max_length, options.share)


KINDS: dict[str, Kind] = {
    "classification": Kind(
        SequenceClassification,
        Texts,
        Length,
        128,
        load_classes,
        lambda _model, tokenizer, labels, options: SequenceClassification(tokenizer, labels or (), options.max_length),
    ),
    "regression": Kind(
        Regression,
        Texts,
        Length,
        128,
        load_scores,
        lambda _model, tokenizer, _labels, options: Regression(tokenizer, options.max_length),
        num_labels=1,
    ),
    "token-classification": Kind(
        TokenClassification,
        Sentences,
        Length,
        128,
        by_fields(load_tagged),
        lambda _model, tokenizer, labels, options: TokenClassification(tokenizer, labels or (), options.max_length),
    ),
    "causal-lm": Kind(
        CausalLM,
        Raw,
        Length,
        128,
        by_fields(load_text),
        lambda _model, tokenizer, _labels, options: CausalLM(tokenizer, options.max_length),
    ),
    "instruction": Kind(
        Instruction,
        Instructions,
        Told,
        512,
        by_fields(load_instructions),
        lambda _model, tokenizer, _labels, options: Instruction(tokenizer, **asdict(options)),
    ),
    "masked-lm": Kind(
        MaskedLM,
        Raw,
        Masks,
        128,
        by_fields(load_text),
        lambda _model, tokenizer, _labels, options: MaskedLM(tokenizer, **asdict(options)),
    ),
    "bidirectional-lm": Kind(
        BidirectionalLM,
        Raw,
        Length,
        128,
        by_fields(load_text),
        lambda _model, tokenizer, _labels, options: BidirectionalLM(tokenizer, options.max_length),
    ),
    "negative-sampling": Kind(
        NegativeSampling,
        Raw,
        Neighbours,
        128,
        by_fields(load_text),
        lambda model, tokenizer, _labels, options: NegativeSampling(tokenizer, model, **asdict(options)),
    ),
    "replaced-tokens": Kind(
        ReplacedTokens,
        Raw,
        Replaced,
        128,
        by_fields(load_text),
        _make_replaced,
    ),
    "question-answering": Kind(
        QuestionAnswering,
        Questions,
        Windows,
        384,
        by_fields(load_questions),
        lambda _model, tokenizer, _labels, options: QuestionAnswering(tokenizer, **asdict(options)),
    ),
    "translation": Kind(
        Translation,
        Pairs,
        Writing,
        128,
        by_fields(load_pairs),
        lambda model, tokenizer, _labels, options: Translation(model, tokenizer, **asdict(options)),
    ),
    "summarisation": Kind(
        Summarisation,
        Pairs,
        Writing,
        512,
        by_fields(load_pairs),
        lambda model, tokenizer, _labels, options: Summarisation(model, tokenizer, **asdict(options)),
    ),
    "sentence-embedding": Kind(
        SentenceEmbedding,
        RelatedTexts,
        Vectors,
        128,
        by_fields(load_related),
        _make_embedding,
    ),
    "reward": Kind(
        RewardModel,
        Preferences,
        Judged,
        128,
        by_fields(load_preferences),
        lambda _model, tokenizer, _labels, options: RewardModel(tokenizer, **asdict(options)),
        num_labels=1,
    ),
    "dpo": Kind(
        DPO,
        Preferences,
        Preferring,
        512,
        by_fields(load_preferences),
        lambda model, tokenizer, _labels, options: DPO(tokenizer, model, **asdict(options)),
    ),
    "grpo": Kind(GRPO, Prompts, Drawing, 512, by_fields(load_prompts), _make_grpo),
}
