"""Vectors of words and texts: as the model gives them, however the work is cut up, and never another model's."""

import json
import random
import re
import weakref

import pytest
import torch

from minitl import load_model, load_tokenizer, new_model, trace
from minitl.checkpoints import weights as weight_files
from minitl.errors import CheckpointError, DataError, InputError
from minitl.models.elmo import Elmo, ElmoConfig
from minitl.models.word_vectors import WordVectors
from minitl.probing import representations as module
from minitl.probing.reading import TransformerReader, WordReader
from minitl.probing.representations import represent
from minitl.probing.task import Corpus
from tests.conftest import WORDS


def made_corpus(texts=12, seed=0, name="made"):
    rng = random.Random(seed)
    return Corpus(name, tuple(tuple(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(texts)))


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A tokenizer with parts of words: "books" is book ##s, "fooded" food ##ed ##s."""
    files = tmp_path_factory.mktemp("pieces")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS[:12], "##s", "##ed", "##ing"]
    (files / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (files / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    return load_tokenizer(files)


@pytest.fixture
def reader(tiny):
    return TransformerReader(load_model(tiny, "backbone"), load_tokenizer(tiny))


def bert(vocabulary=24, positions=16, layers=2):
    return new_model(
        {
            "model_type": "bert", "vocab_size": vocabulary, "hidden_size": 8, "num_hidden_layers": layers,
            "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": positions,
        }
    )  # fmt: skip


CORPUS = Corpus("pieces", (("books", "a", "fooded"), ("good",), ("the", "hotels", "was", "bading", "books")))


@pytest.mark.parametrize("how", ["mean", "first", "last"])
def test_words_and_texts_are_made_from_their_tokens_as_asked(pieces, how):
    torch.manual_seed(1)
    model = bert()
    found = represent(TransformerReader(model, pieces), CORPUS, words=how, texts=how)
    for t, text in enumerate(CORPUS.texts):  # one by one, from the model's own output
        batch = pieces.encode_words([text])
        with torch.no_grad():
            states = torch.stack(model(**batch, output_hidden_states=True).hidden_states)[:, 0]  # [layers, length, 8]
        owners = batch.word_ids[0]
        for w in range(len(text)):
            own = states[:, [i for i, owner in enumerate(owners) if owner == w]]
            expected = {"mean": own.mean(1), "first": own[:, 0], "last": own[:, -1]}[how]
            torch.testing.assert_close(found.words(CORPUS.starts[t : t + 1] + w)[:, 0], expected, rtol=1e-5, atol=1e-6)
        of_words = states[:, [i for i, owner in enumerate(owners) if owner is not None]]
        expected = {"mean": of_words.mean(1), "first": states[:, 0], "last": states[:, -1]}[how]
        torch.testing.assert_close(found.texts(torch.tensor([t]))[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_layer_1_is_what_a_trace_calls_layers_0(pieces):
    """Probes count the embeddings too, as layer 0."""
    model = bert(layers=3)
    found = represent(TransformerReader(model, pieces), Corpus("one", (("good", "film"),)))
    with torch.no_grad(), trace(model) as seen:
        model(**pieces.encode_words([("good", "film")]))
    names = ["layers.0.residual.pre", *(f"layers.{i}.residual.post" for i in range(3))]
    expected = torch.stack([seen[name][0, 1:3] for name in names])  # between [CLS] and [SEP]
    torch.testing.assert_close(found.words(torch.arange(2)), expected)


GPT2 = {"model_type": "gpt2", "vocab_size": 24, "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2}
T5 = {
    "model_type": "t5", "vocab_size": 24, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 2, "num_heads": 2,
    "num_decoder_layers": 3, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1,
}  # fmt: skip


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize(("config", "side"), [(None, None), (GPT2, None), (T5, "encoder"), (T5, "decoder")])
def test_padding_changes_nothing(pieces, config, side, padding, monkeypatch):
    torch.manual_seed(2)
    model = bert() if config is None else new_model(config)
    monkeypatch.setattr(pieces, "padding_side", padding)
    monkeypatch.setattr(pieces, "token_types", config is None)
    reader = TransformerReader(model, pieces, side)
    together = represent(reader, CORPUS)
    for t, text in enumerate(CORPUS.texts):
        alone = represent(reader, Corpus("one", (text,)))
        at = torch.arange(len(text))
        torch.testing.assert_close(together.words(CORPUS.starts[t] + at), alone.words(at), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            together.texts(torch.tensor([t])), alone.texts(torch.tensor([0])), rtol=1e-4, atol=1e-5
        )


def test_a_decoder_is_read_where_it_has_just_read_the_word(pieces):
    torch.manual_seed(3)
    model = new_model(T5)
    found = represent(TransformerReader(model, pieces, "decoder"), Corpus("one", (("good", "film"),)))
    ids = pieces.encode_words([("good", "film")])["input_ids"]  # [CLS] good film [SEP]
    target = torch.cat((torch.tensor([[0]]), ids), dim=1)
    with torch.no_grad():
        states = model(ids, decoder_input_ids=target, output_hidden_states=True).hidden_states
    assert len(found.layers) == 4  # embeddings and three layers, where the encoder has two
    torch.testing.assert_close(found.words(torch.arange(2)), torch.stack(states)[:, 0, 2:4], rtol=1e-5, atol=1e-6)


def test_an_encoder_is_read_without_running_the_decoder(pieces):
    model = new_model(T5)
    model.decoder.forward = None
    assert represent(TransformerReader(model, pieces), CORPUS).layers == (0, 1, 2)


def test_a_model_has_no_side_that_it_lacks(reader):
    with pytest.raises(InputError, match="side 'decoder': this bert model has no such side"):
        TransformerReader(reader.model, reader.tokenizer, "decoder")


def test_neither_order_nor_company_changes_a_vector(reader):
    corpus = made_corpus()
    turned = Corpus("turned", corpus.texts[::-1])
    left, right = represent(reader, corpus), represent(reader, turned, shard_bytes=2000)
    assert len(right.shards) > 2 > len(left.shards)
    for t, text in enumerate(corpus.texts):
        at = torch.arange(len(text))
        other = turned.starts[len(corpus.texts) - 1 - t] + at
        torch.testing.assert_close(left.words(corpus.starts[t] + at), right.words(other), rtol=1e-4, atol=1e-5)


def test_words_of_many_shards_come_in_the_order_asked_and_by_layer(reader):
    whole, parts = represent(reader, made_corpus()), represent(reader, made_corpus(), shard_bytes=1500)
    numbers = torch.randperm(whole.words(torch.arange(40)).shape[1])
    torch.testing.assert_close(parts.words(numbers), whole.words(numbers), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts.words(numbers, slice(1, 3)), parts.words(numbers)[1:3], rtol=0, atol=0)


def test_a_killed_run_goes_on_and_ends_as_an_unbroken_one(reader, tmp_path, monkeypatch):
    corpus, size = made_corpus(), 2000
    unbroken = represent(reader, corpus, tmp_path / "unbroken", shard_bytes=size)

    class Killed(BaseException):
        pass

    write, half = module._write, f"{len(unbroken.shards) // 2:05d}"

    def kill(shard, path):
        if path.stem == half:
            raise Killed
        write(shard, path)

    monkeypatch.setattr(module, "_write", kill)
    with pytest.raises(Killed):
        represent(reader, corpus, tmp_path / "killed", shard_bytes=size)
    whole = sorted(path.name for path in (tmp_path / "killed").glob("*.safetensors"))
    assert 0 < len(whole) < len(unbroken.shards)
    asked = []
    states = reader.states
    monkeypatch.setattr(module, "_write", write)
    monkeypatch.setattr(reader, "states", lambda *a: (asked.append(len(a[0])), states(*a))[1])
    resumed = represent(reader, corpus, tmp_path / "killed", shard_bytes=size)
    assert sum(asked) - 1 < len(corpus.texts)  # beside the text that tells the size, only what was missing
    for path in (tmp_path / "unbroken").iterdir():
        assert path.read_bytes() == (tmp_path / "killed" / path.name).read_bytes()
    assert torch.equal(resumed.words(torch.arange(30)), unbroken.words(torch.arange(30)))


def test_one_shard_at_a_time_is_in_memory(reader, tmp_path, monkeypatch):
    write, made, held = module._write, [], []

    def watched(shard, path):
        held.append(sum(one() is not None for one in made))
        made.append(weakref.ref(shard))
        write(shard, path)

    monkeypatch.setattr(module, "_write", watched)
    found = represent(reader, made_corpus(), tmp_path / "there", shard_bytes=2000)
    assert len(found.shards) > 3
    assert held == [0] * len(found.shards)
    assert all(one() is None for one in made)


def test_files_hold_what_memory_holds(reader, tmp_path):
    corpus = made_corpus()
    stored, kept = represent(reader, corpus, tmp_path / "there", shard_bytes=2000), represent(reader, corpus)
    numbers = torch.arange(int(corpus.starts[-1]))
    torch.testing.assert_close(stored.words(numbers), kept.words(numbers), rtol=1e-4, atol=1e-5)
    stored.words(numbers).requires_grad_()  # ordinary tensors, that a probe may learn from


@pytest.mark.parametrize("change", ["a weight", "a text", "the layers", "words"])
def test_vectors_of_something_else_are_refused(reader, tmp_path, change):
    corpus, options = made_corpus(), {}
    represent(reader, corpus, tmp_path / "there")
    before = {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}
    says = {"a weight": "another model", "a text": "another corpus", "the layers": "layers = [0, 1, 2, 3], not [1]"}
    if change == "a weight":
        with torch.no_grad():
            reader.model.layers[0].feed_forward.up.bias[0] += 1e-3
    elif change == "a text":
        corpus = Corpus("made", (("good", "film"), *corpus.texts[1:]))
    elif change == "the layers":
        options = {"layers": [1]}
    else:
        options = {"words": "first"}
    expected = re.escape(says.get(change, "words = 'mean', not 'first'"))
    with pytest.raises(CheckpointError, match=f"there: holds the vectors of {expected}: name another folder"):
        represent(reader, corpus, tmp_path / "there", **options)
    assert {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()} == before


def test_a_folder_of_other_things_is_no_place_for_vectors(reader, tmp_path):
    (tmp_path / ".representations.json.x.partial").write_text("{")  # what a killed run may leave is no hindrance
    represent(reader, made_corpus(2), tmp_path)
    (tmp_path / "representations.json").rename(tmp_path / "mine.txt")
    with pytest.raises(
        CheckpointError, match=r"holds 00000.safetensors and no representations.json: name an empty folder"
    ):
        represent(reader, made_corpus(), tmp_path)


def test_a_file_is_no_folder(reader, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="cannot write here"):
        represent(reader, made_corpus(), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_whole_vectors_are_read_where_nothing_can_be_written(reader, tmp_path, monkeypatch):
    first = represent(reader, made_corpus(), tmp_path / "there", shard_bytes=2000)

    def refuse(*_):
        raise AssertionError("nothing is to be written")

    monkeypatch.setattr(module, "write_json", refuse)
    monkeypatch.setattr(module, "write_safetensors", refuse)
    again = represent(reader, made_corpus(), tmp_path / "there", shard_bytes=2000)
    assert torch.equal(first.texts(torch.arange(12)), again.texts(torch.arange(12)))


def test_a_damaged_shard_is_noticed(reader, tmp_path):
    represent(reader, made_corpus(), tmp_path / "there")
    path = tmp_path / "there" / "00000.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match=r"00000.safetensors .*not a whole safetensors file"):
        represent(reader, made_corpus(), tmp_path / "there")


def test_a_full_disk_leaves_whole_shards_and_nothing_half_written(reader, tmp_path, monkeypatch):
    write, written = weight_files.write_safetensors, []

    def full(tensors, path):
        if len(written) == 2:
            path.write_bytes(b"half")
            raise CheckpointError(f"{path}: cannot be written: No space left on device")
        written.append(path)
        write(tensors, path)

    monkeypatch.setattr(module, "write_safetensors", full)
    with pytest.raises(CheckpointError, match=r"/00002.safetensors: cannot be written: No space left on device"):
        represent(reader, made_corpus(), tmp_path / "there", shard_bytes=2000)
    names = sorted(path.name for path in (tmp_path / "there").iterdir())
    assert names == ["00000.safetensors", "00001.safetensors", "representations.json"]
    assert json.loads((tmp_path / "there" / "representations.json").read_text())["hidden"] == 24


def test_a_text_beyond_the_positions_is_named_or_skipped_and_counted(pieces):
    corpus = Corpus("long", (("good",), ("a",) * 20, ("bad", "film")))
    reader = TransformerReader(bert(), pieces)
    with pytest.raises(
        DataError, match=r"^long: the text '(a )+a' cannot be read: it has 22 tokens, and the model positions for 16$"
    ):
        represent(reader, corpus)
    found = represent(reader, corpus, unreadable="skip")
    assert [(one.text, one.reason[:16]) for one in found.unread] == [(1, "it has 22 tokens")]
    assert found.readable.tolist() == [True, False, True]
    assert not found.words(torch.arange(1, 21)).any()
    alone = represent(reader, Corpus("short", (("bad", "film"),)))
    torch.testing.assert_close(found.words(torch.tensor([21, 22])), alone.words(torch.arange(2)), rtol=1e-5, atol=1e-6)


def test_a_decoders_start_takes_a_position(pieces):
    config = {
        "model_type": "bart", "vocab_size": 24, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8,
        "max_position_embeddings": 16, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
        "decoder_start_token_id": 2,
    }  # fmt: skip
    fits, full = Corpus("fits", (("a",) * 13,)), Corpus("full", (("a",) * 14,))  # and two special tokens
    model = new_model(config)
    represent(TransformerReader(model, pieces, "encoder"), full)
    reader = TransformerReader(model, pieces, "decoder")
    represent(reader, fits)
    with pytest.raises(DataError, match="it has 16 tokens, and the model positions for 15"):
        represent(reader, full)


def test_a_word_without_a_token_is_named(pieces):
    corpus = Corpus("strange", (("good", "film"), ("a", "\u200b", "food"), ()))
    with pytest.raises(DataError, match=r"the text .* no token of its word 1, '\\u200b', nor can 1 others"):
        represent(TransformerReader(bert(), pieces), corpus)
    found = represent(TransformerReader(bert(), pieces), corpus, unreadable="skip")
    assert [one.text for one in found.unread] == [1, 2]
    with pytest.raises(DataError, match="none of its 1 texts can be read"):
        represent(TransformerReader(bert(), pieces), Corpus("empty", ((),)), unreadable="skip")
    with pytest.raises(DataError, match="none of its 0 texts can be read"):
        represent(TransformerReader(bert(), pieces), Corpus("nothing", ()))


@pytest.mark.parametrize("layers", [[4], [-1], [1, 1], []])
def test_layers_that_do_not_exist_are_refused(reader, layers):
    with pytest.raises(InputError, match="from 0, the embeddings, to 3, the model's last"):
        represent(reader, made_corpus(), layers=layers)


def test_chosen_layers_are_those_of_all(reader):
    numbers = torch.arange(20)
    some = represent(reader, made_corpus(), layers=[3, 1])
    everything = represent(reader, made_corpus())
    assert some.layers == (3, 1)
    torch.testing.assert_close(some.words(numbers), everything.words(numbers)[[3, 1]], rtol=0, atol=0)


def test_a_model_in_training_is_read_without_dropout_and_left_in_training(reader):
    reader.model.train()
    with pytest.raises(DataError):
        represent(reader, Corpus("empty", ((),)))
    assert reader.model.training
    first, second = represent(reader, made_corpus()), represent(reader, made_corpus())
    assert torch.equal(first.words(torch.arange(20)), second.words(torch.arange(20)))
    assert reader.model.training


def test_word_vectors_are_one_layer():
    table = torch.randn(3, 4)
    corpus = Corpus("words", (("good", "film"), ("film", "good", "food")))
    found = represent(WordReader(WordVectors(["good", "film", "food"], table)), corpus)
    assert found.layers == (0,)
    torch.testing.assert_close(found.words(torch.arange(5))[0], table[[0, 1, 1, 0, 2]])
    torch.testing.assert_close(found.texts(torch.tensor([1]))[0, 0], table[[1, 0, 2]].mean(0))


def test_elmo_is_read_in_every_layer():
    options = {
        "char_cnn": {
            "activation": "relu", "embedding": {"dim": 3}, "filters": [[1, 4], [2, 4]], "max_characters_per_token": 50,
            "n_characters": 262, "n_highway": 1,
        },
        "lstm": {
            "dim": 6, "projection_dim": 4, "n_layers": 2, "use_skip_connections": True, "cell_clip": 3, "proj_clip": 3,
        },
    }  # fmt: skip
    model = Elmo(ElmoConfig.from_dict(options, "options.json")).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    corpus = Corpus("words", (("good", "film"), ("film",)))
    found = represent(WordReader(model), corpus)
    with torch.no_grad():
        expected = model(**model.batch([("good", "film")]), output_hidden_states=True).hidden_states
    torch.testing.assert_close(found.words(torch.arange(2)), torch.stack(expected)[:, 0], rtol=1e-4, atol=1e-5)
    assert found.layers == (0, 1, 2)
