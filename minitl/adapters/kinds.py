"""Which layers can be adapted, what holds their updates, and what an update of theirs is.

layer              with updates     an update     with DoRA
nn.Linear          LoraLinear       LowRank       Dora
Embedding          LoraEmbedding    LowRankRows   DoraRows
LearnedPositions   LoraPositions    LowRankRows   DoraRows
"""

from typing import TypeVar

from torch import nn

from minitl.adapters.config import LoraConfig
from minitl.adapters.dora import Dora, DoraRows
from minitl.adapters.embedding import LoraEmbedding, LoraPositions, LowRankRows
from minitl.adapters.layer import LoraLinear, LowRank
from minitl.nn.absolute_positions import LearnedPositions
from minitl.nn.embeddings import Embedding
from minitl.nn.lstm import Gates

Adapted = LoraLinear | LoraEmbedding | LoraPositions
Update = LowRank | LowRankRows


def can_be_adapted(module: nn.Module) -> bool:
    """Whether an update can be placed on `module`."""
    return isinstance(module, (nn.Linear, Embedding)) and not isinstance(module, Gates)


def adapted(module: nn.Module) -> Adapted:
    """`module` as a layer that holds updates; itself, if it is one."""
    if isinstance(module, Adapted):
        return module
    if isinstance(module, LearnedPositions):
        return _hooked(LoraPositions(module), module)
    if isinstance(module, Embedding):
        return _hooked(LoraEmbedding(module), module)
    assert isinstance(module, nn.Linear)
    return _hooked(LoraLinear(module), module)


def plain(layer: Adapted) -> nn.Module:
    """`layer` without its updates, as it was before, around the same tensors."""
    return _hooked(layer.plain(), layer)


Hooked = TypeVar("Hooked", bound=nn.Module)


def _hooked(new: Hooked, old: nn.Module) -> Hooked:
    """`new`, with the hooks of the module whose place it takes: the same dictionaries, so that they can be removed."""
    new.__dict__.update({name: value for name, value in old.__dict__.items() if "_hooks" in name})
    return new


def new_update(config: LoraConfig, module: nn.Module, meta: bool = False) -> Update:
    """A fresh update for `module`; with `meta` its shapes alone, without memory."""
    if isinstance(module, nn.Linear):
        kind: type[Update] = Dora if config.use_dora else LowRank
        weight = module.weight
    else:
        assert isinstance(module, Embedding)
        kind = DoraRows if config.use_dora else LowRankRows
        weight = module.weight
    return kind(config, weight.detach().to("meta") if meta else weight.detach())
