"""Classification by prompts against the peer library's pipelines, live: entailment, and words at a mask.

Runs where that library is installed beside minitl: `make test-reference`.
"""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from minitl import new_model, save_model
from minitl.prompting import PromptClassifier
from minitl.tokenization import Tokenizer
from tests.prompting.made import DECODERS, ENCODER_DECODERS, TEXTS, Made, build, train_tokenizers

pytestmark = pytest.mark.reference
transformers = pytest.importorskip("transformers", reason="the peer library lives in an environment of its own")

LONG = [
    "good film was bad " * 60,
    "Sentimental: " * 40,
    "a goodly Sentiment: " * 30,
]  # beyond the positions, cut in words
ENTAILMENT = [  # the peer takes the other end of the list for contradiction: orders in which it lies there
    ("contradiction", "neutral", "entailment"),
    ("ENTAILMENT", "NEUTRAL", "CONTRADICTION"),
    ("contradiction", "entailment", "neutral"),
    ("entailment", "not_entailment"),
]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    return train_tokenizers(tmp_path_factory.mktemp("tokenizers"))


def pipeline(task: str, folder: Path) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, model_max_length=64)
    return transformers.pipeline(task, model=str(folder), tokenizer=tokenizer, device="cpu")


@pytest.mark.parametrize("multi_label", [False, True], ids=["one label", "any number"])
@pytest.mark.parametrize("outputs", ENTAILMENT, ids=" ".join)
@pytest.mark.parametrize("family", ["bert", "roberta", "bart"])
def test_entailment(
    tokenizers: dict[str, Tokenizer], tmp_path: Path, family: str, outputs: tuple[str, ...], multi_label: bool
):
    tokenizer = Made(family, tokenizers).tokenizer
    model = new_model(build(family, tokenizer).config, "sequence-classification", labels=outputs)
    save_model(model, tmp_path, tokenizer)
    labels = ["good", "really bad", "film"]
    for template in ("This example is {}.", "it was {} ."):
        ours = PromptClassifier(model, tokenizer, labels, template, multi_label=multi_label, max_length=64)
        theirs = pipeline("zero-shot-classification", tmp_path)(
            [*TEXTS, *LONG], labels, hypothesis_template=template, multi_label=multi_label
        )
        for row, answer in zip(ours.scores([*TEXTS, *LONG]).exp(), theirs, strict=True):
            expected = dict(zip(answer["labels"], answer["scores"], strict=True))
            torch.testing.assert_close(row, torch.tensor([expected[label] for label in labels]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_entailment_of_the_text_that_fits(tokenizers: dict[str, Tokenizer], tmp_path: Path, family: str, side: str):
    tokenizer, labels = tokenizers[family], ["good", "really bad"]
    model = new_model(build(family, tokenizer).config, "sequence-classification", labels=ENTAILMENT[0])
    tokenizer.truncation_side = side
    try:
        save_model(model, tmp_path, tokenizer)
        ours = PromptClassifier(model, tokenizer, labels, max_length=64).scores(LONG).exp()
    finally:
        tokenizer.truncation_side = "right"
    for row, answer in zip(ours, pipeline("zero-shot-classification", tmp_path)(LONG, labels), strict=True):
        expected = dict(zip(answer["labels"], answer["scores"], strict=True))
        torch.testing.assert_close(row, torch.tensor([expected[label] for label in labels]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_words_at_a_mask(tokenizers: dict[str, Tokenizer], tmp_path: Path, family: str):
    made = Made(family, tokenizers)
    save_model(made.model, tmp_path, made.tokenizer)
    fill = pipeline("fill-mask", tmp_path)
    spelt = {"bert": "{}", "roberta": "Ġ{}"}[family]
    targets = [spelt.format(word) for word in made.words.values()]
    ours = made.classifier(calibrate=False).logits(TEXTS).exp()
    for text, row in zip(TEXTS, ours, strict=True):
        gap = made.template.replace("{text}", text).replace("{mask}", fill.tokenizer.mask_token)
        expected = {answer["token"]: answer["score"] for answer in fill(gap, targets=targets)}
        wanted = [expected[made.tokenizer.token_to_id(target)] for target in targets]
        torch.testing.assert_close(row, torch.tensor(wanted), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", [*DECODERS, *ENCODER_DECODERS])
def test_the_likelihood_is_the_peers_loss(tokenizers: dict[str, Tokenizer], tmp_path: Path, family: str):
    made = Made(family, tokenizers)
    save_model(made.model, tmp_path)
    seq2seq = family in ENCODER_DECODERS
    loader = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    peer = loader.from_pretrained(tmp_path).eval()
    ours = made.classifier(calibrate=False).logits(TEXTS)
    for (text, words), value in zip(itertools.product(TEXTS, made.words.values()), ours.flatten(), strict=True):
        prompt = made.template.replace("{text}", text)
        (before,) = made.tokenizer.encode(prompt)
        if seq2seq:
            ids, target = torch.tensor([before]), torch.tensor(made.tokenizer.encode(words))
            count = target.shape[1]
        else:
            ids = torch.tensor(made.tokenizer.encode(prompt + words))
            target = ids.clone()
            target[:, : len(before)] = -100
            count = ids.shape[1] - len(before)
        with torch.inference_mode():
            loss = peer(input_ids=ids, labels=target).loss
        torch.testing.assert_close(value, -loss * count, rtol=1e-4, atol=1e-4)
