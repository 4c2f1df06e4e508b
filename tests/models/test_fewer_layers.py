"""A smaller model begins with some of a larger one's layers, in its order."""

from pathlib import Path

import pytest
import torch

from minitl import load_model, load_tokenizer, new_model, save_model
from minitl.errors import InputError
from minitl.models.fewer_layers import keep_layers

GPT2 = {"model_type": "gpt2", "vocab_size": 30, "n_positions": 16, "n_embd": 12, "n_layer": 4, "n_head": 2}
DISTILBERT = {
    "model_type": "distilbert",
    "vocab_size": 30,
    "dim": 12,
    "n_layers": 4,
    "n_heads": 2,
    "hidden_dim": 16,
    "max_position_embeddings": 16,
}
MODERNBERT = {
    "model_type": "modernbert",
    "vocab_size": 30,
    "hidden_size": 12,
    "intermediate_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "pad_token_id": 0,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
}


@pytest.mark.parametrize(
    ("config", "task"), [(GPT2, "causal-lm"), (DISTILBERT, "masked-lm"), (MODERNBERT, "sequence-classification")]
)
def test_it_computes_what_the_large_one_does_without_the_others(config: dict[str, object], task: str) -> None:
    large = new_model(config, task)
    small = keep_layers(large, [0, 3])
    ids = torch.randint(1, 30, (2, 7))
    found = small(ids, output_hidden_states=True)
    large.layers = torch.nn.ModuleList([large.layers[0], large.layers[3]])
    expected = large(ids, output_hidden_states=True)
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state)
    torch.testing.assert_close(found.logits, expected.logits)
    assert len(found.hidden_states) == 3


def test_it_is_a_model_of_its_own_that_can_be_saved(tiny: Path, tmp_path: Path) -> None:
    large = load_model(tiny, "sequence-classification", labels=["no", "yes"])
    small = keep_layers(large, [0, 2])
    assert small.config.labels == ["no", "yes"]
    assert small.untaught == large.untaught != ()
    assert small.source == f"{tiny}, layers [0, 2]"
    ids = torch.randint(5, 20, (2, 7))
    before = large(ids).logits
    expected = small(ids).logits
    with torch.no_grad():
        for parameter in small.parameters():
            assert parameter.data_ptr() not in {p.data_ptr() for p in large.parameters()}
    save_model(small, tmp_path / "small", load_tokenizer(tiny))
    again = load_model(tmp_path / "small")
    assert len(again.layers) == 2
    torch.testing.assert_close(again(ids).logits, expected)
    torch.testing.assert_close(large(ids).logits, before)


@pytest.mark.parametrize("kept", [[], [0, 0], [2, 1], [0, 3], [-1]])
def test_numbers_that_are_no_layers_are_refused(tiny: Path, kept: list[int]) -> None:
    with pytest.raises(InputError, match="expected some of 0 to 2, in rising order"):
        keep_layers(load_model(tiny), kept)


def test_what_cannot_be_thinned_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"layers\.1\.attention_norm\.weight has no like in the smaller model"
    ):  # its first layer has no norm of its own
        keep_layers(new_model(MODERNBERT), [1, 2])
    t5 = {"model_type": "t5", "vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 2, "num_heads": 2}
    with pytest.raises(InputError, match="an encoder and a decoder"):
        keep_layers(new_model({**t5, "decoder_start_token_id": 0}), [0])
