"""Where a training leaves the precision open, the device decides."""

from pathlib import Path

import pytest
import torch

from minitl.nn import precision
from minitl.training import Settings

XEON = "processor\t: 0\nmodel name\t: A Xeon\nflags\t\t: fpu avx512f avx512_bf16 amx_tile\n\nprocessor\t: 1\n"
OLD = "processor\t: 0\nmodel name\t: An old one\nflags\t\t: fpu avx2\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"


@pytest.mark.parametrize(
    ("cpu_info", "fastest", "emulates"),
    [(XEON, "bfloat16", False), (OLD, "float32", True), (ARM, "bfloat16", False), ("", "float32", False)],
)
def test_bfloat16_is_chosen_only_where_the_processor_has_it(
    cpu_info: str, fastest: str, emulates: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(cpu_info)
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
    assert precision.fastest_precision() == fastest
    assert precision.cpu_emulates_bfloat16() is emulates
    assert Settings(autocast="auto").on("cpu").autocast == fastest
    assert Settings(autocast="float16").on("cpu").autocast == "float16"


@pytest.mark.parametrize(("has", "fastest"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_is_asked(has: bool, fastest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has and not including_emulation)
    assert precision.fastest_precision("cuda:1") == fastest
    assert precision.fastest_precision("mps") == "float32"
