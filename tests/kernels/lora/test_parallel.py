"""Data parallelism: two processes, each with half of the batch, learn what one learns from all of it."""

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from minitl_kernels import lora_linear
from torch import Tensor, nn

WORLD = 2


class Layer(nn.Module):
    """A frozen weight, and A and B that learn."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(6, 8), requires_grad=False)
        self.lora_a, self.lora_b = nn.Parameter(torch.randn(3, 8)), nn.Parameter(torch.randn(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return lora_linear(x, self.weight, None, self.lora_a, self.lora_b, 2.0)


def batch() -> Tensor:
    return torch.randn(4 * WORLD, 8, generator=torch.Generator().manual_seed(1))


def learn(rank: int, port: int, folder: str) -> None:
    """One process of the group: a backward pass on its share, its gradients to a file."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=WORLD)
    model = nn.parallel.DistributedDataParallel(Layer())
    model(batch()[rank::WORLD]).square().mean().backward()
    torch.save([p.grad for p in model.parameters() if p.requires_grad], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_get_the_gradients_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(learn, (port, str(tmp_path)), nprocs=WORLD)
    model = Layer()
    model(batch()).square().mean().backward()
    expected = [p.grad for p in model.parameters() if p.requires_grad]
    for rank in range(WORLD):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), expected)
