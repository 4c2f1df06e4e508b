"""LoRA on tables against its equation, and on an embedding that the output layer shares."""

from pathlib import Path

import pytest
import torch

from minitl import (
    LoraConfig,
    add_lora,
    load_model,
    merge_lora,
    remove_lora,
    save_model,
    unmerge_lora,
    use_adapter,
)
from minitl.adapters.embedding import LoraEmbedding, LoraPositions, LowRankRows
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.nn.absolute_positions import LearnedPositions
from minitl.nn.embeddings import Embedding
from tests.adapters.tiny import outputs, tiny, train_a_little


def table_of(padding_idx: int | None = None, dtype: torch.dtype = torch.float32) -> LoraEmbedding:
    layer = LoraEmbedding(Embedding(9, 4, "token id", padding_idx).requires_grad_(False).to(dtype))
    layer.adapters["default"] = LowRankRows(LoraConfig(r=3, alpha=6), layer.weight)
    layer.active = "default"
    torch.nn.init.normal_(layer.adapters["default"].lora_embedding_A)
    return layer


def test_rows_are_those_of_the_whole_sum() -> None:
    layer = table_of()
    update = layer.adapters["default"]
    whole = layer.weight + 2.0 * (update.lora_embedding_B @ update.lora_embedding_A).T
    ids = torch.tensor([[0, 3, 3], [8, 1, 0]])
    torch.testing.assert_close(layer(ids), whole[ids])
    torch.testing.assert_close(update.merged(layer.weight), whole)


def test_it_begins_as_the_base_and_a_alone_gets_the_first_gradient() -> None:
    layer = table_of()
    update = layer.adapters["default"]
    torch.nn.init.zeros_(update.lora_embedding_A)
    ids = torch.tensor([[0, 3]])
    y = layer(ids)
    assert torch.equal(y, layer.weight[ids])
    y.sum().backward()
    assert (update.lora_embedding_B.grad == 0).all()
    looked_up = (update.lora_embedding_A.grad != 0).all(0)
    assert looked_up.nonzero().flatten().tolist() == [0, 3]


def test_paddings_column_does_not_learn() -> None:
    layer = table_of(padding_idx=2)
    layer(torch.tensor([[2, 3]])).sum().backward()
    gradient = layer.adapters["default"].lora_embedding_A.grad
    assert (gradient[:, 2] == 0).all()
    assert (gradient[:, 3] != 0).all()


def test_an_id_beyond_the_table_is_named() -> None:
    with pytest.raises(InputError, match="token id 9 is beyond the embedding, which has rows 0 to 8"):
        table_of()(torch.tensor([[1, 9]]))


def test_over_a_half_precision_table_it_is_float32_and_rounded_once() -> None:
    layer = table_of(dtype=torch.bfloat16)
    ids = torch.arange(9)
    y = layer(ids)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, layer.adapters["default"].merged(layer.weight).bfloat16())
    y.sum().backward()
    assert layer.adapters["default"].lora_embedding_A.grad.dtype == torch.float32


def test_positions_that_are_not_counted_from_the_first_row_keep_their_offset() -> None:
    base = LearnedPositions(5, 3)
    layer = LoraPositions(base)
    positions = torch.arange(5)[None]
    assert torch.equal(layer(positions), base(positions))
    layer.adapters["default"] = LowRankRows(LoraConfig(r=2), layer.weight)
    layer.active = "default"
    update = layer.adapters["default"]
    torch.nn.init.normal_(update.lora_embedding_A)
    torch.testing.assert_close(layer(positions)[0], update.merged(layer.weight)[2:])
    with pytest.raises(InputError, match="a text of 6 tokens is too long"):
        layer(torch.arange(6)[None])
    assert torch.equal(layer.plain()(positions), base(positions))


def adapted(family: str, task: str, **fields: object) -> Model:
    model = tiny(family, task)
    add_lora(model, LoraConfig(**{"target_modules": ["embeddings.token", "feed_forward.up"], **fields}))
    train_a_little(model)
    return model


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize(
    ("family", "task"), [("gpt2", "causal-lm"), ("bert", "masked-lm"), ("llama", "causal-lm"), ("bert", "backbone")]
)
def test_a_tied_embedding_is_untied_when_merged(family: str, task: str, use_dora: bool, tmp_path: Path) -> None:
    """Unmerged, the update acts on what is looked up, not on the scores; so it must when merged, saved and loaded."""
    model = adapted(family, task, use_dora=use_dora)
    expected = outputs(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters(remove_duplicate=False)}
    merge_lora(model)
    torch.testing.assert_close(outputs(model), expected, rtol=1e-5, atol=1e-5)
    unmerge_lora(model)
    after = dict(model.named_parameters(remove_duplicate=False))
    assert all(torch.equal(after[name], value) for name, value in before.items())
    for first, *others in model.tie_groups():
        assert all(model.get_parameter(first) is model.get_parameter(other) for other in others)
    merge_lora(model, keep_base=False)
    remove_lora(model)
    assert type(model.embeddings.token) is Embedding
    save_model(model, tmp_path)
    torch.testing.assert_close(outputs(load_model(tmp_path)), expected, rtol=1e-5, atol=1e-5)


def test_encoder_and_decoder_read_one_table_with_updates_of_their_own() -> None:
    """As the published forward reads them: `encoder.embed_tokens` and `decoder.embed_tokens`."""
    import minitl

    sizes = dict.fromkeys(("encoder_layers", "decoder_layers"), 1) | dict.fromkeys(
        ("encoder_attention_heads", "decoder_attention_heads"), 2
    )
    config = {"model_type": "bart", "vocab_size": 30, "d_model": 8, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, **sizes}
    model = minitl.new_model(config | {"max_position_embeddings": 16}, "seq2seq-lm")
    table = model.embeddings.token.weight
    ids = torch.tensor([[5, 6, 7, 2]])

    def states() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            out = model(ids, decoder_input_ids=ids)
        return out.encoder_last_hidden_state, out.last_hidden_state

    base = states()
    add_lora(model, LoraConfig(target_modules=["decoder.embed_tokens"]))
    train_a_little(model)
    changed = states()
    assert torch.equal(changed[0], base[0])
    assert not torch.allclose(changed[1], base[1])
    add_lora(model, LoraConfig(target_modules=["embed_tokens"]), "both")
    train_a_little(model)
    assert not torch.allclose(states()[0], base[0])
    assert model.lora.held["both"].places == ["embeddings.token", "decoder.embeddings.token"]
    with pytest.raises(InputError, match="encoder and decoder read one table"):
        merge_lora(model)
    use_adapter(model, "default")
    assert all(torch.equal(a, b) for a, b in zip(states(), changed, strict=True))
    remove_lora(model)
    assert model.decoder.embeddings is model.embeddings
    assert model.embeddings.token.weight is table
    assert all(torch.equal(a, b) for a, b in zip(states(), base, strict=True))
