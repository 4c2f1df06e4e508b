"""Llama: a causal pre-norm decoder with rotary positions, RMSNorm, gated feed-forward and grouped-query attention
(Touvron et al. 2023, arXiv:2302.13971 and arXiv:2307.09288; Dubey et al. 2024, arXiv:2407.21783).

    token ─►┬───────────────────►(+)─┬─────────────────────►(+)─►  × layers  ─ norm ─► hidden
            └─ norm ─ attention ──┘  └─ norm ─ gated FFN ────┘
                        ▲
            positions ──┘ turn queries and keys

No biases and no dropout, unless the config says otherwise.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from minitl.checkpoints.key_map import KeyMap
from minitl.models.base import Family, Head, Model
from minitl.models.config import Config, is_positive
from minitl.nn.activations import ACTIVATIONS
from minitl.nn.attention import SelfAttention
from minitl.nn.cache import KeyValueCache, LayerCache
from minitl.nn.embeddings import Embedding
from minitl.nn.feed_forward import GatedFeedForward
from minitl.nn.heads import CausalLMHead, LastTokenClassifier, NoHead, SpanHead, TokenClassifier
from minitl.nn.masks import Mask, causal_mask, positions_from_mask
from minitl.nn.norms import RMSNorm
from minitl.nn.output import Output, Recorder
from minitl.nn.positions import SCALINGS, RotaryPositions, scaling_type
from minitl.nn.tapped import TappedBlock


@dataclass(kw_only=True)
class LlamaConfig(Config):
    model_type = "llama"

    vocab_size: int
    hidden_size: int
    intermediate_size: int  # width of the feed-forward block
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int | None = None  # each shared by equally many query heads; None = one for each
    head_dim: int | None = None  # None = hidden_size / num_attention_heads
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None  # Llama 3.1: {"rope_type": "llama3", "factor": 8.0, …}
    rope_parameters: dict[str, Any] | None = None  # the same and rope_theta in one mapping, as newer files write it
    attention_bias: bool = False
    attention_dropout: float = 0.0
    mlp_bias: bool = False
    classifier_dropout: float | None = None  # of the token classifier; None = 0.1
    tie_word_embeddings: bool = False
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    def check(self, where: str) -> None:
        super().check(where)
        self.require_positive(where, "num_key_value_heads", "head_dim")
        heads, kv_heads = self.num_attention_heads, self.kv_heads
        self.require(
            heads % kv_heads == 0,
            where,
            f"field 'num_attention_heads' ({heads}) must be a multiple of 'num_key_value_heads' ({kv_heads})",
        )
        self.require(
            self.head_dim is not None or self.hidden_size % heads == 0,
            where,
            f"field 'hidden_size' ({self.hidden_size}) must be a multiple of 'num_attention_heads' ({heads})",
        )
        self.require_known(where, "hidden_act", ACTIVATIONS)
        self._check_positions(where)

    def _check_positions(self, where: str) -> None:
        """Raise ConfigError where the heads cannot be turned in pairs, or a number that says how fast is none."""
        self.require(
            self.head_size % 2 == 0,
            where,
            f"field 'head_dim', or 'hidden_size' / 'num_attention_heads', must be even, got {self.head_size}",
        )
        theta = self.rope_theta
        self.require(is_positive(theta), where, f"field 'rope_theta' must be a number above 0, got {theta!r}")
        field = "rope_scaling" if self.rope_parameters is None else "rope_parameters"
        scaling: dict[str, Any] = getattr(self, field) or {}
        kind = scaling_type(scaling)
        known = isinstance(kind, str) and kind in SCALINGS
        self.require(known, where, f"field {field!r}: 'rope_type' must be one of {', '.join(SCALINGS)}, got {kind!r}")
        numbers = [*SCALINGS[kind], *(["rope_theta"] if "rope_theta" in scaling else [])]
        for name in numbers:
            self.require(name in scaling, where, f"field {field!r} of type {kind!r} lacks the field {name!r}")
            value = scaling[name]
            self.require(is_positive(value), where, f"field '{field}.{name}' must be a number above 0, got {value!r}")
        if kind == "llama3":
            low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
            self.require(
                low < high,
                where,
                f"field '{field}.low_freq_factor' ({low}) must be below '{field}.high_freq_factor' ({high})",
            )

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    def rotary(self) -> RotaryPositions:
        if self.rope_parameters is None:
            return RotaryPositions(self.head_size, self.rope_theta, self.rope_scaling)
        theta = self.rope_parameters.get("rope_theta", self.rope_theta)
        return RotaryPositions(self.head_size, theta, self.rope_parameters)


class Embeddings(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.token = Embedding(config.vocab_size, config.hidden_size, "token id", config.pad_token_id)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.token(input_ids)  # [batch, length, hidden]


class Block(TappedBlock):
    def __init__(self, config: LlamaConfig, attention: type[SelfAttention]) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = attention(
            config.hidden_size,
            config.num_attention_heads,
            config.attention_dropout,
            config.kv_heads,
            config.head_size,
            config.attention_bias,
        )
        self.feed_forward_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.feed_forward = GatedFeedForward(
            config.hidden_size, config.intermediate_size, config.hidden_act, config.mlp_bias
        )

    def forward(
        self, x: Tensor, mask: Mask, want_weights: bool, turn: tuple[Tensor, Tensor], cache: LayerCache | None
    ) -> tuple[Tensor, Tensor | None]:
        x = self.tap("residual.pre", x)  # [batch, length, hidden]
        attended, weights = self.attention(self.attention_norm(x), mask, want_weights, turn, cache)
        x = self.tap("residual.mid", x + attended)
        x = self.tap("residual.post", x + self.feed_forward(self.feed_forward_norm(x)))
        return x, weights


class Llama(Model):
    config: LlamaConfig

    def __init__(self, config: LlamaConfig, attention: type[SelfAttention] = SelfAttention) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.positions = config.rotary()
        self.layers = nn.ModuleList(Block(config, attention) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head = NoHead()

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        cache: KeyValueCache | None = None,
        text_ids: Tensor | None = None,
    ) -> Output:
        """With a cache, `input_ids` are the new tokens alone, and `attention_mask` covers the old ones too."""
        new, past, device = input_ids.shape[1], 0 if cache is None else cache.length, input_ids.device
        if position_ids is None:
            position_ids = positions_from_mask(attention_mask, new, past, device)
        mask = self.mask(attention_mask, new, past, device).within(text_ids)
        x = self.embeddings(input_ids)  # [batch, length, hidden]
        turn = self.positions(position_ids, x.dtype)  # cos, sin: [batch or 1, 1, length, head_dim]
        seen = Recorder(output_hidden_states, output_attentions)
        seen.hidden(x)
        for i, layer in enumerate(self.layers):
            x, weights = layer(x, mask, seen.wants_attentions, turn, None if cache is None else cache.layers[i])
            seen.hidden(x)
            seen.attention(weights)
        x = self.norm(x)
        seen.normed(x)
        return Output(x, hidden_states=seen.hidden_states, attentions=seen.attentions)

    def mask(self, attention_mask: Tensor | None, new: int, past: int, device: torch.device) -> Mask:
        """Who looks at whom: `new` tokens at themselves and at `past` ones; attention_mask [batch, past + new]."""
        return causal_mask(attention_mask, new, past + new, device)

    def new_cache(self, batch: int, capacity: int) -> KeyValueCache:
        """An empty cache for `batch` texts of at most `capacity` tokens."""
        weight = self.embeddings.token.weight
        config = self.config
        return KeyValueCache(
            len(self.layers), batch, config.kv_heads, capacity, config.head_size, weight.dtype, weight.device
        )


KEYS = KeyMap(
    (
        ("embeddings.token", "embed_tokens"),
        ("layers.{i}.attention_norm", "layers.{i}.input_layernorm"),
        ("layers.{i}.attention.query", "layers.{i}.self_attn.q_proj"),
        ("layers.{i}.attention.key", "layers.{i}.self_attn.k_proj"),
        ("layers.{i}.attention.value", "layers.{i}.self_attn.v_proj"),
        ("layers.{i}.attention.output", "layers.{i}.self_attn.o_proj"),
        ("layers.{i}.feed_forward_norm", "layers.{i}.post_attention_layernorm"),
        ("layers.{i}.feed_forward.gate", "layers.{i}.mlp.gate_proj"),
        ("layers.{i}.feed_forward.up", "layers.{i}.mlp.up_proj"),
        ("layers.{i}.feed_forward.down", "layers.{i}.mlp.down_proj"),
        ("norm", "norm"),
    ),
    prefix="model.",
    drops=(r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq$",),  # follows from rope_theta; old files carry it
)

HEADS = {
    "causal-lm": Head(
        lambda config: CausalLMHead(config.hidden_size, config.vocab_size),
        ("LlamaForCausalLM",),
        (("head.decoder", "lm_head"),),
        ties=(("embeddings.token.weight", "head.decoder.weight"),),
    ),
    "sequence-classification": Head(
        lambda config: LastTokenClassifier(config.hidden_size, len(config.labels)),
        ("LlamaForSequenceClassification",),
        (("head.classifier", "score"),),
    ),
    "token-classification": Head(
        lambda config: TokenClassifier(
            config.hidden_size,
            len(config.labels),
            0.1 if config.classifier_dropout is None else config.classifier_dropout,
        ),
        ("LlamaForTokenClassification",),
        (("head.classifier", "score"),),
    ),
    "question-answering": Head(
        lambda config: SpanHead(config.hidden_size),
        ("LlamaForQuestionAnswering",),
        (("head.span", "qa_outputs"),),
        prefix="transformer.",  # this one published class names its backbone so
    ),
}

FAMILY = Llama.family = Family(
    LlamaConfig, Llama, KEYS, "LlamaModel", HEADS, inputs=frozenset({"position_ids", "cache", "text_ids"})
)
