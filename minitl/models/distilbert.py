"""DistilBERT: a BERT of half the layers, taught by a whole one (Sanh et al. 2019, arXiv:1910.01108).

    token + position ─ norm ─ dropout ─►┬───────────────►(+)─ norm ─┬──────────────────►(+)─ norm ─►  × layers
                                        └─ attention ─────┘         └─ feed forward ─────┘

    hidden ─ first token ─ dense ─ relu ─ dropout ─ out ─► classes

No token types and no pooler. Dropout (not drawn) stands behind the feed-forward block alone, before the addition.
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
from minitl.nn.heads import NoHead, SpanHead, TokenClassifier
from minitl.nn.masks import Mask, bidirectional_mask
from minitl.nn.norms import LayerNorm
from minitl.nn.output import Output, Recorder
from minitl.nn.tapped import TappedBlock

EPS = 1e-12  # of every norm; no config.json has a field for it


@dataclass(kw_only=True)
class DistilBertConfig(Config):
    model_type = "distilbert"

    vocab_size: int
    dim: int  # hidden size
    n_layers: int
    n_heads: int
    hidden_dim: int  # width of the feed-forward block
    max_position_embeddings: int  # the longest text, in tokens
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    seq_classif_dropout: float = 0.2  # of the sequence classifier
    qa_dropout: float = 0.1  # of the span head
    pad_token_id: int | None = 0

    def check(self, where: str) -> None:
        super().check(where)
        self.require(
            self.dim % self.n_heads == 0,
            where,
            f"field 'dim' ({self.dim}) must be a multiple of 'n_heads' ({self.n_heads})",
        )
        self.require_known(where, "activation", ACTIVATIONS)


class Embeddings(nn.Module):
    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.token = Embedding(config.vocab_size, config.dim, "token id", config.pad_token_id)
        self.position = Embedding(config.max_position_embeddings, config.dim, "position")
        self.norm = LayerNorm(config.dim, EPS)
        self.dropout = Dropout(config.dropout)

    def forward(self, input_ids: Tensor, position_ids: Tensor | None) -> Tensor:
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        return self.dropout(self.norm(self.token(input_ids) + self.position(position_ids)))  # [batch, length, hidden]


class Block(TappedBlock):
    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config.dim, config.n_heads, config.attention_dropout)
        self.attention_norm = LayerNorm(config.dim, EPS)
        self.feed_forward = FeedForward(config.dim, config.hidden_dim, config.activation)
        self.feed_forward_norm = LayerNorm(config.dim, EPS)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Mask, want_weights: bool) -> tuple[Tensor, Tensor | None]:
        x = self.tap("residual.pre", x)  # [batch, length, hidden]
        attended, weights = self.attention(x, mask, want_weights)
        x = self.tap("residual.mid", self.attention_norm(x + attended))
        x = self.tap("residual.post", self.feed_forward_norm(x + self.dropout(self.feed_forward(x))))
        return x, weights


class DistilBert(Model):
    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.head = NoHead()

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> Output:
        mask = bidirectional_mask(attention_mask)
        x = self.embeddings(input_ids, position_ids)  # [batch, length, hidden]
        seen = Recorder(output_hidden_states, output_attentions)
        seen.hidden(x)
        for layer in self.layers:
            x, weights = layer(x, mask, seen.wants_attentions)
            seen.hidden(x)
            seen.attention(weights)
        return Output(x, hidden_states=seen.hidden_states, attentions=seen.attentions)


class MaskedLMHead(nn.Module):
    """decoder(norm(act(dense(hidden))))  ->  logits [batch, length, vocabulary]; decoder.weight = token embedding."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.dim, config.dim)
        self.act = ACTIVATIONS[config.activation]
        self.norm = LayerNorm(config.dim, EPS)
        self.decoder = nn.Linear(config.dim, config.vocab_size)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        x = self.norm(self.act(self.dense(output.last_hidden_state)))
        return output.with_(logits=self.decoder(x))


class Classifier(nn.Module):
    """out(dropout(relu(dense(first token))))  ->  logits [batch, labels]."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.dim, config.dim)
        self.dropout = Dropout(config.seq_classif_dropout)
        self.out = nn.Linear(config.dim, len(config.labels))

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        x = torch.relu(self.dense(output.last_hidden_state[:, 0]))  # [batch, hidden]
        return output.with_(logits=self.out(self.dropout(x)))


KEYS = KeyMap(
    (
        ("embeddings.token", "embeddings.word_embeddings"),
        ("embeddings.position", "embeddings.position_embeddings"),
        ("embeddings.norm", "embeddings.LayerNorm"),
        ("layers.{i}.attention.query", "transformer.layer.{i}.attention.q_lin"),
        ("layers.{i}.attention.key", "transformer.layer.{i}.attention.k_lin"),
        ("layers.{i}.attention.value", "transformer.layer.{i}.attention.v_lin"),
        ("layers.{i}.attention.output", "transformer.layer.{i}.attention.out_lin"),
        ("layers.{i}.attention_norm", "transformer.layer.{i}.sa_layer_norm"),
        ("layers.{i}.feed_forward.up", "transformer.layer.{i}.ffn.lin1"),
        ("layers.{i}.feed_forward.down", "transformer.layer.{i}.ffn.lin2"),
        ("layers.{i}.feed_forward_norm", "transformer.layer.{i}.output_layer_norm"),
    ),
    prefix="distilbert.",
)

HEADS = {
    "masked-lm": Head(
        MaskedLMHead,
        ("DistilBertForMaskedLM",),
        (
            ("head.dense", "vocab_transform"),
            ("head.norm", "vocab_layer_norm"),
            ("head.decoder", "vocab_projector"),
        ),
        ties=(("embeddings.token.weight", "head.decoder.weight"),),
    ),
    "sequence-classification": Head(
        Classifier,
        ("DistilBertForSequenceClassification",),
        (("head.dense", "pre_classifier"), ("head.out", "classifier")),
    ),
    "token-classification": Head(
        lambda config: TokenClassifier(config.dim, len(config.labels), config.dropout),
        ("DistilBertForTokenClassification",),
        (("head.classifier", "classifier"),),
    ),
    "question-answering": Head(
        lambda config: SpanHead(config.dim, config.qa_dropout),
        ("DistilBertForQuestionAnswering",),
        (("head.span", "qa_outputs"),),
    ),
}

FAMILY = DistilBert.family = Family(DistilBertConfig, DistilBert, KEYS, "DistilBertModel", HEADS)
