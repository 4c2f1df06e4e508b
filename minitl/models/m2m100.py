"""M2M100: one model that translates between a hundred languages in any direction (Fan et al. 2021, arXiv:2010.11125);
NLLB-200, the same for two hundred (NLLB Team 2022, arXiv:2207.04672).

    ids ─ token · scale + wave ─ dropout ─► source or target, then as in mBART

mBART's blocks and final norms. Positions are waves again, but of other lengths than Pegasus', in no file, and without
an end; the embeddings have no norm. A target begins with the end token, then its language's.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from minitl.models import bart, mbart
from minitl.models.bart import Decoder, Encoder
from minitl.models.base import Family, Head
from minitl.nn.absolute_positions import Sinusoids
from minitl.nn.heads import CausalLMHead


@dataclass(kw_only=True)
class M2M100Config(bart.BartConfig):
    model_type = "m2m_100"
    unnamed_labels: ClassVar[int] = 2

    activation_function: str = "relu"
    scale_embedding: bool = True
    attention_dropout: float = 0.1
    encoder_layerdrop: float = 0.05
    decoder_layerdrop: float = 0.05

    def check(self, where: str) -> None:
        super().check(where)
        self.require(self.d_model >= 4, where, f"field 'd_model' must be at least 4, for two waves, got {self.d_model}")
        self.require(
            self.pad_token_id is not None,
            where,
            "field 'pad_token_id' must be an integer: a text's tokens are numbered from it on",
        )


class M2M100(bart.Bart):
    config: M2M100Config

    def make_encoder(self, config: bart.BartConfig) -> Encoder:
        return mbart.encoder(config, _positions(config), nn.Identity())

    def make_decoder(self, config: bart.BartConfig) -> Decoder:
        return mbart.decoder(config, _positions(config), nn.Identity())

    @property
    def position_limit(self) -> None:
        return None


def _positions(config: bart.BartConfig) -> Sinusoids:
    assert config.pad_token_id is not None  # the configuration was checked
    return Sinusoids(config.d_model, first=config.pad_token_id + 1)  # fairseq gives padding its own id for a number


LM_HEAD = Head(
    lambda config: CausalLMHead(config.d_model, config.vocab_size),
    ("M2M100ForConditionalGeneration",),
    (("head.decoder", "lm_head"),),
    ties=(("embeddings.token.weight", "head.decoder.weight"),),
)
FAMILY = M2M100.family = Family(
    M2M100Config,
    M2M100,
    # Files of the first releases hold the table of waves all the same.
    replace(bart.KEYS, drops=(*bart.KEYS.drops, r"(encoder|decoder)\.embed_positions\.weights$"), implied=()),
    "M2M100Model",
    {"seq2seq-lm": LM_HEAD},
    bart.INPUTS,
)
