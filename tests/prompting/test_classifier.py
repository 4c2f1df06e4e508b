"""What holds whichever kind of model answers, and what is refused."""

from typing import Any

import pytest
import torch

from minitl import new_model
from minitl.errors import InputError
from minitl.prompting import CONTENT_FREE, PromptClassifier
from minitl.tokenization import Tokenizer
from tests.prompting.made import DECODERS, ENCODER_DECODERS, ENCODERS, TEXTS, Made, build

SHOTS = [("a fine day", "positive"), ("the food was poor", "negative")]


def test_scores_are_log_probabilities_and_the_likeliest_is_predicted(kind: Made):
    classifier = kind.classifier()
    scores = classifier.scores(TEXTS)
    assert scores.shape == (len(TEXTS), 3)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(len(TEXTS)))
    assert classifier.predict(TEXTS) == [list(kind.words)[i] for i in scores.argmax(-1)]
    assert len(set(classifier.predict(TEXTS))) > 1  # the texts do make a difference


def test_a_batch_gives_what_its_rows_give_alone(kind: Made):
    together = kind.classifier().logits(TEXTS)
    alone = torch.cat([kind.classifier().logits([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    for size in (1, 3):
        torch.testing.assert_close(kind.classifier(batch_size=size).logits(TEXTS), alone, rtol=1e-4, atol=1e-4)


def test_the_order_of_the_labels_does_not_matter(kind: Made):
    scores = kind.classifier().scores(TEXTS)
    turned = kind.classifier(words=dict(reversed(kind.words.items())))
    assert turned.labels == [*kind.words][::-1]
    torch.testing.assert_close(turned.scores(TEXTS).flip(-1), scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*DECODERS, *ENCODER_DECODERS, *ENCODERS])
def test_examples_stand_answered_before_the_question(name: str, tokenizers: dict[str, Tokenizer]):
    made = Made(name, tokenizers)
    slot = "{mask}" if "{mask}" in made.template else ""
    answered = []
    for text, label in SHOTS:
        shown = made.template.replace("{text}", text)
        answered.append(shown.replace(slot, made.words[label]) if slot else shown + made.words[label])
    written_out = made.classifier(template="\n".join([*answered, made.template]))
    shown_as_examples = made.classifier(examples=SHOTS, separator="\n")
    torch.testing.assert_close(shown_as_examples.scores(TEXTS), written_out.scores(TEXTS), rtol=1e-4, atol=1e-4)
    assert (shown_as_examples.scores(TEXTS) - made.classifier().scores(TEXTS)).abs().max() > 1e-2


def test_a_list_of_labels_stands_for_itself(gpt2: Made):
    listed = gpt2.classifier(words=[" good", " bad"]).scores(TEXTS)
    torch.testing.assert_close(listed, gpt2.classifier(words={"p": " good", "n": " bad"}).scores(TEXTS))


def test_one_content_free_text_becomes_uniform(kind: Made):
    classifier = kind.classifier()
    classifier.calibrate(["N/A"])
    torch.testing.assert_close(classifier.scores(["N/A"]).exp(), torch.full((1, 3), 1 / 3), rtol=0, atol=1e-4)


def test_the_prior_is_the_mean_over_the_content_free_texts(gpt2: Made):
    bare = gpt2.classifier(calibrate=False)
    prior = bare.scores(CONTENT_FREE).exp().mean(0)
    wanted = bare.scores(TEXTS).exp() / prior
    torch.testing.assert_close(gpt2.classifier().scores(TEXTS).exp(), wanted / wanted.sum(-1, keepdim=True))


def test_unlabelled_texts_may_give_the_prior(gpt2: Made):
    classifier = gpt2.classifier(calibrate=False)
    prior = classifier.scores(TEXTS).exp().mean(0)
    classifier.calibrate(TEXTS)
    wanted = gpt2.classifier(calibrate=False).scores(TEXTS).exp() / prior
    torch.testing.assert_close(classifier.scores(TEXTS).exp(), wanted / wanted.sum(-1, keepdim=True))


def test_language_models_are_calibrated_unless_told_otherwise_and_entailment_is_not(kind: Made):
    assert (kind.classifier().prior is None) == kind.name.endswith("-nli")
    assert kind.classifier(calibrate=False).prior is None
    assert kind.classifier(calibrate=True).prior is not None


def test_dropout_is_off_and_the_mode_is_left_as_it_was(kind: Made):
    wanted = kind.classifier().scores(TEXTS)
    kind.model.train()
    torch.testing.assert_close(kind.classifier().scores(TEXTS), wanted)
    assert kind.model.training
    assert not kind.classifier().scores(TEXTS).requires_grad


def test_the_weights_may_be_of_half_precision(kind: Made):
    exact = kind.classifier(calibrate=False).scores(TEXTS)
    kind.model.to(torch.bfloat16)
    scores = kind.classifier(calibrate=False).scores(TEXTS)
    assert scores.dtype == torch.float32
    assert (scores.exp() - exact.exp()).abs().max() < 0.2


def test_no_texts_have_no_scores(kind: Made):
    assert kind.classifier().scores([]).shape == (0, 3)
    assert kind.classifier().predict([]) == []


def test_a_long_text_is_cut_and_the_question_is_not(kind: Made):
    long = " ".join(["good", "film", "was"] * 60)
    classifier, whole = kind.classifier(max_length=30), kind.classifier()._scorer
    assert whole.read(long).tokens > 30 >= classifier._scorer.read(long).tokens
    words = next(n for n in range(180) if whole.read(" ".join(long.split()[: n + 1])).tokens > 30)
    kept = " ".join(long.split()[:words])
    torch.testing.assert_close(classifier.scores([long]), kind.classifier().scores([kept]), rtol=1e-4, atol=1e-4)
    kind.tokenizer.truncation_side = "left"
    try:
        left = kind.classifier(max_length=30).scores([long])
        words = next(n for n in range(180) if whole.read(" ".join(long.split()[-n - 1 :])).tokens > 30)
        space = " " if kind.name.endswith("-nli") else ""  # premises lose whole tokens, the space stays
        kept = space + " ".join(long.split()[-words:])
        torch.testing.assert_close(left, kind.classifier().scores([kept]), rtol=1e-4, atol=1e-4)
    finally:
        kind.tokenizer.truncation_side = "right"


@pytest.mark.parametrize("name", ["gpt2", "bart", "bert", "roberta", "bert-nli", "bart-nli"])
def test_positions_are_used_to_the_last(name: str, tokenizers: dict[str, Tokenizer]):
    made = Made(name, tokenizers)
    scores = made.classifier().scores(["good film " * 100, "bad"])
    assert scores.isfinite().all()
    torch.testing.assert_close(scores[1:], made.classifier().scores(["bad"]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"words": {"a": " good"}}, "a classifier needs two labels or more, found ['a']"),
        ({"words": []}, "a classifier needs two labels or more, found []"),
        ({"words": [" good", " good"]}, "each label must be named once"),
        ({"words": " good"}, "found one string"),
        ({"words": {"a": " good", "b": " "}}, "the label 'b' has no words: found ' '"),
        ({"words": {"a": " good", "b": None}}, "the label 'b' has no words: found None"),
        ({"words": {"a": " good", "b": " good"}}, "' good' and ' good' are the same tokens"),
        ({"examples": [("a film", "positive"), ("a book", "neutral")]}, "examples[1]: the label 'neutral' is none of"),
        ({"examples": [(1, "positive")]}, "examples[0] must be a string"),
        ({"max_length": 0}, "max_length 0: expected 1 to 64"),
        ({"max_length": 65}, "max_length 65: expected 1 to 64"),
        ({"max_length": 3}, "tokens without any text; there is room for 3"),
        ({"template": "good " * 70 + "{text}"}, "tokens without any text; there is room for 64"),
        ({"template": "Sentiment:"}, "must hold {text}, each exactly once, and no other slot; found {text} 0 times"),
        ({"template": "{text} {text}"}, "found {text} 2 times"),
        ({"template": "{text} {mask}"}, "found {mask} 1 times"),
        ({"template": "{text}"}, "leaves no token for the labels to follow"),
        ({"multi_label": True}, "multi_label needs an entailment model; this one's task is causal-lm"),
    ],
)
def test_what_makes_no_question_is_refused(gpt2: Made, options: dict[str, Any], complaint: str):
    with pytest.raises(InputError) as error:
        gpt2.classifier(**options)
    assert complaint in str(error.value)


def test_texts_must_be_a_list_of_strings(gpt2: Made):
    classifier = gpt2.classifier()
    with pytest.raises(InputError, match="texts must be a list of strings"):
        classifier.scores("a film")
    with pytest.raises(InputError, match=r"texts\[1\] must be a string, found NoneType"):
        classifier.scores(["a film", None])  # type: ignore[list-item]
    with pytest.raises(InputError, match="calibration needs at least one text"):
        classifier.calibrate([])


@pytest.mark.parametrize("task", ["backbone", "token-classification", "question-answering"])
def test_a_model_without_a_fitting_head_is_refused(tokenizers: dict[str, Tokenizer], task: str):
    config = build("bert", tokenizers["bert"]).config
    with pytest.raises(InputError) as error:
        PromptClassifier(new_model(config, task), tokenizers["bert"], ["good", "bad"])
    assert f'this bert model has the task "{task}", which answers no prompt; needed is one of causal-lm' in str(
        error.value
    )
