"""ELMo against AllenNLP's numbers (tests/reference/make_elmo.py), its invariants, and options that do not fit."""

import copy
import json
import shutil
from pathlib import Path

import h5py
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

import minitl
from minitl.errors import CheckpointError, ConfigError, InputError
from minitl.models.elmo import KEYS, Elmo, ElmoConfig, _to_file, load_elmo
from tests.reference.comparison import assert_below, relative_error

FOLDER = Path(__file__).parents[1] / "reference" / "elmo"
OPTIONS = json.loads((FOLDER / "options.json").read_text())
TEXTS = json.loads((FOLDER / "texts.json").read_text())["texts"]
EXPECTED = load_file(FOLDER / "expected.safetensors")
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def tiny(**arguments) -> Elmo:
    return load_elmo(FOLDER / "options.json", FOLDER / "weights.hdf5", **arguments)


MODEL = tiny()


def stored(name: str, like: torch.nn.Module = MODEL) -> dict[str, Tensor]:
    """Hidden states by layer."""
    with torch.no_grad():
        output = like(**like.batch(TEXTS), output_hidden_states=True)
    return {f"{name}.{i}": layer for i, layer in enumerate(output.hidden_states)}


# --- the reference --------------------------------------------------------------------------------------------------


def test_stored_reference_stays_small():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 300_000


def test_words_become_the_published_character_ids():
    batch = MODEL.batch(TEXTS)
    assert torch.equal(batch["input_ids"], EXPECTED["inputs.input_ids"])
    assert torch.equal(batch["attention_mask"], EXPECTED["inputs.attention_mask"])


def test_every_layer_and_their_mix_equal_allennlps():
    layers = stored("hidden_states")
    assert len(layers) == 3
    assert_below({n: relative_error(layer, EXPECTED[n]) for n, layer in layers.items()}, 1e-5)
    mix = minitl.ScalarMix(3)
    mix.load_state_dict({name: EXPECTED[f"mix.{name}"] for name in ("weights", "gamma")})
    assert relative_error(mix(list(layers.values())).detach(), EXPECTED["mixed"]) < 1e-5


def test_layers_in_bfloat16_are_near_those_in_float32():
    layers = stored("hidden_states", tiny(dtype=torch.bfloat16))
    assert {layer.dtype for layer in layers.values()} == {torch.bfloat16}
    assert_below({n: relative_error(layer, EXPECTED[n]) for n, layer in layers.items()}, 2e-2)


def test_every_gradient_equals_allennlps():
    model, mix = tiny(), minitl.ScalarMix(3)
    mix.load_state_dict({name: EXPECTED[f"mix.{name}"] for name in ("weights", "gamma")})
    mixed = mix(model(**model.batch(TEXTS), output_hidden_states=True).hidden_states)
    (mixed * EXPECTED["loss_probe"]).sum().backward()
    found = {KEYS.to_published(name): _to_file(name, p.grad) for name, p in model.named_parameters()}
    found |= {f"mix.{name}": p.grad for name, p in mix.named_parameters()}
    assert {f"gradients.{name}" for name in found} == {name for name in EXPECTED if name.startswith("gradients.")}
    assert_below({n: relative_error(gradient, EXPECTED[f"gradients.{n}"]) for n, gradient in found.items()}, 1e-4)


def test_the_reference_makes_the_clips_work():
    options = copy.deepcopy(OPTIONS)
    for clip in ("cell_clip", "proj_clip"):
        free = Elmo(ElmoConfig.from_dict({**options, "lstm": {**options["lstm"], clip: None}}))
        free.load_state_dict(MODEL.state_dict())
        layers = stored("hidden_states", free.eval())
        assert relative_error(layers["hidden_states.2"], EXPECTED["hidden_states.2"]) > 0.01


# The published sizes, from options alone. Cell, projection and highways as AllenNLP's table of models has them, beside
# the "# Parameters (Millions)" 13.6, 28.0 and 93.6 (https://allennlp.org/elmo); the filters as in the options of the
# small and the original model, whose names, like the medium one's, say "2048cnn".
@pytest.mark.parametrize(
    ("dim", "projection", "highways", "millions", "count"),
    [(1024, 128, 1, 13.6, 13_593_296), (2048, 256, 1, 28.0, 28_027_728), (4096, 512, 2, 93.6, 93_600_848)],
    ids=["small", "medium", "original"],
)
def test_parameters_of_the_published_sizes(dim, projection, highways, millions, count):
    filters = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]]
    options = {
        "lstm": {**OPTIONS["lstm"], "dim": dim, "projection_dim": projection, "cell_clip": 3, "proj_clip": 3},
        "char_cnn": {**OPTIONS["char_cnn"], "filters": filters, "n_highway": highways, "embedding": {"dim": 16}},
    }
    with torch.device("meta"):
        model = Elmo(ElmoConfig.from_dict(options))
    in_file = sum(_to_file(name, parameter).numel() for name, parameter in model.named_parameters())
    assert in_file == count
    assert round(count / 1e6, 1) == millions


# --- invariants -----------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(texts=st.lists(st.lists(WORDS, max_size=5), min_size=1, max_size=4).filter(any))
def test_a_batch_equals_its_rows_one_by_one(texts):
    with torch.no_grad():
        together = MODEL(**MODEL.batch(texts), output_hidden_states=True)
        for row, text in enumerate(texts):
            for layer in together.hidden_states:
                assert layer[row, len(text) :].eq(0).all()
            if text:
                alone = MODEL(**MODEL.batch([text]), output_hidden_states=True)
                for layer, expected in zip(together.hidden_states, alone.hidden_states, strict=True):
                    torch.testing.assert_close(layer[row, : len(text)], expected[0], rtol=0, atol=1e-5)


def test_padding_may_stand_on_any_side():
    batch = MODEL.batch(TEXTS)
    turned = {name: tensor.flip(1) for name, tensor in MODEL.batch([text[::-1] for text in TEXTS]).items()}
    right, left = MODEL(**batch).last_hidden_state, MODEL(**turned).last_hidden_state
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(left[row, -len(text) :], right[row, : len(text)], rtol=0, atol=1e-6)
        assert left[row, : -len(text)].eq(0).all()


def test_without_a_mask_words_are_what_has_characters():
    batch = MODEL.batch(TEXTS)
    assert torch.equal(MODEL(batch["input_ids"]).last_hidden_state, MODEL(**batch).last_hidden_state)


def test_ids_behind_the_mask_do_not_matter():
    batch = MODEL.batch(TEXTS)
    expected = MODEL(**batch).last_hidden_state
    noise = torch.randint_like(batch["input_ids"], 262)
    ids = torch.where(batch["attention_mask"][..., None].bool(), batch["input_ids"], noise)
    torch.testing.assert_close(MODEL(ids, batch["attention_mask"]).last_hidden_state, expected)


def test_words_padded_to_the_published_length_give_the_same():
    texts = [["short", "words"], ["a"]]
    batch = MODEL.batch(texts)
    width = batch["input_ids"].shape[2]
    assert width < 50
    padded = torch.nn.functional.pad(batch["input_ids"], (0, 50 - width), value=261)
    padded[batch["attention_mask"] == 0] = 0
    expected = MODEL(padded, batch["attention_mask"]).last_hidden_state
    torch.testing.assert_close(MODEL(**batch).last_hidden_state, expected, rtol=0, atol=1e-6)


def test_each_direction_sees_its_own_side_only():
    one, other = (MODEL(**MODEL.batch([["the", "bank", word]])).last_hidden_state[0] for word in ("river", "robbery"))
    size = MODEL.config.projection_dim
    torch.testing.assert_close(one[:2, :size], other[:2, :size], rtol=0, atol=1e-6)
    assert (one[:2, size:] - other[:2, size:]).abs().amax(-1).gt(1e-4).all()


def test_the_same_text_has_the_same_vectors_always():
    batch = MODEL.batch(TEXTS)
    assert torch.equal(MODEL(**batch).last_hidden_state, MODEL(**batch).last_hidden_state)


def test_a_row_of_padding_alone_gives_zeros_and_finite_gradients():
    model = tiny()
    output = model(**model.batch([["a", "b"], []]))
    assert output.last_hidden_state[1].eq(0).all()
    output.last_hidden_state.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_hidden_states_come_on_demand_and_end_with_the_last():
    output = MODEL(**MODEL.batch(TEXTS), output_hidden_states=True)
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    first = output.hidden_states[0]
    assert torch.equal(first[..., :7], first[..., 7:])
    assert MODEL(**MODEL.batch(TEXTS)).hidden_states is None


def test_skip_connections_are_what_the_options_say():
    plain = Elmo(ElmoConfig.from_dict({**OPTIONS, "lstm": {**OPTIONS["lstm"], "use_skip_connections": False}}))
    plain.load_state_dict(MODEL.state_dict())
    batch = MODEL.batch(TEXTS)
    with torch.no_grad():
        skipping = MODEL(**batch, output_hidden_states=True).hidden_states
        layers = plain(**batch, output_hidden_states=True).hidden_states
    torch.testing.assert_close(layers[1], skipping[1])
    torch.testing.assert_close(layers[2], skipping[2] - skipping[1])


class Last(torch.nn.Module):
    """The model with a tensor for its result, which is what `torch.export` knows."""

    def __init__(self) -> None:
        super().__init__()
        self.model = MODEL

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model(input_ids, attention_mask).last_hidden_state


def test_forward_is_one_graph_and_can_be_exported():
    batch = MODEL.batch([["two", "words"], ["one"]])
    expected = Last()(**batch)
    exported = torch.export.export(Last(), (), batch).module()
    torch.testing.assert_close(exported(**batch), expected)
    torch.testing.assert_close(torch.compile(Last(), fullgraph=True, backend="eager")(**batch), expected)


# --- files ----------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_the_published_file(tmp_path):
    MODEL.save(tmp_path / "options.json", tmp_path / "weights.hdf5")
    assert json.loads((tmp_path / "options.json").read_text()) == OPTIONS
    with h5py.File(FOLDER / "weights.hdf5") as before, h5py.File(tmp_path / "weights.hdf5") as after:
        names: list[str] = []
        before.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert len(names) == 1 + 3 * 2 + 2 * 4 + 2 + 4 * 3
        for name in names:
            assert (before[name][...] == after[name][...]).all()
        assert sum(isinstance(item, h5py.Dataset) for item in _items(after)) == len(names)
    again = load_elmo(tmp_path / "options.json", tmp_path / "weights.hdf5")
    assert all(torch.equal(p, dict(MODEL.named_parameters())[name]) for name, p in again.named_parameters())


def _items(file: h5py.File) -> list[object]:
    found: list[object] = []
    file.visititems(lambda _, item: found.append(item))
    return found


def test_a_new_model_of_other_options_is_saved_and_loaded(tmp_path):
    options = copy.deepcopy(OPTIONS)
    options["lstm"] |= {"projection_dim": 12, "n_layers": 3}  # as wide as the cell: no projection
    options["char_cnn"] |= {"filters": [[2, 12]], "n_highway": None, "activation": "tanh"}  # as wide: none either
    del options["lstm"]["cell_clip"]
    model = Elmo(ElmoConfig.from_dict(options)).eval()
    with torch.no_grad():
        model.embeddings.character.weight[0] = 0
    model.save(tmp_path / "o.json", tmp_path / "w.hdf5")
    again = load_elmo(tmp_path / "o.json", tmp_path / "w.hdf5")
    batch = model.batch(TEXTS)
    assert torch.equal(model(**batch).last_hidden_state, again(**batch).last_hidden_state)
    with h5py.File(tmp_path / "w.hdf5") as file:
        assert "CNN_proj" not in file
        assert "RNN_0/RNN/MultiRNNCell/Cell2/LSTMCell/B" in file
        assert "RNN_0/RNN/MultiRNNCell/Cell2/LSTMCell/W_P_0" not in file


@pytest.fixture
def copied(tmp_path):
    return Path(shutil.copytree(FOLDER, tmp_path / "copy"))


def load(folder: Path) -> Elmo:
    return minitl.load_elmo(folder / "options.json", folder / "weights.hdf5")


MISFITS = [
    ("lstm", "dim", 11, r"RNN_0/.*/W_0: shape \[14, 48\] in the file, \[14, 44\] by 'dim' and 'projection"),
    ("lstm", "projection_dim", 6, r"CNN_proj/b_proj: shape \[7\] in the file, \[6\] by 'projection_dim' of lstm"),
    ("lstm", "n_layers", 1, r"RNN_1/.*/Cell1/LSTMCell/B: unexpected, shape \[48\]; none by 'n_layers' of lstm\n"),
    ("lstm", "n_layers", 3, r"RNN_1/RNN/MultiRNNCell/Cell2/LSTMCell/B: missing, shape \[48\] by 'n_layers' of lstm\n"),
    ("char_cnn", "embedding", {"dim": 4}, r"char_embed: shape \[261, 5\] in the file, \[261, 4\] by 'embedding' of"),
    ("char_cnn", "filters", [[1, 4], [2, 6]], r"CNN/W_cnn_2: unexpected, shape .*; none by 'filters' of char_cnn\n"),
    ("char_cnn", "filters", [[1, 4], [2, 6], [4, 8]], r"W_cnn_2: shape \[1, 3, 5, 8\] .* \[1, 4, 5, 8\] by 'filters'"),
    ("char_cnn", "n_highway", 1, r"CNN_high_1/W_carry: unexpected, shape .*; none by 'n_highway' of char_cnn\n"),
    ("char_cnn", "n_highway", 3, r"CNN_high_2/b_transform: missing, shape \[18\] by 'n_highway' of char_cnn"),
]  # fmt: skip


@pytest.mark.parametrize(("section", "field", "value", "message"), MISFITS)
def test_options_that_do_not_fit_the_weights_are_named_with_the_tensors(copied, section, field, value, message):
    options = copy.deepcopy(OPTIONS)
    options[section][field] = value
    (copied / "options.json").write_text(json.dumps(options))
    with pytest.raises(CheckpointError, match=message) as error:
        load(copied)
    assert str(error.value).startswith(f"{copied}/weights.hdf5: the weights do not fit {copied}/options.json:\n")


def test_every_missing_and_unexpected_tensor_is_listed_at_once(copied):
    with h5py.File(copied / "weights.hdf5", "a") as file:
        del file["char_embed"]
        del file["CNN/b_cnn_1"]
        file.create_dataset("embedding_softmax/W", data=[1.0])
    with pytest.raises(CheckpointError) as error:
        load(copied)
    assert str(error.value).splitlines()[1:] == [
        "  char_embed: missing, shape [261, 5] by 'embedding' of char_cnn",
        "  CNN/b_cnn_1: missing, shape [6] by 'filters' of char_cnn",
        "  embedding_softmax/W: unexpected, shape [1]",
    ]


def test_an_absent_or_broken_options_file_is_named(copied):
    (copied / "options.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"options\.json: not valid JSON"):
        load(copied)
    (copied / "options.json").unlink()
    with pytest.raises(CheckpointError, match=r"options\.json: no such file$"):
        load(copied)


WRONG = [
    ("lstm", None, "section 'lstm' must be a mapping, got None"),
    ("char_cnn", [], r"section 'char_cnn' must be a mapping, got \[\]"),
    ("lstm.dim", None, "lstm: field 'dim' must be an integer of at least 1, got None"),
    ("lstm.dim", 0, "lstm: field 'dim' must be an integer of at least 1, got 0"),
    ("lstm.projection_dim", "7", "lstm: field 'projection_dim' must be an integer of at least 1, got '7'"),
    ("lstm.projection_dim", 13, r"lstm: field 'projection_dim' must be at most 'dim' \(12\)"),
    ("lstm.n_layers", True, "lstm: field 'n_layers' must be an integer of at least 1, got True"),
    ("lstm.cell_clip", -3, "lstm: field 'cell_clip' must be a number above 0 or null, got -3"),
    ("lstm.proj_clip", "3", "lstm: field 'proj_clip' must be a number above 0 or null, got '3'"),
    ("lstm.use_skip_connections", None, "lstm: field 'use_skip_connections' must be true or false, got None"),
    ("char_cnn.n_characters", 261, "char_cnn: field 'n_characters' must be 262, got 261"),
    ("char_cnn.max_characters_per_token", 2, "char_cnn: field 'max_characters_per_token' must be at least 3"),
    ("char_cnn.activation", "gelu", "char_cnn: field 'activation' must be one of relu, tanh, got 'gelu'"),
    ("char_cnn.n_highway", -1, "char_cnn: field 'n_highway' must be an integer of at least 0, got -1"),
    ("char_cnn.embedding", 16, "char_cnn: section 'embedding' must be a mapping, got 16"),
    ("char_cnn.embedding", {}, "char_cnn, embedding: field 'dim' must be an integer of at least 1, got None"),
    ("char_cnn.filters", [], r"char_cnn: field 'filters' must be a list of \[width, number\] pairs, got \[\]"),
    ("char_cnn.filters", [[1, 0]], r"char_cnn: field 'filters' must be a list of \[width, number\] pairs"),
    ("char_cnn.filters", [[1, 4, 2]], r"char_cnn: field 'filters' must be a list of \[width, number\] pairs"),
    ("char_cnn.filters", [[51, 4]], "char_cnn: field 'max_characters_per_token' must be .* the widest filter"),
]


@pytest.mark.parametrize(("field", "value", "message"), WRONG)
def test_wrong_options_are_named_with_what_was_expected(field, value, message):
    options = copy.deepcopy(OPTIONS)
    section, _, name = field.partition(".")
    if name:
        options[section][name] = value
    else:
        options[section] = value
    with pytest.raises(ConfigError, match=f"^folder/options.json(, |: ){message}"):
        ElmoConfig.from_dict(options, "folder/options.json")


@pytest.mark.parametrize(
    "ids",
    [
        torch.ones(2, 3, dtype=torch.long),
        torch.ones(2, 3, 51, dtype=torch.long),
        torch.ones(2, 3, 5, dtype=torch.long),
        torch.ones(2, 0, 50, dtype=torch.long),
        torch.ones(2, 3, 50),
    ],
    ids=lambda ids: f"{ids.dtype} {list(ids.shape)}",
)
def test_character_ids_of_another_shape_are_refused(ids):
    expected = rf"^input_ids must be integers \[batch, words, 6 to 50 characters\], got {ids.dtype} \[2, "
    with pytest.raises(InputError, match=expected):
        MODEL(ids)


def test_a_mask_of_another_shape_and_an_id_out_of_range_are_refused():
    ids = torch.ones(2, 3, 50, dtype=torch.long)
    with pytest.raises(InputError, match=r"^attention_mask must have the shape \[2, 3\], got \[2, 4\]$"):
        MODEL(ids, torch.ones(2, 4))
    with pytest.raises(InputError, match=r"^character id 262 is beyond the embedding, which has rows 0 to 261$"):
        MODEL(torch.full_like(ids, 262))
