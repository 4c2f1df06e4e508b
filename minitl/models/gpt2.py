"""GPT-2: a causal pre-norm decoder with learned positions (Radford et al. 2019, "Language Models are Unsupervised
Multitask Learners").

    token + position ─ dropout ─►┬───────────────────►(+)─┬──────────────────────►(+)─►  × layers  ─ norm ─► hidden
                                 └─ norm ─ attention ──┘  └─ norm ─ feed forward ──┘

Dropout (not drawn) stands behind the attention and the feed-forward block, before the additions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minitl.checkpoints.key_map import KeyMap, Transposed
from minitl.models.base import Family, Head, Model
from minitl.models.config import Config
from minitl.nn.activations import ACTIVATIONS
from minitl.nn.attention import FusedSelfAttention
from minitl.nn.cache import KeyValueCache, LayerCache
from minitl.nn.dropout import Dropout
from minitl.nn.embeddings import Embedding
from minitl.nn.feed_forward import FeedForward
from minitl.nn.heads import CausalLMHead, LastTokenClassifier, NoHead, SpanHead, TokenClassifier
from minitl.nn.masks import Mask, causal_mask, positions_from_mask
from minitl.nn.norms import LayerNorm
from minitl.nn.output import Output, Recorder
from minitl.nn.tapped import TappedBlock


@dataclass(kw_only=True)
class GPT2Config(Config):
    model_type = "gpt2"

    vocab_size: int
    n_positions: int  # the longest text, in tokens
    n_embd: int  # hidden size
    n_layer: int
    n_head: int
    n_inner: int | None = None  # width of the feed-forward block; None = 4 · n_embd
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    classifier_dropout: float | None = None  # of the token classifier; None = 0.1
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True  # scores / sqrt(head size)
    scale_attn_by_inverse_layer_idx: bool = False  # and / (layer + 1), as Mistral's GPT-2 replications have it
    bos_token_id: int | None = 50256
    eos_token_id: int | list[int] | None = 50256

    def check(self, where: str) -> None:
        super().check(where)
        self.require_positive(where, "n_inner")
        self.require(
            self.n_embd % self.n_head == 0,
            where,
            f"field 'n_embd' ({self.n_embd}) must be a multiple of 'n_head' ({self.n_head})",
        )
        self.require_known(where, "activation_function", ACTIVATIONS)
        crossed = self.extra.get("add_cross_attention", False)
        self.require(not crossed, where, "field 'add_cross_attention' must be false: GPT-2 here has no encoder")

    def attention_scale(self, layer: int) -> float:
        scale = 1 / math.sqrt(self.n_embd // self.n_head) if self.scale_attn_weights else 1.0
        return scale / (layer + 1) if self.scale_attn_by_inverse_layer_idx else scale


class Embeddings(nn.Module):
    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.token = Embedding(config.vocab_size, config.n_embd, "token id")
        self.position = Embedding(config.n_positions, config.n_embd, "position")
        self.dropout = Dropout(config.embd_pdrop)

    def forward(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        return self.dropout(self.token(input_ids) + self.position(position_ids))  # [batch, length, hidden]


class Block(TappedBlock):
    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.attention = FusedSelfAttention(
            config.n_embd, config.n_head, config.attn_pdrop, config.attention_scale(layer)
        )
        self.feed_forward_norm = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.feed_forward = FeedForward(config.n_embd, config.n_inner or 4 * config.n_embd, config.activation_function)
        self.dropout = Dropout(config.resid_pdrop)

    def forward(
        self, x: Tensor, mask: Mask, want_weights: bool, cache: LayerCache | None
    ) -> tuple[Tensor, Tensor | None]:
        x = self.tap("residual.pre", x)  # [batch, length, hidden]
        attended, weights = self.attention(self.attention_norm(x), mask, want_weights, cache=cache)
        x = self.tap("residual.mid", x + self.dropout(attended))
        x = self.tap("residual.post", x + self.dropout(self.feed_forward(self.feed_forward_norm(x))))
        return x, weights


class GPT2(Model):
    config: GPT2Config

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.norm = LayerNorm(config.n_embd, config.layer_norm_epsilon)
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
        mask = causal_mask(attention_mask, new, past + new, device).within(text_ids)
        x = self.embeddings(input_ids, position_ids)  # [batch, length, hidden]
        seen = Recorder(output_hidden_states, output_attentions)
        seen.hidden(x)
        for i, layer in enumerate(self.layers):
            x, weights = layer(x, mask, seen.wants_attentions, None if cache is None else cache.layers[i])
            seen.hidden(x)
            seen.attention(weights)
        x = self.norm(x)
        seen.normed(x)
        return Output(x, hidden_states=seen.hidden_states, attentions=seen.attentions)

    def new_cache(self, batch: int, capacity: int) -> KeyValueCache:
        """An empty cache for `batch` texts of at most `capacity` tokens."""
        weight = self.embeddings.token.weight
        heads = self.config.n_head
        return KeyValueCache(
            len(self.layers), batch, heads, capacity, self.config.n_embd // heads, weight.dtype, weight.device
        )

    @torch.no_grad()
    def initialize(self, modules: Sequence[nn.Module] | None = None) -> None:
        super().initialize(modules)
        if modules is None:
            # Each layer adds twice to the residual stream; 1/sqrt(2 · layers) keeps its variance at the top as below.
            std = self.config.initializer_range / math.sqrt(2 * self.config.n_layer)
            for layer in self.layers:
                assert isinstance(layer, Block)
                layer.attention.output.weight.normal_(0.0, std)
                layer.feed_forward.down.weight.normal_(0.0, std)


KEYS = KeyMap(
    (
        ("embeddings.token", "wte"),
        ("embeddings.position", "wpe"),
        ("layers.{i}.attention_norm", "h.{i}.ln_1"),
        ("layers.{i}.attention.qkv", "h.{i}.attn.c_attn", Transposed),
        ("layers.{i}.attention.output", "h.{i}.attn.c_proj", Transposed),
        ("layers.{i}.feed_forward_norm", "h.{i}.ln_2"),
        ("layers.{i}.feed_forward.up", "h.{i}.mlp.c_fc", Transposed),
        ("layers.{i}.feed_forward.down", "h.{i}.mlp.c_proj", Transposed),
        ("norm", "ln_f"),
    ),
    prefix="transformer.",
    drops=(r"h\.\d+\.attn\.(bias|masked_bias)$",),  # the causal mask, which old files carry; not c_attn.bias
)

HEADS = {
    "causal-lm": Head(
        lambda config: CausalLMHead(config.n_embd, config.vocab_size),
        ("GPT2LMHeadModel",),
        (("head.decoder", "lm_head"),),
        ties=(("embeddings.token.weight", "head.decoder.weight"),),
    ),
    "sequence-classification": Head(
        lambda config: LastTokenClassifier(config.n_embd, len(config.labels)),
        ("GPT2ForSequenceClassification",),
        (("head.classifier", "score"),),
    ),
    "token-classification": Head(
        lambda config: TokenClassifier(
            config.n_embd,
            len(config.labels),
            0.1 if config.classifier_dropout is None else config.classifier_dropout,
        ),
        ("GPT2ForTokenClassification",),
        (("head.classifier", "classifier"),),
    ),
    "question-answering": Head(
        lambda config: SpanHead(config.n_embd),
        ("GPT2ForQuestionAnswering",),
        (("head.span", "qa_outputs"),),
    ),
}

FAMILY = GPT2.family = Family(
    GPT2Config, GPT2, KEYS, "GPT2Model", HEADS, inputs=frozenset({"position_ids", "cache", "text_ids"})
)
