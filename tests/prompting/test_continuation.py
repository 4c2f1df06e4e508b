"""Labels as what a causal model continues with: their likelihoods, by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.prompting.continuation import SharedPrompt
from minitl.tokenization import Tokenizer
from tests.prompting.made import TEXTS, WORDS, Made


def log_likelihood(model: Model, ids: list[int], start: int) -> float:
    """log P(ids[start:] | ids[:start]), token by token, in one pass over all of it."""
    with torch.inference_mode():
        scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(scores[place - 1, ids[place]]) for place in range(start, len(ids)))


def test_the_likelihood_is_that_of_reading_prompt_and_label_anew(decoder: Made):
    logits = decoder.classifier().logits(TEXTS)
    for text, row in zip(TEXTS, logits, strict=True):
        prompt = decoder.template.replace("{text}", text)
        start = len(decoder.tokenizer.encode(prompt)[0])
        for words, value in zip(decoder.words.values(), row, strict=True):
            (ids,) = decoder.tokenizer.encode(prompt + words)
            assert ids[:start] == decoder.tokenizer.encode(prompt)[0]  # the label begins where the prompt ends
            assert float(value) == pytest.approx(log_likelihood(decoder.model, ids, start), rel=1e-4, abs=1e-4)


def test_labels_have_several_tokens(decoder: Made):
    endings = decoder.classifier()._scorer.read(TEXTS[0]).endings
    assert len(endings[2]) > len(endings[0])
    assert decoder.tokenizer.decode(endings[2]).strip() == "really not fine"


def test_a_space_may_stand_in_the_template_or_in_the_words(decoder: Made):
    behind = decoder.classifier(template="{text} Sentiment: ", words={k: w.strip() for k, w in decoder.words.items()})
    before = decoder.classifier(template="{text} Sentiment:")
    torch.testing.assert_close(behind.logits(TEXTS), before.logits(TEXTS))


def test_what_a_label_changes_in_the_prompts_last_token_counts_as_the_labels(gpt2: Made):
    # "goo" + "d" is read as "good" and "goo" + "se" as something else: only what both share is the prompt
    classifier = gpt2.classifier(template="{text} was goo", words={"d": "d", "film": " film"}, calibrate=False)
    prompt = classifier._scorer.read("it")
    whole = [gpt2.tokenizer.encode("it was goo" + words)[0] for words in ("d", " film")]
    assert [prompt.shared + ending for ending in prompt.endings] == whole
    assert prompt.shared != gpt2.tokenizer.encode("it was goo")[0]
    start = len(prompt.shared)
    wanted = [log_likelihood(gpt2.model, ids, start) for ids in whole]
    assert classifier.logits(["it"])[0].tolist() == pytest.approx(wanted, rel=1e-4)


def test_rows_of_a_batch_may_have_endings_of_any_length_up_to_the_last_position(gpt2: Made):
    scorer = gpt2.classifier(words=[" good", " bad"], calibrate=False)._scorer
    prompts = [SharedPrompt([7, 8, 9] * 21, [[5], [6]]), SharedPrompt([7, 8], [[5, 6, 7, 8], [6]])]
    assert prompts[0].tokens == gpt2.model.position_limit
    with torch.inference_mode():
        logits = scorer.logits(prompts)
    for prompt, row in zip(prompts, logits.tolist(), strict=True):
        start = len(prompt.shared)
        wanted = [log_likelihood(gpt2.model, prompt.shared + ending, start) for ending in prompt.endings]
        assert row == pytest.approx(wanted, rel=1e-4)


@settings(max_examples=20)
@given(texts=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join), min_size=1, max_size=5))
def test_any_texts_get_in_a_batch_what_they_get_alone(tokenizers: dict[str, Tokenizer], texts: list[str]):
    torch.manual_seed(0)
    classifier = Made("llama", tokenizers).classifier(calibrate=False)
    alone = torch.cat([classifier.logits([text]) for text in texts])
    torch.testing.assert_close(classifier.logits(texts), alone, rtol=1e-4, atol=1e-4)


def test_words_outside_the_vocabulary_are_refused(t5: Made):
    with pytest.raises(InputError, match="the words '東京' are not in this tokenizer's vocabulary"):
        t5.classifier(words=["good", "東京"])
