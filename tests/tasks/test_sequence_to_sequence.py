"""Writing one text from another: what is read and what is to be said, the smoothed loss, and what is written."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minitl import fit, generate, load_tokenizer, new_model
from minitl.data import Example
from minitl.errors import DataError, InputError
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tasks.sequence_to_sequence import Summarisation, Translation
from minitl.tasks.task import NO_TARGET
from minitl.tokenization import Tokenizer
from minitl.tokenization.languages import LANGUAGE, Languages
from minitl.training import FROZEN, Settings, evaluate, predict
from minitl.training.feeds import FeatureFeed, Feed
from tests.conftest import WORDS
from tests.training.test_encoder_decoders import BART, CONFIGS, SIZES, stored

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
START, END = 2, 3
SOME = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
PAIRS = st.lists(st.builds(Example, SOME, SOME), min_size=1, max_size=4)
FEW = settings(max_examples=30)
EXAMPLES = [Example("the good film was good", "good film"), Example("bad", "a very bad day"), Example("we", "it")]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return words(tmp_path_factory.mktemp("words"))


def words(folder: Path, *more: str) -> Tokenizer:
    """[CLS] text [SEP], a token a word."""
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS, *more]) + "\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "DistilBertTokenizer", "do_lower_case": false}')
    return load_tokenizer(folder)


def model(family: str = "bart", **fields: Any) -> Model:
    torch.manual_seed(1)
    made = new_model({**CONFIGS[family], **fields}, "seq2seq-lm")
    with torch.no_grad():
        for name, parameter in made.named_parameters():  # large enough that what it writes depends on what it reads
            if parameter.dim() > 1 and "embeddings" not in name:
                parameter.normal_(0.0, 0.4)
    return made.eval()


@pytest.fixture(scope="module")
def task(tokenizer: Tokenizer) -> Translation:
    return Translation(model(), tokenizer, 12, 10)


# What is read, and what is to be said


@FEW
@given(PAIRS, st.sampled_from(["left", "right"]))
def test_the_decoder_reads_its_targets_one_place_later(
    task: Translation, tokenizer: Tokenizer, examples: list[Example], side: str
) -> None:
    tokenizer.padding_side = side
    try:
        inputs, targets = task.collate(task.encode(examples))
    finally:
        tokenizer.padding_side = "right"
    for row, example in enumerate(examples):
        real = inputs["decoder_attention_mask"][row].bool()
        said = targets["tokens"][row]
        assert torch.equal(said != NO_TARGET, real)
        assert said[real].tolist() == tokenizer.encode(example.pair or "")[0]
        assert inputs["decoder_input_ids"][row][real].tolist() == [START, *said[real][:-1].tolist()]
        source = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
        assert source.tolist() == tokenizer.encode(example.text)[0]


def test_what_is_too_long_is_cut_and_a_prefix_is_read_first(tokenizer: Tokenizer) -> None:
    task = Summarisation(model(), tokenizer, max_length=6, max_new_tokens=4, prefix="very ")
    (item,) = task.encode([Example("good film and good book", "good film and book")])
    assert tokenizer.decode(item.source.ids.tolist()) == "[CLS] very good film and [SEP]"
    assert tokenizer.decode(item.target.ids.tolist()) == "[CLS] good film [SEP]"
    assert item.length == 10


# The loss


def test_the_smoothed_loss_by_hand(task: Translation) -> None:
    # p = softmax(0, log 2, log 5) = 1/8, 2/8, 5/8; then uniform; then padding, which has no share
    logits = torch.tensor([[0.0, math.log(2), math.log(5)], [7.0, 7.0, 7.0], [9.0, 0.0, 0.0]])[None]
    tokens = torch.tensor([[2, 0, NO_TARGET]])
    loss, count = task.loss(Output(torch.zeros(0), logits=logits), {"tokens": tokens})
    spread = (math.log(8) + math.log(4) + math.log(8 / 5)) / 3
    assert count == 2
    assert float(loss) == pytest.approx(0.9 * math.log(8 / 5) + 0.1 * spread + math.log(3), rel=1e-6)


@FEW
@given(st.floats(0, 0.99), st.integers(0, 99))
def test_the_smoothed_loss_is_torchs(tokenizer: Tokenizer, smoothing: float, seed: int) -> None:
    torch.manual_seed(seed)
    logits, tokens = torch.randn(3, 5, 7), torch.randint(0, 7, (3, 5))
    tokens[torch.rand(3, 5) < 0.3] = NO_TARGET
    task = Translation(_ANY, tokenizer, smoothing=smoothing)
    loss, count = task.loss(Output(torch.zeros(0), logits=logits), {"tokens": tokens})
    theirs = F.cross_entropy(logits.transpose(1, 2), tokens, reduction="sum", label_smoothing=smoothing)
    assert float(loss) == pytest.approx(float(theirs), rel=1e-5, abs=1e-6)
    assert count == int((tokens != NO_TARGET).sum())


_ANY = model()


@pytest.mark.parametrize("family", ["bart", "pegasus", "t5"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_neither_loss_nor_text(tokenizer: Tokenizer, family: str, side: str) -> None:
    one = model(family)
    task = Translation(one, tokenizer, 12, 10)
    tokenizer.padding_side = side
    try:
        together, alone = (evaluate(one, EXAMPLES, task=task, batch_size=size) for size in (3, 1))
        written = [predict(one, EXAMPLES, task=task, batch_size=size) for size in (3, 1)]
    finally:
        tokenizer.padding_side = "right"
    assert together == pytest.approx(alone, rel=1e-4)
    assert written[0] == written[1]


# What is written


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", ["bart", "t5"])
def test_predictions_are_what_generate_writes(tokenizer: Tokenizer, family: str, beams: int) -> None:
    one = model(family)
    task = Translation(one, tokenizer, 12, 9, num_beams=beams)
    written = predict(one, [Example(e.text) for e in EXAMPLES], task=task)
    for said, example in zip(written, EXAMPLES, strict=True):
        ids = generate(one, **tokenizer(example.text), max_new_tokens=9, num_beams=beams)
        assert said == tokenizer.decode(ids[0], skip_special_tokens=True).strip()
    assert len(set(written)) > 1  # else nothing was compared


def test_while_training_some_are_written_and_in_the_end_all(tokenizer: Tokenizer) -> None:
    texts = [Example(text, f"{text} {text}") for text in WORDS[:10]]
    task = Translation(model(), tokenizer, 12, 6, generated=3)
    assert [i for i, item in enumerate(task.encode(texts)) if item.written] == [0, 3, 6]
    assert all(item.written for item in task.encode(texts[:2]))
    assert all(item.written for item in task.in_full().encode(texts))
    assert sum(item.written for item in task.encode(texts)) == 3  # as before
    said = predict(task.model, texts, task=task)
    assert None not in said
    result = fit(task.model, texts, texts, task=task, settings=Settings(epochs=1))
    part = [said for i, said in enumerate(predict(task.model, texts, task=task)) if i in (0, 3, 6)]
    assert result.metrics["chrf"] == pytest.approx(task.compare(part, [texts[i].pair or "" for i in (0, 3, 6)])["chrf"])
    assert evaluate(task.model, texts, task=task)["loss"] == pytest.approx(result.metrics["loss"], rel=1e-5)


def test_translations_are_measured_by_bleu_and_chrf(task: Translation) -> None:
    right = ["a b c d e f g h", "x y z w"]
    assert task.compare(right, right) == pytest.approx({"bleu": 100.0, "chrf": 100.0})
    # Every n-gram that is there is right, and 8 of 12 words are: the brevity penalty alone.
    assert task.compare(["a b c d", "x y z w"], right)["bleu"] == pytest.approx(100 * math.exp(1 - 12 / 8))
    assert task.compare(["", ""], right) == {"bleu": 0.0, "chrf": 0.0}
    assert task.score([None, "x y z w"], [Example("?", text) for text in right])["bleu"] == pytest.approx(100.0)


def test_summaries_are_measured_by_rouge(tokenizer: Tokenizer) -> None:
    task = Summarisation(model(), tokenizer)
    scores = task.compare(["the cats sat", "day"], ["the cat sat down here", "night"])
    # 3 of 3 words and 3 of 5 ("cats" has the stem of "cat"), 2 of 2 pairs and 2 of 4; of the second text none
    assert scores == pytest.approx({"rouge1": 0.75 / 2, "rouge2": 2 / 3 / 2, "rougeL": 0.75 / 2})


# Languages

MULTILINGUAL = {
    "mbart-25": ({"model_type": "mbart", **SIZES, **BART}, ["$A", "[SEP]", LANGUAGE], True),
    "mbart-50": ({"model_type": "mbart", **SIZES, **BART}, [LANGUAGE, "$A", "[SEP]"], False),
    "m2m100": ({"model_type": "m2m_100", **SIZES, **BART}, [LANGUAGE, "$A", "[SEP]"], False),
}


@pytest.mark.parametrize("name", MULTILINGUAL)
def test_a_translator_reads_and_writes_the_languages_it_is_told(name: str, tmp_path: Path) -> None:
    config, single, opens = MULTILINGUAL[name]
    tokenizer = words(tmp_path, "en_XX", "fr_XX")
    en, fr = len(SPECIAL) + len(WORDS), len(SPECIAL) + len(WORDS) + 1
    codes = {"en_XX": en, "fr_XX": fr}
    names = {code: code for code in codes}
    tokenizer._languages = Languages(codes, names, single, [*single, "$B"], "en_XX", opens=opens)
    one = new_model({**config, "vocab_size": tokenizer.vocab_size}, "seq2seq-lm").eval()
    with pytest.raises(InputError, match="target_language must say"):
        Translation(one, tokenizer)
    with pytest.raises(InputError, match="'french' is no language of this tokenizer; near ones: fr_XX"):
        Translation(one, tokenizer, target_language="french")
    task = Translation(one, tokenizer, 12, 8, source_language="fr_XX", target_language="en_XX")
    inputs, targets = task.collate(task.encode([Example("good", "bad day"), Example("the film", "it")]))
    good, bad, day, it = (tokenizer.token_to_id(word) for word in ("good", "bad", "day", "it"))
    assert inputs["input_ids"][0].tolist() == ([good, END, fr, 0] if opens else [fr, good, END, 0])
    read = [
        row[real].tolist()
        for row, real in zip(inputs["decoder_input_ids"], inputs["decoder_attention_mask"].bool(), strict=True)
    ]
    if opens:
        assert targets["tokens"].tolist() == [[bad, day, END, en], [it, END, en, NO_TARGET]]
        assert read == [[en, bad, day, END], [en, it, END]]
    else:
        start = END if name == "mbart-50" else START
        assert targets["tokens"].tolist() == [[en, bad, day, END], [en, it, END, NO_TARGET]]
        assert read == [[start, en, bad, day], [start, en, it]]
    written = task.answers(one(**inputs), task.collate(task.encode(EXAMPLES)))
    told = {"decoder_start_token_id": en} if opens else {"forced_bos_token_id": en}
    ids = generate(one, **tokenizer([e.text for e in EXAMPLES]), max_new_tokens=8, **told)
    assert written == [tokenizer.decode(row, skip_special_tokens=True).strip() for row in ids]
    assert task.describe()["source_language"] == "fr_XX"


# Learning


def copies(count: int) -> list[Example]:
    dice = random.Random(0)
    texts = [" ".join(dice.choices(WORDS, k=dice.randint(1, 4))) for _ in range(count)]
    return [Example(text, text) for text in texts]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_tiny_model_learns_to_copy(tokenizer: Tokenizer, precision: str) -> None:
    torch.manual_seed(0)
    one = new_model({**CONFIGS["bart"], "d_model": 48, "dropout": 0.0}, "seq2seq-lm")
    task = Summarisation(one, tokenizer, 12, 12, smoothing=0.05)
    quick = Settings(epochs=15, batch_size=16, learning_rate=3e-3, autocast=precision)
    texts = copies(600)
    before = evaluate(one, texts[500:], task=task)
    result = fit(one, texts[:500], texts[500:], task=task, settings=quick)
    assert before["rougeL"] < 0.3
    assert result.metrics["rougeL"] > 0.95
    assert result.metrics["loss"] < before["loss"] / 3


def test_long_texts_are_written_in_half_precision(tokenizer: Tokenizer) -> None:
    one = model(max_position_embeddings=64)
    task = Translation(one, tokenizer, 12, 40)  # long enough for packed weights
    result = fit(one, EXAMPLES, EXAMPLES, task=task, settings=Settings(epochs=1, autocast="bfloat16"))
    assert math.isfinite(result.metrics["loss"])
    assert result.metrics.keys() == {"loss", "bleu", "chrf"}


def test_a_head_alone_learns_from_what_the_decoder_put_out_once(tokenizer: Tokenizer) -> None:
    one = model("t5", tie_word_embeddings=False)
    task = Translation(one, tokenizer, 12, 10)
    device = torch.device("cpu")
    kept = FeatureFeed(one, task, EXAMPLES, device, batch_size=2)([2, 0, 1])
    anew = Feed(one, task, EXAMPLES, device)([2, 0, 1])
    real = anew[1].targets["tokens"] != NO_TARGET
    assert kept[0].logits is not None
    assert anew[0].logits is not None
    torch.testing.assert_close(kept[0].logits[real], anew[0].logits[real], rtol=1e-5, atol=1e-5)
    before = stored(one)
    fit(one, EXAMPLES, EXAMPLES, task=task, settings=Settings(epochs=1), strategy=FROZEN)
    assert {name.split(".")[0] for name, value in stored(one).items() if not torch.equal(value, before[name])} == {
        "head"
    }


# What is refused


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens 0: expected 1 to 15"),
        ({"max_new_tokens": 16}, "max_new_tokens 16: expected 1 to 15"),
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
        ({"smoothing": 1.0}, "smoothing must be at least 0 and below 1"),
        ({"smoothing": float("nan")}, "smoothing must be at least 0 and below 1"),
        ({"generated": 0}, "generated must be at least 1"),
        ({"target_language": "fr_XX"}, "has no languages"),
    ],
)
def test_options_out_of_range_are_refused(tokenizer: Tokenizer, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Translation(_ANY, tokenizer, **options)


def test_what_cannot_be_learnt_from_is_refused(task: Translation, tokenizer: Tokenizer) -> None:
    for pair in (None, "", " "):
        with pytest.raises(DataError, match="training example 0: nothing to write"):
            task.check([Example("good", pair)], "training")
    with pytest.raises(DataError, match="training example 0: nothing to read"):
        task.check([Example(" ", "good")], "training")
    with pytest.raises(DataError, match="the training split is empty"):
        task.check([], "training")
    with pytest.raises(InputError, match="bart with the head backbone is no encoder-decoder that writes"):
        Translation(new_model(CONFIGS["bart"]), tokenizer)
