import math

import pytest
import torch
from minitl_kernels import dropout

from minitl.nn.attention import FusedSelfAttention, SelfAttention, attend
from minitl.nn.masks import Mask, bidirectional_mask, causal_mask

MASK = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
MASKS = {
    "none": Mask(),
    "causal": Mask(causal=True),
    "padding": bidirectional_mask(MASK),
    "both": causal_mask(MASK, 5, 5, torch.device("cpu")),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("kv_heads", [1, 2, 6])
@pytest.mark.parametrize("bias", [None, torch.randn(1, 6, 5, 5), torch.randn(2, 6, 5, 5)], ids=["", "bias", "biases"])
def test_attention_is_its_formula_in_both_paths(mask: Mask, kv_heads: int, bias: torch.Tensor | None) -> None:
    query, key, value = torch.randn(2, 6, 5, 4), torch.randn(2, kv_heads, 5, 4), torch.randn(2, kv_heads, 5, 4)
    scored = mask if bias is None else mask.with_bias(bias)
    fused, nothing = attend(query, key, value, scored, 0.3, 0.0, want_weights=False)
    plain, weights = attend(query, key, value, scored, 0.3, 0.0, want_weights=True)
    assert nothing is None
    torch.testing.assert_close(fused, plain)
    allowed = mask.cells(5, 5, torch.device("cpu"))
    for head in range(6):
        shared = head // (6 // kv_heads)  # consecutive heads share a key-value head
        scores = query[:, head] @ key[:, shared].transpose(1, 2) * 0.3
        if bias is not None:
            scores = scores + bias[:, head]
        if allowed is not None:
            scores = scores.masked_fill(~allowed[:, 0], -math.inf)
        torch.testing.assert_close(weights[:, head], scores.softmax(-1))
        torch.testing.assert_close(plain[:, head], scores.softmax(-1) @ value[:, shared])


@pytest.mark.parametrize("want_weights", [False, True], ids=["fused", "plain"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2, 3, 6])
def test_a_single_token_sees_with_grouped_heads_what_the_last_of_several_sees(
    kv_heads: int, biased: bool, padded: bool, want_weights: bool
) -> None:
    query, key, value = torch.randn(2, 6, 5, 4), torch.randn(2, kv_heads, 5, 4), torch.randn(2, kv_heads, 5, 4)
    bias = torch.randn(2, 6, 5, 5) if biased else None
    real = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]) if padded else None
    several, one = (causal_mask(real, queries, 5, torch.device("cpu")) for queries in (5, 1))
    if bias is not None:
        several, one = several.with_bias(bias), one.with_bias(bias[:, :, -1:])
    context, weights = attend(query, key, value, several, 0.3, 0.0, want_weights)
    alone, its_weights = attend(query[:, :, -1:], key, value, one, 0.3, 0.0, want_weights)
    torch.testing.assert_close(alone, context[:, :, -1:])
    if want_weights:
        torch.testing.assert_close(its_weights, weights[:, :, -1:])


def test_a_single_token_copies_no_key_of_grouped_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the keys were repeated")

    monkeypatch.setattr(torch.Tensor, "repeat_interleave", refuse)
    key = torch.randn(2, 2, 5, 4)
    attend(torch.randn(2, 6, 1, 4), key, key, Mask(), 0.3, 0.0, want_weights=False)
    with pytest.raises(AssertionError, match="repeated"):
        attend(torch.randn(2, 6, 2, 4), key, key, Mask(), 0.3, 0.0, want_weights=False)


def test_dropout_falls_on_the_weights_as_the_seed_says() -> None:
    query, key, value = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 6, 4), torch.randn(2, 3, 6, 4)
    _, exact = attend(query, key, value, Mask(), 0.5, 0.0, want_weights=True)
    torch.manual_seed(1)
    context, weights = attend(query, key, value, Mask(), 0.5, 0.4, want_weights=True)
    torch.manual_seed(1)
    torch.testing.assert_close(context, dropout(exact, 0.4, training=True) @ value)
    assert torch.equal(weights, exact)  # the map that is handed out is whole


class Elsewhere(torch.Tensor):
    """A tensor that claims to lie on a GPU, so that `attend` takes the fused way with dropout too."""

    device = torch.device("cuda")


@pytest.mark.parametrize("kind", [torch.Tensor, Elsewhere], ids=["plain", "fused"])
def test_a_dropped_weight_is_missing_from_the_whole_value_and_the_others_grow(kind: type[torch.Tensor]) -> None:
    query, key = torch.randn(2, 32, 3, 8, 16)
    value = torch.eye(8).repeat(1, 2).expand(32, 3, 8, 16)  # the product is the weights, twice side by side
    _, exact = attend(query, key, value, Mask(), 0.3, 0.0, want_weights=True)
    product, nothing = attend(query.as_subclass(kind), key, value, Mask(), 0.3, 0.25, want_weights=False)
    assert nothing is None
    assert type(product) is kind
    left, right = product.as_subclass(torch.Tensor).chunk(2, dim=-1)
    kept = left != 0
    assert torch.equal(left, right)
    torch.testing.assert_close(left, exact * kept / 0.75)
    assert abs(float(kept.float().mean()) - 0.75) < 5 * math.sqrt(0.75 * 0.25 / kept.numel())


def test_the_fused_projection_is_three_projections_side_by_side() -> None:
    fused, separate = FusedSelfAttention(12, 3, 0.0), SelfAttention(12, 3, 0.0)
    for i, part in enumerate((separate.query, separate.key, separate.value)):
        part.weight.data = fused.qkv.weight.data[12 * i : 12 * (i + 1)]
        part.bias.data = fused.qkv.bias.data[12 * i : 12 * (i + 1)]
    separate.output.load_state_dict(fused.output.state_dict())
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(fused(x, Mask())[0], separate(x, Mask())[0])


def test_the_fused_projection_may_lack_its_bias() -> None:
    attention = FusedSelfAttention(12, 3, 0.0, bias=False)
    assert {name for name, _ in attention.named_parameters()} == {"qkv.weight", "output.weight"}


def test_without_a_bias_no_projection_has_one() -> None:
    attention = SelfAttention(12, 3, 0.0, kv_heads=1, head_dim=6, bias=False)
    assert {name for name, _ in attention.named_parameters()} == {
        f"{part}.weight" for part in ("query", "key", "value", "output")
    }
    assert attention.key.weight.shape == (6, 12)
    assert attention(torch.randn(2, 5, 12), Mask())[0].shape == (2, 5, 12)
