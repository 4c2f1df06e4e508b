"""What a task can be asked for: the keys of a recipe's [options], of which all tasks have max_length.

What means nothing is refused here, before anything is loaded; what depends on the model, by the task.
"""

from dataclasses import dataclass

from minitl.errors import InputError
from minitl.nn.pooling import POOLINGS
from minitl.tasks.instruction import check_room, check_template
from minitl.tasks.ranges import above_zero, at_least, below_one, between_zero_and_one, not_empty, one_of
from minitl.tasks.vector_losses import VectorLoss, make_loss


@dataclass(frozen=True)
class Length:
    """max_length   tokens of a row, special tokens included; None = 128, or all that the model can read."""

    max_length: int | None = None

    def __post_init__(self) -> None:
        at_least(1, max_length=self.max_length)


@dataclass(frozen=True)
class Windows:
    """The options of `QuestionAnswering`; max_length None = 384, or all that the model can read."""

    max_length: int | None = None
    overlap: int = 128
    longest: int = 30
    may_be_none: bool = False

    def __post_init__(self) -> None:
        at_least(1, max_length=self.max_length, longest=self.longest)
        at_least(0, overlap=self.overlap)
        if self.max_length is not None and not 2 * self.overlap < self.max_length:
            raise InputError(f"overlap must be below half of max_length, {self.max_length}: got {self.overlap}")


@dataclass(frozen=True)
class Masks:
    """The options of `MaskedLM`; max_length None = 128, or all that the model can read."""

    max_length: int | None = None
    share: float = 0.15
    whole_words: bool = False

    def __post_init__(self) -> None:
        at_least(1, max_length=self.max_length)
        between_zero_and_one(share=self.share)


@dataclass(frozen=True)
class Neighbours:
    """The options of `NegativeSampling`; max_length None = 128."""

    max_length: int | None = None
    window: int = 5
    negatives: int = 5
    threshold: float = 1e-3

    def __post_init__(self) -> None:
        at_least(1, max_length=self.max_length, window=self.window, negatives=self.negatives)
        above_zero(threshold=self.threshold)


@dataclass(frozen=True)
class Replaced:
    """The options of `ReplacedTokens`; generator is the folder or hub id of a masked-lm model of the same vocabulary,
    max_length None = 128, or all that the model can read."""

    generator: str
    max_length: int | None = None
    share: float = 0.15

    def __post_init__(self) -> None:
        not_empty(generator=self.generator)
        at_least(1, max_length=self.max_length)
        between_zero_and_one(share=self.share)


@dataclass(frozen=True)
class Told:
    """The options of `Instruction`; max_length None = 512, or all that the model can read."""

    max_length: int | None = None
    template: str = "{prompt}\n"
    packed: bool = True

    def __post_init__(self) -> None:
        at_least(1, max_length=self.max_length)
        check_template(self.template)
        check_room(self.max_length)


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

    def __post_init__(self) -> None:
        at_least(1, max_length=self.max_length, max_new_tokens=self.max_new_tokens)
        at_least(1, num_beams=self.num_beams, generated=self.generated)
        below_one(smoothing=self.smoothing)
        not_empty(source_language=self.source_language, target_language=self.target_language)


@dataclass(frozen=True)
class Vectors:
    """The options of `SentenceEmbedding` and of its loss (`make_loss`); max_length None = 128, or all that the model
    can read."""

    max_length: int | None = None
    loss: str = "in-batch"
    pooling: str = "mean"
    normalize: bool = False
    scale: float | None = None
    margin: float | None = None
    dims: list[int] | None = None
    weights: list[float] | None = None

    def __post_init__(self) -> None:
        at_least(1, max_length=self.max_length)
        one_of([name for name, _, _ in POOLINGS], pooling=self.pooling)
        for weight in self.weights or []:
            above_zero(weights=weight)
        _ = self.objective  # refuses what does not go together

    @property
    def objective(self) -> VectorLoss:
        return make_loss(self.loss, scale=self.scale, margin=self.margin, dims=self.dims, weights=self.weights)


@dataclass(frozen=True)
class Judged:
    """The options of `RewardModel`; max_length None = 128, or all that the model can read."""

    max_length: int | None = None
    template: str = "{prompt}"

    def __post_init__(self) -> None:
        at_least(1, max_length=self.max_length)
        check_template(self.template)


@dataclass(frozen=True)
class Preferring:
    """The options of `DPO`; max_length None = 512, or all that the model can read."""

    max_length: int | None = None
    template: str = "{prompt}"
    beta: float = 0.1

    def __post_init__(self) -> None:
        at_least(1, max_length=self.max_length)
        check_template(self.template)
        check_room(self.max_length)
        above_zero(beta=self.beta)


@dataclass(frozen=True)
class Drawing:
    """The options of `GRPO`; max_length None = 512, or all that the model can read.

    reward   a trained classifier, see `minitl.tasks.rewards.load_reward`
    label    the class whose probability is the reward; None where its head has one output
    """

    reward: str
    label: str | None = None
    max_length: int | None = None
    template: str = "{prompt}"
    beta: float = 0.04
    group: int = 8
    max_new_tokens: int = 64
    clip: float = 0.2

    def __post_init__(self) -> None:
        not_empty(reward=self.reward, label=self.label)
        at_least(1, max_length=self.max_length, max_new_tokens=self.max_new_tokens)
        check_template(self.template)
        check_room(self.max_length)
        at_least(0, beta=self.beta)
        at_least(2, group=self.group)
        between_zero_and_one(clip=self.clip)
        if self.max_length is not None and not self.max_new_tokens < self.max_length:
            raise InputError(f"max_new_tokens must be below max_length, {self.max_length}: got {self.max_new_tokens}")
