"""What the files of a tokenizer leave unsaid, family by family.

An entry gives the special tokens that a family uses where its configuration files name none, the template that puts
them around one text or two, and, for SentencePiece files, the order of ids and the treatment of spaces. A new family
is one entry in `FAMILIES`; where a tokenizer.json exists, it decides and most of an entry is not consulted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tokenizers import Tokenizer

from minitl.errors import TokenizerError
from minitl.tokenization import languages, sentencepiece_model
from minitl.tokenization.languages import LanguageSet
from minitl.tokenization.settings import Settings


def no_tokens(_settings: Settings, _names: Mapping[str, str]) -> list[str]:
    return []


@dataclass(frozen=True)
class Layout:
    """How a family numbers the pieces of a SentencePiece file.

    The tokens with the roles in `first`, and then the `reserved` ones, take the places of the file's own first
    `replaced` pieces; the languages follow after all pieces, then the roles in `last`, and then T5's sentinels.
    """

    spacing: Callable[[Tokenizer, Any, Settings], None] = sentencepiece_model.as_trained
    first: tuple[str, ...] = ()
    reserved: Callable[[Settings, Mapping[str, str]], list[str]] = no_tokens  # by the configuration and the roles
    replaced: int = 0
    last: tuple[str, ...] = ()
    numbered: bool = False  # vocab.json numbers the pieces, whatever their order
    sentinels: int = 0  # <extra_id_0> is the last id of all; `extra_ids` of the configuration changes their number


@dataclass(frozen=True)
class Family:
    """Defaults of one family.

    `single` and `pair` are templates over roles in braces and the texts $A and $B, with an optional ":1" for the
    second token type; without them, add_bos_token and add_eos_token of the configuration decide. Of a family with
    `languages`, {language} is that of the text; `legacy` are the templates where legacy_behaviour is set.
    """

    special_tokens: Mapping[str, str] = field(default_factory=dict)
    single: str = ""
    pair: str = ""
    legacy: tuple[str, str] | None = None
    languages: Callable[[Settings], LanguageSet] | None = None
    token_types: bool = False
    mask_takes_space: bool = False  # "a <mask>" is "a", "<mask>": the mask stands for " word", space included
    trim_offsets: bool = False  # the offsets of "Ġword" start after the space
    add_bos: bool = False  # where add_bos_token is not set
    padding_side: str = "right"  # where padding_side is not set
    layout: Layout = field(default_factory=Layout)


def reserved_for_pretraining(settings: Settings, names: Mapping[str, str]) -> list[str]:
    """Pegasus' tokens between </s> and <unk>: two masks, of a sentence and of a word, and <unk_2> … <unk_102>.

    Where the sentence's mask is null, as in BigBird's, there is no place for either.
    """
    is_null = "mask_token_sent" in settings.values and settings.values["mask_token_sent"] is None
    masks = [] if is_null else [settings.get("mask_token_sent", str, "<mask_1>"), names["mask"]]
    return [*masks, *(f"<unk_{number}>" for number in range(2, settings.count("offset", 103)))]


def languages_of_m2m100(settings: Settings) -> LanguageSet:
    """M2M100's hundred, or the eight of WMT21's winner, which has the same classes."""
    sets = {"m2m100": languages.M2M100, "wmt21": languages.WMT21}
    name = settings.get("language_codes", str, "m2m100")
    if name not in sets:
        path = settings.folder / "tokenizer_config.json"
        raise TokenizerError(f"{path}: language_codes must be one of {', '.join(sets)}, found {name!r}")
    return sets[name]


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
PEGASUS = Family(
    special_tokens={"eos": "</s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask_2>"},
    single="$A {eos}",
    pair="$A $B {eos}",
    layout=Layout(first=("pad", "eos"), reserved=reserved_for_pretraining, replaced=2),
)
_FAIRSEQ = Layout(first=("cls", "pad", "eos", "unk"), replaced=3, last=("mask",))
MBART = Family(
    special_tokens=_S,
    single="$A {eos} {language}",
    pair="$A $B {eos} {language}",
    languages=lambda _: languages.MBART25,
    mask_takes_space=True,
    layout=replace(_FAIRSEQ, spacing=sentencepiece_model.split_words),
)
MBART50 = Family(
    special_tokens=_S,
    single="{language} $A {eos}",
    pair="{language} $A $B {eos}",
    languages=lambda _: languages.MBART50,
    mask_takes_space=True,
    layout=_FAIRSEQ,
)
NLLB = replace(MBART50, languages=lambda _: languages.NLLB200, legacy=(MBART.single, MBART.pair))
M2M100 = Family(
    special_tokens={"bos": "<s>", "eos": "</s>", "sep": "</s>", "unk": "<unk>", "pad": "<pad>"},
    single=MBART50.single,
    pair=MBART50.pair,
    languages=languages_of_m2m100,
    layout=Layout(numbered=True),
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
    "PegasusTokenizer": PEGASUS,
    "MBartTokenizer": MBART,
    "MBart50Tokenizer": MBART50,
    "M2M100Tokenizer": M2M100,
    "NllbTokenizer": NLLB,
    "DebertaV2Tokenizer": DEBERTA_V2,
    "PreTrainedTokenizer": PLAIN,
    "TokenizersBackend": PLAIN,
}

LANGUAGE_SWITCHES = ("legacy_behaviour", "language_codes")  # what a configuration says of languages beside the codes

BY_MODEL_TYPE: dict[str, str] = {  # config.json's model_type, where no tokenizer_class is given
    "bert": "BertTokenizer",
    "electra": "ElectraTokenizer",
    "distilbert": "DistilBertTokenizer",
    "bilm": "DistilBertTokenizer",
    "skip-gram": "DistilBertTokenizer",
    "roberta": "RobertaTokenizer",
    "bart": "BartTokenizer",
    "gpt2": "GPT2Tokenizer",
    "llama": "LlamaTokenizer",
    "mistral": "LlamaTokenizer",
    "t5": "T5Tokenizer",
    "mt5": "T5Tokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "pegasus": "PegasusTokenizer",
    "mbart": "MBartTokenizer",  # of either number of languages: config.json of mBART-50 names its class
    "m2m_100": "M2M100Tokenizer",  # and NLLB's too
    "deberta-v2": "DebertaV2Tokenizer",
}
