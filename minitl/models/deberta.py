"""DeBERTa-v2 and v3: an encoder whose attention scores content and distance apart (He et al. 2021, arXiv:2006.03654;
v3: He et al. 2023, arXiv:2111.09543).

    token (+ position + type) ─ norm ─ dropout ─►┬───────────────►(+)─ norm ─┬──────────────────►(+)─ norm ─►  × layers
                                                 └─ attention ─────┘         └─ feed forward ─────┘
                                                       ▲
    distance ─ norm ───────────────────────────────────┘  the same table in every layer

    hidden ─ first token ─ dropout ─ dense ─ gelu ─ dropout ─ out ─► classes

The published models know positions by their distance alone: no position is added to the tokens, and no token type.
Dropout (not drawn) stands behind the attention and the feed-forward block, before the additions, and behind the
distances' norm.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minitl.checkpoints.key_map import KeyMap
from minitl.models.base import Family, Head, Model
from minitl.models.config import Config
from minitl.nn.activations import ACTIVATIONS
from minitl.nn.disentangled_attention import DisentangledSelfAttention, Distances, RelativePositions
from minitl.nn.dropout import Dropout
from minitl.nn.embeddings import Embedding
from minitl.nn.feed_forward import FeedForward
from minitl.nn.heads import NoHead, SpanHead, TokenClassifier
from minitl.nn.masks import Mask, bidirectional_mask
from minitl.nn.norms import LayerNorm
from minitl.nn.output import Output, Recorder
from minitl.nn.tapped import TappedBlock


@dataclass(kw_only=True)
class DebertaConfig(Config):
    model_type = "deberta-v2"

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int  # width of the feed-forward block
    max_position_embeddings: int
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    type_vocab_size: int = 0  # 0 = first and second text of a pair look alike
    layer_norm_eps: float = 1e-7
    position_biased_input: bool = True  # whether positions are added to the tokens
    relative_attention: bool = False  # whether attention scores distances
    pos_att_type: str | list[str] | None = None  # how: "c2p", "p2c", or both, as a list or joined by "|"
    share_att_key: bool = False  # whether distances pass through the content's own projections
    max_relative_positions: int = -1  # where distances end; below 1: max_position_embeddings
    position_buckets: int = -1  # rows of the distance table in either direction; below 1: one for each distance
    norm_rel_ebd: str = "none"  # or "layer_norm": whether the distance table is normalised
    pooler_hidden_size: int | None = None  # None = hidden_size, the only one there can be
    pooler_dropout: float = 0.0
    pooler_hidden_act: str = "gelu"
    cls_dropout: float | None = None  # of the sequence classifier; None = hidden_dropout_prob
    legacy: bool = True  # which names, and so which tensors, the masked-LM head has; see HEADS
    pad_token_id: int | None = 0

    def check(self, where: str) -> None:
        super().check(where)
        hidden, heads = self.hidden_size, self.num_attention_heads
        self.require(
            hidden % heads == 0,
            where,
            f"field 'hidden_size' ({hidden}) must be a multiple of 'num_attention_heads' ({heads})",
        )
        self.require(
            self.type_vocab_size >= 0, where, f"field 'type_vocab_size' must be at least 0, got {self.type_vocab_size}"
        )
        self.require_known(where, "hidden_act", ACTIVATIONS)
        self.require_known(where, "pooler_hidden_act", ACTIVATIONS)
        self.require(
            self.pooler_hidden_size in (None, hidden),
            where,
            f"field 'pooler_hidden_size' must be 'hidden_size' ({hidden}), got {self.pooler_hidden_size}",
        )
        only = {"conv_kernel_size": 0, "embedding_size": hidden, "attention_head_size": hidden // heads}
        for name, value in only.items():  # fields of the format that no version 3 file makes use of
            given = self.extra.get(name, value)
            self.require(given == value, where, f"field {name!r} must be {value}: no other is served; got {given!r}")
        self._check_distances(where)

    def _check_distances(self, where: str) -> None:
        unknown = self.terms - {"c2p", "p2c"}
        self.require(not unknown, where, f"field 'pos_att_type' may name 'c2p' and 'p2c', got {self.pos_att_type!r}")
        norms = _words(self.norm_rel_ebd)
        self.require(
            norms <= {"layer_norm"},
            where,
            f"field 'norm_rel_ebd' must be 'none' or 'layer_norm', got {self.norm_rel_ebd!r}",
        )
        if not self.relative_attention:
            for name, used in (("pos_att_type", self.terms), ("norm_rel_ebd", norms)):
                self.require(not used, where, f"field {name!r} is set, but 'relative_attention' is false")
            return
        self.require(
            bool(self.terms), where, "field 'pos_att_type' must name 'c2p' or 'p2c': 'relative_attention' is true"
        )
        buckets, furthest = self.buckets, self.furthest
        if buckets is not None:
            self.require(buckets > 1, where, f"field 'position_buckets' must be at least 2, or -1, got {buckets}")
            self.require(
                furthest > buckets // 2 + 1,
                where,
                f"field 'position_buckets' ({buckets}): half of it and 1 must be below the furthest distance "
                f"({furthest})",
            )

    @property
    def terms(self) -> set[str]:
        return _words(self.pos_att_type)

    @property
    def furthest(self) -> int:
        return self.max_relative_positions if self.max_relative_positions > 0 else self.max_position_embeddings

    @property
    def buckets(self) -> int | None:
        return self.position_buckets if self.position_buckets > 0 else None

    @property
    def norms_distances(self) -> bool:
        return bool(_words(self.norm_rel_ebd))

    @property
    def head_dropout(self) -> float:
        return self.hidden_dropout_prob if self.cls_dropout is None else self.cls_dropout


def _words(listed: str | list[str] | None) -> set[str]:
    """What a field names, in whichever of its spellings: "p2c|c2p", ["p2c", "c2p"]; nothing: "none", [], null."""
    words = listed.split("|") if isinstance(listed, str) else listed or []
    return {word.strip().lower() for word in words} - {"", "none"}


class Embeddings(nn.Module):
    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.token = Embedding(config.vocab_size, size, "token id", config.pad_token_id)
        self.position, self.token_type, self.relative = None, None, None
        if config.position_biased_input:
            self.position = Embedding(config.max_position_embeddings, size, "position")
        if config.type_vocab_size:
            self.token_type = Embedding(config.type_vocab_size, size, "token type")
        self.norm = LayerNorm(size, eps)
        self.dropout = Dropout(config.hidden_dropout_prob)
        if config.relative_attention:
            norm = LayerNorm(size, eps) if config.norms_distances else nn.Identity()
            self.relative = RelativePositions(size, config.furthest, config.buckets, norm)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
    ) -> Tensor:
        x = self.token(input_ids)  # [batch, length, hidden]
        if self.position is not None:
            if position_ids is None:
                position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
            x = x + self.position(position_ids)
        if self.token_type is not None:
            if token_type_ids is None:
                token_type_ids = torch.zeros_like(input_ids[:1, :1])  # everything is the first text
            x = x + self.token_type(token_type_ids)
        x = self.norm(x)
        if attention_mask is not None:  # padding is zero, as it was in training
            x = x * attention_mask.bool()[..., None]
        return self.dropout(x)

    def distances(self, length: int) -> Distances | None:
        """The distances in texts of `length` tokens, for every layer; None where attention scores none."""
        return None if self.relative is None else self.relative(length)


class Block(TappedBlock):
    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.attention = DisentangledSelfAttention(
            config.hidden_size,
            config.num_attention_heads,
            config.attention_probs_dropout_prob,
            config.terms,
            config.share_att_key,
            config.hidden_dropout_prob,
        )
        self.attention_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.feed_forward = FeedForward(config.hidden_size, config.intermediate_size, config.hidden_act)
        self.feed_forward_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(
        self, x: Tensor, mask: Mask, want_weights: bool, distances: Distances | None
    ) -> tuple[Tensor, Tensor | None]:
        x = self.tap("residual.pre", x)  # [batch, length, hidden]
        attended, weights = self.attention(x, mask, want_weights, distances)
        x = self.tap("residual.mid", self.attention_norm(x + self.dropout(attended)))
        x = self.tap("residual.post", self.feed_forward_norm(x + self.dropout(self.feed_forward(x))))
        return x, weights


class Deberta(Model):
    config: DebertaConfig

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.head = NoHead()

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,  # not looked at where the model has no types
        position_ids: Tensor | None = None,  # nor these where it knows distances alone
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> Output:
        mask = bidirectional_mask(attention_mask)
        x = self.embeddings(input_ids, attention_mask, token_type_ids, position_ids)  # [batch, length, hidden]
        distances = self.embeddings.distances(input_ids.shape[1])
        seen = Recorder(output_hidden_states, output_attentions)
        seen.hidden(x)
        for layer in self.layers:
            x, weights = layer(x, mask, seen.wants_attentions, distances)
            seen.hidden(x)
            seen.attention(weights)
        return Output(x, hidden_states=seen.hidden_states, attentions=seen.attentions)

    def tie_groups(self) -> list[tuple[str, ...]]:
        # The head that is not legacy has no matrix of its own: it is tied whatever the config says.
        own = [group for group in self.key_map.ties if group[-1].startswith("head.lm.") != self.config.legacy]
        return own if self.config.tie_word_embeddings or not self.config.legacy else []


class MaskedLMHead(nn.Module):
    """decoder(norm(act(dense(hidden))))  ->  logits [batch, length, vocabulary]; decoder.weight = token embedding."""

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.act = ACTIVATIONS[config.hidden_act]
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        x = self.norm(self.act(self.dense(output.last_hidden_state)))
        return output.with_(logits=self.decoder(x))


class ReleasedMaskedLMHead(nn.Module):
    """The same head where Microsoft's own files keep it, one level deeper, so that its names are others."""

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.lm = MaskedLMHead(config)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:
        return self.lm(output, attention_mask)


class Classifier(nn.Module):
    """out(dropout(act(dense(dropout(first token)))))  ->  logits [batch, labels]."""

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.dropout = Dropout(config.pooler_dropout)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.act = ACTIVATIONS[config.pooler_hidden_act]
        self.out_dropout = Dropout(config.head_dropout)
        self.out = nn.Linear(config.hidden_size, len(config.labels))

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        x = self.act(self.dense(self.dropout(output.last_hidden_state[:, 0])))  # [batch, hidden]
        return output.with_(logits=self.out(self.out_dropout(x)))


KEYS = KeyMap(
    (
        ("embeddings.token", "embeddings.word_embeddings"),
        ("embeddings.position", "embeddings.position_embeddings"),
        ("embeddings.token_type", "embeddings.token_type_embeddings"),
        ("embeddings.norm", "embeddings.LayerNorm"),
        ("embeddings.relative.table", "encoder.rel_embeddings"),
        ("embeddings.relative.norm", "encoder.LayerNorm"),
        ("layers.{i}.attention.query", "encoder.layer.{i}.attention.self.query_proj"),
        ("layers.{i}.attention.key", "encoder.layer.{i}.attention.self.key_proj"),
        ("layers.{i}.attention.value", "encoder.layer.{i}.attention.self.value_proj"),
        ("layers.{i}.attention.position_query", "encoder.layer.{i}.attention.self.pos_query_proj"),
        ("layers.{i}.attention.position_key", "encoder.layer.{i}.attention.self.pos_key_proj"),
        ("layers.{i}.attention.output", "encoder.layer.{i}.attention.output.dense"),
        ("layers.{i}.attention_norm", "encoder.layer.{i}.attention.output.LayerNorm"),
        ("layers.{i}.feed_forward.up", "encoder.layer.{i}.intermediate.dense"),
        ("layers.{i}.feed_forward.down", "encoder.layer.{i}.output.dense"),
        ("layers.{i}.feed_forward_norm", "encoder.layer.{i}.output.LayerNorm"),
    ),
    prefix="deberta.",
    drops=(
        r"embeddings\.position_ids$",
        # What pre-training used beside the encoder: positions at its end, and the heads of both of its tasks.
        r"embeddings\.position_embeddings\.weight$",
        r"lm_predictions\.lm_head\.(bias|(dense|LayerNorm)\.(weight|bias))$",
        r"mask_predictions\.(dense|LayerNorm|classifier)\.(weight|bias)$",
    ),
)

HEADS = {
    "masked-lm": Head(
        lambda config: MaskedLMHead(config) if config.legacy else ReleasedMaskedLMHead(config),
        ("DebertaV2ForMaskedLM",),
        (
            ("head.lm.dense", "lm_predictions.lm_head.dense"),
            ("head.lm.norm", "lm_predictions.lm_head.LayerNorm"),
            ("head.lm.decoder.bias", "lm_predictions.lm_head.bias"),
            ("head.dense", "cls.predictions.transform.dense"),
            ("head.norm", "cls.predictions.transform.LayerNorm"),
            ("head.decoder.bias", "cls.predictions.bias"),
            ("head.decoder", "cls.predictions.decoder"),
        ),
        ties=(
            ("embeddings.token.weight", "head.decoder.weight"),
            ("embeddings.token.weight", "head.lm.decoder.weight"),
        ),
    ),
    "sequence-classification": Head(
        Classifier,
        ("DebertaV2ForSequenceClassification",),
        (("head.dense", "pooler.dense"), ("head.out", "classifier")),
    ),
    "token-classification": Head(
        lambda config: TokenClassifier(config.hidden_size, len(config.labels), config.hidden_dropout_prob),
        ("DebertaV2ForTokenClassification",),
        (("head.classifier", "classifier"),),
    ),
    "question-answering": Head(
        lambda config: SpanHead(config.hidden_size),
        ("DebertaV2ForQuestionAnswering",),
        (("head.span", "qa_outputs"),),
    ),
}

FAMILY = Deberta.family = Family(
    DebertaConfig, Deberta, KEYS, "DebertaV2Model", HEADS, inputs=frozenset({"token_type_ids", "position_ids"})
)
