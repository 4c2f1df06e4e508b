"""New tokens whose rows learn: a training that goes on, and one that would go on with other tokens."""

import os
import signal
from pathlib import Path

import pytest
import torch

from minitl import LoraConfig, add_tokens, fit, load_model, load_tokenizer
from minitl.data import Example
from minitl.errors import Interrupted, TrainingError
from minitl.models.base import Model
from minitl.tasks.masked_lm import MaskedLM
from minitl.training import NEW_TOKENS, Settings, Strategy
from minitl.training.log import Step

NEW = ("splendid", "dreadful")
QUICK = Settings(epochs=3, batch_size=4, learning_rate=1e-2)
LORA = Strategy("lora", lora=LoraConfig(r=2, alpha=4, target_modules="all-linear"))
TEXTS = [Example(f"{'a ' * (i % 4)}film was {word}") for i in range(6) for word in NEW]


class Stopping:
    """Interrupts the training after its fourth step."""

    def on_start(self, steps: int, done: int) -> None: ...

    def on_validation(self, validation: object) -> None: ...

    def on_step(self, step: Step) -> None:
        if step.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)


def train(tiny: Path, tokens: tuple[str, ...], strategy: Strategy, train_all: bool = False, **options: object) -> Model:
    """A masked language model, whose output layer has rows and biases of the new tokens too."""
    torch.manual_seed(1)
    model, tokenizer = load_model(tiny, "masked-lm"), load_tokenizer(tiny)
    add_tokens(model, tokenizer, tokens, train_all=train_all)
    task = MaskedLM(tokenizer, 16)
    fit(model, TEXTS, TEXTS[:4], task=task, settings=QUICK, strategy=strategy, **options)  # type: ignore[arg-type]
    return model


@pytest.mark.parametrize("strategy", [LORA, NEW_TOKENS], ids=lambda strategy: strategy.name)
def test_a_resumed_training_equals_an_unbroken_one(tiny: Path, tmp_path: Path, strategy: Strategy) -> None:
    unbroken = dict(train(tiny, NEW, strategy).named_parameters())
    with pytest.raises(Interrupted, match="after step 4 of 6"):
        train(tiny, NEW, strategy, folder=tmp_path, listener=Stopping())
    resumed = dict(train(tiny, NEW, strategy, folder=tmp_path, resume=True).named_parameters())
    assert unbroken.keys() == resumed.keys()
    assert [name for name, value in unbroken.items() if not torch.equal(value, resumed[name])] == []
    untaught = load_model(tiny, "masked-lm").get_parameter("embeddings.token.weight")
    assert torch.equal(resumed["embeddings.token.weight"], untaught)
    for name in ("embeddings.token.new", "head.decoder.new_bias"):
        rows = resumed[name]
        assert not torch.equal(rows[0], rows[1]), name  # they began alike, as the mean


@pytest.mark.parametrize("train_all", [False, True])
def test_other_new_tokens_of_the_same_number_are_refused(tiny: Path, tmp_path: Path, train_all: bool) -> None:
    strategy = LORA if not train_all else Strategy("full")
    with pytest.raises(Interrupted):
        train(tiny, NEW, strategy, train_all, folder=tmp_path, listener=Stopping())
    says = r"model.new_tokens was \['splendid', 'dreadful'\] and is \['dreadful', 'splendid'\]"
    with pytest.raises(TrainingError, match=says):
        train(tiny, NEW[::-1], strategy, train_all, folder=tmp_path, resume=True)
