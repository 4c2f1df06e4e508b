"""Labels as what an encoder-decoder answers: their likelihoods, by hand."""

import pytest
import torch

from minitl.errors import InputError
from minitl.prompting.answer import AnswerScorer
from minitl.prompting.scorer import Wording
from tests.prompting.made import TEXTS, Made


def test_the_likelihood_is_that_of_the_label_and_its_end(encoder_decoder: Made):
    made = encoder_decoder
    logits = made.classifier().logits(TEXTS)
    for text, row in zip(TEXTS, logits, strict=True):
        source = torch.tensor(made.tokenizer.encode(made.template.replace("{text}", text)))
        for words, value in zip(made.words.values(), row, strict=True):
            (target,) = made.tokenizer.encode(words)
            assert target[-1] == made.tokenizer.eos_token_id
            with torch.inference_mode():
                read = torch.tensor([[made.model.start_token, *target[:-1]]])
                scores = made.model(source, decoder_input_ids=read).logits[0].log_softmax(-1)
            wanted = sum(float(scores[place, token]) for place, token in enumerate(target))
            assert float(value) == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def test_a_label_that_begins_like_another_is_not_likelier_for_that(t5: Made):
    ((longer, shorter),) = t5.classifier(words=["not good", "not"], calibrate=False).logits(["bad"]).tolist()
    (target,) = t5.tokenizer.encode("not")
    assert t5.tokenizer.encode("not good")[0][: len(target) - 1] == target[:-1]
    with torch.inference_mode():
        source = torch.tensor(t5.tokenizer.encode(t5.template.replace("{text}", "bad")))
        read = torch.tensor([[t5.model.start_token, *target[:-1]]])
        scores = t5.model(source, decoder_input_ids=read).logits[0].log_softmax(-1)
    begun = float(scores[: len(target) - 1].gather(-1, torch.tensor(target[:-1])[:, None]).sum())
    assert longer <= begun
    assert shorter == pytest.approx(begun + float(scores[-1, target[-1]]), rel=1e-4)


def test_a_label_longer_than_the_positions_is_refused(t5: Made, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(t5.model), "position_limit", 3)
    with pytest.raises(InputError, match="the longest label has 4 tokens; this t5 model has positions for 3"):
        AnswerScorer(t5.model, t5.tokenizer, Wording({"a": "good", "b": "not very bad"}), None)
