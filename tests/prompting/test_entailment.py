"""Hypotheses that follow from a text, or do not."""

import itertools

import pytest
import torch

from minitl.errors import InputError
from minitl.models.loading import new_model
from minitl.prompting import PromptClassifier
from minitl.tokenization import Tokenizer
from tests.prompting.made import NLI, TEXTS, Made, build


def outputs(made: Made, text: str, hypothesis: str) -> torch.Tensor:
    with torch.inference_mode():
        return made.model(**made.tokenizer([text], [hypothesis])).logits[0]


def test_one_label_a_text_is_the_softmax_of_the_entailment_logits(nli: Made):
    for text, row in zip(TEXTS, nli.classifier().scores(TEXTS), strict=True):
        logits = [outputs(nli, text, f"This is {word} .")[NLI.index("Entailment")] for word in nli.words.values()]
        torch.testing.assert_close(row, torch.stack(logits).log_softmax(-1), rtol=1e-4, atol=1e-4)


def test_any_number_of_labels_is_entailment_against_contradiction(nli: Made):
    classifier = nli.classifier(multi_label=True)
    pair = [NLI.index("CONTRADICTION"), NLI.index("Entailment")]
    for text, row in zip(TEXTS, classifier.scores(TEXTS), strict=True):
        for word, value in zip(nli.words.values(), row, strict=True):
            wanted = outputs(nli, text, f"This is {word} .")[pair].log_softmax(-1)[1]
            torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-4)
    assert nli.classifier(multi_label=True, words=["good"]).scores(TEXTS).shape == (len(TEXTS), 1)


@pytest.mark.parametrize("multi_label", [False, True])
def test_names_say_which_output_is_which(nli: Made, multi_label: bool):
    wanted = nli.classifier(multi_label=multi_label).scores(TEXTS)
    head = nli.model.head.classifier
    for order in itertools.permutations(range(3)):
        turned = new_model(nli.model.config, "sequence-classification", labels=[NLI[i].upper() for i in order])
        turned.load_state_dict(nli.model.state_dict())
        turned.head.classifier.weight.data = head.weight.data[list(order)]
        turned.head.classifier.bias.data = head.bias.data[list(order)]
        classifier = PromptClassifier(turned, nli.tokenizer, nli.words, nli.template, multi_label=multi_label)
        torch.testing.assert_close(classifier.scores(TEXTS), wanted)


@pytest.mark.parametrize("labels", [["entailment", "not_entailment"], ["not_entailment", "entailment"]])
def test_of_two_outputs_the_other_one_contradicts(tokenizers: dict[str, Tokenizer], labels: list[str]):
    model = new_model(build("bert", tokenizers["bert"]).config, "sequence-classification", labels=labels)
    classifier = PromptClassifier(model, tokenizers["bert"], ["good", "bad"], multi_label=True)
    with torch.inference_mode():
        logits = model(**tokenizers["bert"](["a film"], ["This example is good."])).logits[0]
    wanted = logits.log_softmax(-1)[labels.index("entailment")]
    torch.testing.assert_close(classifier.scores(["a film"])[0, 0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "labels", [["negative", "positive"], ["LABEL_0", "LABEL_1", "LABEL_2"], ["entailment", "a", "b"]]
)
def test_another_classifier_is_refused_by_its_labels(tokenizers: dict[str, Tokenizer], labels: list[str]):
    model = new_model(build("bert", tokenizers["bert"]).config, "sequence-classification", labels=labels)
    with pytest.raises(InputError, match=f"this one's are {', '.join(labels)}"):
        PromptClassifier(model, tokenizers["bert"], ["good", "bad"])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"template": "This is it."}, "must hold {}, each exactly once, and no other slot; found {} 0 times"),
        ({"template": "{text} is {}."}, "found {text} 1 times"),
        ({"examples": [("a film", "positive")]}, "it takes no examples"),
        ({"multi_label": True, "calibrate": True}, "with multi_label there is none"),
        ({"words": {"a": "good", "b": "Good"}}, "are the same tokens to this tokenizer"),
        ({"multi_label": True, "words": []}, "a classifier needs one label or more, found []"),
    ],
)
def test_what_makes_no_hypothesis_is_refused(nli: Made, options: dict[str, object], complaint: str):
    with pytest.raises(InputError) as error:
        nli.classifier(**options)
    assert complaint in str(error.value)
