"""What a report says of the machine."""

from pathlib import Path

import pytest

from minitl.nn import precision
from minitl.pages import machine

XEON = "processor\t: 0\nmodel name\t: A Xeon\nflags\t\t: fpu avx512f avx512_bf16 amx_tile\n\nprocessor\t: 1\n"


def test_the_processor_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cpuinfo").write_text(XEON)
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
    assert machine.describe_machine()["cpu"] == "A Xeon"
