"""Tiny models with tokenizers that were trained on made text: one of each kind that answers prompts.

Their weights are far larger than usual, so that the scores of a tiny random model lie well apart.
"""

import json
import random
from pathlib import Path
from typing import Any

from tokenizers import ByteLevelBPETokenizer

from minitl import load_tokenizer, new_model
from minitl.models.base import Model
from minitl.prompting import PromptClassifier
from minitl.tokenization import Tokenizer

WORDS = [
    *("good", "bad", "fine", "poor", "film", "book", "food", "hotel", "was", "the", "a", "very", "not", "and", "but"),
    *("really", "Sentiment:", "day", "we", "it", "This", "is", "."),
]
DECODERS, ENCODER_DECODERS, ENCODERS = ("gpt2", "llama", "mistral"), ("t5", "bart"), ("bert", "roberta")
NLI = ["CONTRADICTION", "neutral", "Entailment"]


def made_text(seed: int = 0, lines: int = 1500) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=9)) for _ in range(lines)]


def train_tokenizers(folder: Path) -> dict[str, Tokenizer]:
    """ "gpt2" and "roberta" (byte-level BPE), "llama" and "t5" (SentencePiece), "bert" (WordPiece)."""
    import sentencepiece

    text = folder / "text"
    text.write_text("\n".join(made_text()), encoding="utf-8")
    folders = {name: folder / name for name in ("gpt2", "roberta", "llama", "t5", "bert")}
    for own in folders.values():
        own.mkdir()
    for name, specials in (("gpt2", ["<|endoftext|>"]), ("roberta", ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])):
        bpe = ByteLevelBPETokenizer()
        bpe.train([str(text)], vocab_size=400, special_tokens=specials, show_progress=False)
        bpe.save_model(str(folders[name]))
    kept = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True}
    t5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    options: dict[str, dict[str, Any]] = {
        "llama/tokenizer": {"model_type": "bpe", "vocab_size": 340, **kept},
        "t5/spiece": {"model_type": "unigram", "vocab_size": 60, **t5},
    }
    for path, option in options.items():
        name, stem = path.split("/")
        sentencepiece.SentencePieceTrainer.train(
            input=str(text),
            model_prefix=str(folders[name] / stem),
            hard_vocab_limit=False,
            minloglevel=2,
            num_threads=1,
            **option,
        )
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *map(str.lower, WORDS),
        "##ly",
        "n",
        "/",
        "example",
        ":",
        "sentiment",
    ]
    (folders["bert"] / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n")
    for name, own in folders.items():
        published = {"gpt2": "GPT2", "roberta": "Roberta", "llama": "Llama", "t5": "T5", "bert": "Bert"}[name]
        config = {"tokenizer_class": f"{published}Tokenizer", **({"extra_ids": 0} if name == "t5" else {})}
        (own / "tokenizer_config.json").write_text(json.dumps(config))
    return {name: load_tokenizer(own) for name, own in folders.items()}


def build(name: str, tokenizer: Tokenizer, **changes: Any) -> Model:
    """A tiny model of one of KINDS."""
    family, _, kind = name.partition("-")
    common: dict[str, Any] = {"model_type": family, "vocab_size": tokenizer.vocab_size, "initializer_range": 0.4}
    encoder = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 64,
    }
    fields: dict[str, dict[str, Any]] = {
        "gpt2": {"n_positions": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0},
        "llama": {**encoder, "num_attention_heads": 4, "num_key_value_heads": 2},
        "t5": {
            "d_model": 16,
            "d_kv": 6,
            "d_ff": 24,
            "num_layers": 1,
            "num_decoder_layers": 2,
            "num_heads": 3,
            "initializer_factor": 3.0,
            "decoder_start_token_id": 0,
            "pad_token_id": 0,
            "eos_token_id": 1,
        },
        "mistral": {**encoder, "num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 8},
        "bart": {
            "d_model": 16,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 20,
            "decoder_ffn_dim": 20,
            "max_position_embeddings": 64,
            "init_std": 0.4,
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
        },
        "bert": {**encoder, "pad_token_id": 0},
        "roberta": {**encoder, "pad_token_id": 1, "max_position_embeddings": 66},
    }
    tasks = {**dict.fromkeys(DECODERS, "causal-lm"), **dict.fromkeys(ENCODER_DECODERS, "seq2seq-lm")}
    task = tasks.get(family, "masked-lm")
    labels = NLI if kind == "nli" else None
    return new_model(
        {**common, **fields[family], **changes}, "sequence-classification" if labels else task, labels=labels
    )


KINDS = (*DECODERS, *ENCODER_DECODERS, *ENCODERS, "bert-nli", "bart-nli")  # "-nli": an entailment classifier


class Made:
    """A kind by its name, with model, tokenizer, and a template that fits."""

    def __init__(self, name: str, tokenizers: dict[str, Tokenizer]) -> None:
        self.name = name
        family = name.partition("-")[0]
        self.tokenizer = tokenizers[{"mistral": "llama", "bart": "roberta"}.get(family, family)]
        self.model = build(name, self.tokenizer)
        templates = {
            "bert": "{text} it was {mask} .",
            "roberta": "{text} it was {mask}.",
            "bert-nli": "This is {} .",
            "bart-nli": "This is {} .",
        }
        self.template = templates.get(name, "{text}\nSentiment:")
        self.words = {"positive": "good", "negative": "bad", "mixed": "fine"}
        if name in (*DECODERS, *ENCODER_DECODERS):  # a label may have several tokens, here of different number
            self.words = {"positive": " good", "negative": " bad", "mixed": " really not fine"}

    def classifier(self, **options: Any) -> PromptClassifier:
        return PromptClassifier(
            self.model, self.tokenizer, **{"words": self.words, "template": self.template, **options}
        )


TEXTS = ["the film was very good", "bad", "we really it was not a fine hotel day and but the food", "poor book"]
