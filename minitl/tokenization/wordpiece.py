"""WordPiece from vocab.txt (Schuster & Nakajima 2012; Devlin et al. 2019, BERT's basic tokeniser before it).

text ─ clean, lower-case, strip accents ─ split at spaces, punctuation, CJK ─ longest match first, "##" inside words
"""

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from minitl.errors import TokenizerError
from minitl.tokenization.settings import Settings, reporting


def read_vocabulary(path: Path) -> dict[str, int]:
    """Token to id from a file with one token a line; a token on two lines has the later id, as everywhere else."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # only \n: tokens may hold U+2028 and its like
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    if lines[-1] == "":
        lines.pop()
    return {token: number for number, token in enumerate(lines)}


def normalizer(settings: Settings) -> normalizers.Normalizer:
    """BERT's text cleaning; accents are stripped when lower-casing unless `strip_accents` says otherwise."""
    return normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", bool, True),
        strip_accents=settings.get("strip_accents", bool, None),
        lowercase=settings.get("do_lower_case", bool, True),
    )


def build(path: Path, settings: Settings, unknown: str) -> Tokenizer:
    """A WordPiece tokenizer, without its special tokens and template. Raises TokenizerError naming the file."""
    vocabulary = read_vocabulary(path)
    if unknown not in vocabulary:
        raise TokenizerError(f"{path}: the unknown token {unknown!r} is not among its {len(vocabulary)} tokens")
    with reporting(path):
        backend = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    backend.normalizer = normalizer(settings)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    # Words that are to stay whole keep their case too. One outside the vocabulary has no id to keep.
    never_split = settings.get("never_split", list, [])
    backend.add_tokens(
        [AddedToken(word, single_word=True, normalized=False) for word in never_split if word in vocabulary]
    )
    return backend
