"""Pegasus: an encoder-decoder pretrained to write a text's missing sentences, for summaries (Zhang et al. 2020,
arXiv:1912.08777).

    ids ─ token · scale + wave ─ dropout ─► source or target, then as in mBART

mBART's blocks and final norms. Positions are waves, which published files store as a table, so that the longest text
differs between checkpoints; the embeddings have no norm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from minitl.models import bart, mbart
from minitl.models.bart import Decoder, Encoder
from minitl.models.base import Family
from minitl.nn.absolute_positions import StoredSinusoids


@dataclass(kw_only=True)
class PegasusConfig(bart.BartConfig):
    model_type = "pegasus"
    unnamed_labels: ClassVar[int] = 2

    decoder_start_token_id: int | None = 0
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = 1


class Pegasus(bart.Bart):
    config: PegasusConfig

    def make_encoder(self, config: bart.BartConfig) -> Encoder:
        return mbart.encoder(config, StoredSinusoids(config.max_position_embeddings, config.d_model), nn.Identity())

    def make_decoder(self, config: bart.BartConfig) -> Decoder:
        return mbart.decoder(config, StoredSinusoids(config.max_position_embeddings, config.d_model), nn.Identity())

    def initialize(self, modules: Sequence[nn.Module] | None = None) -> None:
        super().initialize(modules)
        for root in [self] if modules is None else modules:
            for module in root.modules():
                if isinstance(module, StoredSinusoids):
                    module.fill()


FAMILY = Pegasus.family = Family(
    PegasusConfig,
    Pegasus,
    replace(bart.KEYS, implied=("head.bias", "encoder.positions.weight", "decoder.positions.weight")),
    "PegasusModel",
    {"seq2seq-lm": bart.lm_head("Pegasus")},
    bart.INPUTS,
)
