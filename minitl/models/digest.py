"""Which backbone this is: a digest of its weights and of what config.json says of it."""

import hashlib
import json
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from minitl.models.base import Model

if TYPE_CHECKING:
    from hashlib import _Hash


def backbone_digest(model: Model) -> "_Hash":
    """SHA-256 over all parameters and buffers below the head and over the config, to which a caller may add."""
    digest = hashlib.sha256()
    for name, tensor in model.stored():
        if not name.startswith("head."):
            add_tensor(digest, name, tensor)
    digest.update(json.dumps(model.config.to_dict(), sort_keys=True, default=str).encode())
    return digest


def add_tensor(digest: "_Hash", name: str, tensor: Tensor) -> None:
    """Its name, type, shape and every bit."""
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
