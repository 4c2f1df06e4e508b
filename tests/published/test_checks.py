"""The checks themselves, on tiny checkpoints and with numbers made in another way: what is right passes, and what is a
little wrong fails."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file
from scipy.stats import spearmanr

from minitl import (
    generate,
    generation_options,
    load_dataset,
    load_model,
    load_sentence_encoder,
    load_tokenizer,
    new_model,
    save_model,
)
from tests.published.cases import INPUTS, Case
from tests.published.checks import KINDS

STORED = Path(__file__).parents[1] / "reference" / "checkpoints"
TEXT = "the film was [MASK] but the food was good"


def passes(case: Case, folder: Path) -> bool:
    try:
        KINDS[case["kind"]](case, folder)
    except AssertionError:
        return False
    return True


def accepts_only(folder: Path, wrong: dict[str, Any], **case: Any) -> None:
    """The case passes; with any one of its fields as in `wrong`, it fails."""
    assert passes(case, folder)
    for field, value in wrong.items():
        assert case[field] != value
        assert not passes(case | {field: value}, folder), field


@pytest.fixture(scope="module")
def with_head(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A tiny BERT with a head, weights that tell texts apart, and a tokenizer."""

    def build(task: str, **changes: Any) -> Path:
        torch.manual_seed(1)
        folder = tmp_path_factory.mktemp("checkpoints") / task
        config = json.loads((tiny / "config.json").read_text()) | {"initializer_range": 0.5} | changes
        save_model(new_model(config, task), folder, load_tokenizer(tiny))
        return folder

    return build


@pytest.fixture(scope="module")
def decoder(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2 that reads the same words."""
    torch.manual_seed(1)
    folder, tokenizer = tmp_path_factory.mktemp("checkpoints") / "decoder", load_tokenizer(tiny)
    config = {"model_type": "gpt2", "vocab_size": 24, "n_positions": 32, "n_embd": 8, "n_layer": 1, "n_head": 2}
    config |= {"initializer_range": 0.5, "eos_token_id": None, "pad_token_id": 0}
    save_model(new_model(config, "causal-lm"), folder, tokenizer)
    return folder


def test_a_tensor() -> None:
    folder = STORED / "bert-backbone"
    expected = load_file(folder / "expected.safetensors")
    names = [name.removeprefix("right.inputs.") for name in expected if name.startswith("right.inputs.")]
    inputs = {name: expected[f"right.inputs.{name}"].tolist() for name in names}
    hidden = expected["right.outputs.last_hidden_state"]
    values = hidden[:, 1:3, -2:]
    accepts_only(
        folder,
        {
            "values": (values + 2e-3).tolist(),
            "slice": "[:, 1:3, :2]",
            "shape": [*hidden.shape[:2], 25],
            "input": inputs | {"attention_mask": torch.ones_like(expected["right.inputs.attention_mask"]).tolist()},
        },
        kind="tensor",
        task="backbone",
        input=inputs,
        output="last_hidden_state",
        shape=list(hidden.shape),
        slice="[:, 1:3, -2:]",
        values=values.tolist(),
        atol=1e-4,
    )


def test_a_mean_of_a_tensor_and_an_index() -> None:
    folder = STORED / "gpt2-causal-lm"
    expected = load_file(folder / "expected.safetensors")
    inputs = {name: expected[f"right.inputs.{name}"].tolist() for name in ("input_ids", "attention_mask")}
    logits = expected["right.outputs.logits"]
    case = {"kind": "tensor", "task": "causal-lm", "input": inputs, "output": "logits", "atol": 1e-4}
    mean = logits.mean(-1)[:, :3]
    accepts_only(
        folder,
        {"values": (mean * 1.01).tolist()},
        **case,
        reduce="mean",
        slice="[:, :3]",
        values=mean.tolist(),
    )
    accepts_only(folder, {"slice": "[0, 1, :5]"}, **case, slice="[0, 0, :5]", values=logits[0, 0, :5].tolist())


def test_a_tensor_of_a_text(with_head: Callable[..., Path]) -> None:
    folder = with_head("masked-lm")
    logits = load_model(folder)(**load_tokenizer(folder)(TEXT)).logits
    accepts_only(
        folder,
        {"text": TEXT.replace("good", "bad")},
        kind="tensor",
        task="masked-lm",
        text=TEXT,
        output="logits",
        slice="[:, :2, :2]",
        values=logits[:, :2, :2].tolist(),
        atol=1e-4,
    )


def test_position_ids() -> None:
    folder = STORED / "roberta-backbone"
    accepts_only(
        folder,
        {"values": [[0, 1, 2, 3]]},
        kind="position ids",
        input_ids=[[12, 31, 13, 1]],
        values=[[2, 3, 4, 1]],
    )


def test_tokens_at_the_mask(with_head: Callable[..., Path]) -> None:
    folder = with_head("masked-lm")
    tokenizer = load_tokenizer(folder)
    batch = tokenizer(TEXT)
    logits = load_model(folder)(**batch).logits[0, batch["input_ids"][0].tolist().index(tokenizer.mask_token_id)]
    best = logits.argsort(descending=True)[:3]
    words = [tokenizer.decode([i]) for i in best.tolist()]
    accepts_only(
        folder,
        {"values": [words[1], words[0], words[2]], "text": "[MASK] was the film"},
        kind="top tokens",
        task="masked-lm",
        text=TEXT,
        values=words,
    )
    accepts_only(
        folder, {"among": 2}, kind="top tokens", task="masked-lm", text=TEXT, values=[words[2], words[0]], among=3
    )
    chances = logits.softmax(-1)[best].tolist()
    pairs = [[int(token), round(chance, 3)] for token, chance in zip(best, chances, strict=True)]
    accepts_only(
        folder,
        {"values": [[token, chance + 0.002] for token, chance in pairs]},
        kind="fill mask",
        task="masked-lm",
        text=TEXT,
        values=pairs,
        atol=6e-4,
    )


def test_entailment(with_head: Callable[..., Path]) -> None:
    folder = with_head("sequence-classification", id2label={"0": "CONTRADICTION", "1": "ENTAILMENT"})
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    logits = [model(**tokenizer(["the food"], [f"a {word} day"])).logits[0] for word in ("good", "bad")]
    right = torch.stack([row[1] for row in logits]).softmax(0).tolist()
    other = torch.stack([row[0] for row in logits]).softmax(0).tolist()
    accepts_only(
        folder,
        {"values": dict(zip(("good", "bad"), other, strict=True)), "template": "a {} film", "text": "the hotel"},
        kind="entailment",
        task="sequence-classification",
        text="the food",
        template="a {} day",
        values=dict(zip(("good", "bad"), right, strict=True)),
        atol=1e-5,
    )


def test_token_ids(tiny: Path) -> None:
    ids = [2, 14, 9, 13, 5, 3]  # [CLS] the film was good [SEP]
    accepts_only(tiny, {"values": [*ids[:-1], 4]}, kind="token ids", text="the film was good", values=ids)


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """multilingual(tokenizer class, model type): a tiny translator that draws words from few letters."""
    pieces = tmp_path_factory.mktemp("pieces")
    (pieces / "text").write_text("a cat and a dog\na red cat ran\n" * 50, encoding="utf-8")
    options = {"model_type": "unigram", "vocab_size": 24, "hard_vocab_limit": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        input=str(pieces / "text"), model_prefix=str(pieces / "model"), num_threads=1, **options
    )

    def build(tokenizer_class: str, model_type: str) -> Path:
        torch.manual_seed(1)
        folder = tmp_path_factory.mktemp("checkpoints") / tokenizer_class
        folder.mkdir()
        shutil.copy(pieces / "model.model", folder / "sentencepiece.bpe.model")
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer_class}))
        parts = dict.fromkeys(("attention_heads", "layers"), 2) | {"ffn_dim": 16}
        size = {f"{side}_{part}": n for side in ("encoder", "decoder") for part, n in parts.items()}
        config = {"model_type": model_type, "d_model": 16, "max_position_embeddings": 64, "init_std": 1.0, **size}
        config |= {"vocab_size": load_tokenizer(folder).vocab_size, "pad_token_id": 1, "eos_token_id": 2}
        model = new_model(config | {"decoder_start_token_id": 2}, "seq2seq-lm")
        with torch.no_grad():  # shorter rows have smaller scores: it writes words, not the names of languages
            model.embeddings.token.weight[list(load_tokenizer(folder).languages.values())] *= 0.3
        save_model(model, folder)
        return folder

    return build


def test_token_ids_with_languages(multilingual: Callable[..., Path]) -> None:
    folder = multilingual("NllbTokenizer", "m2m_100")
    tokenizer = load_tokenizer(folder)
    own, english, french = (
        tokenizer.encode("a cat")[0][1:-1],
        tokenizer.languages["eng_Latn"],
        tokenizer.languages["fra_Latn"],
    )
    case = {"kind": "token ids", "text": "a cat"}
    accepts_only(
        folder,
        {
            "source_language": "eng_Latn",
            "target_language": "eng_Latn",
            "legacy": True,
            "values": [english, *own, 2],
            "target_options": {"forced_bos_token_id": english},
        },
        **case,
        source_language="fra_Latn",
        target_language="fra_Latn",
        legacy=False,
        values=[french, *own, 2],
        target_options={"forced_bos_token_id": french},
    )
    values = [*own, 2, english]
    accepts_only(folder, {"legacy": False}, **case, source_language="eng_Latn", legacy=True, values=values)


@pytest.mark.parametrize(
    ("names", "english", "german"),
    [(("NllbTokenizer", "m2m_100"), "eng_Latn", "deu_Latn"), (("MBartTokenizer", "mbart"), "en_XX", "de_DE")],
)
def test_text_in_another_language(
    multilingual: Callable[..., Path], names: tuple[str, str], english: str, german: str
) -> None:
    folder = multilingual(*names)
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    tokenizer.source_language = german
    ids = generate(model, **tokenizer("a red cat"), max_new_tokens=9, **tokenizer.target_options(german))
    accepts_only(
        folder,
        {"source_language": english, "target_language": english},
        kind="generated text",
        task="seq2seq-lm",
        texts=["a red cat"],
        source_language=german,
        target_language=german,
        options={"max_new_tokens": 9},
        values=[tokenizer.decode(ids[0], skip_special_tokens=True)],
    )


def test_generated_ids(decoder: Path) -> None:
    told = generate(load_model(decoder), torch.tensor([[5, 6, 7, 6, 7]]), max_new_tokens=4).tolist()
    accepts_only(
        decoder,
        {"values": [[*told[0][:-1], told[0][-1] + 1]]},
        kind="generated ids",
        task="causal-lm",
        input_ids=[[5, 6, 7, 6, 7]],
        max_new_tokens=4,
        values=told,
    )
    accepts_only(
        decoder,
        {"values": [[told[0][-2], told[0][-1] + 1]], "last": 3},
        kind="generated ids",
        task="causal-lm",
        input_ids=[[5]],
        repeat=[[6, 7], 2],
        max_new_tokens=4,
        last=2,
        values=[told[0][-2:]],
    )


def test_generated_text(decoder: Path) -> None:
    model, tokenizer = load_model(decoder), load_tokenizer(decoder)
    texts = ["the film was", "a good day"]
    ids = [generate(model, torch.tensor(tokenizer.encode(text)), max_new_tokens=6)[0] for text in texts]
    written = [tokenizer.decode(row, skip_special_tokens=True) for row in ids]
    case = {"kind": "generated text", "task": "causal-lm", "texts": texts}
    length = len(ids[0])
    accepts_only(
        decoder,
        {"values": written[::-1], "options": {"max_length": length - 3}},
        **case,
        options={"max_length": length},
        values=written,
    )
    accepts_only(decoder, {"first": 40}, **case, options={"max_length": length - 3}, first=12, values=written)


@pytest.mark.parametrize("measure", ["cosine", "dot"])
def test_similarities(with_head: Callable[..., Path], measure: str) -> None:
    folder = with_head("backbone", max_position_embeddings=64)
    modules = [{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}]
    modules.append({"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 24, "pooling_mode_cls_token": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    prompts = {"query": "film ", "passage": "book "}
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": prompts, "similarity_fn_name": measure})
    )
    encoder, texts = load_sentence_encoder(folder), INPUTS["red planet"]
    query = encoder.encode("film " + texts["query"], prompt="")[0]
    values = []
    for text in texts["documents"]:
        vector = encoder.encode("book " + text, prompt="")[0]
        values.append(float(query @ vector / (1 if measure == "dot" else query.norm() * vector.norm())))
    accepts_only(
        folder,
        {"values": [*values[:-1], values[-1] + 2e-3]},
        kind="similarities",
        values=values,
        atol=1e-3,
    )


def test_pair_scores(with_head: Callable[..., Path]) -> None:
    folder = with_head("sequence-classification", id2label={"0": "LABEL_0"}, max_position_embeddings=64)
    model, tokenizer, texts = load_model(folder), load_tokenizer(folder), INPUTS["red planet"]
    scores = [model(**tokenizer(texts["query"], text)).logits[0, 0].item() for text in texts["documents"]]
    accepts_only(
        folder,
        {"activation": "sigmoid", "values": [*scores[:-1], scores[-1] + 2e-3]},
        kind="pair scores",
        task="sequence-classification",
        activation="identity",
        values=scores,
        atol=1e-3,
    )


@pytest.mark.slow  # the published figure itself is checked in test_published.py
def test_a_spearman(minilm: Path, assets: Path) -> None:
    assert (assets / "data" / "stsb").is_dir()
    rows = load_dataset("stsb-en").test[:10]
    left, right = (
        load_sentence_encoder(minilm).encode(texts) for texts in ([e.text for e in rows], [e.pair or "" for e in rows])
    )
    score = 100 * spearmanr((left * right).sum(-1), [float(e.label) for e in rows]).statistic
    accepts_only(minilm, {"values": score + 0.11, "rows": 1379}, kind="spearman", rows=10, values=score + 0.09)


def stored_task(folder: Path) -> str:
    return json.loads((folder / "reference.json").read_text())["task"]


SEQ2SEQ = sorted(folder.name for folder in STORED.iterdir() if stored_task(folder) == "seq2seq-lm")


@pytest.fixture(scope="module", params=SEQ2SEQ)
def translator(request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored tiny encoder-decoder, with a tokenizer whose words it has rows for."""
    folder = tmp_path_factory.mktemp("checkpoints") / request.param
    shutil.copytree(STORED / request.param, folder)
    load_tokenizer(tiny).save(folder)
    config = json.loads((folder / "config.json").read_text())  # mBART-25 has no start token: it depends on the language
    (folder / "config.json").write_text(json.dumps({**config, "decoder_start_token_id": 2}))
    return folder


def test_a_score(translator: Path) -> None:
    model, tokenizer = load_model(translator), load_tokenizer(translator)
    start = json.loads((translator / "config.json").read_text())["decoder_start_token_id"]
    read, written = torch.tensor(tokenizer.encode("the film was")), tokenizer.encode("a day")[0]
    total = 0.0
    for i, token in enumerate(written):  # one token after the other
        logits = model(read, decoder_input_ids=torch.tensor([[start, *written[:i]]])).logits[0, -1]
        total += logits.log_softmax(-1)[token].item()
    accepts_only(
        translator,
        {"values": total + 0.01, "text": "the book was", "target": "a good day"},
        kind="score",
        task="seq2seq-lm",
        text="the film was",
        target="a day",
        values=total,
        atol=1e-3,
    )


def test_translated_text(translator: Path) -> None:
    model, tokenizer = load_model(translator), load_tokenizer(translator)
    options = generation_options(translator) | {"max_new_tokens": 5, "num_beams": 1}
    ids = generate(model, torch.tensor(tokenizer.encode("the film was")), **options)
    written = tokenizer.decode(ids[0], skip_special_tokens=True)
    accepts_only(
        translator,
        {"values": [written + "x"]},
        kind="generated text",
        task="seq2seq-lm",
        texts=["the film was"],
        options={"max_length": 6, "num_beams": 1},
        values=[written],
    )
