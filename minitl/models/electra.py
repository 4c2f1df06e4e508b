"""ELECTRA: BERT's encoder, trained to tell which tokens a small generator has replaced (Clark et al. 2020,
arXiv:2003.10555).

    token + position + type ─ norm ─ dropout ─ project
                                                  │
       ┌──────────────────────────────────────────┘
       └►┬───────────────►(+)─ norm ─┬──────────────────►(+)─ norm ─►  × layers
         └─ attention ─────┘         └─ feed forward ─────┘

    hidden ─ dense ─ act ─ out ─► replaced or not, a score a token

The layers are BERT's. What differs: embeddings may be narrower than the layers, which then begin with a projection,
there is no pooler, and the heads are its own.
"""

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor, nn

from minitl.models import bert
from minitl.models.base import Family, Head
from minitl.nn.activations import ACTIVATIONS
from minitl.nn.heads import FirstTokenClassifier, SpanHead, TokenClassifier
from minitl.nn.norms import LayerNorm
from minitl.nn.output import Output


@dataclass(kw_only=True)
class ElectraConfig(bert.BertConfig):
    model_type = "electra"

    embedding_size: int = 128  # of the tables; the small model's is half its hidden size

    def check(self, where: str) -> None:
        super().check(where)
        self.require_positive(where, "embedding_size")


class Embeddings(bert.Embeddings):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(replace(config, hidden_size=config.embedding_size))
        same = config.embedding_size == config.hidden_size
        self.projection = nn.Identity() if same else nn.Linear(config.embedding_size, config.hidden_size)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None, position_ids: Tensor | None) -> Tensor:
        x = super().forward(input_ids, token_type_ids, position_ids)  # [batch, length, embedding]
        return self.projection(x)  # [batch, length, hidden]


class Electra(bert.Bert):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.pooler = None


class ReplacedTokenHead(nn.Module):
    """out(act(dense(hidden)))  ->  logits [batch, length]; above 0 = replaced  (Clark et al. 2020, section 2)."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.act = ACTIVATIONS[config.hidden_act]
        self.out = nn.Linear(config.hidden_size, 1)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        x = self.act(self.dense(output.last_hidden_state))
        return output.with_(logits=self.out(x).squeeze(-1))


class GeneratorHead(nn.Module):
    """decoder(norm(gelu(dense(hidden))))  ->  logits [batch, length, vocabulary], through the embedding's width."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.norm = LayerNorm(config.embedding_size, config.layer_norm_eps)
        self.decoder = nn.Linear(config.embedding_size, config.vocab_size)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        x = self.norm(F.gelu(self.dense(output.last_hidden_state)))
        return output.with_(logits=self.decoder(x))


KEYS = replace(
    bert.KEYS,
    pairs=(
        *(pair for pair in bert.KEYS.pairs if not pair[0].startswith("pooler")),
        ("embeddings.projection", "embeddings_project"),
    ),
    prefix="electra.",
    renames=(),
    drops=(r"embeddings\.position_ids$",),
    optional=(),
)

HEADS = {
    "replaced-token-detection": Head(
        ReplacedTokenHead,
        ("ElectraForPreTraining",),
        (
            ("head.dense", "discriminator_predictions.dense"),
            ("head.out", "discriminator_predictions.dense_prediction"),
        ),
    ),
    "masked-lm": Head(
        GeneratorHead,
        ("ElectraForMaskedLM",),
        (
            ("head.dense", "generator_predictions.dense"),
            ("head.norm", "generator_predictions.LayerNorm"),
            ("head.decoder", "generator_lm_head"),
        ),
        ties=(("embeddings.token.weight", "head.decoder.weight"),),
    ),
    "sequence-classification": Head(
        lambda config: FirstTokenClassifier(config.hidden_size, len(config.labels), config.head_dropout, "gelu"),
        ("ElectraForSequenceClassification",),
        (("head.dense", "classifier.dense"), ("head.out", "classifier.out_proj")),
    ),
    "token-classification": Head(
        lambda config: TokenClassifier(config.hidden_size, len(config.labels), config.head_dropout),
        ("ElectraForTokenClassification",),
        (("head.classifier", "classifier"),),
    ),
    "question-answering": Head(
        lambda config: SpanHead(config.hidden_size),
        ("ElectraForQuestionAnswering",),
        (("head.span", "qa_outputs"),),
    ),
}

FAMILY = Electra.family = Family(
    ElectraConfig, Electra, KEYS, "ElectraModel", HEADS, inputs=frozenset({"token_type_ids", "position_ids"})
)
