"""Skip-gram: one vector for each token, whatever stands around it (Mikolov et al. 2013, arXiv:1310.4546; word2vec).

    token ─ embed ─► hidden ─ mean over the text ─► pooled

There is no layer: a token's vector is taught, by `minitl.tasks.negative_sampling`, to tell the tokens that stand near
it from others that are drawn. For that each token has a second vector, v', which no task afterwards looks at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minitl.checkpoints.key_map import KeyMap
from minitl.models.base import Family, Head, Model
from minitl.models.config import Config
from minitl.nn.embeddings import Embedding
from minitl.nn.heads import NoHead, PooledClassifier, TokenClassifier
from minitl.nn.output import Output, Recorder
from minitl.nn.pooling import pool_mean


@dataclass(kw_only=True)
class SkipGramConfig(Config):
    model_type = "skip-gram"

    vocab_size: int
    hidden_size: int
    classifier_dropout: float = 0.1


class Embeddings(nn.Module):
    def __init__(self, config: SkipGramConfig) -> None:
        super().__init__()
        self.token = Embedding(config.vocab_size, config.hidden_size, "token id")

    def forward(self, input_ids: Tensor) -> Tensor:
        x: Tensor = self.token(input_ids)  # [batch, length, hidden]
        return x


class ContextHead(nn.Module):
    """v', a second vector for each token, and how often the text that taught it had each: a buffer [vocabulary], 0 in a
    new head. It says nothing of a text; `minitl.tasks.negative_sampling` asks it."""

    counts: Tensor

    def __init__(self, config: SkipGramConfig) -> None:
        super().__init__()
        self.context = Embedding(config.vocab_size, config.hidden_size, "token id")
        self.register_buffer("counts", torch.zeros(config.vocab_size))

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        return output

    def scores(self, centres: Tensor, others: Tensor) -> Tensor:
        """v'_other · v_centre: centres [n, hidden], ids others [n, k] -> [n, k]."""
        return (self.context(others) @ centres[..., None]).squeeze(-1)


class SkipGram(Model):
    config: SkipGramConfig

    def __init__(self, config: SkipGramConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList()
        self.head = NoHead()

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> Output:
        x = self.embeddings(input_ids)
        seen = Recorder(output_hidden_states, output_attentions)
        seen.hidden(x)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return Output(x, pool_mean(x, mask), hidden_states=seen.hidden_states, attentions=seen.attentions)

    @torch.no_grad()
    def initialize(self, modules: Sequence[nn.Module] | None = None) -> None:
        """word2vec's beginning: v between -1/2 and 1/2 of 1/hidden, v' 0; a classifier as in every family."""
        super().initialize(modules)
        for module in (one for root in modules or [self] for one in root.modules()):
            if isinstance(module, Embeddings):
                nn.init.uniform_(module.token.weight, -0.5 / self.config.hidden_size, 0.5 / self.config.hidden_size)
            elif isinstance(module, ContextHead):
                nn.init.zeros_(module.context.weight)
                nn.init.zeros_(module.counts)


KEYS = KeyMap((("embeddings.token", "embeddings"),))

HEADS = {
    "negative-sampling": Head(
        ContextHead,
        ("SkipGramForNegativeSampling",),
        (("head.context", "context"), ("head.counts", "counts")),
    ),
    "sequence-classification": Head(
        lambda config: PooledClassifier(config.hidden_size, len(config.labels), config.classifier_dropout),
        ("SkipGramForSequenceClassification",),
        (("head.classifier", "classifier"),),
    ),
    "token-classification": Head(
        lambda config: TokenClassifier(config.hidden_size, len(config.labels), config.classifier_dropout),
        ("SkipGramForTokenClassification",),
        (("head.classifier", "classifier"),),
    ),
}

FAMILY = SkipGram.family = Family(SkipGramConfig, SkipGram, KEYS, "SkipGramModel", HEADS, inputs=frozenset())
