"""Rows of new tokens in an adapter: only they and the update learn, and the files bring them back."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import minitl
from minitl.checkpoints.weights import Weights
from minitl.errors import CheckpointError, InputError
from minitl.models.base import Model
from minitl.models.loading import load_model, new_model, save_model
from minitl.models.vocabulary import add_tokens
from tests.models.saved import GPT2
from tests.models.test_vocabulary import LANGUAGE_MODELS, NEW, answers, load, step, stored  # noqa: F401 - a fixture

CHECKPOINTS = Path(__file__).parents[1] / "reference" / "checkpoints"
every_language_model = pytest.mark.parametrize("name", LANGUAGE_MODELS)
LINEAR = minitl.LoraConfig(r=2, target_modules="all-linear")


@pytest.fixture
def taught(load, tmp_path):  # noqa: F811 - the fixture
    """taught(checkpoint): a model with three new tokens and an adapter, both trained, saved as an adapter; its ids."""

    def make(name: str, dtype: torch.dtype = torch.float32) -> tuple[Model, Tensor]:
        model, tokenizer = load(name)
        rows = model.config.vocab_size
        add_tokens(model.to(dtype), tokenizer, NEW)
        minitl.add_lora(model, LINEAR)
        step(model, ids := torch.tensor([[5, rows, rows + 1, 6, rows + 2]]))
        minitl.save_adapter(model, tmp_path / "adapter")
        return model, ids

    return make


def same(one: Model, other: Model, ids: Tensor) -> None:
    expected = answers(one, ids)
    for field, value in answers(other, ids).items():
        assert torch.equal(value, expected[field]), field


@every_language_model
def test_only_the_update_and_the_new_rows_learn(load, taught, name):  # noqa: F811
    base = stored(load(name)[0])
    model, _ = taught(name)
    learnt = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(".adapters." in key or key.rpartition(".")[2].startswith("new") for key in learnt)
    assert "embeddings.token.new" in learnt
    after = stored(model)
    for key, value in base.items():
        assert torch.equal(after[key][tuple(slice(size) for size in value.shape)], value), key
    old, new = after["embeddings.token.weight"].tensor_split([len(base["embeddings.token.weight"])])
    assert (new != old.mean(0)).any(-1).all()


@every_language_model
def test_what_is_loaded_on_the_published_base_gives_the_same(taught, tmp_path, name):
    model, ids = taught(name)
    again = load_model(CHECKPOINTS / name)
    before = stored(again)
    minitl.load_adapter(again, tmp_path / "adapter")
    same(model, again.eval(), ids)
    for one in (model, again):  # the base alone: the mean for the new tokens
        minitl.use_adapter(one, None)
    same(model, again, ids)
    minitl.remove_lora(again)
    after = stored(again)
    for key, value in before.items():
        assert torch.equal(after[key][tuple(slice(size) for size in value.shape)], value), key
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(CHECKPOINTS / name)
    rows = before["embeddings.token.weight"].shape[0]
    assert all(value == [rows, rows + 1, rows + 2] for value in settings["trainable_token_indices"].values())


@every_language_model
def test_it_is_merged_into_an_ordinary_checkpoint(taught, tmp_path, name):
    model, ids = taught(name)
    before = answers(model, ids)
    minitl.merge_lora(model)
    minitl.remove_lora(model)
    save_model(model, tmp_path / "merged")
    after = answers(load_model(tmp_path / "merged"), ids)
    for field, value in before.items():
        torch.testing.assert_close(after[field], value, rtol=1e-4, atol=1e-4)


def test_new_rows_learn_in_float32_over_a_half_precision_base(taught, tmp_path):
    model, ids = taught("bert-masked-lm", torch.bfloat16)
    assert model.get_parameter("embeddings.token.new").dtype == torch.float32
    again = load_model(CHECKPOINTS / "bert-masked-lm", dtype=torch.bfloat16)
    minitl.load_adapter(again, tmp_path / "adapter")
    assert answers(model, ids)["logits"].dtype == torch.bfloat16
    same(model, again, ids)


def test_rows_that_the_base_has_already_are_the_adapter_s_own(load, taught, tmp_path):  # noqa: F811
    """A base that grew before it was saved, as PEFT's must."""
    model, ids = taught("gpt2-causal-lm")
    grown, tokenizer = load("gpt2-causal-lm")
    add_tokens(grown, tokenizer, NEW, train_all=True)
    torch.nn.init.normal_(grown.get_parameter("embeddings.token.weight")[-3:].data)
    base = stored(grown)
    minitl.load_adapter(grown, tmp_path / "adapter")
    same(model, grown, ids)
    minitl.use_adapter(grown, None)
    assert all(torch.equal(value, stored(grown)[key]) for key, value in base.items())


def test_two_adapters_have_rows_of_their_own(taught):
    model, ids = taught("llama-causal-lm")
    first = answers(model, ids)["logits"]
    minitl.add_lora(model, LINEAR, "other")
    assert torch.equal(model.get_parameter("embeddings.token.new")[0], model.get_parameter("embeddings.token.new")[1])
    step(model, ids)
    second = answers(model, ids)["logits"]
    assert not torch.equal(first, second)
    minitl.use_adapter(model, "default")
    assert torch.equal(answers(model, ids)["logits"], first)
    with pytest.raises(InputError, match="'other' has rows of new tokens, and such adapters are not mixed"):
        minitl.use_adapter(model, ["other", None])


def test_an_adapter_without_such_rows_leaves_them_as_they_are(load, tmp_path):  # noqa: F811
    model, tokenizer = load("gpt2-causal-lm")
    plain = copy.deepcopy(model)
    minitl.add_lora(plain, LINEAR)
    minitl.save_adapter(plain, tmp_path / "plain")
    add_tokens(model, tokenizer, NEW)
    minitl.load_adapter(model, tmp_path / "plain")
    minitl.save_adapter(model, tmp_path / "again")
    files = [Weights({tmp_path / folder / "adapter_model.safetensors": None}) for folder in ("plain", "again")]
    assert set(files[0]) == set(files[1])


# What is refused


def test_a_grown_table_is_no_target(load):  # noqa: F811
    model, tokenizer = load("gpt2-causal-lm")
    add_tokens(model, tokenizer, NEW)
    for config in (
        minitl.LoraConfig(target_modules=["wte", "c_attn"]),
        minitl.LoraConfig(target_modules=["c_attn"], modules_to_save=["wte"]),
    ):
        with pytest.raises(InputError, match="token grew by added tokens, whose rows learn by themselves"):
            minitl.add_lora(model, config)
    assert not any(".adapters." in key for key, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ([37, 39], "must be ids that follow one another"),
        ({"wte": [1], "lm_head": [2]}, "the same of each table"),
        ("wte", "must be ids"),
        ({"nowhere": [64]}, "no table of tokens called 'nowhere'"),
        ([100000], "begins at 100000, but this model has rows for"),
    ],
)
def test_ids_that_mean_nothing_are_refused(taught, tmp_path, told, complaint):
    taught("gpt2-causal-lm")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"trainable_token_indices": told}))
    model = load_model(CHECKPOINTS / "gpt2-causal-lm")
    rows = model.config.vocab_size
    with pytest.raises(CheckpointError, match=complaint):
        minitl.load_adapter(model, tmp_path / "adapter")
    assert model.config.vocab_size == rows


def test_a_model_with_other_new_tokens_is_refused(load, taught, tmp_path):  # noqa: F811
    taught("gpt2-causal-lm")
    model, tokenizer = load("gpt2-causal-lm")
    add_tokens(model, tokenizer, NEW[:2])
    with pytest.raises(InputError, match="load it on a model of its own"):
        minitl.load_adapter(model, tmp_path / "adapter")
    crowded = load_model(CHECKPOINTS / "gpt2-causal-lm")
    minitl.add_lora(crowded, LINEAR, "first")
    with pytest.raises(InputError, match="carries adapters"):
        minitl.load_adapter(crowded, tmp_path / "adapter")


def test_a_file_without_its_rows_is_refused(taught, tmp_path):
    from safetensors.torch import load_file, save_file

    taught("gpt2-causal-lm")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = {k: v for k, v in load_file(path).items() if "token_adapter" not in k}
    save_file(tensors, path)
    (tmp_path / "adapter" / "SHA256SUMS").unlink()
    with pytest.raises(CheckpointError, match=r"wte\.token_adapter\.trainable_tokens_delta: missing, shape \[3, "):
        minitl.load_adapter(load_model(CHECKPOINTS / "gpt2-causal-lm"), tmp_path / "adapter")


def test_a_model_of_no_file_has_rows_in_its_adapter_too(load, tmp_path):  # noqa: F811
    _, tokenizer = load("gpt2-causal-lm")
    model = new_model({**GPT2, "vocab_size": tokenizer.vocab_size, "eos_token_id": None}, "causal-lm")
    again = copy.deepcopy(model)
    add_tokens(model, tokenizer, NEW)
    minitl.add_lora(model, LINEAR)
    step(model, ids := torch.tensor([[1, model.config.vocab_size - 1]]))
    minitl.save_adapter(model, tmp_path / "adapter")
    minitl.load_adapter(again, tmp_path / "adapter")
    same(model, again, ids)
