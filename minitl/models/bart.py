"""BART: a post-norm encoder-decoder, pretrained to write down the text that was spoilt (Lewis et al. 2020,
arXiv:1910.13461).

    ids ─ token · scale + position ─ norm ─ dropout ─► source or target

    source ─►┬──────────────►(+)─ norm ─┬──────────────────►(+)─ norm ─►  × layers  ─► what the decoder looks at
             └─ attention ────┘         └─ feed forward ─────┘

    target ─►┬──────────────►(+)─ norm ─┬──────────────►(+)─ norm ─┬──────────────────►(+)─ norm ─►  × layers  ─► hidden
             └─ attention ────┘         └─ to source ────┘         └─ feed forward ─────┘

The stacks share the tokens' embedding and have positions of their own. mBART, Pegasus and M2M100 give the stacks other
blocks, positions and norms.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from minitl.checkpoints.key_map import KeyMap, Pair
from minitl.models.base import Family, Head
from minitl.models.config import Config
from minitl.models.encoder_decoder import EncoderDecoder, EncoderDecoderCache, Stack
from minitl.nn.absolute_positions import LearnedPositions
from minitl.nn.activations import ACTIVATIONS
from minitl.nn.attention import SelfAttention
from minitl.nn.cache import LayerCache, SourceCache
from minitl.nn.cross_attention import CrossAttention, Source
from minitl.nn.dropout import Dropout
from minitl.nn.embeddings import Embedding
from minitl.nn.feed_forward import FeedForward
from minitl.nn.heads import BiasedLMHead, EndTokenClassifier, NoHead, SpanHead
from minitl.nn.masks import Mask, bidirectional_mask, causal_mask, positions_from_mask
from minitl.nn.norms import LayerNorm
from minitl.nn.output import Recorder
from minitl.nn.tapped import TappedBlock, TappedDecoderBlock


@dataclass(kw_only=True)
class BartConfig(Config):
    model_type = "bart"
    unnamed_labels: ClassVar[int] = 3  # entailment's: bart-large-mnli

    vocab_size: int
    d_model: int  # hidden size
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int  # width of the feed-forward block
    decoder_layers: int
    decoder_attention_heads: int
    decoder_ffn_dim: int
    max_position_embeddings: int  # longest text, source or target
    activation_function: str = "gelu"
    scale_embedding: bool = False  # times the root of the hidden size
    dropout: float = 0.1
    attention_dropout: float = 0.0  # on the attention weights
    activation_dropout: float = 0.0  # inside the feed-forward block
    classifier_dropout: float = 0.0
    encoder_layerdrop: float = 0.0  # how likely a layer is left out in training
    decoder_layerdrop: float = 0.0
    init_std: float = 0.02  # of fresh weights
    decoder_start_token_id: int | None = 2
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2

    def check(self, where: str) -> None:
        super().check(where)
        self.require_known(where, "activation_function", ACTIVATIONS)
        for name in ("encoder_attention_heads", "decoder_attention_heads"):
            heads = getattr(self, name)
            self.require(
                self.d_model % heads == 0,
                where,
                f"field 'd_model' ({self.d_model}) must be a multiple of {name!r} ({heads})",
            )

    @property
    def initial_std(self) -> float:
        return self.init_std


class Embeddings(nn.Module):
    def __init__(self, config: BartConfig) -> None:
        super().__init__()
        self.token = Embedding(config.vocab_size, config.d_model, "token id", config.pad_token_id)
        self.scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.token(input_ids) * self.scale  # [batch, length, hidden]


class EncoderBlock(TappedBlock):
    def __init__(self, config: BartConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config.d_model, config.encoder_attention_heads, config.attention_dropout)
        self.attention_norm = LayerNorm(config.d_model)
        self.feed_forward = _feed_forward(config, config.encoder_ffn_dim)
        self.feed_forward_norm = LayerNorm(config.d_model)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Mask, seen: Recorder) -> Tensor:
        x = self.tap("residual.pre", x)  # [batch, source, hidden]
        attended, weights = self.attention(x, mask, seen.wants_attentions)
        x = self.tap("residual.mid", self.attention_norm(x + self.dropout(attended)))
        seen.attention(weights)
        return self.tap("residual.post", self.feed_forward_norm(x + self.dropout(self.feed_forward(x))))


class DecoderBlock(TappedDecoderBlock):
    def __init__(self, config: BartConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config.d_model, config.decoder_attention_heads, config.attention_dropout)
        self.attention_norm = LayerNorm(config.d_model)
        self.cross_attention = CrossAttention(config.d_model, config.decoder_attention_heads, config.attention_dropout)
        self.cross_attention_norm = LayerNorm(config.d_model)
        self.feed_forward = _feed_forward(config, config.decoder_ffn_dim)
        self.feed_forward_norm = LayerNorm(config.d_model)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        mask: Mask,
        source: Source,
        seen: Recorder,
        cache: tuple[LayerCache, SourceCache] | tuple[None, None],
    ) -> Tensor:
        x = self.tap("residual.pre", x)  # [batch, target, hidden]
        attended, weights = self.attention(x, mask, seen.wants_attentions, cache=cache[0])
        x = self.tap("residual.mid", self.attention_norm(x + self.dropout(attended)))
        seen.attention(weights)
        attended, weights = self.cross_attention(x, source, seen.wants_attentions, cache[1])
        x = self.tap("residual.crossed", self.cross_attention_norm(x + self.dropout(attended)))
        seen.cross_attention(weights)
        return self.tap("residual.post", self.feed_forward_norm(x + self.dropout(self.feed_forward(x))))


class _Stack(Stack):
    """What encoder and decoder have alike: the way in, the blocks, and the way out.

    positions        position ids [batch or 1, length] -> [batch or 1, length, hidden]
    embedding_norm   before the first block, norm after the last; nn.Identity where a family has none
    layerdrop        how likely each block is left out in training (Fan et al. 2020, arXiv:1909.11556)
    """

    def __init__(
        self,
        positions: nn.Module,
        embedding_norm: nn.Module,
        layers: Iterable[nn.Module],
        norm: nn.Module,
        dropout_p: float,
        layerdrop: float,
    ) -> None:
        super().__init__()
        self.positions = positions
        self.embedding_norm = embedding_norm
        self.layers = nn.ModuleList(layers)
        self.norm = norm
        self.dropout = Dropout(dropout_p)
        self.layerdrop = layerdrop

    def enter(self, x: Tensor, attention_mask: Tensor | None, past: int) -> Tensor:
        """Tell the embedded tokens [batch, length, hidden] their places, which count text alone."""
        places = positions_from_mask(attention_mask, x.shape[1], past, x.device)
        return self.dropout(self.embedding_norm(x + self.positions(places).to(x.dtype)))

    def skips(self) -> bool:
        """Whether the next block is left out."""
        return self.training and self.layerdrop > 0 and float(torch.rand(())) < self.layerdrop


class Encoder(_Stack):
    def forward(self, x: Tensor, attention_mask: Tensor | None, seen: Recorder) -> Tensor:
        mask = bidirectional_mask(attention_mask)
        x = self.enter(x, attention_mask, past=0)  # [batch, source, hidden]
        seen.hidden(x)
        for layer in self.layers:
            if not self.skips():
                x = layer(x, mask, seen)
            seen.hidden(x)
        x = self.norm(x)
        seen.normed(x)
        return x


class Decoder(_Stack):
    def forward(
        self,
        x: Tensor,
        attention_mask: Tensor | None,
        source: Source,
        seen: Recorder,
        cache: EncoderDecoderCache | None,
    ) -> Tensor:
        new, past = x.shape[1], 0 if cache is None else cache.length
        mask = causal_mask(attention_mask, new, past + new, x.device)
        x = self.enter(x, attention_mask, past)  # [batch, target, hidden]
        seen.hidden(x)
        for i, layer in enumerate(self.layers):
            # A layer that is left out remembers nothing: where the next token would miss it, all layers run.
            if cache is not None or not self.skips():
                x = layer(x, mask, source, seen, (None, None) if cache is None else (cache.layers[i], cache.sources[i]))
            seen.hidden(x)
        x = self.norm(x)
        seen.normed(x)
        return x


class Bart(EncoderDecoder):
    config: BartConfig
    embeddings: Embeddings

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.encoder = self.make_encoder(config)
        self.decoder = self.make_decoder(config)
        self.decoder.embeddings = self.embeddings  # one table, until an adapter changes it for one stack alone
        self.head = NoHead()

    def make_encoder(self, config: BartConfig) -> Encoder:
        """The stack that reads the source."""
        return Encoder(
            LearnedPositions(config.max_position_embeddings, config.d_model),
            LayerNorm(config.d_model),
            (EncoderBlock(config) for _ in range(config.encoder_layers)),
            nn.Identity(),
            config.dropout,
            config.encoder_layerdrop,
        )

    def make_decoder(self, config: BartConfig) -> Decoder:
        """The stack that writes the target."""
        return Decoder(
            LearnedPositions(config.max_position_embeddings, config.d_model),
            LayerNorm(config.d_model),
            (DecoderBlock(config) for _ in range(config.decoder_layers)),
            nn.Identity(),
            config.dropout,
            config.decoder_layerdrop,
        )

    def new_cache(self, batch: int, capacity: int) -> EncoderDecoderCache:
        """An empty cache for `batch` targets of at most `capacity` tokens."""
        weight, config = self.embeddings.token.weight, self.config
        heads = config.decoder_attention_heads
        return EncoderDecoderCache(
            config.decoder_layers, batch, heads, capacity, config.d_model // heads, weight.dtype, weight.device
        )

    @property
    def position_limit(self) -> int | None:
        return self.config.max_position_embeddings


def _feed_forward(config: BartConfig, inner: int) -> FeedForward:
    return FeedForward(config.d_model, inner, config.activation_function, dropout_p=config.activation_dropout)


def _stack(name: str) -> tuple[Pair, ...]:
    """The pairs of one stack."""
    block = f"{name}.layers.{{i}}"
    return (
        (f"{name}.positions", f"{name}.embed_positions"),
        (f"{name}.embedding_norm", f"{name}.layernorm_embedding"),
        (f"{block}.attention.query", f"{block}.self_attn.q_proj"),
        (f"{block}.attention.key", f"{block}.self_attn.k_proj"),
        (f"{block}.attention.value", f"{block}.self_attn.v_proj"),
        (f"{block}.attention.output", f"{block}.self_attn.out_proj"),
        (f"{block}.attention_norm", f"{block}.self_attn_layer_norm"),
        (f"{block}.feed_forward.up", f"{block}.fc1"),
        (f"{block}.feed_forward.down", f"{block}.fc2"),
        (f"{block}.feed_forward_norm", f"{block}.final_layer_norm"),
        (f"{name}.norm", f"{name}.layer_norm"),
    )


KEYS = KeyMap(
    (
        ("embeddings.token", "shared"),
        ("embeddings.token", "encoder.embed_tokens"),
        ("embeddings.token", "decoder.embed_tokens"),
        ("decoder.embeddings.token", "decoder.embed_tokens"),
        *_stack("encoder"),
        *_stack("decoder"),
        ("decoder.layers.{i}.cross_attention.query", "decoder.layers.{i}.encoder_attn.q_proj"),
        ("decoder.layers.{i}.cross_attention.key", "decoder.layers.{i}.encoder_attn.k_proj"),
        ("decoder.layers.{i}.cross_attention.value", "decoder.layers.{i}.encoder_attn.v_proj"),
        ("decoder.layers.{i}.cross_attention.output", "decoder.layers.{i}.encoder_attn.out_proj"),
        ("decoder.layers.{i}.cross_attention_norm", "decoder.layers.{i}.encoder_attn_layer_norm"),
    ),
    prefix="model.",
    drops=(r"(encoder|decoder)\.version$",),  # fairseq's mark of its own format
    implied=("head.bias",),  # zeros
    called={"embeddings.token": "encoder.embed_tokens"},
)


def lm_head(published: str) -> Head:
    """The head that writes; `published` begins the family's class names."""
    return Head(
        lambda config: BiasedLMHead(config.d_model, config.vocab_size),
        (f"{published}ForConditionalGeneration",),
        (("head.decoder", "lm_head"), ("head.bias", "final_logits_bias")),
        ties=(("embeddings.token.weight", "head.decoder.weight"),),
    )


def heads(published: str) -> dict[str, Head]:
    """The heads of a family whose published class names begin with `published`."""
    return {
        "seq2seq-lm": lm_head(published),
        "sequence-classification": Head(
            lambda config: EndTokenClassifier(config.d_model, len(config.labels), config.classifier_dropout),
            (f"{published}ForSequenceClassification",),
            (("head.dense", "classification_head.dense"), ("head.out", "classification_head.out_proj")),
        ),
        "question-answering": Head(
            lambda config: SpanHead(config.d_model),
            (f"{published}ForQuestionAnswering",),
            (("head.span", "qa_outputs"),),
        ),
    }


INPUTS = frozenset({"decoder_input_ids", "decoder_attention_mask", "cache"})
FAMILY = Bart.family = Family(BartConfig, Bart, KEYS, "BartModel", heads("Bart"), INPUTS)
