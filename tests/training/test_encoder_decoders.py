"""The loop on encoder-decoders: both stacks learn, what files hold beside the parameters stays as it was."""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minitl import fit, load_model, load_tokenizer, new_model, save_model
from minitl.data import Example
from minitl.errors import Interrupted
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.tasks.task import Task, TrainingBatch
from minitl.tasks.texts import LabelledRow, labelled_rows
from minitl.training import FROZEN, FULL, Settings, Strategy, evaluate
from tests.training.test_fit import Listening

QUICK = Settings(epochs=3, batch_size=8, learning_rate=3e-3)
END = 3  # "[SEP]" in the tiny vocabulary
SIZES = {"vocab_size": 24, "d_model": 24, "eos_token_id": END, "pad_token_id": 0, "decoder_start_token_id": 2}
BART = {
    "max_position_embeddings": 16,
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 3),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 32),
}
CONFIGS: dict[str, dict[str, Any]] = {
    "t5": {"model_type": "t5", **SIZES, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 3},
    "bart": {"model_type": "bart", **SIZES, **BART},
    "pegasus": {"model_type": "pegasus", **SIZES, **BART, "encoder_layerdrop": 0.3},
}


class Naming(Task[Example, LabelledRow]):
    """A model reads a text, and writes whether it is "good" or "bad"."""

    name = "seq2seq-lm"
    metric = "accuracy"

    def __init__(self, tiny: Path) -> None:
        self.tokenizer = load_tokenizer(tiny)
        good, bad = (self.tokenizer.encode([word])[0][1] for word in ("good", "bad"))
        self.words = torch.tensor([bad, good])

    def check_example(self, example: Example) -> str | None:  # noqa: ARG002
        return None

    def is_labelled(self, example: Example) -> bool:
        return example.label is not None

    def encode(self, examples: Sequence[Example]) -> list[LabelledRow]:
        return labelled_rows(self.tokenizer, examples, 16)

    def collate(self, items: Sequence[LabelledRow]) -> TrainingBatch:
        start = torch.full((len(items), 1), SIZES["decoder_start_token_id"])
        batch = self.tokenizer.pad([item.row for item in items])
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")} | {"decoder_input_ids": start}
        return TrainingBatch(inputs, {"words": self.words[[int(item.label or 0) for item in items]]})

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        assert output.logits is not None
        return F.cross_entropy(output.logits[:, 0], targets["words"], reduction="sum"), len(targets["words"])

    def answers(self, output: Output, batch: TrainingBatch) -> Tensor:  # noqa: ARG002
        assert output.logits is not None
        return output.logits[:, 0].argmax(-1)

    def score(self, predictions: Sequence[Tensor], examples: Sequence[Example]) -> dict[str, float]:
        right = [word == self.words[int(e.label or 0)] for word, e in zip(predictions, examples, strict=True)]
        return {"accuracy": sum(map(float, right)) / len(right)}

    def describe(self) -> dict[str, Any]:
        return {"task": self.name}


def writer() -> Model:
    """The same fresh Pegasus each time, its buffers told apart from what they begin as."""
    torch.manual_seed(1)
    model = new_model(CONFIGS["pegasus"], "seq2seq-lm")
    for _, buffer in model.named_buffers():
        buffer.add_(0.1 * torch.randn_like(buffer))
    return model


def stored(model: Model) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.stored()}


# The output layer is the embedding, so that a head alone, with which GRADUAL begins, has nothing to learn.
DOWNWARDS = Strategy("downwards", ((0.0, 0.5), (0.5, 1.0)))


@pytest.mark.parametrize("strategy", [FULL, DOWNWARDS], ids=lambda s: s.name)
def test_buffers_stay_and_every_parameter_learns(
    tiny: Path, examples: list[Example], strategy: Strategy, tmp_path: Path
) -> None:
    model, task = writer(), Naming(tiny)
    before, buffers = stored(model), {name for name, _ in model.named_buffers()}
    assert buffers == {"encoder.positions.weight", "decoder.positions.weight", "head.bias"}
    result = fit(model, examples, examples[:12], task=task, settings=QUICK, strategy=strategy)
    same = {name for name, tensor in stored(model).items() if torch.equal(tensor, before[name])}
    # Of a single token, the target has nowhere else to look: whom it looks at is not learned.
    blind = {n for n in before if n.startswith("decoder.") and ".attention." in n and (".query." in n or ".key." in n)}
    assert buffers <= same <= buffers | blind
    assert evaluate(model, examples[:12], task=task)["loss"] == pytest.approx(result.metrics["loss"], rel=1e-5)
    save_model(model, tmp_path / "trained")
    again = stored(load_model(tmp_path / "trained"))
    assert all(torch.equal(again[name], value) for name, value in stored(model).items())


@pytest.mark.parametrize("stop_at", [1, 8])
def test_a_resumed_training_equals_an_unbroken_one(
    tiny: Path, examples: list[Example], tmp_path: Path, stop_at: int
) -> None:
    task = Naming(tiny)

    def train(**arguments: Any) -> Model:
        model = writer()
        fit(model, examples, examples[:12], task=task, settings=QUICK, **arguments)
        return model

    unbroken = stored(train())
    with pytest.raises(Interrupted):
        train(folder=tmp_path, listener=Listening(stop_at, signal.SIGINT))
    resumed = stored(train(folder=tmp_path, resume=True))
    assert [name for name, value in unbroken.items() if not torch.equal(value, resumed[name])] == []


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_cached_features_are_read_where_the_text_ends(tiny: Path, examples: list[Example], family: str) -> None:
    """A frozen backbone trains the head alike, whether its output is kept or computed anew."""
    from minitl.training.feeds import FeatureFeed, Feed

    class Trailing(SequenceClassification):
        """As in mBART, something follows the end token."""

        def collate(self, items: Sequence[LabelledRow]) -> TrainingBatch:
            batch, targets = super().collate(items)
            ids, mask = batch["input_ids"], batch["attention_mask"]
            ids = F.pad(ids, (0, 1)).scatter(1, mask.sum(-1, keepdim=True), 7)
            return TrainingBatch({"input_ids": ids, "attention_mask": F.pad(mask, (1, 0), value=1)}, targets)

    task = Trailing(load_tokenizer(tiny), ["negative", "positive"])
    model = new_model(CONFIGS[family], "sequence-classification", num_labels=2)
    device = torch.device("cpu")
    kept = FeatureFeed(model, task, examples, device, batch_size=5)([3, 0, 7])
    anew = Feed(model, task, examples, device)([3, 0, 7])
    torch.testing.assert_close(kept[0].logits, anew[0].logits, rtol=0, atol=1e-5)
    assert torch.equal(kept[1].targets["labels"], anew[1].targets["labels"])
    before = stored(model)
    fit(model, examples, task=task, settings=QUICK, strategy=FROZEN)
    learned = {name for name, value in stored(model).items() if not torch.equal(value, before[name])}
    assert learned == {"head.dense.weight", "head.dense.bias", "head.out.weight", "head.out.bias"}
