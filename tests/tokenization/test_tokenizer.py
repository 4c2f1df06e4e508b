"""What holds for every tokenizer: offsets, truncation, padding, saving, and clear refusals."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minitl.errors import InputError
from minitl.tokenization import Tokenizer, load_tokenizer

TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)  # lone surrogates included
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def bert(minilm) -> Tokenizer:
    return load_tokenizer(minilm)


@pytest.fixture(scope="module")
def gpt2(assets, tmp_path_factory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("gpt2")
    (folder / "vocab.bpe").write_bytes((assets / "tokenizers" / "gpt2" / "vocab.bpe").read_bytes())
    return load_tokenizer(folder)


@quick
@given(text=TEXT)
def test_offsets_lie_in_the_text(bert, text):
    offsets = bert(text).offsets[0]
    assert all(0 <= start <= end <= len(text) for start, end in offsets)


@quick
@given(words=st.lists(st.from_regex(r"[a-z]{1,9}", fullmatch=True), min_size=1, max_size=12))
def test_offsets_slice_back_to_the_words(bert, words):
    text = " ".join(words)
    batch = bert(text)
    spans: dict[int, list[tuple[int, int]]] = {}
    for word, span in zip(batch.word_ids[0], batch.offsets[0], strict=True):
        if word is not None:
            spans.setdefault(word, []).append(span)
    assert [text[row[0][0] : row[-1][1]] for row in spans.values()] == words


@quick
@given(texts=st.lists(TEXT, min_size=1, max_size=5), side=st.sampled_from(["left", "right"]))
def test_a_batch_is_its_rows_padded_and_masked(gpt2, texts, side):
    gpt2.padding_side = side
    batch = gpt2(texts)
    for row, text in enumerate(texts):
        mask = batch["attention_mask"][row].bool()
        assert batch["input_ids"][row][mask].tolist() == gpt2.encode(text)[0]
        assert (batch["input_ids"][row][~mask] == gpt2.pad_token_id).all()
        assert mask.tolist() == sorted(mask.tolist(), reverse=side == "right")
        assert len(batch.offsets[row]) == len(batch.word_ids[row]) == mask.numel()
        assert all(
            span == (0, 0) and word is None
            for real, span, word in zip(mask, batch.offsets[row], batch.word_ids[row], strict=True)
            if not real
        )


@quick
@given(first=st.integers(0, 30), second=st.integers(0, 30), limit=st.integers(4, 60))
def test_truncation_takes_from_the_longer_text_first(bert, first, second, limit):
    row = bert.encode("a " * first, "b " * second, max_length=limit)[0]
    kept = row.count(bert.token_to_id("a")), row.count(bert.token_to_id("b"))
    room = limit - 3
    assert len(row) == min(limit, first + second + 3)
    assert [token for token in row if token in (101, 102)] == [101, 102, 102]
    if first + second > room:
        assert sum(kept) == room
        cut = [before > after for before, after in zip((first, second), kept, strict=True)]
        if not all(cut):  # only one was cut, and not below the other, but for an odd token of room
            assert kept[cut.index(True)] >= kept[cut.index(False)] - 1
        else:
            assert abs(kept[0] - kept[1]) <= 1


@quick
@given(text=TEXT, limit=st.integers(3, 12))
def test_truncation_is_a_prefix_and_never_exceeds(bert, text, limit):
    whole, cut = bert.encode(text)[0], bert.encode(text, max_length=limit)[0]
    assert len(cut) == min(limit, len(whole))
    assert cut[:-1] == whole[: len(cut) - 1]
    assert cut[-1] == bert.sep_token_id


def test_truncation_false_keeps_everything(bert):
    assert bert("a " * 600, truncation=False)["input_ids"].shape == (1, 602)
    assert bert("a " * 600)["input_ids"].shape == (1, 512)


def test_token_types_mark_the_second_text(bert):
    batch = bert(["a b", "a"], ["c", "d e"])
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())


def test_lone_surrogates_read_as_the_replacement_character(gpt2):
    assert gpt2.encode("a\ud800b") == gpt2.encode("a\ufffdb")
    assert gpt2(["a\ud83d\ude00 b"]).offsets[0][-1] == (3, 5)


def test_words_are_indexed_as_given(bert, gpt2):
    words = [["unbelievable", "", "things", "\ud800"], ["a"]]
    batch = bert.encode_words(words)
    kept = sorted({word for word in batch.word_ids[0] if word is not None})
    assert kept == [0, 2]
    assert batch.word_ids[1][:3] == [None, 0, None]
    assert gpt2.encode_words([["Hello", "world"]])["input_ids"][0].tolist() == gpt2.encode(" Hello world")[0]
    assert gpt2.encode("Hello world")[0] == [15496, 995]  # the space before words is only theirs


def test_padding_choices(bert):
    assert bert(["a", "a b"], padding="max_length", max_length=9)["input_ids"].shape == (2, 9)
    assert bert(["a b", "c d"], padding=False)["input_ids"].shape == (2, 4)
    assert bert([])["input_ids"].shape == (0, 0)
    with pytest.raises(InputError, match="different lengths"):
        bert(["a", "a b"], padding=False)
    with pytest.raises(InputError, match="padding must be"):
        bert("a", padding="longest")
    with pytest.raises(InputError, match="max_length=3"):
        bert("a b c", padding="max_length", max_length=3, truncation=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a", 3],), r"texts\[1\] must be a string"),
        ((["a"], ["b", "c"]), "1 texts and 2 pairs"),
        ((["a"], "b"), "pairs must be a list"),
        (("a", "b", 3), "max_length=3 leaves no room"),
    ],
)
def test_wrong_arguments_are_refused(bert, arguments, message):
    with pytest.raises(InputError, match=message):
        bert(*arguments)


def test_a_saved_tokenizer_loads_the_same(bert, gpt2, tmp_path):
    for name, tokenizer in {"bert": bert, "gpt2": gpt2}.items():
        tokenizer.padding_side = "left"
        tokenizer.encode("a", max_length=3)  # a call's truncation must not be saved
        tokenizer.save(tmp_path / name)
        again = load_tokenizer(tmp_path / name)
        tokenizer.padding_side, texts = "right", ["Hello <|endoftext|> [MASK]", "x" * 99]
        assert again.padding_side == "left"
        assert again.encode(texts, texts) == tokenizer.encode(texts, texts)
        assert again(texts).keys() == tokenizer(texts).keys()
        for attribute in ("pad_token_id", "eos_token_id", "mask_token_id", "model_max_length", "vocab_size"):
            assert getattr(again, attribute) == getattr(tokenizer, attribute)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


def test_added_tokens_are_whole_and_survive_saving(minilm, tmp_path):
    tokenizer = load_tokenizer(minilm)
    assert tokenizer.add_tokens(["<gene>", "hello"]) == 1
    assert tokenizer.vocab_size == 30523
    assert load_tokenizer(minilm).is_part_of(tokenizer)
    assert not tokenizer.is_part_of(load_tokenizer(minilm))
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).encode("x<gene>y") == tokenizer.encode("x<gene>y")
    assert 30522 in tokenizer.encode("x<gene>y")[0]
    with pytest.raises(InputError, match="empty"):
        tokenizer.add_tokens([""])


def test_decoding(bert):
    ids = bert("Hello world")["input_ids"][0]
    assert bert.decode(ids) == "[CLS] hello world [SEP]"
    assert bert.decode(ids, skip_special_tokens=True) == "hello world"
    with pytest.raises(InputError, match="none of them negative"):
        bert.decode([-100])


def test_threads_do_not_disturb_each_others_truncation(bert):
    limits = [4, 7, 11, 19] * 20
    with ThreadPoolExecutor(4) as pool:
        rows = pool.map(lambda limit: bert.encode("a " * 50, max_length=limit)[0], limits)
    assert [len(row) for row in rows] == limits


def test_tokenizers_and_batches_cross_processes(bert):
    batch = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(bert))(["a b", "c"])))
    assert batch["input_ids"].tolist() == bert(["a b", "c"])["input_ids"].tolist()
    assert batch.offsets == bert(["a b", "c"]).offsets


@pytest.mark.parametrize("characters", [1, 7, 10**6])
def test_rows_are_those_of_a_call_however_many_are_tokenised_at_a_time(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, characters: int
) -> None:
    monkeypatch.setattr("minitl.tokenization.inputs.AT_A_TIME", characters)
    tokenizer = load_tokenizer(tiny)
    texts, pairs = ["good film", "", "a very bad book", "we"], ["the day", "it", "", "was good"]
    for arguments in ((texts,), (texts, pairs)):
        whole, padded = tokenizer(*arguments), tokenizer.pad(tokenizer.rows(*arguments))
        assert {name: tensor.tolist() for name, tensor in padded.items()} == {n: t.tolist() for n, t in whole.items()}
    assert [ids.tolist() for ids, _ in tokenizer.bare_rows(texts)] == [row[1:-1] for row in tokenizer.encode(texts)]
    assert tokenizer.rows([]) == []


def test_each_token_of_a_pair_tells_its_text(bert):
    batch = bert(["a film", "good"], ["it was", "not a film"])
    for row, mask in zip(batch.sequence_ids, batch["attention_mask"], strict=True):
        assert len(row) == len(mask)
        first, second = row.index(0), row.index(1)
        assert row[0] is row[second - 1] is None
        assert row[first : second - 1] == [0] * (second - 1 - first)
        assert all(text is None for text, real in zip(row, mask, strict=True) if not real)
    assert set(bert(["a film"]).sequence_ids[0]) == {None, 0}
