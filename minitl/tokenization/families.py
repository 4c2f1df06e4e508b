"""What the files of a tokenizer leave unsaid, family by family.

An entry gives the special tokens that a family uses where its configuration files name none, the template that puts
them around one text or two, and, for SentencePiece files, the order of ids and the treatment of spaces. A new family
is one entry in `FAMILIES`; where a tokenizer.json exists, it decides and most of an entry is not consulted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer

from minitl.tokenization import sentencepiece_model
from minitl.tokenization.settings import Settings


@dataclass(frozen=True)
class Layout:
    """How a family numbers the pieces of a SentencePiece file.

    The tokens with the roles in `first` take the places of the file's own first `replaced` pieces; those in `last`
    follow after all pieces, and then T5's sentinels.
    """

    spacing: Callable[[Tokenizer, Any, Settings], None] = sentencepiece_model.as_trained
    first: tuple[str, ...] = ()
    replaced: int = 0
    last: tuple[str, ...] = ()
    sentinels: int = 0  # <extra_id_0> is the last id of all; `extra_ids` of the configuration changes their number


@dataclass(frozen=True)
class Family:
    """Defaults of one family.

    `single` and `pair` are templates over roles in braces and the texts $A and $B, with an optional ":1" for the
    second token type; without them, add_bos_token and add_eos_token of the configuration decide.
    """

    special_tokens: Mapping[str, str] = field(default_factory=dict)
    single: str = ""
    pair: str = ""
    token_types: bool = False
    mask_takes_space: bool = False  # "a <mask>" is "a", "<mask>": the mask stands for " word", space included
    trim_offsets: bool = False  # the offsets of "Ġword" start after the space
    add_bos: bool = False  # where add_bos_token is not set
    padding_side: str = "right"  # where padding_side is not set
    layout: Layout = field(default_factory=Layout)


_CLS_SEP = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_S = {"bos": "<s>", "eos": "</s>", "sep": "</s>", "cls": "<s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}

BERT = Family(
    special_tokens=_CLS_SEP,
    single="{cls} $A {sep}",
    pair="{cls} $A {sep} $B:1 {sep}:1",
    token_types=True,
)
DISTILBERT = Family(special_tokens=_CLS_SEP, single=BERT.single, pair=BERT.pair)
ROBERTA = Family(
    special_tokens=_S,
    single="{cls} $A {sep}",
    pair="{cls} $A {sep} {sep} $B {sep}",
    mask_takes_space=True,
    trim_offsets=True,
)
GPT2 = Family(special_tokens={"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>"})
LLAMA = Family(
    special_tokens={"bos": "<s>", "eos": "</s>", "unk": "<unk>"},
    add_bos=True,
    padding_side="left",
    layout=Layout(spacing=sentencepiece_model.one_stream),
)
T5 = Family(
    special_tokens={"eos": "</s>", "unk": "<unk>", "pad": "<pad>"},
    single="$A {eos}",
    pair="$A {eos} $B {eos}",
    layout=Layout(spacing=sentencepiece_model.split_words, sentinels=100),
)
XLM_ROBERTA = Family(
    special_tokens=_S,
    single="{bos} $A {eos}",
    pair="{bos} $A {eos} {eos} $B {eos}",
    mask_takes_space=True,
    layout=Layout(  # fairseq put its four specials first: every other id is the file's plus one
        spacing=sentencepiece_model.split_words,
        first=("bos", "pad", "eos", "unk"),
        replaced=3,
        last=("mask",),
    ),
)
DEBERTA_V2 = Family(
    special_tokens={**_CLS_SEP, "bos": "[CLS]", "eos": "[SEP]"},
    single="{cls} $A {sep}",
    pair="{cls} $A {sep} $B:1 {sep}:1",
    token_types=True,
)
PLAIN = Family()  # nothing beyond what the files say

FAMILIES: dict[str, Family] = {  # by published class name, without "Fast"
    "BertTokenizer": BERT,
    "ElectraTokenizer": BERT,
    "DistilBertTokenizer": DISTILBERT,
    "RobertaTokenizer": ROBERTA,
    "BartTokenizer": ROBERTA,
    "GPT2Tokenizer": GPT2,
    "LlamaTokenizer": LLAMA,
    "T5Tokenizer": T5,
    "MT5Tokenizer": T5,
    "XLMRobertaTokenizer": XLM_ROBERTA,
    "DebertaV2Tokenizer": DEBERTA_V2,
    "PreTrainedTokenizer": PLAIN,
    "TokenizersBackend": PLAIN,
}

BY_MODEL_TYPE: dict[str, str] = {  # config.json's model_type, where no tokenizer_class is given
    "bert": "BertTokenizer",
    "electra": "ElectraTokenizer",
    "distilbert": "DistilBertTokenizer",
    "roberta": "RobertaTokenizer",
    "bart": "BartTokenizer",
    "gpt2": "GPT2Tokenizer",
    "llama": "LlamaTokenizer",
    "mistral": "LlamaTokenizer",
    "t5": "T5Tokenizer",
    "mt5": "T5Tokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
}
