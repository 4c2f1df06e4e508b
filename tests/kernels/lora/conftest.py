"""Where the Triton kernels are tried: in the interpreter on any machine, and on a GPU by `pytest -m gpu`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from tests.kernels.lora.interpreter import interpret


@dataclass(frozen=True)
class Place:
    """A device, a data type that it can compute in, and how a launch function is run there.

    On the GPU `run` calls the function as it is; in the interpreter arguments and results are copies (see `interpret`).
    """

    device: str
    dtype: torch.dtype
    run: Callable[..., Any]


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


PLACES = [
    *(
        pytest.param(Place("cpu", dtype, interpret), id=f"interpreter-{name}")
        for name, dtype in (("float32", torch.float32), ("float16", torch.float16))
    ),
    *(
        pytest.param(Place("cuda", dtype, _call), id=f"cuda-{name}", marks=pytest.mark.gpu)
        for name, dtype in (("float32", torch.float32), ("float16", torch.float16), ("bfloat16", torch.bfloat16))
    ),
]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """Each place in turn; skips what needs a GPU where there is none."""
    if request.param.device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU that CUDA can use is at hand")
    return request.param
