"""Rewards that a classifier tells."""

from pathlib import Path

import pytest
import torch

from minitl import load_model, load_tokenizer, save_model
from minitl.errors import InputError
from minitl.tasks.rewards import ClassifierReward, load_reward

LABELS = ["negative", "positive"]


def test_it_is_the_probability_of_the_class_for_the_whole_text(tiny: Path) -> None:
    model, tokenizer = load_model(tiny, "sequence-classification", labels=LABELS), load_tokenizer(tiny)
    reward = ClassifierReward(model.train(), tokenizer, "positive")
    prompts, completions = ["the film", "we"] * 40, [" was good", " really really bad day"] * 40
    found = reward(prompts, completions)
    assert model.training
    with torch.no_grad():
        texts = [p + c for p, c in zip(prompts, completions, strict=True)]
        expected = model.eval()(**tokenizer(texts)).logits.softmax(-1)[:, 1]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(1 - found, ClassifierReward(model, tokenizer, "negative")(prompts, completions))


def test_a_head_of_one_output_tells_its_score(tiny: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(tiny, "sequence-classification", num_labels=1), load_tokenizer(tiny)
    save_model(model, tmp_path / "run" / "model", tokenizer)
    reward = load_reward(str(tmp_path / "run"))  # a folder that `minitl train` wrote
    with torch.no_grad():
        torch.testing.assert_close(reward(["a"], [" good day"]), model(**tokenizer(["a good day"])).logits[:, 0])
    assert reward.name == f"{tmp_path / 'run' / 'model'}, score"


def test_what_tells_no_reward_is_refused(tiny: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    with pytest.raises(InputError, match="told by a sequence-classification model"):
        ClassifierReward(load_model(tiny, "backbone"), tokenizer)
    classifier = load_model(tiny, "sequence-classification", labels=LABELS)
    for label in (None, "great"):
        with pytest.raises(InputError, match="one of the reward's classes, negative, positive"):
            ClassifierReward(classifier, tokenizer, label)
    with pytest.raises(InputError, match="one output, and no classes"):
        ClassifierReward(load_model(tiny, "sequence-classification", num_labels=1), tokenizer, "positive")
    (tmp_path / "adapter").mkdir()
    with pytest.raises(InputError, match="minitl merge"):
        load_reward(str(tmp_path))
