"""What is compared is the same: a loop over modules and optimizers ends at the batched sweep's accuracies."""

import sys

import pytest
import torch

from benchmarks.workers import probe as worker


@pytest.mark.parametrize("probe", ["linear", "mlp"])
def test_one_by_one_in_pytorch_is_the_sweep(probe, monkeypatch):
    monkeypatch.setattr(worker, "SEEDS", (0, 1))
    labels = torch.randint(4, (260,))
    x = torch.randn(2, 260, 12)
    x[1, :, :4] += 2 * torch.nn.functional.one_hot(labels, 4)
    data = {"train.x": x[:, :200], "train.y": labels[:200], "validation.x": x[:, 200:], "validation.y": labels[200:]}
    data = {name: tensor.contiguous() for name, tensor in data.items()}
    at_once, in_a_loop = worker.at_once(data, probe), worker.in_a_loop(data, probe)
    assert at_once.shape == (2, 2)
    torch.testing.assert_close(at_once, in_a_loop, atol=1 / 60 + 1e-6, rtol=0)  # one answer of sixty at most
    assert (at_once[1] > at_once[0] + 0.2).all()


def test_a_worker_reads_its_features(monkeypatch, tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "features.safetensors"
    data = {"train.x": torch.randn(1, 40, 3), "validation.x": torch.randn(1, 10, 3)}
    save_file({**data, "train.y": torch.arange(40) % 2, "validation.y": torch.arange(10) % 2}, file)
    monkeypatch.setattr(sys, "argv", ["probe", "scikit-learn, one by one", "linear", str(file)])
    worker.set_up()()
