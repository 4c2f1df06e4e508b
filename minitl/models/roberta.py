"""RoBERTa: BERT's encoder, trained longer on more text and without next-sentence prediction (Liu et al. 2019,
arXiv:1907.11692); XLM-R: the same for a hundred languages (Conneau et al. 2020, arXiv:1911.02116).

    token + position + type ─ norm ─ dropout ─►┬───────────────►(+)─ norm ─┬──────────────────►(+)─ norm ─►  × layers
                                               └─ attention ─────┘         └─ feed forward ─────┘

    hidden ─ first token ─ dropout ─ dense ─ tanh ─ dropout ─ out ─► classes

The layers are BERT's. What differs: positions count from the padding's id on, and the classifier has a layer of its own
where BERT has the pooler, which published files do not hold.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from minitl.models import bert
from minitl.models.base import Family, Head
from minitl.nn.embeddings import Embedding
from minitl.nn.heads import FirstTokenClassifier, SpanHead, TokenClassifier


@dataclass(kw_only=True)
class RobertaConfig(bert.BertConfig):
    model_type = "roberta"

    pad_token_id: int | None = 1  # and the position of padding
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2

    def check(self, where: str) -> None:
        super().check(where)
        pad, rows = self.pad_token_id, self.max_position_embeddings
        self.require(
            pad is not None and 0 <= pad < rows - 1,
            where,
            f"field 'pad_token_id' must lie between 0 and 'max_position_embeddings' - 2 ({rows - 2}), got {pad}: "
            "positions are counted from it on",
        )


@dataclass(kw_only=True)
class XLMRobertaConfig(RobertaConfig):
    model_type = "xlm-roberta"


class Embeddings(bert.Embeddings):
    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        assert config.pad_token_id is not None  # the configuration was checked
        self.padding = config.pad_token_id
        self.position = Embedding(config.max_position_embeddings, config.hidden_size, "position", self.padding)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None, position_ids: Tensor | None) -> Tensor:
        if position_ids is None:
            # fairseq numbers the first token pad + 1 and every padding pad, wherever in the row the padding stands.
            text = input_ids.ne(self.padding).long()
            position_ids = text.cumsum(-1) * text + self.padding
        return super().forward(input_ids, token_type_ids, position_ids)  # [batch, length, hidden]


class Roberta(bert.Bert):
    embeddings: Embeddings

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)

    @property
    def position_limit(self) -> int:
        return self.embeddings.position.num_embeddings - self.embeddings.padding - 1


class XLMRoberta(Roberta):
    """RoBERTa under another name in config.json, with a vocabulary for a hundred languages."""


def _family(config: type[RobertaConfig], model: type[Roberta], published: str) -> Family:
    """The registry entry; `published` begins the class names under which other libraries know the family."""
    heads = {
        "masked-lm": Head(
            # gelu whatever hidden_act says: that one is of the layers alone
            lambda config: bert.MaskedLMHead(replace(config, hidden_act="gelu")),
            (f"{published}ForMaskedLM",),
            (
                ("head.dense", "lm_head.dense"),
                ("head.norm", "lm_head.layer_norm"),
                ("head.decoder.bias", "lm_head.bias"),
                ("head.decoder", "lm_head.decoder"),
            ),
            ties=(("embeddings.token.weight", "head.decoder.weight"),),
        ),
        "sequence-classification": Head(
            lambda config: FirstTokenClassifier(config.hidden_size, len(config.labels), config.head_dropout, "tanh"),
            (f"{published}ForSequenceClassification",),
            (("head.dense", "classifier.dense"), ("head.out", "classifier.out_proj")),
        ),
        "token-classification": Head(
            lambda config: TokenClassifier(config.hidden_size, len(config.labels), config.head_dropout),
            (f"{published}ForTokenClassification",),
            (("head.classifier", "classifier"),),
        ),
        "question-answering": Head(
            lambda config: SpanHead(config.hidden_size),
            (f"{published}ForQuestionAnswering",),
            (("head.span", "qa_outputs"),),
        ),
    }
    keys = replace(bert.KEYS, prefix="roberta.", renames=(), drops=(r"embeddings\.position_ids$",))
    inputs = frozenset({"token_type_ids", "position_ids"})
    return Family(config, model, keys, f"{published}Model", heads, inputs)


FAMILY = Roberta.family = _family(RobertaConfig, Roberta, "Roberta")
XLM = XLMRoberta.family = _family(XLMRobertaConfig, XLMRoberta, "XLMRoberta")
