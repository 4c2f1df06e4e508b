"""The translators' tokenizers in both languages of a pair, against the peer library, for every language.

What holds for every tokenizer is in test_tokenizers_live. M2M100 is here alone: the peer's runs the sentencepiece
library, knows no offsets, and breaks ties between two texts to be cut in its own way. Its model here has no character
map, which the two libraries read differently for a compatibility character with an accent. Where vocab.json has a
character that is no piece, two of it in a row are two tokens here and one unknown token there; no text here has them.
"""

import json
from pathlib import Path

import pytest

transformers = pytest.importorskip("transformers")

import sentencepiece  # noqa: E402 - after the skip

from minitl.tokenization import load_tokenizer  # noqa: E402
from minitl.tokenization.languages import M2M100, WMT21  # noqa: E402
from tests.reference.test_tokenizers_live import (  # noqa: E402
    TEXTS,
    folder_with,
    mbart,
    mbart50,
    nllb,
    nllb_legacy,
    readable,
    tidy,
    train,
)

pytestmark = pytest.mark.reference


def m2m_100(folder: Path, assets: Path) -> tuple[Path, Path]:  # noqa: ARG001
    """vocab.json in another order than the pieces, without some of them, as published ones are."""
    model = train(folder, "bpe", model_type="bpe", vocab_size=150, normalization_rule_name="identity")
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    own = sorted(theirs.id_to_piece(number) for number in range(3, theirs.get_piece_size()))
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *own[::2], *own[1:-9:2], "Ω"]
    special = [f"__{code}__" for code in M2M100.codes]  # as the published special_tokens_map.json lists them
    config = {"tokenizer_class": "M2M100Tokenizer", "additional_special_tokens": special}
    files = {"sentencepiece.bpe.model": model, "vocab.json": json.dumps({t: i for i, t in enumerate(tokens)}).encode()}
    made = folder_with(folder / "m2m_100", files, config)
    return made, made


def wmt21(folder: Path, assets: Path) -> tuple[Path, Path]:
    made, _ = m2m_100(folder, assets)
    config = {"tokenizer_class": "M2M100Tokenizer", "language_codes": "wmt21"}
    config["additional_special_tokens"] = [f"__{code}__" for code in WMT21.codes]
    (made / "tokenizer_config.json").write_text(json.dumps(config))
    return made, made


@pytest.fixture(scope="module", params=[mbart, mbart50, nllb, nllb_legacy, m2m_100, wmt21], ids=lambda f: f.__name__)
def both(request, tmp_path_factory):
    ours, theirs = request.param(tmp_path_factory.mktemp(request.param.__name__), Path())
    return load_tokenizer(ours), transformers.AutoTokenizer.from_pretrained(theirs)


def texts_for(peer) -> list[str]:
    if peer.is_fast and peer.backend_tokenizer.normalizer is not None:
        return [tidy(text, peer) for text in readable(TEXTS)]
    return readable(TEXTS)


def language_id(peer, code: str) -> int:
    return peer.get_lang_id(code) if hasattr(peer, "get_lang_id") else peer.convert_tokens_to_ids(code)


def assert_same_rows(ours, peer, texts: list[str]) -> None:
    """Sources, and targets, in the languages that both are set to."""
    assert ours.encode(texts) == peer(texts)["input_ids"]
    assert ours.encode(texts, as_target=True) == peer(text_target=texts)["input_ids"]
    assert ours.encode(texts) == peer(texts)["input_ids"]


def test_source_and_target(both):
    ours, peer = both
    texts, codes = texts_for(peer), list(ours.languages)
    ours.source_language = peer.src_lang = codes[1]
    ours.target_language = peer.tgt_lang = codes[-1]
    assert_same_rows(ours, peer, texts)
    for max_length in (4, 9):
        cut = peer(texts, max_length=max_length, truncation=True)["input_ids"]
        assert ours.encode(texts, max_length=max_length) == cut
    for max_length in (None, 7, 12) if peer.is_fast else (None,):
        pairs = peer(texts, texts[::-1], max_length=max_length, truncation=max_length is not None)["input_ids"]
        assert ours.encode(texts, texts[::-1], max_length=max_length) == pairs
    padded = peer(texts[:9], padding=True, return_tensors="pt")
    batch = ours(texts[:9])
    assert all((batch[name] == padded[name]).all() for name in batch)
    ours.padding_side = peer.padding_side = "left"
    assert (ours(texts[:9])["input_ids"] == peer(texts[:9], padding=True, return_tensors="pt")["input_ids"]).all()
    ours.padding_side = peer.padding_side = "right"


def test_every_language(both):
    ours, peer = both
    for code, number in ours.languages.items():
        assert language_id(peer, code) == number
        ours.source_language = ours.target_language = peer.src_lang = peer.tgt_lang = code
        assert_same_rows(ours, peer, ["the cat, runs", ""])
        row = ours.encode("the cat")[0]
        assert ours.decode(row, skip_special_tokens=True) == peer.decode(row, skip_special_tokens=True) == "the cat"


def test_the_peer_loads_what_is_saved(both, tmp_path):
    ours, original = both
    texts, codes = texts_for(original), list(ours.languages)
    ours.source_language, ours.target_language = codes[2], codes[3]
    ours.save(tmp_path)
    peer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert type(peer) is type(original)
    assert (peer.src_lang, peer.tgt_lang) == (codes[2], codes[3])
    assert_same_rows(ours, peer, texts)
    peer.src_lang = ours.source_language = codes[0]
    assert_same_rows(ours, peer, texts)


def test_added_tokens_have_the_same_ids_there(both, tmp_path):
    ours, original = both
    ours.save(tmp_path / "before")
    longer = load_tokenizer(tmp_path / "before")  # `both` stays as it is
    longer.target_language = longer.source_language = next(iter(longer.languages))
    assert longer.add_tokens(["<gene>", "Ωmega"]) == 2
    longer.save(tmp_path / "after")
    peer = transformers.AutoTokenizer.from_pretrained(tmp_path / "after")
    assert type(peer) is type(original)
    assert len(peer) == longer.vocab_size == ours.vocab_size + 2
    assert_same_rows(longer, peer, ["the cat<gene> runs", "<gene>Ωmega</s>cat"])
    for row in longer.encode(["the cat<gene> runs", "Ωmega"]):
        assert longer.decode(row, skip_special_tokens=True) == peer.decode(row, skip_special_tokens=True)


def test_ours_loads_what_the_peer_saves(both, tmp_path):
    ours, peer = both
    codes = list(ours.languages)
    ours.source_language = peer.src_lang = ours.target_language = peer.tgt_lang = codes[1]
    peer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert (again.languages, again.vocab_size) == (ours.languages, ours.vocab_size)
    again.source_language = again.target_language = codes[1]
    assert_same_rows(again, peer, texts_for(peer))
