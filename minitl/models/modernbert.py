"""ModernBERT: a bidirectional pre-norm encoder for long texts (Warner et al. 2024, arXiv:2412.13663).

    token ─ norm ─ dropout ─►┬───────────────────►(+)─┬─────────────────────►(+)─►  × layers  ─ norm ─► hidden
                             └─ norm ─ attention ──┘  └─ norm ─ gated FFN ────┘
                                           ▲
                               positions ──┘ turn queries and keys

    hidden ─ first token or mean ─ dense ─ gelu ─ norm ─ dropout ─ out ─► classes

Every third layer looks at the whole text, the others at a window around each token, and the two kinds turn at speeds of
their own. The first layer has no norm before its attention: the embeddings were normed just now. No biases, and no
dropout, unless the config says otherwise; where it does, dropout (not drawn) stands behind the attention too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from minitl.checkpoints.key_map import KeyMap
from minitl.models.base import Family, Head, Model
from minitl.models.config import Config, is_positive
from minitl.nn.activations import ACTIVATIONS
from minitl.nn.attention import FusedSelfAttention
from minitl.nn.dropout import Dropout
from minitl.nn.embeddings import Embedding
from minitl.nn.feed_forward import FusedGatedFeedForward
from minitl.nn.heads import NoHead
from minitl.nn.local_attention import LocalSelfAttention, local_mask
from minitl.nn.masks import Mask, bidirectional_mask, window_mask
from minitl.nn.norms import LayerNorm
from minitl.nn.output import Output, Recorder
from minitl.nn.pooling import pool_first, pool_mean
from minitl.nn.positions import RotaryPositions, scaling_type
from minitl.nn.tapped import TappedBlock

GLOBAL, LOCAL = "full_attention", "sliding_attention"  # the two kinds of layer, as config.json calls them
POOLINGS = {"cls": pool_first, "mean": pool_mean}


@dataclass(kw_only=True)
class ModernBertConfig(Config):
    model_type = "modernbert"

    vocab_size: int
    hidden_size: int
    intermediate_size: int  # width of the feed-forward block
    num_hidden_layers: int
    num_attention_heads: int
    hidden_activation: str = "gelu"
    max_position_embeddings: int = 8192
    norm_eps: float = 1e-5
    norm_bias: bool = False
    global_attn_every_n_layers: int = 3  # layers 0, 3, 6, … look at the whole text
    layer_types: list[str] | None = None  # the same layer by layer, as newer files write it
    local_attention: int = 128  # width of the window: half of it on either side
    global_rope_theta: float = 160000.0
    local_rope_theta: float = 10000.0
    rope_parameters: dict[str, Any] | None = None  # {"full_attention": {"rope_theta": …}, …}, as newer files write it
    attention_bias: bool = False
    mlp_bias: bool = False
    embedding_dropout: float = 0.0
    attention_dropout: float = 0.0  # of the attention weights, and of what the attention puts out
    mlp_dropout: float = 0.0
    classifier_pooling: str = "cls"  # or "mean"
    classifier_bias: bool = False  # of the dense layer in every head
    classifier_activation: str = "gelu"  # in every head
    classifier_dropout: float = 0.0
    decoder_bias: bool = True  # of the masked language model's output layer
    initializer_cutoff_factor: float = 2.0  # in standard deviations: fresh weights lie no further out
    pad_token_id: int | None = 50283
    bos_token_id: int | None = 50281
    eos_token_id: int | list[int] | None = 50282

    def check(self, where: str) -> None:
        super().check(where)
        self.require_positive(where, "global_attn_every_n_layers", "local_attention")
        heads = self.num_attention_heads
        self.require(
            self.hidden_size % (2 * heads) == 0,
            where,
            f"field 'hidden_size' ({self.hidden_size}) must be a multiple of 'num_attention_heads' ({heads}), "
            "an even one: positions turn pairs",
        )
        self.require_known(where, "hidden_activation", ACTIVATIONS)
        self.require_known(where, "classifier_activation", ACTIVATIONS)
        self.require_known(where, "classifier_pooling", POOLINGS)
        cutoff = self.initializer_cutoff_factor
        self.require(is_positive(cutoff), where, f"field 'initializer_cutoff_factor' must be above 0, got {cutoff!r}")
        kinds = self.kinds
        self.require(
            len(kinds) == self.num_hidden_layers and set(kinds) <= {GLOBAL, LOCAL},
            where,
            f"field 'layer_types' must say {GLOBAL} or {LOCAL} of each of the {self.num_hidden_layers} layers, "
            f"got {kinds}",
        )
        self._check_positions(where)

    def _check_positions(self, where: str) -> None:
        """Raise ConfigError where a number that says how fast to turn is none, or a scaling is asked for."""
        for name in ("global_rope_theta", "local_rope_theta"):
            theta = getattr(self, name)
            self.require(is_positive(theta), where, f"field {name!r} must be a number above 0, got {theta!r}")
        parameters = self.rope_parameters or {}
        self.require(
            set(parameters) <= {GLOBAL, LOCAL},
            where,
            f"field 'rope_parameters' must hold {GLOBAL} and {LOCAL}, got {', '.join(map(repr, parameters))}",
        )
        scalings = {f"rope_parameters.{kind}": value for kind, value in parameters.items()}
        scalings["rope_scaling"] = self.extra.get("rope_scaling")
        for field, scaling in scalings.items():
            wanted = scaling is None or isinstance(scaling, dict)
            self.require(wanted, where, f"field {field!r} must be a mapping or null, got {scaling!r}")
            kind = scaling_type(scaling or {})
            self.require(kind == "default", where, f"field {field!r}: 'rope_type' must be 'default', got {kind!r}")
            theta = (scaling or {}).get("rope_theta", 1.0)
            self.require(
                is_positive(theta), where, f"field '{field}.rope_theta' must be a number above 0, got {theta!r}"
            )

    @property
    def kinds(self) -> list[str]:
        """GLOBAL or LOCAL, layer by layer."""
        if self.layer_types is not None:
            return self.layer_types
        every = self.global_attn_every_n_layers
        return [LOCAL if layer % every else GLOBAL for layer in range(self.num_hidden_layers)]

    @property
    def reach(self) -> int:
        """How many tokens to either side a local layer looks."""
        return self.local_attention // 2

    def rotary(self, kind: str) -> RotaryPositions:
        theta = self.global_rope_theta if kind == GLOBAL else self.local_rope_theta
        parameters = (self.rope_parameters or {}).get(kind) or {}
        return RotaryPositions(self.hidden_size // self.num_attention_heads, parameters.get("rope_theta", theta))

    def norm(self) -> LayerNorm:
        return LayerNorm(self.hidden_size, self.norm_eps, bias=self.norm_bias)


class Embeddings(nn.Module):
    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.token = Embedding(config.vocab_size, config.hidden_size, "token id", config.pad_token_id)
        self.norm = config.norm()
        self.dropout = Dropout(config.embedding_dropout)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.dropout(self.norm(self.token(input_ids)))  # [batch, length, hidden]


class Block(TappedBlock):
    def __init__(self, config: ModernBertConfig, layer: int) -> None:
        super().__init__()
        self.kind = config.kinds[layer]
        attention = FusedSelfAttention if self.kind == GLOBAL else LocalSelfAttention
        self.attention_norm = nn.Identity() if layer == 0 else config.norm()
        self.attention = attention(
            config.hidden_size, config.num_attention_heads, config.attention_dropout, bias=config.attention_bias
        )
        self.dropout = Dropout(config.attention_dropout)
        self.feed_forward_norm = config.norm()
        self.feed_forward = FusedGatedFeedForward(
            config.hidden_size, config.intermediate_size, config.hidden_activation, config.mlp_dropout, config.mlp_bias
        )

    def forward(
        self, x: Tensor, mask: Mask, want_weights: bool, turn: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        x = self.tap("residual.pre", x)  # [batch, length, hidden]
        attended, weights = self.attention(self.attention_norm(x), mask, want_weights, turn)
        x = self.tap("residual.mid", x + self.dropout(attended))
        x = self.tap("residual.post", x + self.feed_forward(self.feed_forward_norm(x)))
        return x, weights


class ModernBert(Model):
    config: ModernBertConfig

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.positions = nn.ModuleDict({kind: config.rotary(kind) for kind in (GLOBAL, LOCAL)})
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = config.norm()
        self.head = NoHead()

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> Output:
        batch, length = input_ids.shape
        device, reach = input_ids.device, self.config.reach
        if position_ids is None:
            position_ids = torch.arange(length, device=device)[None]
        if output_attentions:
            nearby = window_mask(attention_mask, length, reach, device)  # the maps are of the whole text
        else:
            nearby = local_mask(attention_mask, batch, length, reach, device)
        masks = {GLOBAL: bidirectional_mask(attention_mask), LOCAL: nearby}
        x = self.embeddings(input_ids)  # [batch, length, hidden]
        turns = {kind: positions(position_ids, x.dtype) for kind, positions in self.positions.items()}
        seen = Recorder(output_hidden_states, output_attentions)
        seen.hidden(x)
        for layer in self.layers:
            assert isinstance(layer, Block)
            x, weights = layer(x, masks[layer.kind], output_attentions, turns[layer.kind])
            seen.hidden(x)
            seen.attention(weights)
        x = self.norm(x)
        seen.normed(x)
        return Output(x, hidden_states=seen.hidden_states, attentions=seen.attentions)

    @torch.no_grad()
    def initialize(self, modules: Sequence[nn.Module] | None = None) -> None:
        """As the published models began: no weight of a linear layer lies beyond the cutoff, and the deviation is
        smaller where a layer adds to the residual stream, or where a head begins."""
        super().initialize(modules)
        config = self.config
        fresh = {id(module) for root in ([self] if modules is None else modules) for module in root.modules()}
        for name, module in self.named_modules():
            if id(module) in fresh and isinstance(module, nn.Linear) and not module.weight.is_meta:
                std = config.initializer_range
                if name.endswith(("attention.output", "feed_forward.down", "head.dense", "head.decoder")):
                    std /= math.sqrt(2 * config.num_hidden_layers)
                elif name.startswith("head."):
                    std = config.hidden_size**-0.5
                cutoff = config.initializer_cutoff_factor * std
                nn.init.trunc_normal_(module.weight, 0.0, std, -cutoff, cutoff)


class TransformedHead(nn.Module):
    """norm(act(dense(x))): how every head begins, with the same published names in all of them."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=config.classifier_bias)
        self.act = ACTIVATIONS[config.classifier_activation]
        self.norm = config.norm()

    def transform(self, x: Tensor) -> Tensor:  # [..., hidden] -> [..., hidden]
        return self.norm(self.act(self.dense(x)))


class MaskedLMHead(TransformedHead):
    """decoder(transform(hidden))  ->  logits [batch, length, vocabulary]; decoder.weight = token embedding."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=config.decoder_bias)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        return output.with_(logits=self.decoder(self.transform(output.last_hidden_state)))


class Classifier(TransformedHead):
    """out(dropout(transform(first token or mean)))  ->  logits [batch, labels]."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        self.pool = POOLINGS[config.classifier_pooling]
        self.dropout = Dropout(config.classifier_dropout)
        self.out = nn.Linear(config.hidden_size, len(config.labels))

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:
        hidden = output.last_hidden_state
        if attention_mask is None:
            attention_mask = torch.ones(hidden.shape[:2], dtype=torch.long, device=hidden.device)
        x = self.transform(self.pool(hidden, attention_mask))  # [batch, hidden]
        return output.with_(logits=self.out(self.dropout(x)))


class TokenClassifier(TransformedHead):
    """out(dropout(transform(hidden)))  ->  logits [batch, length, labels]."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        self.dropout = Dropout(config.classifier_dropout)
        self.out = nn.Linear(config.hidden_size, len(config.labels))

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        x = self.transform(output.last_hidden_state)  # [batch, length, hidden]
        return output.with_(logits=self.out(self.dropout(x)))


class SpanHead(TransformedHead):
    """Two scores a token, as in BERT, behind the transform: where the answer starts and where it ends."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        self.dropout = Dropout(config.classifier_dropout)
        self.span = nn.Linear(config.hidden_size, 2)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        x = self.transform(output.last_hidden_state)  # [batch, length, hidden]
        start, end = self.span(self.dropout(x)).unbind(-1)
        return output.with_(start_logits=start, end_logits=end)


KEYS = KeyMap(
    (
        ("embeddings.token", "embeddings.tok_embeddings"),
        ("embeddings.norm", "embeddings.norm"),
        ("layers.{i}.attention_norm", "layers.{i}.attn_norm"),
        ("layers.{i}.attention.qkv", "layers.{i}.attn.Wqkv"),
        ("layers.{i}.attention.output", "layers.{i}.attn.Wo"),
        ("layers.{i}.feed_forward_norm", "layers.{i}.mlp_norm"),
        ("layers.{i}.feed_forward.gate_up", "layers.{i}.mlp.Wi"),
        ("layers.{i}.feed_forward.down", "layers.{i}.mlp.Wo"),
        ("norm", "final_norm"),
    ),
    prefix="model.",
)

TRANSFORM = (("head.dense", "head.dense"), ("head.norm", "head.norm"))
# What the masked language model learnt there is where the other heads begin, as in the published classes.
KEPT = ("head.dense", "head.norm")

HEADS = {
    "masked-lm": Head(
        MaskedLMHead,
        ("ModernBertForMaskedLM",),
        (*TRANSFORM, ("head.decoder", "decoder")),
        ties=(("embeddings.token.weight", "head.decoder.weight"),),
        keeps=KEPT,
    ),
    "sequence-classification": Head(
        Classifier,
        ("ModernBertForSequenceClassification",),
        (*TRANSFORM, ("head.out", "classifier")),
        keeps=KEPT,
    ),
    "token-classification": Head(
        TokenClassifier,
        ("ModernBertForTokenClassification",),
        (*TRANSFORM, ("head.out", "classifier")),
        keeps=KEPT,
    ),
    "question-answering": Head(
        SpanHead,
        ("ModernBertForQuestionAnswering",),
        (*TRANSFORM, ("head.span", "classifier")),
        keeps=KEPT,
    ),
}

FAMILY = ModernBert.family = Family(ModernBertConfig, ModernBert, KEYS, "ModernBertModel", HEADS)
