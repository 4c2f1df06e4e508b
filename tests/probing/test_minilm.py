"""What is known of a published model: parts of speech in its lower layers, and in no layer of its random twin."""

import pytest
import torch

from minitl import load_model, load_tokenizer
from minitl.data.tagged import load_tagged
from minitl.probing.controls import random_twin
from minitl.probing.reading import TransformerReader
from minitl.probing.representations import represent
from minitl.probing.task import Corpus, Examples, Task
from tests.probing.made import SPLITS, swept

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parts_of_speech(assets):  # noqa: ARG001
    data = load_tagged("ud-en")
    parts = dict(zip(SPLITS, (data.train[:200], data.validation[:60], data.test[:60]), strict=True))
    kinds, splits, begin = {}, {}, 0
    for split, sentences in parts.items():
        words = [word.lower() for sentence in sentences for word in sentence.words]
        labels = torch.tensor([data.label_names.index(tag) for sentence in sentences for tag in sentence.tags])
        at = torch.arange(begin, begin + len(words))
        numbers = torch.tensor([kinds.setdefault(word, len(kinds)) for word in words])
        splits[split] = Examples(torch.stack((at, at + 1), dim=-1)[:, None], labels, numbers)
        begin += len(words)
    texts = tuple(tuple(sentence.words) for sentences in parts.values() for sentence in sentences)
    return Task("pos", "part of speech", "syntax", Corpus("EWT", texts), "words", tuple(data.label_names), splits)


def test_parts_of_speech_stand_in_the_lower_layers(minilm, parts_of_speech):
    model, tokenizer = load_model(minilm, "backbone"), load_tokenizer(minilm)
    learnt, untaught = (
        swept(represent(TransformerReader(one, tokenizer), parts_of_speech.corpus), parts_of_speech, seeds=(0, 1))
        for one in (model, random_twin(model))
    )
    accuracy = [one.mean for one in learnt.scores["accuracy"]]
    assert max(accuracy) == max(accuracy[1:5])  # neither in the embeddings nor at the top, which is for sentences
    assert max(accuracy) > accuracy[0] + 0.01
    assert max(accuracy) > 0.9
    assert min(accuracy) > learnt.constant["accuracy"] + 0.3
    assert max(one.mean for one in untaught.scores["accuracy"]) < accuracy[0] - 0.05
    assert learnt.selectivity[-1].mean > learnt.selectivity[0].mean  # below, the word itself can be memorised
