"""Which path a call takes, by device, type and rank."""

import pytest
import torch
from minitl_kernels.lora import paths
from minitl_kernels.lora.paths import HAS_TRITON, LARGEST_RANK, force_path, path_name, triton_serves

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


def capable(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], hip: str | None = None) -> None:
    """What a GPU at hand would say of itself."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(paths, "_served", paths._served.__wrapped__)  # which remembers nothing


@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
@pytest.mark.parametrize(("capability", "hip", "path"), [
    ((8, 0), None, "cuda"), ((12, 0), None, "cuda"), ((7, 5), None, "plain"), ((9, 4), "6.4", "plain"),
])  # fmt: skip
def test_the_kernels_are_for_gpus_that_triton_serves(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], hip: str | None, path: str
) -> None:
    capable(monkeypatch, capability, hip)
    assert path_name(GPU, torch.bfloat16, 16) == path
    assert path_name(GPU, torch.bfloat16, LARGEST_RANK + 1) == "plain"
    assert path_name(GPU, torch.float64, 16) == "plain"


def test_other_devices_and_types_have_their_own() -> None:
    assert path_name(CPU, torch.float32, 1024) == "cpu"
    assert path_name(CPU, torch.float64, 16) == "plain"
    assert path_name(torch.device("mps"), torch.float16, 16) == "plain"
    with force_path("plain"):
        assert path_name(CPU, torch.float32, 16) == "plain"


def test_a_graph_takes_the_gpus_answer_as_it_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    capable(monkeypatch, (9, 0))

    @torch.compile(fullgraph=True, backend="eager")
    def serves(x: torch.Tensor) -> torch.Tensor:
        return x + (1 if triton_serves(x.device) else 0)

    assert serves(torch.zeros(1)) == 1
