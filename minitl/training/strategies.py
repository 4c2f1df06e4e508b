"""Which parameters learn, and from when on. A strategy is data that `fit` reads."""

import math
from dataclasses import dataclass

from torch import nn

from minitl.adapters import LoraConfig, add_lora
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.models.vocabulary import new_rows
from minitl.training.lora_plus import LoraPlus


@dataclass(frozen=True)
class Strategy:
    """The head always learns; this says how much of the backbone learns with it.

    name         as it appears in logs
    openings     (from this share of the training on, this share of the backbone learns, counted from the top)
    lora         adapters instead: the backbone stays frozen, its adapters and the head learn
    lora_plus    rates that differ between the adapters' tensors; None = one rate for all
    layer_decay  each layer's rate is this share of that of the layer above; above the topmost, or its pooler, is the
                 head (Howard & Ruder 2018, section 3.2, where it is 1 / 2.6); 1 = one rate for all
    by_epoch     whether what is opened is opened at the beginning of an epoch only, not at any step
    l2_sp        strength of the pull back to the weights that the training began with, see `Pull`; 0 = none
    new_rows     whether the rows of tokens that `add_tokens` added learn from the beginning, whatever else does
    held         layers that never learn, counted from 0 at the bottom; the embeddings are held with the lowest
    """

    name: str
    openings: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    lora: LoraConfig | None = None
    lora_plus: LoraPlus | None = None
    layer_decay: float = 1.0
    by_epoch: bool = False
    l2_sp: float = 0.0
    new_rows: bool = False
    held: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.name.lower() == "lora" and self.lora is None:
            raise InputError('strategy "lora" needs its adapters: Strategy("lora", lora=LoraConfig(r=16, alpha=32))')
        if self.lora_plus is not None and self.lora is None:
            raise InputError(f"strategy {self.name!r}: lora_plus sets the rates of adapters, and there is no lora")
        if not 0 < self.layer_decay <= 1 or (self.layer_decay != 1 and self.lora is not None):
            raise InputError(
                f"strategy {self.name!r}: layer_decay must be above 0 and at most 1, and adapters have none, "
                f"got {self.layer_decay}"
            )
        if not 0 <= self.l2_sp < math.inf or (self.l2_sp and self.lora is not None):
            raise InputError(
                f"strategy {self.name!r}: l2_sp must be at least 0, and adapters need none: their base stays; "
                f"got {self.l2_sp}"
            )
        if self.backbone_is_constant and (self.layer_decay != 1 or self.l2_sp):
            raise InputError(f"strategy {self.name!r}: layer_decay and l2_sp are of use to a backbone that learns")
        starts = [start for start, _ in self.openings]
        if not starts or starts[0] != 0.0 or starts != sorted(starts) or not starts[-1] < 1:
            raise InputError(
                f"strategy {self.name!r}: openings must begin at 0.0, rise, and stay below 1, got {self.openings}"
            )
        shares = [share for _, share in self.openings]
        if any(not 0 <= share <= 1 for share in shares) or shares != sorted(shares):
            raise InputError(
                f"strategy {self.name!r}: the openings' shares lie between 0 and 1 and never fall, got {self.openings}"
            )
        if list(self.held) != sorted({at for at in self.held if at >= 0}):
            raise InputError(
                f"strategy {self.name!r}: held are numbers of layers from 0 on, in rising order, got {list(self.held)}"
            )
        if self.held and (self.lora is not None or self.backbone_is_constant):
            raise InputError(f"strategy {self.name!r}: held layers are those of a backbone of which others learn")

    @property
    def backbone_is_constant(self) -> bool:
        """Nothing below the head ever changes, so its outputs need be computed only once."""
        return self.lora is None and not self.new_rows and all(share == 0 for _, share in self.openings)

    @property
    def usual_rate(self) -> float:
        """The learning rate where `Settings` name none.

        For what was pretrained, the largest that BERT's authors tried (Devlin et al. 2019, appendix A.3); ten times
        that for low-rank updates, which start at zero and have further to go; more again for new rows, which start at
        the mean, and for a head alone.
        """
        if self.lora is not None:
            return 5e-4
        if self.new_rows:
            return 2e-3
        return 1e-2 if self.backbone_is_constant else 5e-5

    def check_epochs(self, epochs: float) -> None:
        """InputError where the training is over before the last opening: with `by_epoch` there are few moments."""
        last, opening = (math.ceil(epochs) - 1) / epochs, self.openings[-1][0]
        if self.by_epoch and opening > last:
            raise InputError(
                f"strategy {self.name!r}: by_epoch opens where an epoch begins, the last of {epochs:g} at {last:.2g} "
                f"of the training: the opening at {opening:g} is never reached"
            )

    def prepare(self, model: Model) -> None:
        """Place adapters, if there are any, and set what learns at the beginning.

        InputError, with the model as it was, where the training would begin with nothing that learns.
        """
        if self.lora is not None:
            add_lora(model, self.lora)
            return
        layers = len(model.parameter_groups_by_depth()) - 2
        if self.held and self.held[-1] >= layers:
            raise InputError(f"strategy {self.name!r}: held names layer {self.held[-1]}; the last is {layers - 1}")
        if self.new_rows and not new_rows(model):
            raise InputError(f"strategy {self.name!r}: no row of this model is new; add_tokens gives it some")
        backbone = {id(p) for parameters in model.parameter_groups_by_depth() for p in parameters}
        head = [p for p in model.parameters() if id(p) not in backbone]
        if not self.new_rows and not any(p.requires_grad for p in head) and not any(self._opened(model, 0.0)):
            tied = ", being tied to the embedding" if model.tie_groups() else ""
            why = "is frozen" if head else f"has no weights of its own{tied}"
            raise InputError(
                f"strategy {self.name!r} begins with the head alone, and the head of this {model.task} model {why}"
            )
        self.open(model, 0.0)

    def open(self, model: Model, progress: float) -> None:
        """Set `requires_grad` for the moment `progress` of the training, from 0 to 1."""
        if self.lora is not None:
            return
        for parameters in model.parameter_groups_by_depth():
            for parameter in parameters:
                parameter.requires_grad_(False)
        for parameters in self._opened(model, progress):
            for parameter in parameters:
                parameter.requires_grad_()
        for parameter in new_rows(model) if self.new_rows else ():
            parameter.requires_grad_()

    def _opened(self, model: Model, progress: float) -> list[list[nn.Parameter]]:
        """What learns of the backbone at that moment, bottom first."""
        depths = model.parameter_groups_by_depth()
        opened = range(len(depths) - round(self.share(progress) * len(depths)), len(depths))
        return [depths[at] for at in opened if max(0, at - 1) not in self.held]

    def share(self, progress: float) -> float:
        """How much of the backbone learns at the moment `progress` of the training, from 0 to 1."""
        return [share for start, share in self.openings if start <= progress][-1]


FULL = Strategy("full")
FROZEN = Strategy("frozen", ((0.0, 0.0),))
# Howard & Ruder 2018, section 3.3: the head first, then layer by layer downwards; everything by half of the training.
GRADUAL = Strategy("gradual", ((0.0, 0.0), (0.1, 0.25), (0.2, 0.5), (0.35, 0.75), (0.5, 1.0)))
# Kumar et al. 2022: the head alone until it fits the features, then everything: the features are less distorted.
HEAD_THEN_BODY = Strategy("head-then-body", ((0.0, 0.0), (0.3, 1.0)))
# What a model knows stays as it is: it learns some words more, and the head to make use of them.
NEW_TOKENS = Strategy("new-tokens", ((0.0, 0.0),), new_rows=True)
