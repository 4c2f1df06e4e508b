"""Building a model without memory: on PyTorch's meta device, where tensors have shapes and no content."""

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode


class LeaveEmpty(TorchFunctionMode):
    """Skips in-place fills of meta tensors.

    There is nothing to fill; but random fills on this device would make PyTorch import its symbolic machinery, which
    costs seconds and 80 MB.
    """

    FILLS: ClassVar = (
        *(Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_),
        *(init.normal_, init.uniform_, init.kaiming_uniform_, init.ones_, init.zeros_),
    )

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in self.FILLS:
            tensor = args[0] if args else (kwargs or {})["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **(kwargs or {}))
