"""biLM: a forward and a backward LSTM language model over tokens, ELMo's pretraining (Peters et al. 2018,
arXiv:1802.05365, section 3.1).

    token ─ embed ─┬─ LSTM ─┬─ LSTM ─(+)─►  left to right ─┐
                   │        └────────┘                     ├─ joined ─► hidden
                   └─ LSTM ─┬─ LSTM ─(+)─►  right to left ─┘
                            └────────┘                                       × num_hidden_layers

    hidden ─ each half ─ decoder ─► the next token, the one before

The directions share embedding and decoder, which are one matrix, and meet nowhere else. A task reads all layers, mixed
by weights that it learns (equation 1): `mix`, which a language model has not; its last hidden state is then the mix.
The published ELMo, over characters, is `minitl.models.elmo`; this one reads what the other families read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minitl.checkpoints.key_map import KeyMap
from minitl.models.base import Family, Head, Model
from minitl.models.config import Config
from minitl.nn.dropout import Dropout
from minitl.nn.embeddings import Embedding
from minitl.nn.heads import NoHead, PooledClassifier, TokenClassifier
from minitl.nn.lstm import ProjectedLSTM
from minitl.nn.output import Output, Recorder
from minitl.nn.pooling import pool_mean
from minitl.nn.scalar_mix import ScalarMix


@dataclass(kw_only=True)
class BiLMConfig(Config):
    model_type = "bilm"

    vocab_size: int
    projection_size: int  # of a token and of what an LSTM puts out; a hidden state joins two of them
    cell_size: int  # of an LSTM; ELMo's is 8 times the projection
    num_hidden_layers: int
    dropout: float = 0.0  # of tokens, and of what each layer puts out
    classifier_dropout: float = 0.1

    def check(self, where: str) -> None:
        super().check(where)
        fits = self.projection_size <= self.cell_size
        self.require(fits, where, f"field 'projection_size' must be at most 'cell_size' ({self.cell_size})")

    @property
    def hidden_size(self) -> int:
        return 2 * self.projection_size


class Embeddings(nn.Module):
    def __init__(self, config: BiLMConfig) -> None:
        super().__init__()
        self.token = Embedding(config.vocab_size, config.projection_size, "token id")
        self.dropout = Dropout(config.dropout)

    def forward(self, input_ids: Tensor) -> Tensor:
        x: Tensor = self.dropout(self.token(input_ids))  # [batch, length, projection]
        return x


class Block(nn.Module):
    """One LSTM a direction. Both read from their own beginning: the second gets the text turned round.

    skip   whether a layer's input is added to its output; not the bottom one's
    """

    def __init__(self, config: BiLMConfig, skip: bool) -> None:
        super().__init__()
        size = config.projection_size
        self.left_to_right = ProjectedLSTM(size, config.cell_size, size, None, None)
        self.right_to_left = ProjectedLSTM(size, config.cell_size, size, None, None)
        self.dropout = Dropout(config.dropout)
        self.skip = skip

    def forward(self, ahead: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:  # each [batch, length, projection]
        read_ahead = self.dropout(self.left_to_right(ahead))
        read_back = self.dropout(self.right_to_left(back))
        return (read_ahead + ahead, read_back + back) if self.skip else (read_ahead, read_back)


class BiLM(Model):
    config: BiLMConfig

    def __init__(self, config: BiLMConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Block(config, skip=i > 0) for i in range(config.num_hidden_layers))
        self.mix: ScalarMix | None = ScalarMix(config.num_hidden_layers + 1)  # None where no task mixes
        self.head = NoHead()

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> Output:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        order, turned = _reading_orders(mask)
        places, turned_places = order.argsort(1), turned.argsort(1)

        def joined(ahead: Tensor, back: Tensor) -> Tensor:
            """[batch, length, hidden]: both directions, every token in its place."""
            return torch.cat((_rows(ahead, places), _rows(back, turned_places)), dim=-1)

        x = self.embeddings(input_ids)  # [batch, length, projection]
        ahead, back = _rows(x, order), _rows(x, turned)
        states = [joined(ahead, back)]
        for layer in self.layers:
            ahead, back = layer(ahead, back)
            states.append(joined(ahead, back))
        seen = Recorder(output_hidden_states, output_attentions)
        for state in states:
            seen.hidden(state)
        x = states[-1] if self.mix is None else self.mix(states)
        return Output(x, pool_mean(x, mask), hidden_states=seen.hidden_states, attentions=seen.attentions)

    @torch.no_grad()
    def initialize(self, modules: Sequence[nn.Module] | None = None) -> None:
        super().initialize(modules)
        for module in (one for root in modules or [self] for one in root.modules()):
            if isinstance(module, ScalarMix):  # a plain mean
                nn.init.zeros_(module.weights)
                nn.init.ones_(module.gamma)


def _reading_orders(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Which place of a row is read when, from left to right and from right to left, padding after the text, wherever it
    stood: two tensors [batch, length]."""
    length = mask.shape[1]
    place = torch.arange(length, device=mask.device)
    return tuple(  # type: ignore[return-value]  # mypy does not count
        torch.where(mask.bool(), order, place + length).argsort(1) for order in (place, length - 1 - place)
    )


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """x [batch, n, size] and index [batch, m] -> [batch, m, size]: row index[b, j] of x[b]."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


class BidirectionalLMHead(nn.Module):
    """decoder(half of hidden)  ->  logits [batch, length, 2, vocabulary]: of the next token, and of the one before."""

    def __init__(self, config: BiLMConfig) -> None:
        super().__init__()
        self.decoder = nn.Linear(config.projection_size, config.vocab_size)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        return output.with_(logits=self.decoder(output.last_hidden_state.unflatten(-1, (2, -1))))


KEYS = KeyMap(
    (
        ("embeddings.token", "embeddings"),
        ("layers.{i}.left_to_right", "layers.{i}.forward"),
        ("layers.{i}.right_to_left", "layers.{i}.backward"),
        ("mix", "mix"),
    ),
    optional=("mix",),
)

HEADS = {
    "bidirectional-lm": Head(
        BidirectionalLMHead,
        ("BiLMForBidirectionalLM",),
        (("head.decoder", "decoder"),),
        ties=(("embeddings.token.weight", "head.decoder.weight"),),
    ),
    "sequence-classification": Head(
        lambda config: PooledClassifier(config.hidden_size, len(config.labels), config.classifier_dropout),
        ("BiLMForSequenceClassification",),
        (("head.classifier", "classifier"),),
        needs=("mix",),
    ),
    "token-classification": Head(
        lambda config: TokenClassifier(config.hidden_size, len(config.labels), config.classifier_dropout),
        ("BiLMForTokenClassification",),
        (("head.classifier", "classifier"),),
        needs=("mix",),
    ),
}

FAMILY = BiLM.family = Family(BiLMConfig, BiLM, KEYS, "BiLMModel", HEADS, inputs=frozenset())
