"""What a training step computes and keeps: against numbers by hand, torch's counter, and what autograd keeps."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from minitl_kernels import force_path
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minitl.adapters import LoraConfig, add_lora
from minitl.errors import InputError
from minitl.experiments.counting import (
    ALL_LINEAR,
    ATTENTION,
    FEED_FORWARD,
    FULL,
    MASTERS,
    QUERY_VALUE,
    THROUGHOUT,
    Learning,
    count,
    kept_bytes,
    linear_sizes,
    step_flops,
    step_memory,
)
from minitl.models.loading import new_model
from minitl.models.mistral import MistralConfig
from minitl.nn.device import usual_device

CONFIG = MistralConfig(
    vocab_size=50,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    rms_norm_eps=1e-5,
    max_position_embeddings=128,
)
WAYS = [
    FULL,
    *(Learning(2, adapted) for adapted in (QUERY_VALUE, ATTENTION, FEED_FORWARD, ALL_LINEAR)),
    Learning(3, ("attention.key",)),
    Learning(1, ("feed_forward.down",)),
    Learning(4, ("attention.output",)),
]
NAMES = ["full", "query-value", "attention", "feed-forward", "all-linear", "key", "down", "output"]


# torch's counter does not know the product that lands in a sum, in which an update is added.
IN_PLACE = {torch.ops.aten.addmm_: lambda _, left, right, **__: 2 * left[0] * left[1] * right[1]}


def model_that_learns(learning: Learning, dtype: torch.dtype) -> torch.nn.Module:
    model = new_model(CONFIG, "causal-lm", dtype=dtype).train()
    if learning is not FULL:
        add_lora(model, LoraConfig(r=learning.rank, target_modules=list(learning.adapted)))
    return model


def loss_of(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(model(ids).logits.float().flatten(0, 1), ids.flatten())


def test_one_block_by_hand():
    one = MistralConfig(
        vocab_size=10,
        hidden_size=4,
        intermediate_size=6,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        rms_norm_eps=1e-5,
        max_position_embeddings=16,
    )
    # 2 texts of 3 tokens. Matrices: 4·4 + 4·2 + 4·2 + 4·4 + 3 · 4·6 = 120; the head 4·10 = 40.
    # Scores and their sum over values: each 2 texts · 2 heads · 3 · 3 · 2.
    linear, attention = 2 * 6 * (120 + 40), 2 * (2 * 2 * 2 * 3 * 3 * 2)
    flops = step_flops(one, 2, 3)
    assert (flops.forward, flops.for_weights) == (linear + attention, linear)
    assert flops.for_activations == linear + 2 * attention
    assert flops.total == 3 * (linear + attention)
    again = step_flops(one, 2, 3, recompute=True)
    assert again.recomputed == 2 * 6 * 120 + attention
    assert again.total == flops.total + again.recomputed


def test_lora_on_query_and_value_by_hand():
    tokens, heads = 2 * 5, 2 * 4
    square, narrow, inner, vocabulary = 32 * 32, 32 * 16, 32 * 48, 32 * 50
    block = 2 * tokens * (2 * square + 2 * narrow + 3 * inner)
    attention = 2 * heads * 5 * 5 * 8  # of scores, and as many for the context
    first = 2 * tokens * 2 * 32 * 2  # query's and value's x Aᵀ
    second = 2 * tokens * 2 * (32 + 16)
    flops = step_flops(CONFIG, 2, 5, Learning(2, QUERY_VALUE))
    head = 2 * tokens * vocabulary
    assert flops.forward == 3 * (block + 2 * attention + first + second) + head
    assert flops.for_weights == 3 * (first + second)
    # Nothing below the first block learns: its query, key and value need no gradient of what they read, nor its keys.
    spared = 2 * tokens * (square + 2 * narrow) + first + attention
    assert flops.for_activations == 3 * (block + 4 * attention + first + second) + head - spared


@pytest.mark.parametrize("learning", WAYS, ids=NAMES)
def test_flops_are_those_that_torch_counts(learning: Learning):
    model, ids = model_that_learns(learning, torch.float32), torch.randint(0, 50, (2, 10), device=usual_device())
    with force_path("plain"), sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as forward:
            loss = loss_of(model, ids)
        with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as backward:
            loss.backward()
    counted = step_flops(CONFIG, 2, 10, learning)
    assert counted.forward == forward.get_total_flops()
    assert counted.for_activations + counted.for_weights == backward.get_total_flops()


@pytest.mark.parametrize("learning", WAYS, ids=NAMES)
def test_activations_are_those_that_autograd_keeps(learning: Learning):
    model, ids = model_that_learns(learning, torch.bfloat16), torch.randint(0, 50, (2, 10), device=usual_device())
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if tensor.is_floating_point() and tensor.dim() and storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_of(model, ids)
    assert kept_bytes(CONFIG, 2, 10, learning) == sum(storage.nbytes() for storage in kept.values())


@given(st.integers(1, 4), st.integers(1, 40), st.sampled_from(WAYS))
def test_recomputing_keeps_less_and_computes_more(batch: int, length: int, learning: Learning):
    assert kept_bytes(CONFIG, batch, length, learning, recompute=True) < kept_bytes(CONFIG, batch, length, learning)
    plain = step_flops(CONFIG, batch, length, learning)
    again = step_flops(CONFIG, batch, length, learning, recompute=True)
    assert plain.total < again.total <= plain.total + plain.forward


@given(st.integers(1, 4), st.integers(1, 40), st.sampled_from(WAYS[1:5]))
def test_a_small_update_costs_between_half_and_all_of_a_full_step(batch: int, length: int, learning: Learning):
    ratio = step_flops(CONFIG, batch, length, learning).total / step_flops(CONFIG, batch, length).total
    assert 0.5 < ratio < 1


def test_parameters_and_their_bytes_by_hand():
    full, lora = count(CONFIG), count(CONFIG, Learning(2, QUERY_VALUE))
    block = sum(inner * columns for inner, columns in linear_sizes(CONFIG).values()) + 2 * 32
    assert full.trainable == full.total == 3 * block + 2 * 50 * 32 + 32
    added = 3 * 2 * (32 + 32 + 32 + 16)
    assert (lora.trainable, lora.total) == (added, full.total + added)
    assert step_memory(full, 7, MASTERS).total == 16 * full.total + 7
    assert step_memory(full, 7, THROUGHOUT).total == 8 * full.total + 7
    held = step_memory(lora, 7, MASTERS)
    assert (held.weights, held.gradients, held.optimiser) == (2 * lora.total, 2 * added, 12 * added)


def test_what_is_no_learning_is_refused():
    with pytest.raises(InputError, match=r"no linear layer attention\.q in a block"):
        Learning(4, ("attention.q",))
    with pytest.raises(InputError, match="a rank of at least 1"):
        Learning(0, QUERY_VALUE)
    with pytest.raises(InputError, match="a rank of at least 1"):
        Learning(4)
