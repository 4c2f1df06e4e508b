"""A new vocabulary from text, by the algorithm of a family: what a model trained from scratch begins with.

WordPiece            bert, distilbert, electra,      merges of pairs by count, written "##" inside words
                     modernbert, bilm, skip-gram
byte-level BPE       gpt2, roberta, bart             merges of pairs by count, over bytes

ModernBERT's published tokenizer is a byte-level BPE that comes as a file; for its shape WordPiece is learned.
Both count by byte-pair encoding (Sennrich et al. 2016, algorithm 1); the `tokenizers` library does the counting.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from minitl.checkpoints.atomic import write_json, write_text
from minitl.errors import InputError
from minitl.tokenization import byte_level_bpe, families, wordpiece
from minitl.tokenization.loading import load_tokenizer
from minitl.tokenization.settings import Settings
from minitl.tokenization.tokenizer import Tokenizer

# In the order of their ids, which is that of the published checkpoints where these have them first.
WORDPIECE_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
GPT2_TOKENS = ["<|endoftext|>"]
PLAIN = "DistilBertTokenizer"  # WordPiece without token types
SPECIAL_TOKENS = {
    "bert": WORDPIECE_TOKENS,
    "distilbert": WORDPIECE_TOKENS,
    "electra": WORDPIECE_TOKENS,
    "modernbert": WORDPIECE_TOKENS,
    "bilm": WORDPIECE_TOKENS,
    "skip-gram": WORDPIECE_TOKENS,
    "roberta": ROBERTA_TOKENS,
    "bart": ROBERTA_TOKENS,
    "gpt2": GPT2_TOKENS,
}


def learn_tokenizer(texts: Iterable[str], model_type: str, vocab_size: int) -> Tokenizer:
    """A tokenizer of `model_type`'s kind with at most `vocab_size` tokens, the special ones included.

    WordPiece lower-cases and strips accents, as the published uncased models do. InputError: a model type whose
    tokenizers are not learned here, or a vocabulary too small for its alphabet.
    """
    if model_type not in SPECIAL_TOKENS:
        known = ", ".join(SPECIAL_TOKENS)
        raise InputError(f"a tokenizer for {model_type!r} cannot be learned here, only for {known}: name one to take")
    special = SPECIAL_TOKENS[model_type]
    least = len(special) + (0 if special is WORDPIECE_TOKENS else 256)
    if vocab_size <= least:
        raise InputError(f"vocab_size must be above {least}, the special tokens and the alphabet, got {vocab_size}")
    with tempfile.TemporaryDirectory() as name:  # written as published, read as published
        folder = Path(name)
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": families.BY_MODEL_TYPE.get(model_type, PLAIN)})
        if special is WORDPIECE_TOKENS:
            _learn_wordpiece(texts, vocab_size, folder)
        else:
            _learn_byte_level(texts, vocab_size, special, folder)
        return load_tokenizer(folder)


def _learn_wordpiece(texts: Iterable[str], vocab_size: int, folder: Path) -> None:
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = wordpiece.normalizer(Settings(folder, {}))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=WORDPIECE_TOKENS, show_progress=False, limit_alphabet=1000
    )
    backend.train_from_iterator(texts, trainer)
    vocabulary = backend.get_vocab()
    write_text(folder / "vocab.txt", "".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.__getitem__)))


def _learn_byte_level(texts: Iterable[str], vocab_size: int, special: list[str], folder: Path) -> None:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=byte_level_bpe.byte_alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.model.save(str(folder))  # vocab.json and merges.txt
