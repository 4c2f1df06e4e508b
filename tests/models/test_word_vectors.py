import logging

import numpy as np
import pytest
import torch

import minitl
from minitl.errors import InputError
from minitl.models.word_vectors import WordVectors

WORDS = ["man", "woman", "king", "queen", "apple", "null"]
VECTORS = torch.tensor(
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [-2.0, -2.0, 0.5], [0.0, 0.0, 0.0]]
)


@pytest.fixture
def table():
    return WordVectors(WORDS, VECTORS.clone())


def test_words_are_looked_up_as_they_are_spelt(table):
    assert len(table) == 6
    assert "king" in table
    assert "King" not in table
    assert torch.equal(table["queen"], VECTORS[3])
    assert table.encode(["king", "pawn", "man"]) == [2, -1, 0]
    with pytest.raises(InputError, match=r"^'King' is not among the 6 words; there is 'king'$"):
        table["King"]
    with pytest.raises(InputError, match=r"^'pawn' is not among the 6 words$"):
        table["pawn"]


def test_a_text_is_the_mean_of_its_known_words(table):
    output = table(**table.batch([["king", "pawn", "man"], ["woman"], ["pawn"], []]), output_hidden_states=True)
    assert output.last_hidden_state.shape == (4, 3, 3)
    assert torch.equal(output.last_hidden_state[0], torch.stack([VECTORS[2], torch.zeros(3), VECTORS[0]]))
    assert output.pooler_output.tolist() == [[1, 0, 0.5], [0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert [layer is output.last_hidden_state for layer in output.hidden_states] == [True]


def test_an_unknown_word_may_have_a_word_stand_for_it():
    table = WordVectors(WORDS, VECTORS, unknown="apple")
    assert table.encode(["pawn"]) == [4]
    assert torch.equal(table(**table.batch([["pawn"]])).pooler_output[0], VECTORS[4])
    with pytest.raises(InputError, match=r"^'<unk>' is not among"):
        WordVectors(WORDS, VECTORS, unknown="<unk>")


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing_on_either_side(table, side):
    ids, mask = torch.tensor([[2, 0]]), torch.tensor([[1, 1]])
    pad = (0, 3) if side == "right" else (3, 0)
    padded = table(*(torch.nn.functional.pad(x, pad, value=0) for x in (ids, mask)))
    plain = table(ids)
    assert torch.equal(padded.pooler_output, plain.pooler_output)
    kept = padded.last_hidden_state[:, :2] if side == "right" else padded.last_hidden_state[:, 3:]
    assert torch.equal(kept, plain.last_hidden_state)


def test_vectors_learn_unless_frozen_and_only_those_that_were_read(table):
    table(**table.batch([["king", "pawn"], ["queen"]])).pooler_output.sum().backward()
    assert table.vectors.grad.ne(0).any(1).tolist() == [False, False, True, True, False, False]
    frozen = WordVectors(WORDS, VECTORS).requires_grad_(False)
    assert not frozen(**frozen.batch([["king"]])).pooler_output.requires_grad
    assert minitl.count_parameters(table).trainable == 18


def test_in_bfloat16_too(table):
    output = table.bfloat16()(**table.batch([["king", "man"]]))
    assert output.pooler_output.dtype == torch.bfloat16
    assert output.pooler_output.tolist() == [[1, 0, 0.5]]


def test_nearest_words_come_by_cosine_without_the_word_itself(table):
    names, cosines = zip(*table.nearest("king", k=9), strict=True)
    assert names[:2] == ("man", "queen")
    assert set(names) == set(WORDS) - {"king"}
    assert cosines[:2] == (pytest.approx(0.5**0.5), pytest.approx(0.5))
    assert list(cosines) == sorted(cosines, reverse=True)
    assert table.nearest(torch.tensor([0.0, 3.0, 0.0]), k=1) == [("woman", 1.0)]
    with pytest.raises(InputError, match=r"^k must be an integer of at least 1, got 0$"):
        table.nearest("king", k=0)


def test_man_is_to_king_as_woman_is_to_queen(table):
    ((best, cosine),) = table.analogy("man", "king", "woman")
    target = torch.nn.functional.normalize(VECTORS[2], dim=0) - VECTORS[0] + VECTORS[1]
    assert best == "queen"
    assert cosine == pytest.approx(float(torch.cosine_similarity(target, VECTORS[3], dim=0)))
    assert {word for word, _ in table.analogy("man", "king", "woman", k=9)} == {"queen", "apple", "null"}


@pytest.mark.parametrize("name", ["v.bin", "v.txt", "v.gz"])
@pytest.mark.parametrize("format", ["word2vec", "word2vec-text", "glove"])
def test_a_saved_table_loads_the_same(table, tmp_path, format, name):
    table.save(tmp_path / name, format)
    again = minitl.load_word_vectors(tmp_path / name, unknown="apple")
    assert again.words == WORDS
    assert torch.equal(again.vectors, VECTORS)
    assert again.encode(["pawn"]) == [4]
    assert minitl.load_word_vectors(tmp_path / name, format=format, limit=2).words == WORDS[:2]


def test_repeated_words_are_announced(tmp_path, caplog):
    (tmp_path / "v.txt").write_text("a 1 2\nb 3 4\na 5 6\n")
    with caplog.at_level(logging.WARNING, "minitl"):
        table = minitl.load_word_vectors(tmp_path / "v.txt")
    assert table["a"].tolist() == [1, 2]
    assert "v.txt: 1 rows repeat a word and were left out" in caplog.text


def test_a_small_classifier_learns_on_it(table):
    table.requires_grad_(False)
    texts, labels = [["man", "king"], ["woman", "queen"], ["king"], ["queen"]], torch.tensor([0, 1, 0, 1])
    head = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(table(**table.batch(texts)).pooler_output), labels).backward()
        optimizer.step()
    unseen = table(**table.batch([["man", "zzz"], ["woman"]])).pooler_output
    assert head(unseen).argmax(-1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.batch(["one text"]), r"texts\[0\] must be a list of words, found one string"),
        (lambda t: t.batch([[], []]), "texts holds no word"),
        (lambda t: t.batch(5), "texts must be a list, found int"),
        (lambda t: t.batch([None]), r"texts\[0\] must be a list, found NoneType"),
        (lambda t: t.nearest(torch.zeros(2)), r"a vector must have the shape \[3\], got \[2\]"),
        (lambda t: t.nearest(5), "a word must be a string, got int"),
        (lambda t: t.analogy("man", ["king"], "woman"), "a word must be a string, got list"),
        (lambda t: t.nearest("king", k="a"), "k must be an integer of at least 1, got 'a'"),
        (lambda t: t(torch.zeros(2, 3)), r"input_ids must be integers \[batch, length\]"),
        (lambda t: t(torch.tensor([[6]])), "word id 6 is beyond the embedding, which has rows 0 to 5"),
        (
            lambda t: t(torch.tensor([[1]]), torch.ones(1, 2)),
            r"attention_mask must have the shape \[1, 1\], got \[1, 2\]",
        ),
        (lambda _: WordVectors(["a"], torch.zeros(2, 3)), r"1 words need as many vectors, got \[2, 3\]"),
        (lambda _: WordVectors(["a", "a"], torch.zeros(2, 3)), "a word stands in the table twice"),
    ],
)
def test_bad_input_is_named(table, call, message):
    with pytest.raises(InputError, match=message):
        call(table)


def test_loading_shares_the_memory_of_what_was_read():
    vectors = np.zeros((2, 3), np.float32)
    assert WordVectors(["a", "b"], torch.from_numpy(vectors)).vectors.data_ptr() == vectors.ctypes.data
