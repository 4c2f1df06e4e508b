"""The smoothed loss and its gradients against transformers' models and LabelSmoother, live: `make test-reference`."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from minitl import load_model
from minitl.tasks.sequence_to_sequence import Pair, Translation
from minitl.tokenization import Row
from minitl.tokenization.batch import padded

pytestmark = pytest.mark.reference
transformers = pytest.importorskip("transformers", reason="the peer library lives in an environment of its own")

from transformers.trainer_pt_utils import LabelSmoother  # noqa: E402

from tests.reference import peer  # noqa: E402 - it imports transformers, which may be absent

CHECKPOINTS = Path(__file__).parent / "checkpoints"
LENGTHS = ((7, 3), (4, 9), (1, 1))  # of sources and targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("family", peer.ENCODER_DECODERS)
def test_loss_and_gradients_equal_the_peers(family: str, smoothing: float) -> None:
    folder = CHECKPOINTS / f"{family}-seq2seq-lm"
    ours = load_model(folder).train()
    theirs = peer.model_class(family, "seq2seq-lm").from_pretrained(folder).train()
    pad = theirs.config.pad_token_id
    words = [i for i in range(5, 40) if i != pad]
    rows = [[Row(np.random.default_rng(n).choice(words, n).astype(np.int32)) for n in both] for both in LENGTHS]
    tokenizer = SimpleNamespace(
        pad=lambda some: padded([row.ids for row in some], None, None, pad, "right"), source_language=None
    )
    task = Translation(ours, tokenizer, smoothing=smoothing)
    batch = task.collate([Pair(*both, written=False) for both in rows])
    loss, count = task.loss(ours(**batch.inputs), batch.targets)
    (loss / count).backward()

    labels = batch.targets["tokens"]
    inputs = {name: batch.inputs[name] for name in ("input_ids", "attention_mask")}
    output = theirs(**inputs, labels=labels)
    wanted = LabelSmoother(epsilon=smoothing)(output, labels)
    wanted.backward()
    torch.testing.assert_close(loss / count, wanted, rtol=1e-5, atol=1e-5)
    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    compared = 0
    for name, parameter in ours.named_parameters():
        expected = gradients.get(ours.key_map.to_published(name))
        if expected is not None:
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-5)
            compared += 1
    assert compared > 0.9 * len(gradients)
