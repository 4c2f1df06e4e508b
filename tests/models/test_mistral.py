"""What is Mistral's own: a window that grows with the layers, and a cache that does not grow with the text."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from minitl.generation import generate
from minitl.models.base import Model
from minitl.models.loading import new_model
from minitl.models.registry import family_of
from minitl.nn import sliding_attention

SIZES: dict[str, Any] = {
    "model_type": "mistral",
    "vocab_size": 50,
    "hidden_size": 24,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
    "sliding_window": 4,
    "eos_token_id": None,
}
V01: dict[str, Any] = {
    "model_type": "mistral",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
}


def random_model(task: str = "backbone", **fields: Any) -> Model:
    """Weights large enough that every token that is looked at is noticed."""
    model = new_model({**SIZES, **fields}, task)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(0.0, 0.4)
    return model


def left_padded(lengths: list[int]) -> tuple[Tensor, Tensor]:
    longest, counts = max(lengths), torch.tensor(lengths)[:, None]
    return torch.randint(0, 50, (len(lengths), longest)), (torch.arange(longest) >= longest - counts).long()


@pytest.mark.parametrize(
    ("release", "fields", "count"),
    [
        ("v0.1", {}, 7_241_732_096),
        ("v0.2", {"rope_theta": 1e6, "sliding_window": None}, 7_241_732_096),
        ("v0.3", {"rope_theta": 1e6, "sliding_window": None, "vocab_size": 32768}, 7_248_023_552),
    ],
)
def test_the_published_sizes_have_the_published_count(release: str, fields: dict[str, Any], count: int) -> None:  # noqa: ARG001
    model = new_model({**V01, **fields}, "causal-lm", device="meta")
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_window_is_what_the_config_says_and_null_is_not_the_default() -> None:
    config = family_of("mistral").config
    silent = {name: value for name, value in V01.items() if name != "sliding_window"}
    assert config.from_dict(silent).sliding_window == 4096
    later = config.from_dict({**V01, "sliding_window": None})
    assert later.sliding_window is None
    assert config.from_dict(later.to_dict()) == later


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_each_layer_carries_a_token_to_the_end_of_its_window(layers: int) -> None:
    model, ids = random_model(num_hidden_layers=layers), torch.randint(0, 50, (1, 30))
    other = ids.clone()
    other[:, 12] = (other[:, 12] + 1) % 50
    with torch.no_grad():
        difference = model(other).last_hidden_state - model(ids).last_hidden_state
    changed = difference[0].abs().amax(-1).gt(1e-6).nonzero().flatten().tolist()
    assert changed == list(range(12, 13 + 3 * layers))


def test_without_a_window_it_is_llama() -> None:
    mistral = random_model("causal-lm", sliding_window=None)
    llama = new_model({**SIZES, "model_type": "llama"}, "causal-lm")
    llama.load_state_dict(mistral.state_dict())
    ids, mask = left_padded([14, 9])
    with torch.no_grad():
        assert torch.equal(mistral(ids, mask).logits, llama(ids, mask).logits)
    assert mistral.new_cache(1, 99).layers[0].keys.shape == llama.new_cache(1, 99).layers[0].keys.shape


@pytest.mark.parametrize("strip", [3, 512])
@given(
    chunks=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    window=st.integers(1, 40),
    padding=st.none() | st.integers(0, 30),
    seed=st.integers(0, 1000),
)
def test_cached_in_chunks_equals_uncached(
    strip: int, chunks: list[int], window: int, padding: int | None, seed: int
) -> None:
    torch.manual_seed(seed)
    model, total = random_model(sliding_window=window), sum(chunks)
    ids, mask = left_padded([total, total - min(padding or 0, total - 1)])
    cache, parts, end = model.new_cache(2, total), [], 0
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        whole = model(ids, mask, output_attentions=True).last_hidden_state
        patch.setattr(sliding_attention, "STRIP", strip)
        for chunk in chunks:
            start, end = end, end + chunk
            seen = None if padding is None else mask[:, :end]
            parts.append(model(ids[:, start:end], seen, cache=cache).last_hidden_state)
    real = mask.bool()
    torch.testing.assert_close(torch.cat(parts, dim=1)[real], whole[real], rtol=0, atol=2e-5)
    assert cache.length == total
    assert all(layer.keys.shape[2] <= window + window // 8 for layer in cache.layers)


def test_generation_holds_one_window_however_long_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = random_model("causal-lm", sliding_window=16), []
    new_cache = model.new_cache

    def noted(batch: int, capacity: int) -> object:
        cache = new_cache(batch, capacity)
        sizes.extend(layer.keys.shape[2] for layer in cache.layers)
        return cache

    monkeypatch.setattr(model, "new_cache", noted)
    ids, mask = left_padded([30, 21])
    together = generate(model, ids, mask, max_new_tokens=40)
    assert sizes == [18, 18]
    for row, real in enumerate(mask.bool()):
        text = ids[row : row + 1, real]
        for _ in range(40):
            with torch.no_grad():
                text = torch.cat((text, model(text).logits[:, -1].argmax(-1, keepdim=True)), dim=1)
        assert torch.equal(together[row, 30:], text[0, -40:])


def test_a_long_text_costs_memory_in_proportion_to_its_length() -> None:
    from tests.models.test_modernbert import Largest

    model, ids = random_model(), torch.randint(0, 50, (1, 8192))
    with torch.no_grad(), Largest() as largest:
        model(ids)
    assert 8192 * 24 <= largest.elements <= 512 * (512 + 3)  # the mask of a strip
