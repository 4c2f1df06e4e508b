"""What a task can be asked for: the keys of a recipe's [options], of which all tasks have max_length."""

from dataclasses import dataclass

from minitl.tasks.vector_losses import VectorLoss, make_loss


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
        _ = self.objective  # refuses what does not go together before anything is loaded

    @property
    def objective(self) -> VectorLoss:
        return make_loss(self.loss, scale=self.scale, margin=self.margin, dims=self.dims, weights=self.weights)


@dataclass(frozen=True)
class Judged:
    """The options of `RewardModel`; max_length None = 128, or all that the model can read."""

    max_length: int | None = None
    template: str = "{prompt}"


@dataclass(frozen=True)
class Preferring:
    """The options of `DPO`; max_length None = 512, or all that the model can read."""

    max_length: int | None = None
    template: str = "{prompt}"
    beta: float = 0.1


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
