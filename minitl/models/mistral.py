"""Mistral: Llama whose tokens look back over a window instead of the whole text (Jiang et al. 2023, arXiv:2310.06825).

    token ─►┬───────────────────►(+)─┬─────────────────────►(+)─►  × layers  ─ norm ─► hidden
            └─ norm ─ attention ──┘  └─ norm ─ gated FFN ────┘
                        ▲
            the last `sliding_window` tokens, itself included

What one layer cannot see reaches a token through the layers below: k layers look back k · (window - 1) tokens. The
cache keeps one window, however long the text grows. The first release, 7B v0.1, has a window of 4096; later ones say
null and look at everything, as Llama does.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from minitl.models import llama
from minitl.models.base import Family
from minitl.nn.cache import KeyValueCache
from minitl.nn.masks import Mask
from minitl.nn.sliding_attention import SlidingSelfAttention, sliding_mask


@dataclass(kw_only=True)
class MistralConfig(llama.LlamaConfig):
    model_type = "mistral"

    num_key_value_heads: int | None = 8
    max_position_embeddings: int = 131072
    sliding_window: int | None = 4096  # how many tokens one sees, itself included; None = all before it

    def check(self, where: str) -> None:
        super().check(where)
        self.require_positive(where, "sliding_window")


class Mistral(llama.Llama):
    config: MistralConfig

    def __init__(self, config: MistralConfig) -> None:
        super().__init__(config, SlidingSelfAttention)

    def mask(self, attention_mask: Tensor | None, new: int, past: int, device: torch.device) -> Mask:
        window = self.config.sliding_window
        if window is None:
            return super().mask(attention_mask, new, past, device)
        return sliding_mask(attention_mask, new, past, window, device)

    def new_cache(self, batch: int, capacity: int) -> KeyValueCache:
        """An empty cache for `batch` texts of at most `capacity` tokens, of which it keeps what is in sight."""
        weight, config = self.embeddings.token.weight, self.config
        sizes = (len(self.layers), batch, config.kv_heads, capacity, config.head_size)
        return KeyValueCache(*sizes, weight.dtype, weight.device, config.sliding_window)


HEADS = {
    task: replace(
        head,
        architectures=tuple(name.replace("Llama", "Mistral") for name in head.architectures),
        prefix=None,  # here question answering, too, names its backbone like the others
    )
    for task, head in llama.HEADS.items()
}

FAMILY = Mistral.family = Family(
    MistralConfig, Mistral, llama.KEYS, "MistralModel", HEADS, inputs=frozenset({"position_ids", "cache", "text_ids"})
)
