"""The families against what the peer library computed on the same tiny checkpoints (tests/reference/checkpoints), and
against published numbers of real ones."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from minitl.generation import generate
from minitl.models.base import Model
from minitl.models.loading import load_model
from tests.reference import comparison

CHECKPOINTS = Path(__file__).parents[1] / "reference" / "checkpoints"
NAMES = sorted(folder.name for folder in CHECKPOINTS.iterdir())
every_checkpoint = pytest.mark.parametrize("name", NAMES)


class Reference:
    """One stored folder: the checkpoint, its task and the peer's numbers, grouped by the first words of their names."""

    def __init__(self, name: str) -> None:
        self.folder = CHECKPOINTS / name
        self.task = json.loads((self.folder / "reference.json").read_text())["task"]
        self.tensors = load_file(self.folder / "expected.safetensors")

    def group(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}

    def batches(self) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """(inputs, outputs) padded on the right, and on the left where the peer does not count padding as text.

        It does where an encoder-decoder shifts its source to have a target.
        """
        pairs = [(self.group(f"{side}.inputs."), self.group(f"{side}.outputs.")) for side in ("right", "left")]
        shifted = "encoder_last_hidden_state" in pairs[0][1] and "decoder_input_ids" not in pairs[0][0]
        return pairs[:1] if shifted or not pairs[1][0] else pairs


def test_every_family_and_every_head_has_a_stored_reference() -> None:
    from minitl.models.registry import MODULES, family_of

    stored = {(load_model(CHECKPOINTS / name).config.model_type, Reference(name).task) for name in NAMES}
    assert stored == {(family, task) for family in MODULES for task in ("backbone", *family_of(family).heads)}


@every_checkpoint
def test_stored_references_stay_small(name: str) -> None:
    assert sum(file.stat().st_size for file in (CHECKPOINTS / name).iterdir()) <= 300_000


@every_checkpoint
@pytest.mark.parametrize("explicit", [False, True], ids=["task from config.json", "task named"])
def test_outputs_of_every_layer_equal_the_peers(name: str, explicit: bool) -> None:
    reference = Reference(name)
    model = load_model(reference.folder, task=reference.task if explicit else None)
    assert model.task == reference.task
    for inputs, expected in reference.batches():
        errors = comparison.output_errors(comparison.outputs(model, inputs), expected, inputs)
        assert len(errors) >= 2 * len(model.layers) + 1
        comparison.assert_below(errors, 1e-4)


@every_checkpoint
def test_outputs_in_bfloat16_are_near_the_peers_in_float32(name: str) -> None:
    reference = Reference(name)
    model = load_model(reference.folder, dtype=torch.bfloat16)
    for inputs, expected in reference.batches():
        actual = comparison.outputs(model, inputs)
        assert all(tensor.dtype == torch.bfloat16 for tensor in actual.values())
        comparison.assert_below(comparison.output_errors(actual, expected, inputs), 2e-2)


@every_checkpoint
def test_loss_and_every_gradient_equal_the_peers(name: str) -> None:
    reference = Reference(name)
    model = load_model(reference.folder)
    loss, gradients = comparison.loss_and_gradients(
        model, reference.group("training.inputs."), reference.group("training.targets.")
    )
    assert comparison.relative_error(loss, reference.tensors["training.loss"]) < 1e-4
    errors = comparison.gradient_errors(model, gradients, reference.group("training.gradients."))
    comparison.assert_below(errors, 1e-4)


@every_checkpoint
def test_both_attention_paths_give_the_same_numbers(name: str) -> None:
    reference = Reference(name)
    model = load_model(reference.folder)
    for inputs, _ in reference.batches():
        with torch.no_grad():
            fused = comparison.flat_outputs(model(**inputs, output_hidden_states=True))
            plain = comparison.flat_outputs(model(**inputs, output_hidden_states=True, output_attentions=True))
        maps = set(plain) - set(fused)
        assert len(maps) == len(model.layers) + len([name for name in maps if name.startswith("cross_")])
        assert all(name.rpartition(".")[0].endswith("attentions") for name in maps)
        for field, tensor in fused.items():
            torch.testing.assert_close(tensor, plain[field], rtol=0, atol=1e-5, msg=lambda m, f=field: f"{f}: {m}")


@every_checkpoint
def test_attention_maps_are_distributions_over_real_tokens(name: str) -> None:
    reference = Reference(name)
    model = load_model(reference.folder)
    for inputs, _ in reference.batches():
        output = model(**inputs, output_attentions=True)
        source = inputs["attention_mask"].bool()
        if output.encoder_attentions is None:
            assert_distributions(output.attentions, source, source)
        else:
            target = inputs.get("decoder_attention_mask", source).bool()
            assert_distributions(output.attentions, target, target)
            assert_distributions(output.cross_attentions, target, source)
            assert_distributions(output.encoder_attentions, source, source)


def assert_distributions(maps: tuple[Tensor, ...], real: Tensor, visible: Tensor) -> None:
    """Rows of real queries sum to 1 and give padded keys nothing."""
    assert maps
    for weights in maps:
        rows = weights.transpose(1, 2)[real]  # [tokens, heads, keys]
        torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:2]))
        padding = ~visible[:, None, :].expand(-1, real.shape[1], -1)[real]  # [tokens, keys]
        assert rows.transpose(1, 2)[padding].eq(0).all()


WRITERS = [name for name in NAMES if "-causal-lm" in name or "-seq2seq-lm" in name]


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_equals_the_peers_token_for_token(name: str, beams: int) -> None:
    reference = Reference(name)
    model = load_model(reference.folder)
    side, options = "left", {}
    if model.task == "seq2seq-lm":
        side, start = "right", model.config.decoder_start_token_id
        options["decoder_start_token_id"] = 2 if start is None else start
    inputs = reference.group(f"{side}.inputs.")
    ids = generate(model, inputs["input_ids"], inputs["attention_mask"], max_new_tokens=6, num_beams=beams, **options)
    expected = reference.tensors[f"generation.{beams}"]
    first = inputs["input_ids"].shape[1] if side == "left" else 1
    end = model.config.eos_token_id
    assert [up_to(row, end, first) for row in ids.tolist()] == [up_to(row, end, first) for row in expected.tolist()]


def up_to(row: list[int], end: int, first: int) -> list[int]:
    """A text up to its end token; what fills the row behind it is another question."""
    return row[: row.index(end, first) + 1] if end in row[first:] else row


@pytest.mark.parametrize("name", ["llama-causal-lm", "llama-causal-lm-biased"])
def test_rotary_settings_read_alike_in_their_older_spelling(name: str, tmp_path: Path) -> None:
    reference = Reference(name)
    config = json.loads((reference.folder / "config.json").read_text())
    scaling = config.pop("rope_parameters")
    config |= {"rope_theta": scaling.pop("rope_theta"), "rope_scaling": scaling}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((reference.folder / "model.safetensors").read_bytes())
    inputs = reference.batches()[0][0]
    old, new = load_model(tmp_path)(**inputs), load_model(reference.folder)(**inputs)
    assert torch.equal(old.logits, new.logits)


@pytest.fixture(scope="module")
def stories(assets: Path) -> tuple[Model, dict[str, list]]:
    """A published 260,000-parameter Llama that tells stories, and its answers computed in float64."""
    folder = assets / "weights" / "stories260K"
    return load_model(folder), json.loads((folder / "golden_float64.json").read_text())


def test_stories260k_gives_its_published_logits(stories: tuple[Model, dict[str, list]]) -> None:
    model, golden = stories
    with torch.no_grad():
        logits = model(torch.tensor([golden["prefix_ids"]])).logits
    assert comparison.relative_error(logits[0, -1], torch.tensor(golden["last_logits"])) < 1e-5


def test_stories260k_tells_its_published_story_token_for_token(stories: tuple[Model, dict[str, list]]) -> None:
    model, golden = stories
    expected = golden["greedy_ids"]
    told = generate(model, torch.tensor([expected[:1]]), max_new_tokens=len(expected) - 1)
    assert told[0].tolist() == expected


def test_stories260k_tells_its_story_without_a_cache_too(stories: tuple[Model, dict[str, list]]) -> None:
    model, golden = stories
    expected = torch.tensor(golden["greedy_ids"])
    with torch.no_grad():
        next_tokens = model(expected[None]).logits[0].argmax(-1)  # each token predicted from the true ones before it
    assert torch.equal(next_tokens[:-1], expected[1:])
