"""T5: a pre-norm encoder-decoder that turns every task into text (Raffel et al. 2020, arXiv:1910.10683); v1.1 and
Flan-T5 (Chung et al. 2022, arXiv:2210.11416), and mT5 for a hundred languages (Xue et al. 2021, arXiv:2010.11934).

    source ─►┬───────────────────►(+)─┬──────────────────►(+)─►  × layers  ─ norm ─► what the decoder looks at
             └─ norm ─ attention ──┘  └─ norm ─ feed ──────┘

    target ─►┬───────────────────►(+)─┬──────────────────►(+)─┬───────────────►(+)─►  × layers  ─ norm ─► hidden
             └─ norm ─ attention ──┘  └─ norm ─ to source ─┘  └─ norm ─ feed ──┘

No biases, and scores are not divided by the root of the head size: the initialisation of the queries does it instead
(`initialize`). Positions are a bias on the scores, one table for all layers of a stack. v1.1 and mT5 differ from T5 in
the gated feed-forward, in an output layer of their own, and in not scaling what it reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minitl.checkpoints.key_map import KeyMap, Pair
from minitl.models.base import Family, Head
from minitl.models.config import Config
from minitl.models.encoder_decoder import EncoderDecoder, EncoderDecoderCache, Stack
from minitl.nn.activations import ACTIVATIONS
from minitl.nn.attention import SelfAttention
from minitl.nn.cache import LayerCache, SourceCache
from minitl.nn.cross_attention import CrossAttention, Source
from minitl.nn.dropout import Dropout
from minitl.nn.embeddings import Embedding
from minitl.nn.feed_forward import FeedForward, GatedFeedForward
from minitl.nn.heads import EndTokenClassifier, NoHead, ScaledLMHead, SpanHead, TokenClassifier
from minitl.nn.masks import Mask, bidirectional_mask, causal_mask
from minitl.nn.norms import RMSNorm
from minitl.nn.output import Recorder
from minitl.nn.relative_bias import RelativeBias
from minitl.nn.tapped import TappedBlock, TappedDecoderBlock


@dataclass(kw_only=True)
class T5Config(Config):
    model_type = "t5"

    vocab_size: int
    d_model: int  # hidden size
    d_kv: int  # size of one head; num_heads · d_kv need not be d_model
    d_ff: int  # width of the feed-forward block
    num_layers: int  # of the encoder
    num_heads: int
    num_decoder_layers: int | None = None  # None = as many as the encoder's
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128  # from here on, distances are alike
    feed_forward_proj: str = "relu"  # an activation, or "gated-" and an activation
    dropout_rate: float = 0.1
    classifier_dropout: float = 0.0
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    # The output layer reads hidden · d_model^-0.5. Older files do not say so, but whether the output layer is tied,
    # which went together.
    scale_decoder_outputs: bool | None = None
    decoder_start_token_id: int | None = 0
    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1

    def __post_init__(self) -> None:
        if self.scale_decoder_outputs is None:
            self.scale_decoder_outputs = self.tie_word_embeddings

    def check(self, where: str) -> None:
        super().check(where)
        self.require_positive(where, "num_decoder_layers", "relative_attention_num_buckets")
        least = self.relative_attention_num_buckets // 2
        self.require(
            self.relative_attention_num_buckets >= 4 and self.relative_attention_max_distance > least,
            where,
            f"field 'relative_attention_max_distance' ({self.relative_attention_max_distance}) must be above half of "
            f"'relative_attention_num_buckets' ({self.relative_attention_num_buckets}), of which there are at least 4",
        )
        gate, _, act = self.feed_forward_proj.rpartition("-")
        self.require(
            gate in ("", "gated") and act in ACTIVATIONS,
            where,
            f"field 'feed_forward_proj' must be an activation ({', '.join(sorted(ACTIVATIONS))}) or 'gated-' and one, "
            f"got {self.feed_forward_proj!r}",
        )

    @property
    def depth(self) -> int:
        """Layers of the decoder."""
        return self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers

    def feed_forward(self) -> nn.Module:
        gate, _, act = self.feed_forward_proj.rpartition("-")
        # The published "gated-gelu" was trained with the tanh approximation.
        act = "gelu_new" if self.feed_forward_proj == "gated-gelu" else act
        kind = GatedFeedForward if gate else FeedForward
        return kind(self.d_model, self.d_ff, act, bias=False, dropout_p=self.dropout_rate)


@dataclass(kw_only=True)
class MT5Config(T5Config):
    model_type = "mt5"

    feed_forward_proj: str = "gated-gelu"

    def __post_init__(self) -> None:
        self.scale_decoder_outputs = False  # whatever a file says, as in the published code


class Embeddings(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.token = Embedding(config.vocab_size, config.d_model, "token id")

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.token(input_ids)  # [batch, length, hidden]


class EncoderBlock(TappedBlock):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.attention = _self_attention(config)
        self.feed_forward_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.feed_forward = config.feed_forward()
        self.dropout = Dropout(config.dropout_rate)

    def forward(self, x: Tensor, mask: Mask, seen: Recorder) -> Tensor:
        x = self.tap("residual.pre", x)  # [batch, source, hidden]
        attended, weights = self.attention(self.attention_norm(x), mask, seen.wants_attentions)
        x = self.tap("residual.mid", x + self.dropout(attended))
        seen.attention(weights)
        return self.tap("residual.post", x + self.dropout(self.feed_forward(self.feed_forward_norm(x))))


class DecoderBlock(TappedDecoderBlock):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.attention = _self_attention(config)
        self.cross_attention_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.cross_attention = CrossAttention(
            config.d_model, config.num_heads, config.dropout_rate, config.d_kv, bias=False, scale=1.0
        )
        self.feed_forward_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.feed_forward = config.feed_forward()
        self.dropout = Dropout(config.dropout_rate)

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


class Encoder(Stack):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.positions = _positions(config, bidirectional=True)
        self.layers = nn.ModuleList(EncoderBlock(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = Dropout(config.dropout_rate)

    def forward(self, x: Tensor, attention_mask: Tensor | None, seen: Recorder) -> Tensor:
        length = x.shape[1]
        mask = bidirectional_mask(attention_mask).with_bias(self.positions(length, length))
        x = self.dropout(x)  # [batch, source, hidden]
        seen.hidden(x)
        for layer in self.layers:
            x = layer(x, mask, seen)
            seen.hidden(x)
        x = self.dropout(self.norm(x))
        seen.normed(x)
        return x


class Decoder(Stack):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.positions = _positions(config, bidirectional=False)
        self.layers = nn.ModuleList(DecoderBlock(config) for _ in range(config.depth))
        self.norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = Dropout(config.dropout_rate)

    def forward(
        self,
        x: Tensor,
        attention_mask: Tensor | None,
        source: Source,
        seen: Recorder,
        cache: EncoderDecoderCache | None,
    ) -> Tensor:
        new, past = x.shape[1], 0 if cache is None else cache.length
        mask = causal_mask(attention_mask, new, past + new, x.device).with_bias(self.positions(new, past + new))
        x = self.dropout(x)  # [batch, target, hidden]
        seen.hidden(x)
        for i, layer in enumerate(self.layers):
            x = layer(x, mask, source, seen, (None, None) if cache is None else (cache.layers[i], cache.sources[i]))
            seen.hidden(x)
        x = self.dropout(self.norm(x))
        seen.normed(x)
        return x


class T5(EncoderDecoder):
    config: T5Config
    embeddings: Embeddings

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.decoder.embeddings = self.embeddings  # one table, until an adapter changes it for one stack alone
        self.head = NoHead()

    def new_cache(self, batch: int, capacity: int) -> EncoderDecoderCache:
        """An empty cache for `batch` targets of at most `capacity` tokens."""
        weight, config = self.embeddings.token.weight, self.config
        return EncoderDecoderCache(
            config.depth, batch, config.num_heads, capacity, config.d_kv, weight.dtype, weight.device
        )

    @torch.no_grad()
    def initialize(self, modules: Sequence[nn.Module] | None = None) -> None:
        """Normal with the standard deviations of the published code (Mesh TensorFlow's), times `initializer_factor`."""
        config = self.config
        super().initialize(modules)
        for root in [self] if modules is None else modules:
            for module in root.modules():
                factor = config.initializer_factor
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, 0.0, factor * module.in_features**-0.5)
                elif isinstance(module, Embedding):
                    nn.init.normal_(module.weight, 0.0, factor)
                elif isinstance(module, nn.Embedding):  # of distances
                    nn.init.normal_(module.weight, 0.0, factor * config.d_model**-0.5)
                if isinstance(module, (SelfAttention, CrossAttention)):
                    # smaller by the root of the head size, by which the scores are not divided
                    module.query.weight.mul_(config.d_kv**-0.5)


class MT5(T5):
    """T5 under another name in config.json, with a vocabulary for a hundred languages."""


def _self_attention(config: T5Config) -> SelfAttention:
    return SelfAttention(
        config.d_model, config.num_heads, config.dropout_rate, head_dim=config.d_kv, bias=False, scale=1.0
    )


def _positions(config: T5Config, bidirectional: bool) -> RelativeBias:
    return RelativeBias(
        config.num_heads,
        config.relative_attention_num_buckets,
        config.relative_attention_max_distance,
        bidirectional,
    )


def _stack(name: str, feed: str, gated: bool) -> tuple[Pair, ...]:
    """The pairs of one stack, whose feed-forward block is the layer `feed` of each block."""
    block, ours, dense = f"{name}.block.{{i}}", f"{name}.layers.{{i}}", f"layer.{feed}.DenseReluDense"
    up = (("gate", "wi_0"), ("up", "wi_1")) if gated else (("up", "wi"),)
    return (
        (f"{name}.positions.table", f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias"),
        (f"{ours}.attention_norm", f"{block}.layer.0.layer_norm"),
        (f"{ours}.attention.query", f"{block}.layer.0.SelfAttention.q"),
        (f"{ours}.attention.key", f"{block}.layer.0.SelfAttention.k"),
        (f"{ours}.attention.value", f"{block}.layer.0.SelfAttention.v"),
        (f"{ours}.attention.output", f"{block}.layer.0.SelfAttention.o"),
        (f"{ours}.feed_forward_norm", f"{block}.layer.{feed}.layer_norm"),
        *((f"{ours}.feed_forward.{part}", f"{block}.{dense}.{published}") for part, published in up),
        (f"{ours}.feed_forward.down", f"{block}.{dense}.wo"),
        (f"{name}.norm", f"{name}.final_layer_norm"),
    )


def _keys(gated: bool) -> KeyMap:
    return KeyMap(
        (
            ("embeddings.token", "shared"),
            ("embeddings.token", "encoder.embed_tokens"),
            ("embeddings.token", "decoder.embed_tokens"),
            ("decoder.embeddings.token", "decoder.embed_tokens"),
            *_stack("encoder", "1", gated),
            *_stack("decoder", "2", gated),
            ("decoder.layers.{i}.cross_attention_norm", "decoder.block.{i}.layer.1.layer_norm"),
            ("decoder.layers.{i}.cross_attention.query", "decoder.block.{i}.layer.1.EncDecAttention.q"),
            ("decoder.layers.{i}.cross_attention.key", "decoder.block.{i}.layer.1.EncDecAttention.k"),
            ("decoder.layers.{i}.cross_attention.value", "decoder.block.{i}.layer.1.EncDecAttention.v"),
            ("decoder.layers.{i}.cross_attention.output", "decoder.block.{i}.layer.1.EncDecAttention.o"),
        ),
        prefix="transformer.",
        # Nothing looks at the source by distance; old files carry a table for it.
        drops=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$",),
        optional=("decoder",),
        called={"embeddings.token": "encoder.embed_tokens"},
    )


GATED, PLAIN = _keys(gated=True), _keys(gated=False)


def _family(config: type[T5Config], model: type[T5], published: str) -> Family:
    """The registry entry; `published` begins the class names under which other libraries know the family."""
    heads = {
        "seq2seq-lm": Head(
            lambda config: ScaledLMHead(
                config.d_model, config.vocab_size, config.d_model**-0.5 if config.scale_decoder_outputs else 1.0
            ),
            (f"{published}ForConditionalGeneration",),
            (("head.decoder", "lm_head"),),
            ties=(("embeddings.token.weight", "head.decoder.weight"),),
            needs=("decoder",),
            prefix="",
        ),
        "sequence-classification": Head(
            lambda config: EndTokenClassifier(config.d_model, len(config.labels), config.classifier_dropout),
            (f"{published}ForSequenceClassification",),
            (("head.dense", "classification_head.dense"), ("head.out", "classification_head.out_proj")),
            needs=("decoder",),
        ),
        "token-classification": Head(
            lambda config: TokenClassifier(config.d_model, len(config.labels), config.classifier_dropout),
            (f"{published}ForTokenClassification",),
            (("head.classifier", "classifier"),),
            without=("decoder",),
        ),
        "question-answering": Head(
            lambda config: SpanHead(config.d_model),
            (f"{published}ForQuestionAnswering",),
            (("head.span", "qa_outputs"),),
            needs=("decoder",),
            prefix="",
        ),
    }
    return Family(
        config,
        model,
        lambda config: GATED if config.feed_forward_proj.startswith("gated-") else PLAIN,
        f"{published}Model",
        heads,
        inputs=frozenset({"decoder_input_ids", "decoder_attention_mask", "cache"}),
        partial={f"{published}EncoderModel": ("decoder",)},
        ties_as_stored=True,
    )


FAMILY = T5.family = _family(T5Config, T5, "T5")
MULTILINGUAL = MT5.family = _family(MT5Config, MT5, "MT5")
