"""The processor decides in which precision the study trains unless told."""

from pathlib import Path

import pytest

from minitl.pages import machine

XEON = "processor\t: 0\nmodel name\t: A Xeon\nflags\t\t: fpu avx512f avx512_bf16 amx_tile\n\nprocessor\t: 1\n"
OLD = "processor\t: 0\nmodel name\t: An old one\nflags\t\t: fpu avx2\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"


@pytest.mark.parametrize(
    ("cpu_info", "precision"), [(XEON, "bfloat16"), (OLD, "float32"), (ARM, "bfloat16"), ("", "float32")]
)
def test_bfloat16_is_chosen_only_where_the_processor_has_it(
    cpu_info: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "cpuinfo").write_text(cpu_info)
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    assert machine.fastest_precision() == precision


def test_the_processor_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cpuinfo").write_text(XEON)
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    assert machine.describe_machine()["cpu"] == "A Xeon"
