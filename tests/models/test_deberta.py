"""What DeBERTa has and no other family: heads left over from its training, two masked-LM heads, rates of its own."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from minitl.checkpoints.digest import FILE_NAME
from minitl.checkpoints.weights import SINGLE
from minitl.errors import CheckpointError, InputError
from minitl.models.base import Model
from minitl.models.loading import load_model, new_model, save_model

V3: dict[str, Any] = {  # the published model in small; as there, no "architectures", no "legacy"
    "model_type": "deberta-v2",
    "vocab_size": 40,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
    "type_vocab_size": 0,
    "position_biased_input": False,
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
    "share_att_key": True,
    "position_buckets": 8,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
}
RELEASED_HEADS = {
    "lm_predictions.lm_head.dense.weight": (12, 12),
    "lm_predictions.lm_head.dense.bias": (12,),
    "lm_predictions.lm_head.LayerNorm.weight": (12,),
    "lm_predictions.lm_head.LayerNorm.bias": (12,),
    "lm_predictions.lm_head.bias": (40,),
    "mask_predictions.dense.weight": (12, 12),
    "mask_predictions.dense.bias": (12,),
    "mask_predictions.LayerNorm.weight": (12,),
    "mask_predictions.LayerNorm.bias": (12,),
    "mask_predictions.classifier.weight": (1, 12),
    "mask_predictions.classifier.bias": (1,),
    "deberta.embeddings.position_embeddings.weight": (32, 12),
}
IDS = torch.arange(18).view(2, 9)


def random_model(config: dict[str, Any], task: str = "backbone", **options: Any) -> Model:
    model = new_model(config, task, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
    return model


def add_tensors(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    whole = {**load_file(folder / SINGLE), **tensors}
    (folder / SINGLE).unlink()
    save_file(whole, folder / SINGLE)
    (folder / FILE_NAME).unlink(missing_ok=True)


@pytest.fixture
def release(tmp_path: Path) -> tuple[Model, Path]:
    """What Microsoft's files hold: the encoder, under its prefix, and both heads of its training."""
    model = random_model(V3)
    save_model(model, tmp_path)
    bare = load_file(tmp_path / SINGLE)
    (tmp_path / SINGLE).unlink()
    save_file({f"deberta.{name}": tensor for name, tensor in bare.items()}, tmp_path / SINGLE)
    add_tensors(tmp_path, {name: torch.randn(shape) for name, shape in RELEASED_HEADS.items()})
    return model, tmp_path


@pytest.mark.parametrize("task", [None, "sequence-classification", "token-classification", "question-answering"])
def test_of_a_published_file_the_encoder_is_taken_and_the_heads_of_its_training_are_left(
    release: tuple[Model, Path], task: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "minitl")
    model, folder = release
    loaded = load_model(folder, task)
    assert torch.equal(loaded(IDS).last_hidden_state, model(IDS).last_hidden_state)
    assert ("new and untrained" in caplog.text) == (task is not None)


def test_the_masked_lm_head_of_a_published_file_is_read_where_the_config_says_that_it_is_there(
    release: tuple[Model, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "minitl")
    _, folder = release
    new = load_model(folder, "masked-lm")
    assert "new and untrained, not from the checkpoint: head.decoder.bias, head.dense, head.norm" in caplog.text
    assert new.head.decoder.weight is new.embeddings.token.weight
    caplog.clear()
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"legacy": true', '"legacy": false'))
    loaded = load_model(folder, "masked-lm")
    assert caplog.text == ""
    stored = load_file(folder / SINGLE)
    assert torch.equal(loaded.head.lm.dense.weight, stored["lm_predictions.lm_head.dense.weight"])
    assert torch.equal(loaded.head.lm.decoder.bias, stored["lm_predictions.lm_head.bias"])
    assert loaded.head.lm.decoder.weight is loaded.embeddings.token.weight
    save_model(loaded, tmp_path / "again")
    again = set(load_file(tmp_path / "again" / SINGLE))
    assert {name for name in again if "predictions" in name} == {name for name in stored if "lm_predictions" in name}


@pytest.mark.parametrize(
    "extra", ["lm_predictions.lm_head.weight", "mask_predictions.dense", "deberta.encoder.conv.conv.weight"]
)
def test_what_only_resembles_a_known_drop_is_unexpected(release: tuple[Model, Path], extra: str) -> None:
    add_tensors(release[1], {extra: torch.ones(3)})
    with pytest.raises(CheckpointError, match=f"{extra}: unexpected"):
        load_model(release[1])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
def test_only_the_legacy_head_can_be_untied(legacy: bool, tied: bool) -> None:
    model = new_model({**V3, "legacy": legacy, "tie_word_embeddings": tied}, "masked-lm")
    decoder = (model.head if legacy else model.head.lm).decoder
    assert (decoder.weight is model.embeddings.token.weight) == (tied or not legacy)
    assert not decoder.weight.is_meta


def test_types_and_positions_change_nothing_where_distances_are_all_that_counts() -> None:
    model = random_model(V3)
    plain = model(IDS).last_hidden_state
    given = model(IDS, token_type_ids=torch.ones_like(IDS), position_ids=IDS.flip(1)).last_hidden_state
    assert torch.equal(plain, given)


def test_a_text_may_be_longer_than_any_distance() -> None:
    assert random_model(V3)(torch.ones(1, 200, dtype=torch.long)).last_hidden_state.isfinite().all()
    with pytest.raises(InputError, match="a text of 33 tokens: this deberta-v2 model has positions for 32"):
        random_model({**V3, "position_biased_input": True})(torch.ones(1, 33, dtype=torch.long))


def test_padding_begins_as_zero() -> None:
    mask = torch.ones_like(IDS)
    mask[0, 5:] = 0
    embedded = random_model(V3)(IDS, mask, output_hidden_states=True).hidden_states[0]
    assert embedded[0, 5:].eq(0).all()
    assert embedded[mask.bool()].ne(0).any(-1).all()


RATES = ["hidden_dropout_prob", "attention_probs_dropout_prob", "pooler_dropout", "cls_dropout"]
NORM, TABLE = "embeddings.norm", "embeddings.relative"
OUTPUT, DOWN = "layers.{}.attention.output", "layers.{}.feed_forward.down"
# Where places share a rate, one is singled out by zeroing what the others drop from.
PLACES = [
    ("hidden_dropout_prob", [TABLE, OUTPUT, DOWN], "embeddings"),
    ("hidden_dropout_prob", [NORM, OUTPUT, DOWN], "layers.0.attention.row_dropout"),
    ("hidden_dropout_prob", [NORM, TABLE, DOWN], "layers.0.feed_forward.up"),
    ("hidden_dropout_prob", [NORM, TABLE, OUTPUT], "layers.0"),
    ("hidden_dropout_prob", [NORM, TABLE, OUTPUT, DOWN], None),
    ("attention_probs_dropout_prob", [], "layers.0.attention"),
    ("pooler_dropout", [], "head.dropout"),
    ("cls_dropout", [], "head.out_dropout"),
]


@pytest.mark.parametrize(("rate", "zeroed", "place"), PLACES)
def test_a_rate_drops_at_its_places_in_training_mode_alone(rate: str, zeroed: list[str], place: str | None) -> None:
    model = random_model({**V3, **dict.fromkeys(RATES, 0.0), rate: 0.5}, "sequence-classification")
    with torch.no_grad():
        for pattern in zeroed:
            for i in range(2):
                for parameter in model.get_submodule(pattern.format(i)).parameters():
                    parameter.zero_()
    stages = ["embeddings", "layers.0.attention.row_dropout", "layers.0.attention"]
    stages += ["layers.0.feed_forward.up", "layers.0", "head.dropout", "head.out_dropout"]
    whole, again = run(model.eval(), stages), run(model, stages)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    dropped = run(model.train(), stages)
    differ = (name for name, a, b in zip(stages, whole, dropped, strict=True) if not torch.equal(a, b))
    assert next(differ, None) == place


@torch.no_grad()
def run(model: Model, stages: list[str]) -> list[torch.Tensor]:
    """What each of the stages put out last in one forward pass."""
    names = {model.get_submodule(name): name for name in stages}
    seen: dict[str, torch.Tensor] = {}

    def keep(module: nn.Module, _inputs: object, output: Any) -> None:
        seen[names[module]] = output[0] if isinstance(output, tuple) else output

    handles = [module.register_forward_hook(keep) for module in names]
    model(IDS)
    for handle in handles:
        handle.remove()
    return [seen[name] for name in stages]


@pytest.mark.parametrize(("rate", "expected"), [(None, 0.3), (0.0, 0.0), (0.2, 0.2)])
def test_the_classifier_drops_as_the_layers_do_unless_it_is_told(rate: float | None, expected: float) -> None:
    model = new_model({**V3, "hidden_dropout_prob": 0.3, "cls_dropout": rate}, "sequence-classification")
    assert model.head.out_dropout.p == expected
