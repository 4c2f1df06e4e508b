"""SentencePiece files: piece for piece what the sentencepiece library yields, and each family's numbering."""

import json
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from minitl.errors import TokenizerError
from minitl.tokenization import Tokenizer, load_tokenizer
from minitl.tokenization.sentencepiece_model import merges_of

TEXT = st.text(st.sampled_from("abcdehlmorstw ,.\n\tïß東京é①ﬁ😀x\u3000"), max_size=40)


def load(
    models: dict[str, Path], name: str, folder: Path, config: str = "{}", file: str = "tokenizer.model"
) -> Tokenizer:
    (folder / file).write_bytes(models[name].read_bytes())
    (folder / "tokenizer_config.json").write_text(config)
    return load_tokenizer(folder)


@pytest.mark.parametrize("name", ["bpe", "unigram", "unigram_bytes", "identity", "merges"])
def test_plain_models_equal_sentencepiece(sentencepiece_models, tmp_path, name):
    ours = load(sentencepiece_models, name, tmp_path, '{"tokenizer_class": "PreTrainedTokenizerFast"}')
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_models[name]))

    @settings(max_examples=150, deadline=None)
    @given(TEXT)
    def check(text):
        assert ours.encode(text)[0] == theirs.encode(text)

    check()
    for text in ["", " ", "  hello   world ", "hello \n\n world \n", "straße\n東京", "a" * 500]:
        assert ours.encode(text)[0] == theirs.encode(text)


def test_byte_fallback_decodes_to_the_text(sentencepiece_models, tmp_path):
    tokenizer = load(sentencepiece_models, "bpe", tmp_path, '{"tokenizer_class": "LlamaTokenizer"}')
    for text in ["hello 😀 world", "two  spaces ", "日本\x07"]:
        ids = tokenizer.encode(text)[0]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_legacy_puts_a_prefix_after_every_special_token(sentencepiece_models, make_folder):
    pieces = {}
    for legacy in (True, False):
        config = {"tokenizer_class": "LlamaTokenizer", "legacy": legacy}
        tokenizer = load_tokenizer(make_folder({"tokenizer.model": sentencepiece_models["bpe"]}, config))
        pieces[legacy] = [tokenizer.id_to_token(number) for number in tokenizer.encode("cat</s>dog")[0]]
    after = {legacy: row[row.index("</s>") + 1] for legacy, row in pieces.items()}
    assert after[True].startswith("▁")
    assert not after[False].startswith("▁")


def test_bos_and_eos_switches_decide(sentencepiece_models, make_folder):
    files = {"tokenizer.model": sentencepiece_models["bpe"]}
    for bos in (True, False):
        for eos in (True, False):
            config = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": bos, "add_eos_token": eos}
            row = load_tokenizer(make_folder(files, config)).encode("cat")[0]
            assert (row[0] == 1, row[-1] == 2) == (bos, eos)


def test_xlm_roberta_ids_are_the_files_plus_one(sentencepiece_models, make_folder):
    path = sentencepiece_models["unigram"]
    tokenizer = load_tokenizer(make_folder({"sentencepiece.bpe.model": path}))
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert [tokenizer.token_to_id(token) for token in ("<s>", "<pad>", "</s>", "<unk>")] == [0, 1, 2, 3]
    assert tokenizer.encode("hello world")[0] == [0, *(piece + 1 for piece in theirs.encode("hello world")), 2]
    assert tokenizer.mask_token_id == tokenizer.vocab_size - 1 == theirs.get_piece_size() + 1


def test_the_mask_takes_the_space_before_it(sentencepiece_models, make_folder):
    tokenizer = load_tokenizer(make_folder({"sentencepiece.bpe.model": sentencepiece_models["unigram"]}))
    batch = tokenizer("hello <mask>")
    assert batch.offsets[0][batch["input_ids"][0].tolist().index(tokenizer.mask_token_id)] == (5, 12)


def test_t5_has_a_hundred_sentinels_from_the_top(assets, make_folder):
    tokenizer = load_tokenizer(make_folder({"spiece.model": assets / "tokenizers" / "t5" / "spiece.model"}))
    assert tokenizer.vocab_size == 32100
    assert tokenizer.token_to_id("<extra_id_0>") == 32099
    assert tokenizer.token_to_id("<extra_id_99>") == 32000
    # From the T5 paper's example, as every published implementation encodes it.
    assert tokenizer.encode("The <extra_id_0> walks in <extra_id_1> park")[0] == [
        37, 32099, 10681, 16, 32098, 2447, 1,
    ]  # fmt: skip
    assert tokenizer.encode("a", "b")[0].count(tokenizer.eos_token_id) == 2


def test_t5_v1_1_lists_its_sentinels_in_its_configuration_too(assets, make_folder):
    model = assets / "tokenizers" / "t5" / "spiece.model"
    sentinels = [f"<extra_id_{number}>" for number in range(100)]
    listed = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "additional_special_tokens": sentinels}
    config = {**listed, "extra_ids": 100, "model_max_length": 512}
    alone, both = make_folder({"spiece.model": model}), make_folder({"spiece.model": model}, config)
    (both / "special_tokens_map.json").write_text(json.dumps(listed))
    tokenizer = load_tokenizer(both)
    assert tokenizer.vocab_size == 32100
    for text in ["The <extra_id_0> walks in<extra_id_99>", "a </s> b <pad>"]:
        assert tokenizer.encode(text) == load_tokenizer(alone).encode(text)
    assert tokenizer.decode([32099, 37, 1], skip_special_tokens=True) == "The"


def test_mt5_has_its_sentinels_among_its_pieces(sentencepiece_models, make_folder):
    files = {"spiece.model": sentencepiece_models["pegasus"]}  # laid out as T5's are
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_models["pegasus"])).get_piece_size()
    assert load_tokenizer(make_folder(files, {"tokenizer_class": "T5Tokenizer", "extra_ids": 0})).vocab_size == pieces
    assert load_tokenizer(make_folder(files, {"tokenizer_class": "MT5Tokenizer"})).vocab_size == pieces + 100


def test_pegasus_has_no_masks_where_the_sentences_is_null(sentencepiece_models, make_folder):
    """As in version 4 of the peer: BigBird's Pegasus, with "offset" 0, has the file's own ids."""
    files = {"spiece.model": sentencepiece_models["pegasus"]}
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_models["pegasus"]))
    config = {"tokenizer_class": "PegasusTokenizer", "mask_token_sent": None}
    ids = load_tokenizer(make_folder(files, {**config, "offset": 0, "mask_token": "▁cat"})).encode("the cat runs")[0]
    assert ids == [*pieces.encode("the cat runs"), 1]
    shifted = load_tokenizer(make_folder(files, {**config, "offset": 12}))
    assert [shifted.token_to_id(token) for token in ("<unk_2>", "<unk_11>", "<unk>")] == [2, 11, 12]
    assert shifted.token_to_id("<mask_1>") is None
    whole = load_tokenizer(make_folder(files, {"tokenizer_class": "PegasusTokenizer", "offset": 12}))
    assert [whole.token_to_id(token) for token in ("<mask_1>", "<mask_2>", "<unk_2>", "<unk>")] == [2, 3, 4, 14]


@pytest.mark.parametrize(("name", "field"), [("PegasusTokenizer", "offset"), ("T5Tokenizer", "extra_ids")])
def test_a_number_of_tokens_is_not_negative(sentencepiece_models, make_folder, name, field):
    files = {"spiece.model": sentencepiece_models["pegasus"]}
    with pytest.raises(TokenizerError, match=rf"tokenizer_config\.json: {field} must not be negative, found -3"):
        load_tokenizer(make_folder(files, {"tokenizer_class": name, field: -3}))


def test_user_defined_symbols_stay_whole(sentencepiece_models, tmp_path):
    tokenizer = load(sentencepiece_models, "marked", tmp_path)
    assert tokenizer.encode("cat<sym>dog")[0].count(tokenizer.token_to_id("<sym>")) == 1


def test_merges_rank_by_the_piece_they_make():
    assert merges_of({"a": 0, "b": 1, "bb": 2, "ab": 3, "abb": 4}) == [
        ("b", "b"),
        ("a", "b"),
        ("a", "bb"),
        ("ab", "b"),
    ]


@pytest.mark.parametrize("content", [b"", b"\x00garbage" * 9, b"IQ== 0\nIg== 1\n"])
def test_a_damaged_file_is_one_error_that_names_it(tmp_path, content):
    (tmp_path / "spiece.model").write_bytes(content)
    with pytest.raises(TokenizerError, match=r"spiece\.model"):
        load_tokenizer(tmp_path)


def test_a_truncated_file_is_one_error(sentencepiece_models, tmp_path):
    whole = sentencepiece_models["unigram"].read_bytes()
    (tmp_path / "spiece.model").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TokenizerError, match=r"spiece\.model"):
        load_tokenizer(tmp_path)


def test_a_family_with_an_unknown_numbering_is_refused(sentencepiece_models, make_folder):
    folder = make_folder({"spiece.model": sentencepiece_models["unigram"]}, {"tokenizer_class": "XLNetTokenizer"})
    with pytest.raises(TokenizerError, match=r"XLNetTokenizer.*T5Tokenizer"):
        load_tokenizer(folder)
