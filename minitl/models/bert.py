"""BERT: a bidirectional post-norm encoder (Devlin et al. 2019, arXiv:1810.04805).

    token + position + type ─ norm ─ dropout ─►┬───────────────►(+)─ norm ─┬──────────────────►(+)─ norm ─►  × layers
                                               └─ attention ─────┘         └─ feed forward ─────┘

    hidden ─ first token ─ dense ─ tanh ─► pooled

Dropout (not drawn) stands behind the attention and the feed-forward block, before the additions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minitl.checkpoints.key_map import KeyMap
from minitl.models.base import Family, Head, Model
from minitl.models.config import Config
from minitl.nn.activations import ACTIVATIONS
from minitl.nn.attention import SelfAttention
from minitl.nn.dropout import Dropout
from minitl.nn.embeddings import Embedding
from minitl.nn.feed_forward import FeedForward
from minitl.nn.heads import NoHead, PooledClassifier, SpanHead, TokenClassifier
from minitl.nn.masks import Mask, bidirectional_mask
from minitl.nn.norms import LayerNorm
from minitl.nn.output import Output, Recorder
from minitl.nn.tapped import TappedBlock


@dataclass(kw_only=True)
class BertConfig(Config):
    model_type = "bert"

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int  # width of the feed-forward block
    max_position_embeddings: int  # the longest text, in tokens
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    type_vocab_size: int = 2  # first and second text of a pair
    layer_norm_eps: float = 1e-12
    classifier_dropout: float | None = None  # None = hidden_dropout_prob
    pad_token_id: int | None = 0
    position_embedding_type: str = "absolute"

    def check(self, where: str) -> None:
        super().check(where)
        self.require(
            self.hidden_size % self.num_attention_heads == 0,
            where,
            f"field 'hidden_size' ({self.hidden_size}) must be a multiple of 'num_attention_heads' "
            f"({self.num_attention_heads})",
        )
        self.require(
            self.position_embedding_type == "absolute",
            where,
            f"field 'position_embedding_type' must be 'absolute', got {self.position_embedding_type!r}",
        )
        self.require_known(where, "hidden_act", ACTIVATIONS)
        for name in ("is_decoder", "add_cross_attention"):
            wanted = not self.extra.get(name, False)
            self.require(wanted, where, f"field {name!r} must be false: this is an encoder alone")

    @property
    def head_dropout(self) -> float:
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout


class Embeddings(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.token = Embedding(config.vocab_size, config.hidden_size, "token id", config.pad_token_id)
        self.position = Embedding(config.max_position_embeddings, config.hidden_size, "position")
        self.token_type = Embedding(config.type_vocab_size, config.hidden_size, "token type")
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None, position_ids: Tensor | None) -> Tensor:
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids[:1, :1])  # everything is the first text
        x = self.token(input_ids) + self.token_type(token_type_ids) + self.position(position_ids)
        return self.dropout(self.norm(x))  # [batch, length, hidden]


class Block(TappedBlock):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(
            config.hidden_size, config.num_attention_heads, config.attention_probs_dropout_prob
        )
        self.attention_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.feed_forward = FeedForward(config.hidden_size, config.intermediate_size, config.hidden_act)
        self.feed_forward_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, mask: Mask, want_weights: bool) -> tuple[Tensor, Tensor | None]:
        x = self.tap("residual.pre", x)  # [batch, length, hidden]
        attended, weights = self.attention(x, mask, want_weights)
        x = self.tap("residual.mid", self.attention_norm(x + self.dropout(attended)))
        x = self.tap("residual.post", self.feed_forward_norm(x + self.dropout(self.feed_forward(x))))
        return x, weights


class Pooler(nn.Module):
    """tanh(dense(first token)): one vector per text, trained by next-sentence prediction."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:  # [batch, length, hidden] -> [batch, hidden]
        return torch.tanh(self.dense(hidden[:, 0]))


class Bert(Model):
    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.pooler: Pooler | None = Pooler(config)  # None where the checkpoint has none
        self.head = NoHead()

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> Output:
        mask = bidirectional_mask(attention_mask)
        x = self.embeddings(input_ids, token_type_ids, position_ids)  # [batch, length, hidden]
        seen = Recorder(output_hidden_states, output_attentions)
        seen.hidden(x)
        for layer in self.layers:
            x, weights = layer(x, mask, seen.wants_attentions)
            seen.hidden(x)
            seen.attention(weights)
        pooled = None if self.pooler is None else self.pooler(x)
        return Output(x, pooled, hidden_states=seen.hidden_states, attentions=seen.attentions)


class MaskedLMHead(nn.Module):
    """decoder(norm(act(dense(hidden))))  ->  logits [batch, length, vocabulary]; decoder.weight = token embedding."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.act = ACTIVATIONS[config.hidden_act]
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        x = self.norm(self.act(self.dense(output.last_hidden_state)))
        return output.with_(logits=self.decoder(x))


KEYS = KeyMap(
    (
        ("embeddings.token", "embeddings.word_embeddings"),
        ("embeddings.position", "embeddings.position_embeddings"),
        ("embeddings.token_type", "embeddings.token_type_embeddings"),
        ("embeddings.norm", "embeddings.LayerNorm"),
        ("layers.{i}.attention.query", "encoder.layer.{i}.attention.self.query"),
        ("layers.{i}.attention.key", "encoder.layer.{i}.attention.self.key"),
        ("layers.{i}.attention.value", "encoder.layer.{i}.attention.self.value"),
        ("layers.{i}.attention.output", "encoder.layer.{i}.attention.output.dense"),
        ("layers.{i}.attention_norm", "encoder.layer.{i}.attention.output.LayerNorm"),
        ("layers.{i}.feed_forward.up", "encoder.layer.{i}.intermediate.dense"),
        ("layers.{i}.feed_forward.down", "encoder.layer.{i}.output.dense"),
        ("layers.{i}.feed_forward_norm", "encoder.layer.{i}.output.LayerNorm"),
        ("pooler.dense", "pooler.dense"),
    ),
    prefix="bert.",
    # The 2018 release called a norm's weight gamma and its bias beta, and bert-base-uncased still does.
    renames=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
    drops=(r"embeddings\.position_ids$", r"cls\.seq_relationship\.(weight|bias)$"),
    optional=("pooler",),
)

HEADS = {
    "masked-lm": Head(
        MaskedLMHead,
        ("BertForMaskedLM", "BertForPreTraining"),
        (
            ("head.dense", "cls.predictions.transform.dense"),
            ("head.norm", "cls.predictions.transform.LayerNorm"),
            ("head.decoder.bias", "cls.predictions.bias"),
            ("head.decoder", "cls.predictions.decoder"),
        ),
        ties=(("embeddings.token.weight", "head.decoder.weight"),),
    ),
    "sequence-classification": Head(
        lambda config: PooledClassifier(config.hidden_size, len(config.labels), config.head_dropout),
        ("BertForSequenceClassification",),
        (("head.classifier", "classifier"),),
        needs=("pooler",),
    ),
    "token-classification": Head(
        lambda config: TokenClassifier(config.hidden_size, len(config.labels), config.head_dropout),
        ("BertForTokenClassification",),
        (("head.classifier", "classifier"),),
    ),
    "question-answering": Head(
        lambda config: SpanHead(config.hidden_size),
        ("BertForQuestionAnswering",),
        (("head.span", "qa_outputs"),),
    ),
}

FAMILY = Bert.family = Family(
    BertConfig, Bert, KEYS, "BertModel", HEADS, inputs=frozenset({"token_type_ids", "position_ids"})
)
