"""Which files are used, that they agree with each other, and what is said when they do not."""

import json
from pathlib import Path

import pytest

from minitl.errors import CheckpointError, InputError, TokenizerError
from minitl.tokenization import load_tokenizer

HARD = [
    "", " ", "Hello, World!", "héllo naïve Ünïcode ﬁ ①", "東京タワー 한국어", "👨‍👩‍👧 😀", "\x00\x07a\u200bb\ufffd",
    "\ud800x", "[CLS] a [MASK] [SEP]", "don't 3.14 #x", "İstanbul ẞ", "tab\tline\n  x", "word " * 300, "a" * 250,
]  # fmt: skip


def test_vocab_txt_alone_equals_tokenizer_json(minilm, make_folder):
    files = {name: minilm / name for name in ("vocab.txt", "tokenizer_config.json")}
    rebuilt, published = load_tokenizer(make_folder(files)), load_tokenizer(minilm)
    for pairs in (None, HARD[::-1]):
        ours, theirs = rebuilt(HARD, pairs, max_length=64), published(HARD, pairs, max_length=64)
        assert ours.keys() == theirs.keys() == {"input_ids", "attention_mask", "token_type_ids"}
        assert all((ours[name] == theirs[name]).all() for name in ours)
        assert (ours.offsets, ours.word_ids) == (theirs.offsets, theirs.word_ids)
    assert rebuilt.model_max_length == published.model_max_length == 512
    assert rebuilt.vocab_size == published.vocab_size == 30522


def test_bert_has_the_published_ids(minilm):
    assert load_tokenizer(minilm).encode("Hello, world!")[0] == [101, 7592, 1010, 2088, 999, 102]


@pytest.mark.parametrize(
    ("config", "text", "pieces"),
    [
        ({"do_lower_case": False}, "Abc abc", ["[UNK]", "abc"]),
        ({"strip_accents": False}, "ébc", ["[UNK]"]),
        ({}, "ébc", ["ebc"]),
        ({"tokenize_chinese_chars": False}, "東京", ["[UNK]"]),
        ({}, "東京", ["東", "京"]),
        ({"never_split": ["A-B", "C-D"]}, "A-B", ["A-B"]),
    ],
)
def test_bert_switches_are_honoured(make_folder, config, text, pieces):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "abc", "ebc", "東", "京", "A-B", "a", "b", "-"]
    tokenizer = load_tokenizer(make_folder({"vocab.txt": "\n".join(vocabulary)}, config))
    assert [tokenizer.id_to_token(number) for number in tokenizer.encode(text)[0]] == ["[CLS]", *pieces, "[SEP]"]
    assert tokenizer.vocab_size == len(vocabulary)


def test_gpt2_ids_are_rebuilt_from_merges_alone(assets, make_folder):
    tokenizer = load_tokenizer(make_folder({"vocab.bpe": assets / "tokenizers" / "gpt2" / "vocab.bpe"}))
    assert tokenizer.vocab_size == 50257
    assert tokenizer.encode("Hello world")[0] == [15496, 995]
    assert tokenizer.eos_token_id == tokenizer.bos_token_id == tokenizer.token_to_id("<|endoftext|>") == 50256
    for text in HARD:
        if "\ud800" not in text:
            assert tokenizer.decode(tokenizer.encode(text)[0]) == text


def test_gpt2_pads_with_its_end_token_masked(assets, make_folder):
    tokenizer = load_tokenizer(make_folder({"vocab.bpe": assets / "tokenizers" / "gpt2" / "vocab.bpe"}))
    batch = tokenizer(["one", "one two three"])
    assert "token_type_ids" not in batch
    assert batch["input_ids"][0].tolist()[1:] == [50256] * 2
    assert batch["attention_mask"][0].tolist() == [1, 0, 0]


def roberta_files(**changes: str) -> dict[str, str]:
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "Ġ", "ab", "Ġa", "<mask>"]
    vocabulary = json.dumps({token: number for number, token in enumerate(tokens)})
    return {"vocab.json": vocabulary, "merges.txt": "#version: 0.2\na b\nĠ a\n"} | changes


def test_roberta_template_and_mask(make_folder):
    tokenizer = load_tokenizer(make_folder(roberta_files()))
    assert tokenizer.encode("ab", "b")[0] == [0, 7, 2, 2, 5, 2]
    assert tokenizer.encode("ab <mask>")[0] == [0, 7, 9, 2]
    assert tokenizer("ab a").offsets[0] == [(0, 0), (0, 2), (3, 4), (0, 0)]


def test_llama_rows_begin_with_bos(assets):
    tokenizer = load_tokenizer(assets / "weights" / "stories260K")
    rows = tokenizer.encode(["Once upon", ""])
    assert rows == [[1, 403, 407], [1]]
    assert tokenizer.model_max_length == 512
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 2


def test_a_switch_overrides_tokenizer_json(assets, make_folder):
    source = assets / "weights" / "stories260K" / "tokenizer.json"
    config = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False, "add_eos_token": True}
    assert load_tokenizer(make_folder({"tokenizer.json": source}, config)).encode("Once upon")[0] == [403, 407, 2]


def test_no_limit_is_written_as_1e30(minilm, make_folder):
    folder = make_folder({"vocab.txt": minilm / "vocab.txt"}, {"model_max_length": int(1e30)})
    tokenizer = load_tokenizer(folder)
    assert tokenizer.model_max_length is None
    assert len(tokenizer.encode("word " * 10_000)[0]) == 10_002


def test_an_empty_folder_names_what_was_looked_for(tmp_path):
    with pytest.raises(TokenizerError, match=r"tokenizer\.json, vocab\.txt.*spiece\.model"):
        load_tokenizer(tmp_path)


def test_a_folder_has_no_revision(make_folder):
    folder = make_folder({"vocab.txt": SPECIAL})
    with pytest.raises(InputError, match="is a folder: revision='v2' means something on the hub only"):
        load_tokenizer(folder, revision="v2")


def test_a_path_is_a_folder_and_no_hub_id():
    with pytest.raises(CheckpointError, match="org/name: no such folder"):
        load_tokenizer(Path("org/name"))


SPECIAL = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
DEEP = "[" * 100_000 + "]" * 100_000  # deeper than Python reads


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer.json": "{"}, r"tokenizer\.json: not valid JSON"),
        ({"tokenizer.json": DEEP}, r"tokenizer\.json: not valid JSON"),
        ({"vocab.txt": SPECIAL, "tokenizer_config.json": DEEP}, r"tokenizer_config\.json: not valid JSON"),
        (roberta_files(**{"vocab.json": DEEP}), r"vocab\.json: not valid JSON"),
        ({"tokenizer.json": "[]"}, r"tokenizer\.json: expected a JSON object"),
        ({"tokenizer.json": '{"model": {"type": "Nonsense"}}'}, r"tokenizer\.json"),
        ({"vocab.txt": "[PAD]\nhello"}, r"vocab\.txt: the unknown token '\[UNK\]'"),
        ({"vocab.txt": "[UNK]\nhello"}, r"vocab\.txt: its vocabulary lacks .*'\[CLS\]'"),
        ({"vocab.txt": SPECIAL, "tokenizer_config.json": "nope"}, r"tokenizer_config\.json: not valid JSON"),
        ({"vocab.txt": SPECIAL, "tokenizer_config.json": '{"do_lower_case": "yes"}'}, "do_lower_case must be a bool"),
        ({"vocab.txt": SPECIAL, "tokenizer_config.json": '{"model_max_length": -1}'}, "must be positive"),
        ({"vocab.txt": SPECIAL, "tokenizer_config.json": '{"padding_side": "up"}'}, "padding_side"),
        ({"vocab.txt": SPECIAL, "special_tokens_map.json": '{"cls_token": 3}'}, "cls_token must be a string"),
        ({"vocab.txt": SPECIAL, "added_tokens.json": '{"new": 99}'}, "'new' is said to have the id 99"),
        (roberta_files(**{"merges.txt": "a c\n"}), r"merges\.txt: the merge 'a' 'c' needs 'c'"),
        (roberta_files(**{"merges.txt": "a b b\n"}), r"merges\.txt: line 1"),
        (roberta_files(**{"vocab.json": '{"a": 0, "b": 7}'}), r"vocab\.json: the id of 'b' must be"),
        (roberta_files(**{"vocab.json": '{"a": 0, "b": 0}'}), r"'a' and 'b' both have the id 0"),
    ],
)
def test_contradictory_files_are_one_error(make_folder, files, message):
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(make_folder(files))
