"""mBART: BART for 25 languages (Liu et al. 2020, arXiv:2001.08210), and for 50, fine-tuned to translate between them
(Tang et al. 2020, arXiv:2008.00401).

    ids ─ token · scale + position ─ norm ─ dropout ─► source or target

    source ─►┬───────────────────►(+)─┬──────────────────►(+)─►  × layers  ─ norm ─► what the decoder looks at
             └─ norm ─ attention ──┘  └─ norm ─ feed ──────┘

    target ─►┬───────────────────►(+)─┬──────────────────►(+)─┬───────────────►(+)─►  × layers  ─ norm ─► hidden
             └─ norm ─ attention ──┘  └─ norm ─ to source ─┘  └─ norm ─ feed ──┘

BART's parts, each norm before its block instead of behind it, and one more at the end of either stack. A text carries
its language's token, and a target begins with one.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from minitl.models import bart
from minitl.models.bart import Decoder, Encoder
from minitl.models.base import Family
from minitl.nn.absolute_positions import LearnedPositions
from minitl.nn.cache import LayerCache, SourceCache
from minitl.nn.cross_attention import Source
from minitl.nn.masks import Mask
from minitl.nn.norms import LayerNorm
from minitl.nn.output import Recorder
from minitl.nn.pooling import last_real_token


@dataclass(kw_only=True)
class MBartConfig(bart.BartConfig):
    model_type = "mbart"
    unnamed_labels: ClassVar[int] = 2

    decoder_start_token_id: int | None = None  # for generation, where no language is forced


class EncoderBlock(bart.EncoderBlock):
    def forward(self, x: Tensor, mask: Mask, seen: Recorder) -> Tensor:
        x = self.tap("residual.pre", x)  # [batch, source, hidden]
        attended, weights = self.attention(self.attention_norm(x), mask, seen.wants_attentions)
        x = self.tap("residual.mid", x + self.dropout(attended))
        seen.attention(weights)
        return self.tap("residual.post", x + self.dropout(self.feed_forward(self.feed_forward_norm(x))))


class DecoderBlock(bart.DecoderBlock):
    def forward(
        self,
        x: Tensor,
        mask: Mask,
        source: Source,
        seen: Recorder,
        cache: tuple[LayerCache, SourceCache] | tuple[None, None],
    ) -> Tensor:
        x = self.tap("residual.pre", x)  # [batch, target, hidden]
        attended, weights = self.attention(self.attention_norm(x), mask, seen.wants_attentions, cache=cache[0])
        x = self.tap("residual.mid", x + self.dropout(attended))
        seen.attention(weights)
        attended, weights = self.cross_attention(self.cross_attention_norm(x), source, seen.wants_attentions, cache[1])
        x = self.tap("residual.crossed", x + self.dropout(attended))
        seen.cross_attention(weights)
        return self.tap("residual.post", x + self.dropout(self.feed_forward(self.feed_forward_norm(x))))


def encoder(config: bart.BartConfig, positions: nn.Module, embedding_norm: nn.Module) -> Encoder:
    """A stack of these blocks that reads the source."""
    layers = (EncoderBlock(config) for _ in range(config.encoder_layers))
    norm = LayerNorm(config.d_model)
    return Encoder(positions, embedding_norm, layers, norm, config.dropout, config.encoder_layerdrop)


def decoder(config: bart.BartConfig, positions: nn.Module, embedding_norm: nn.Module) -> Decoder:
    """A stack of these blocks that writes the target."""
    layers = (DecoderBlock(config) for _ in range(config.decoder_layers))
    norm = LayerNorm(config.d_model)
    return Decoder(positions, embedding_norm, layers, norm, config.dropout, config.decoder_layerdrop)


class MBart(bart.Bart):
    config: MBartConfig

    def make_encoder(self, config: bart.BartConfig) -> Encoder:
        positions = LearnedPositions(config.max_position_embeddings, config.d_model)
        return encoder(config, positions, LayerNorm(config.d_model))

    def make_decoder(self, config: bart.BartConfig) -> Decoder:
        positions = LearnedPositions(config.max_position_embeddings, config.d_model)
        return decoder(config, positions, LayerNorm(config.d_model))

    def starts(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Each text's own last token: in mBART-25 its language's, in mBART-50 the end token.

        Without a mask, what bears padding's id is padding.
        """
        pad = self.config.pad_token_id
        if mask is None and pad is not None:
            mask = ids != pad
        return last_real_token(mask, ids)[:, None]


FAMILY = MBart.family = Family(MBartConfig, MBart, bart.KEYS, "MBartModel", bart.heads("MBart"), bart.INPUTS)
