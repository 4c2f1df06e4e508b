"""The translators' tokenizers: where a language stands, which id it has, what is said of one that is not there."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from minitl import generate, new_model, save_model
from minitl.cli.main import main
from minitl.errors import InputError, TokenizerError
from minitl.tokenization import Tokenizer, load_tokenizer
from minitl.tokenization.languages import M2M100, MBART25, MBART50, NLLB200, suggestion

TEXT = st.text(st.sampled_from("abcdehlmorstw ,.\n\tïß東京é①ﬁ😀x\u3000"), max_size=40)
SPM = "sentencepiece.bpe.model"
NAMES = ["MBartTokenizer", "MBart50Tokenizer", "M2M100Tokenizer", "NllbTokenizer"]
FRENCH = {"MBartTokenizer": "fr_XX", "MBart50Tokenizer": "fr_XX", "M2M100Tokenizer": "fr", "NllbTokenizer": "fra_Latn"}


def numbers_of(model: Path) -> dict[str, int]:
    """A vocab.json for a SentencePiece file, in another order than its own."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    own = sorted(pieces.id_to_piece(number) for number in range(3, pieces.get_piece_size()))
    return {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *own])}


@pytest.fixture
def translator(sentencepiece_models, make_folder):
    """translator(class name, **configuration): a folder as published, with a small model; M2M100's with vocab.json."""

    def make(name: str, vocabulary: dict[str, int] | None = None, **config) -> Path:
        model = sentencepiece_models["merges" if name in ("M2M100Tokenizer", "NllbTokenizer") else "unigram"]
        files: dict[str, Path | str] = {SPM: model}
        if name == "M2M100Tokenizer":
            files["vocab.json"] = json.dumps(vocabulary or numbers_of(model))
        return make_folder(files, {"tokenizer_class": name, **config})

    return make


def pieces(tokenizer: Tokenizer, row: list[int]) -> list[str | None]:
    return [tokenizer.id_to_token(number) for number in row]


@pytest.mark.parametrize(
    ("name", "config", "wanted"),
    [
        ("MBartTokenizer", {}, ["▁cat", "</s>", "en_XX"]),
        ("MBart50Tokenizer", {}, ["en_XX", "▁cat", "</s>"]),
        ("M2M100Tokenizer", {}, ["__en__", "▁cat", "</s>"]),
        ("NllbTokenizer", {}, ["eng_Latn", "▁cat", "</s>"]),
        ("NllbTokenizer", {"legacy_behaviour": True}, ["▁cat", "</s>", "eng_Latn"]),
    ],
)
def test_the_language_stands_where_the_family_puts_it(translator, name, config, wanted):
    tokenizer = load_tokenizer(translator(name, **config))
    assert pieces(tokenizer, tokenizer.encode("cat")[0]) == wanted
    assert pieces(tokenizer, tokenizer.encode("cat", "cat")[0]) == [
        piece for piece in wanted for _ in range(2 if piece == "▁cat" else 1)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_source_and_target_have_their_own_language(translator, name):
    tokenizer = load_tokenizer(translator(name))
    english, french = tokenizer.language_id(tokenizer.source_language), tokenizer.language_id(FRENCH[name])
    assert tokenizer.target_language is None
    with pytest.raises(InputError, match=r"set tokenizer\.target_language"):
        tokenizer.encode("cat", as_target=True)
    tokenizer.target_language = FRENCH[name]
    for _ in range(2):  # one call's language is not the next one's
        source, target = tokenizer("cat dog")["input_ids"], tokenizer("cat dog", as_target=True)["input_ids"]
        assert (source != target).sum() == 1
        assert source[source != target] == english
        assert target[source != target] == french
    tokenizer.source_language = FRENCH[name]
    assert tokenizer.encode("cat dog") == target.tolist()
    assert tokenizer.encode_words([["cat", "dog"]])["input_ids"].tolist() == target.tolist()
    tokenizer.target_language = None
    assert tokenizer.target_language is None


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_names_the_languages(translator, name):
    tokenizer = load_tokenizer(translator(name, src_lang=FRENCH[name], tgt_lang=FRENCH[name]))
    assert tokenizer.source_language == tokenizer.target_language == FRENCH[name]
    assert tokenizer.language_id(FRENCH[name]) in tokenizer.encode("")[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_language_is_a_token_of_its_own(translator, name):
    tokenizer = load_tokenizer(translator(name))
    tokenizer.add_tokens(["<gene>"])
    ids = list(tokenizer.languages.values())
    assert ids == list(range(ids[0], ids[0] + len(ids)))  # one after the other
    end = tokenizer.eos_token_id
    for code, number in tokenizer.languages.items():
        tokenizer.source_language = code
        row = tokenizer.encode("")[0]
        assert sorted(row) == sorted([end, number])
        assert tokenizer.decode(row, skip_special_tokens=True) == ""
    assert tokenizer.mask_token_id in (None, ids[-1] + 1)


@pytest.mark.parametrize("name", NAMES)
def test_truncation_keeps_language_and_end(translator, name):
    tokenizer = load_tokenizer(translator(name))
    whole, cut = tokenizer.encode("cat " * 9)[0], tokenizer.encode("cat " * 9, max_length=5)[0]
    special = {tokenizer.eos_token_id, tokenizer.language_id(tokenizer.source_language)}
    assert len(cut) == 5
    assert [number for number in cut if number in special] == [number for number in whole if number in special]
    with pytest.raises(InputError, match="no room beside the 2 special tokens"):
        tokenizer.encode("cat", max_length=2)


@pytest.mark.parametrize("config", [{}, {"legacy_behaviour": True}])
@pytest.mark.parametrize("name", NAMES)
def test_saving_keeps_languages_and_added_tokens(translator, tmp_path, name, config):
    tokenizer = load_tokenizer(translator(name, **config))
    tokenizer.add_tokens(["<gene>", "Ωmega"])
    tokenizer.source_language = tokenizer.target_language = FRENCH[name]
    tokenizer.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert (again.source_language, again.target_language) == (FRENCH[name], FRENCH[name])
    assert (again.languages, again.vocab_size) == (tokenizer.languages, tokenizer.vocab_size)
    for text in ["the cat<gene> runs", "Ωmega <mask> x", "a</s>b  ", " 東京ﬁ "]:
        assert again.encode(text) == tokenizer.encode(text)
        row = tokenizer.encode(text)[0]
        assert again.decode(row) == tokenizer.decode(row)
    again.source_language = next(iter(again.languages))
    assert again.encode("cat") != tokenizer.encode("cat")


BEGINNINGS = {"MBartTokenizer": "mbart", "MBart50Tokenizer": "mbart", "M2M100Tokenizer": "m2m_100"}


@pytest.mark.parametrize("name", NAMES)
def test_a_translation_begins_in_its_language(translator, name, capsys):
    folder = translator(name)
    tokenizer, code = load_tokenizer(folder), FRENCH[name]
    size = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "encoder_layers", "decoder_layers"), 1)
    size |= {"d_model": 8, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 64}
    config = {"model_type": BEGINNINGS.get(name, "m2m_100"), "vocab_size": tokenizer.vocab_size, **size}
    model = new_model({**config, "decoder_start_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}, "seq2seq-lm")
    batch = tokenizer("the cat")
    written = generate(model, **batch, max_new_tokens=4, **tokenizer.target_options(code))[0].tolist()
    french = tokenizer.language_id(code)
    assert written[0 if name == "MBartTokenizer" else 1] == french
    with pytest.raises(InputError, match=f"near ones: .*{code[:2]}"):
        tokenizer.target_options("french")

    save_model(model, folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    command = ["generate", str(folder), "the cat", "--max-new-tokens", "4"]
    assert main([*command, "--target-language", code, "--source-language", code]) == 0
    tokenizer.source_language = code
    again = generate(model, **tokenizer("the cat"), max_new_tokens=4, **tokenizer.target_options(code))
    assert capsys.readouterr().out == tokenizer.decode(again[0], skip_special_tokens=True) + "\n"
    assert main([*command, "--target-language", "french"]) == 1
    assert "'french' is no language of this tokenizer; near ones: " in capsys.readouterr().err


def test_threads_do_not_disturb_each_others_language(translator):
    tokenizer = load_tokenizer(translator("MBart50Tokenizer", tgt_lang="fr_XX"))
    source, target = tokenizer.language_id("en_XX"), tokenizer.language_id("fr_XX")
    with ThreadPoolExecutor(4) as pool:
        rows = pool.map(lambda turn: tokenizer.encode("cat " * 50, as_target=bool(turn % 2))[0], range(80))
    assert [row[0] for row in rows] == [source, target] * 40


@pytest.mark.parametrize("name", NAMES)
def test_it_crosses_processes(translator, name):
    tokenizer = load_tokenizer(translator(name, tgt_lang=FRENCH[name]))
    other = pickle.loads(pickle.dumps(tokenizer))
    for as_target in (True, False):
        assert other.encode("the cat", as_target=as_target) == tokenizer.encode("the cat", as_target=as_target)


def test_a_tokenizer_without_languages_takes_targets_as_they_are(sentencepiece_models, make_folder):
    tokenizer = load_tokenizer(make_folder({"spiece.model": sentencepiece_models["pegasus"]}))
    assert tokenizer.languages == {}
    assert tokenizer.source_language is tokenizer.target_language is None
    assert tokenizer.encode("cat", as_target=True) == tokenizer.encode("cat")
    with pytest.raises(InputError, match="has no languages"):
        tokenizer.language_id("fr")
    with pytest.raises(InputError, match="has no languages"):
        tokenizer.target_language = "fr"


# Unknown languages


def test_a_vocabulary_without_languages_says_so(tiny, tmp_path):
    assert suggestion("fr", []) == "its vocabulary has none"
    load_tokenizer(tiny).save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "NllbTokenizer", "src_lang": "fra_Latn"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(TokenizerError, match=r"src_lang 'fra_Latn' is no language of it; its vocabulary has none$"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("published", "wrong", "hint"),
    [
        (NLLB200, "fr", "near ones: fra_Latn"),
        (NLLB200, "french", "near ones: fra_Latn"),
        (NLLB200, "fra_latin", "near ones: fra_Latn"),
        (NLLB200, "English", "near ones: eng_Latn"),
        (NLLB200, "zh", "near ones: zho_Hans, zho_Hant"),
        (MBART50, "fra_Latn", "near ones: fr_XX"),
        (MBART50, "FR", "near ones: fr_XX"),
        (MBART50, "pt-BR", "near ones: pt_XX"),
        (MBART25, "german", "it knows 25: ar_AR, cs_CZ"),  # nothing that begins so: no guess
        (M2M100, "fr_XX", "near ones: fr"),
        (M2M100, "", "it knows 100: af, am"),
    ],
)
def test_an_unknown_language_brings_near_ones(published, wrong, hint):
    assert suggestion(wrong, published.codes).startswith(hint)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_language_is_refused(translator, name):
    tokenizer = load_tokenizer(translator(name))
    before = tokenizer.encode("cat")
    with pytest.raises(InputError, match=r"'french' is no language of this tokenizer; near ones: .*fr"):
        tokenizer.language_id("french")
    for attribute in ("source_language", "target_language"):
        with pytest.raises(InputError, match=r"\['fr'\] is no language of this tokenizer"):
            setattr(tokenizer, attribute, ["fr"])
        with pytest.raises(InputError, match="'xx_XX' is no language"):
            setattr(tokenizer, attribute, "xx_XX")
    assert tokenizer.encode("cat") == before
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json: tgt_lang 'french' is no language of it; near"):
        load_tokenizer(translator(name, tgt_lang="french"))


# M2M100: one file segments, another numbers


def test_m2m100_has_the_pieces_of_one_file_and_the_ids_of_another(translator, sentencepiece_models):
    model = sentencepiece_models["merges"]
    vocabulary, theirs = numbers_of(model), sentencepiece.SentencePieceProcessor(model_file=str(model))
    tokenizer = load_tokenizer(translator("M2M100Tokenizer"))

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(TEXT)
    def check(text):
        wanted = [vocabulary.get(piece, 3) for piece in theirs.encode(text, out_type=str)]
        assert tokenizer.encode(text)[0] == [tokenizer.language_id("en"), *wanted, 2]

    check()
    assert tokenizer.encode("東京")[0] != [number + 1 for number in theirs.encode("東京")]  # the orders do differ
    for token, number in vocabulary.items():
        assert tokenizer.token_to_id(token) == number
        assert tokenizer.id_to_token(number) == token


def test_m2m100_reads_a_piece_without_a_number_as_unknown(translator, sentencepiece_models):
    vocabulary = numbers_of(sentencepiece_models["merges"])
    last = list(vocabulary)[-1]
    swapped = {token: number for token, number in vocabulary.items() if token != "▁cat"}
    swapped |= {last: vocabulary["▁cat"], "Ω": vocabulary[last]}  # a character that is no piece
    tokenizer = load_tokenizer(translator("M2M100Tokenizer", swapped))
    assert tokenizer.encode("the cat")[0][-2] == tokenizer.unk_token_id == 3
    assert tokenizer.token_to_id("▁cat") is None
    assert tokenizer.encode("Ω")[0][-2] == swapped["Ω"]
    assert tokenizer.decode([swapped["Ω"], 10**6]) == "Ω"
    assert tokenizer.id_to_token(-1) is tokenizer.id_to_token(10**6) is None
    assert tokenizer.vocab_size == len(vocabulary) + 100


def test_wmt21_has_eight_languages(translator):
    tokenizer = load_tokenizer(translator("M2M100Tokenizer", language_codes="wmt21"))
    assert list(tokenizer.languages) == ["en", "ha", "is", "ja", "cs", "ru", "zh", "de"]
    with pytest.raises(TokenizerError, match="language_codes must be one of m2m100, wmt21, found 'all'"):
        load_tokenizer(translator("M2M100Tokenizer", language_codes="all"))


# Ids of the published checkpoints, from files of their size


def dummy_model(size: int, special: list[str]) -> bytes:
    """A SentencePiece file with so many pieces, of no use but to be counted."""
    proto = sentencepiece_model_pb2.ModelProto()
    kinds = {"<unk>": 2, "<s>": 3, "</s>": 3, "<pad>": 3}
    for piece in special:
        proto.pieces.add(piece=piece, score=0.0, type=kinds[piece])
    for number in range(size - len(special)):
        proto.pieces.add(piece=f"▁{number}", score=-10.0, type=1)
    proto.trainer_spec.model_type = 1
    return proto.SerializeToString()


# Sources: the ids in the published test suites of transformers, tests/models/{mbart,mbart50,m2m_100,nllb,pegasus}, and
# the vocab_size of the published config.json (M2M100's counts 8 rows without a token).
@pytest.mark.parametrize(
    ("name", "size", "ids", "total"),
    [
        ("MBartTokenizer", 250_000, {"ar_AR": 250001, "en_XX": 250004, "ro_RO": 250020, "<mask>": 250026}, 250_027),
        ("MBart50Tokenizer", 250_000, {"en_XX": 250004, "ro_RO": 250020, "<mask>": 250053}, 250_054),
        ("NllbTokenizer", 256_000, {"eng_Latn": 256047, "fra_Latn": 256057, "<mask>": 256203}, 256_204),
        ("M2M100Tokenizer", 128_003, {"__en__": 128022, "__fr__": 128028}, 128_112 - 8),
        ("PegasusTokenizer", 96_000, {"<pad>": 0, "</s>": 1, "<mask_1>": 2, "<mask_2>": 3, "<unk>": 105}, 96_103),
    ],
)
def test_files_of_the_published_size_give_the_published_ids(tmp_path, name, size, ids, total):
    special = ["<pad>", "</s>", "<unk>"] if name == "PegasusTokenizer" else ["<unk>", "<s>", "</s>"]
    (tmp_path / SPM).write_bytes(dummy_model(size, special))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    if name == "M2M100Tokenizer":
        tokens = ["<s>", "<pad>", "</s>", "<unk>", *(f"▁{number}" for number in range(size - 3))]
        (tmp_path / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    tokenizer = load_tokenizer(tmp_path)
    assert {token: tokenizer.token_to_id(token) for token in ids} == ids
    assert tokenizer.vocab_size == total


def test_there_are_as_many_languages_as_published():
    assert [len(set(one.codes)) for one in (MBART25, MBART50, M2M100, NLLB200)] == [25, 52, 100, 202]
    assert MBART50.codes[:25] == MBART25.codes


# Pegasus


def test_pegasus_reserves_tokens_below_its_pieces(sentencepiece_models, make_folder):
    model = sentencepiece_models["pegasus"]
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(model))
    config = {"tokenizer_class": "PegasusTokenizer"}
    tokenizer = load_tokenizer(make_folder({"spiece.model": model}, config))
    assert tokenizer.encode("the cat")[0] == [*(piece + 103 for piece in theirs.encode("the cat")), 1]
    first = ["<pad>", "</s>", "<mask_1>", "<mask_2>", "<unk_2>", "<unk_3>"]
    assert pieces(tokenizer, [0, 1, 2, 3, 4, 5, 104, 105]) == [*first, "<unk_102>", "<unk>"]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.mask_token_id) == (0, 1, 3)
    assert pieces(tokenizer, tokenizer.encode("cat <mask_1> cat")[0]) == ["▁cat", "<mask_1>", "▁cat", "</s>"]
    assert tokenizer.decode([2, 4, 3, *tokenizer.encode("cat")[0]], skip_special_tokens=True) == "cat"


# Folders and files


def test_config_json_may_name_the_class(sentencepiece_models, make_folder):
    files = {SPM: sentencepiece_models["unigram"]}
    named = make_folder({**files, "config.json": '{"model_type": "mbart", "tokenizer_class": "MBart50Tokenizer"}'})
    assert len(load_tokenizer(named).languages) == 52
    assert len(load_tokenizer(make_folder({**files, "config.json": '{"model_type": "mbart"}'})).languages) == 25


def test_vocab_json_beside_the_pieces_is_m2m100s(translator):
    folder = translator("M2M100Tokenizer")
    (folder / "tokenizer_config.json").unlink()
    assert len(load_tokenizer(folder).languages) == 100


def test_a_language_that_was_added_is_one(translator):
    folder = translator("NllbTokenizer", extra_special_tokens=["tyv_Cyrl", "<other>"], src_lang="tyv_Cyrl")
    tokenizer = load_tokenizer(folder)
    assert tokenizer.language_id("tyv_Cyrl") == tokenizer.mask_token_id + 1
    assert len(tokenizer.languages) == 203


def without(vocabulary: dict[str, int], token: str) -> dict[str, int]:
    return {one: number for number, one in enumerate(one for one in vocabulary if one != token)}


@pytest.mark.parametrize("token", ["<unk>", "</s>", "<pad>"])
def test_a_vocabulary_without_a_special_token_is_refused(translator, sentencepiece_models, token):
    vocabulary = without(numbers_of(sentencepiece_models["merges"]), token)
    with pytest.raises(TokenizerError, match=rf"vocab\.json: lacks the special token '{token}'"):
        load_tokenizer(translator("M2M100Tokenizer", vocabulary))


def test_a_vocabulary_of_another_file_is_refused(translator):
    vocabulary = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "▁le", "▁chat"])}
    with pytest.raises(TokenizerError, match=r"vocab\.json: has only 3 of .*do not belong together"):
        load_tokenizer(translator("M2M100Tokenizer", vocabulary))


def test_a_tokenizer_json_without_the_language_is_refused(translator, tmp_path):
    load_tokenizer(translator("MBart50Tokenizer")).save(tmp_path)
    content = (tmp_path / "tokenizer.json").read_text(encoding="utf-8").replace("en_XX", "en-XX")
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json: src_lang 'en_XX' is no language of it"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "MBart50Tokenizer"}')
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: its vocabulary lacks the language token 'en_XX'"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_one_error_that_names_them(translator, name):
    folder = translator(name)
    whole = (folder / SPM).read_bytes()
    (folder / SPM).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TokenizerError, match=r"sentencepiece\.bpe\.model"):
        load_tokenizer(folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 0, "b": 0}', '{"a": "0"}', "{}"])
def test_a_damaged_vocabulary_is_one_error_that_names_it(translator, content):
    folder = translator("M2M100Tokenizer")
    (folder / "vocab.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"vocab\.json"):
        load_tokenizer(folder)
    (folder / "vocab.json").unlink()
    with pytest.raises(TokenizerError, match=r"numbered by a vocab\.json, which is not beside it"):
        load_tokenizer(folder)
