"""Sentence encoders: a made-up checkpoint of each kind against the definitions, text by text."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from minitl.errors import CheckpointError, InputError
from minitl.models.loading import new_model, save_model
from minitl.models.sentence import SentenceEncoder, load_sentence_encoder

WORDS = ["river", "stone", "cloud", "bread", "light", "the", "a", "of", "turns", "falls", "slowly", "again", "under"]
BERT = {"model_type": "bert", "vocab_size": 5 + len(WORDS), "hidden_size": 12, "num_hidden_layers": 2}
BERT |= {"num_attention_heads": 3, "intermediate_size": 20, "max_position_embeddings": 16, "initializer_range": 0.3}
TEXTS = ["the river turns slowly", "bread", "", "a stone falls under the cloud again", "light of stone", "a cloud"]

POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {  # of one text's token vectors [length, hidden]
    "cls": lambda x: x[0],
    "max": lambda x: x.max(0).values,
    "mean": lambda x: x.mean(0),
    "mean_sqrt_len_tokens": lambda x: x.sum(0) / len(x) ** 0.5,
    "weightedmean": lambda x: sum((i + 1) * row for i, row in enumerate(x)) / sum(range(1, len(x) + 1)),
    "lasttoken": lambda x: x[-1],
}


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("transformer")
    save_model(new_model(BERT), folder)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    return folder


@pytest.fixture
def checkpoint(transformer: Path, tmp_path: Path) -> Path:
    """A checkpoint with mean pooling and nothing above it, to be changed by a test."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(transformer, folder)
    modules(folder, "Pooling")
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 12, "pooling_mode_mean_tokens": True})
    return folder


def modules(folder: Path, *kinds: str) -> None:
    """modules.json: a transformer, then these."""
    entries = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for i, kind in enumerate(kinds, start=1):
        path = f"{i}_{kind}"
        entries.append({"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"})
    write(folder / "modules.json", entries)


def dense(folder: Path, size: int, **settings: Any) -> tuple[Tensor, Tensor]:
    weight, bias = torch.randn(size, 12), torch.randn(size)
    settings = {"activation_function": "torch.nn.modules.activation.Tanh"} | settings
    write(folder / "config.json", {"in_features": 12, "out_features": size, "bias": True, **settings})
    save_file({"linear.weight": weight, "linear.bias": bias}, folder / "model.safetensors")
    return weight, bias


@torch.no_grad()
def token_vectors(encoder: SentenceEncoder, text: str) -> Tensor:
    """[length, hidden] of one text alone, unpadded."""
    return encoder.model(torch.tensor(encoder.tokenizer.encode([text]))).last_hidden_state[0]


@pytest.mark.parametrize("mode", POOLINGS)
@pytest.mark.parametrize("newer", [False, True], ids=["a switch for each mode", "the mode by name"])
def test_each_pooling_is_as_defined_whatever_the_padding(checkpoint: Path, mode: str, newer: bool) -> None:
    switch = f"pooling_mode_{mode}" if "token" in mode else f"pooling_mode_{mode}_tokens"
    switch = {"cls": "pooling_mode_cls_token"}.get(mode, switch)
    off = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False}
    older = {"word_embedding_dimension": 12} | off | {switch: True}
    config = {"embedding_dimension": 12, "pooling_mode": mode} if newer else older
    write(checkpoint / "1_Pooling" / "config.json", config)
    encoder = load_sentence_encoder(checkpoint)
    expected = torch.stack([POOLINGS[mode](token_vectors(encoder, text)) for text in TEXTS])
    torch.testing.assert_close(encoder.encode(TEXTS), expected, atol=1e-5, rtol=1e-5)


def test_several_poolings_are_joined_in_the_published_order(checkpoint: Path) -> None:
    config = {"word_embedding_dimension": 12, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}
    write(checkpoint / "1_Pooling" / "config.json", config)
    encoder = load_sentence_encoder(checkpoint)
    x = token_vectors(encoder, TEXTS[0])
    assert encoder.dim == 24
    torch.testing.assert_close(encoder.encode(TEXTS[0])[0], torch.cat((x[0], x.mean(0))), atol=1e-5, rtol=1e-5)


def test_dense_and_normalise_follow_where_modules_json_has_them(checkpoint: Path) -> None:
    modules(checkpoint, "Pooling", "Dense", "Normalize")
    weight, bias = dense(checkpoint / "2_Dense", 5)
    encoder = load_sentence_encoder(checkpoint)
    expected = [(weight @ token_vectors(encoder, text).mean(0) + bias).tanh() for text in TEXTS]
    vectors = encoder.encode(TEXTS)
    assert (encoder.dim, vectors.shape, vectors.dtype) == (5, (len(TEXTS), 5), torch.float32)
    torch.testing.assert_close(vectors, torch.stack([x / x.norm() for x in expected]), atol=1e-5, rtol=1e-5)


def test_the_activation_is_the_configs(checkpoint: Path) -> None:
    modules(checkpoint, "Pooling", "Dense")
    weight, bias = dense(checkpoint / "2_Dense", 7, activation_function="torch.nn.modules.linear.Identity")
    encoder = load_sentence_encoder(checkpoint)
    expected = weight @ token_vectors(encoder, TEXTS[0]).mean(0) + bias
    torch.testing.assert_close(encoder.encode(TEXTS[0])[0], expected, atol=1e-4, rtol=1e-5)


@pytest.fixture(scope="module")
def encoder(transformer: Path, tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    folder = tmp_path_factory.mktemp("encoder") / "checkpoint"
    shutil.copytree(transformer, folder)
    modules(folder, "Pooling")
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 12, "pooling_mode_mean_tokens": True})
    return load_sentence_encoder(folder)


texts_of_any_length = st.lists(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), min_size=1, max_size=12)


@settings(max_examples=25)
@given(texts_of_any_length, st.integers(1, 5))
def test_neither_order_nor_neighbours_nor_batch_size_matter(
    encoder: SentenceEncoder, texts: list[str], batch_size: int
) -> None:
    alone = torch.cat([encoder.encode(text) for text in texts])
    torch.testing.assert_close(encoder.encode(texts, batch_size=batch_size), alone, atol=1e-5, rtol=1e-4)


def test_no_texts_give_no_rows_and_one_text_gives_one(encoder: SentenceEncoder) -> None:
    assert encoder.encode([]).shape == (0, 12)
    assert encoder.encode("bread").shape == (1, 12)
    assert torch.equal(encoder.encode("bread"), encoder.encode(["bread"]))


def test_vectors_may_be_trained_on(encoder: SentenceEncoder) -> None:
    classifier = torch.nn.Linear(12, 2)
    classifier(encoder.encode(TEXTS)).sum().backward()
    assert classifier.weight.grad is not None


@pytest.mark.parametrize(("stated", "used"), [(6, 6), (None, 16), (99, 16)])
def test_texts_are_cut_at_max_seq_length_and_never_beyond_the_positions(
    checkpoint: Path, stated: int | None, used: int
) -> None:
    write(checkpoint / "sentence_bert_config.json", {"max_seq_length": stated, "do_lower_case": False})
    encoder = load_sentence_encoder(checkpoint)
    assert encoder.max_length == used
    words = [WORDS[i % len(WORDS)] for i in range(40)]
    cut = encoder.encode(" ".join(words[: used - 2]))  # [CLS] and [SEP] count too
    torch.testing.assert_close(encoder.encode(" ".join(words)), cut)


def test_lower_casing_is_the_checkpoints_choice(checkpoint: Path) -> None:
    for lower in (False, True):
        write(checkpoint / "sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": lower})
        encoder = load_sentence_encoder(checkpoint)
        assert torch.equal(encoder.encode("Bread"), encoder.encode("bread")) == lower


def test_prompts_come_from_the_checkpoint_or_the_caller(checkpoint: Path) -> None:
    settings = {"prompts": {"query": "river ", "passage": "stone "}, "default_prompt_name": "query"}
    write(checkpoint / "config_sentence_transformers.json", settings | {"similarity_fn_name": "dot"})
    encoder = load_sentence_encoder(checkpoint)
    assert encoder.similarity == "dot"
    written_out = encoder.encode(["river bread", "stone bread", "bread"], prompt="")
    given = [encoder.encode("bread"), encoder.encode("bread", prompt=encoder.prompts["passage"])]
    torch.testing.assert_close(torch.cat([*given, encoder.encode("bread", prompt="")]), written_out)


@pytest.mark.parametrize("lower", [False, True])
def test_what_is_no_text_is_refused_before_it_is_lowered_or_given_a_prompt(checkpoint: Path, lower: bool) -> None:
    settings = {"prompts": {"query": "river "}, "default_prompt_name": None if lower else "query"}
    write(checkpoint / "config_sentence_transformers.json", settings)
    write(checkpoint / "sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": lower})
    with pytest.raises(InputError, match=r"texts\[1\] must be a string, found NoneType"):
        load_sentence_encoder(checkpoint).encode(["bread", None])  # type: ignore[list-item]


def test_half_precision_gives_float32_vectors_nearby(checkpoint: Path, encoder: SentenceEncoder) -> None:
    vectors = load_sentence_encoder(checkpoint, dtype=torch.bfloat16).encode(TEXTS)
    assert vectors.dtype == torch.float32
    assert torch.cosine_similarity(vectors, encoder.encode(TEXTS)).min() > 0.99


def test_half_precision_keeps_the_directions_of_a_published_checkpoint(minilm: Path) -> None:
    whole, half = (load_sentence_encoder(minilm, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    texts = [
        f"The {noun} was {word}." for noun in ("film", "harbour", "theorem") for word in ("long", "proved", "late")
    ]
    for some in (texts, [" ".join(texts * 40)], texts * 80):  # short ones, a long one, so many that weights are packed
        assert torch.cosine_similarity(whole.encode(some), half.encode(some)).min() > 0.9995


def test_a_folder_without_modules_json_is_refused_not_guessed(transformer: Path) -> None:
    with pytest.raises(CheckpointError, match=r"modules\.json: no such file.*would be a guess"):
        load_sentence_encoder(transformer)


TRANSFORMER = {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}
POOLING = {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", {"0": TRANSFORMER}, "expected a JSON list of modules"),
        ("modules.json", [TRANSFORMER, {"idx": 1}], "expected a JSON list of modules"),
        ("modules.json", TRANSFORMER, "expected a JSON list of modules"),
        ("modules.json", [TRANSFORMER | {"idx": "0"}], "expected a JSON list of modules with idx, path and type"),
        ("modules.json", [TRANSFORMER], "expected a Transformer, a Pooling, then .*; found Transformer$"),
        ("modules.json", [TRANSFORMER, POOLING | {"type": "elsewhere.Pooling"}], "unknown module type 'elsewhere.Poo"),
        ("modules.json", [TRANSFORMER, POOLING | {"path": "../1_Pooling"}], "leads out of the folder"),
        ("modules.json", [TRANSFORMER, POOLING | {"path": "..\\x"}], "leads out of the folder"),
        ("modules.json", [TRANSFORMER, POOLING | {"path": "C:\\x"}], "leads out of the folder"),
        ("modules.json", [TRANSFORMER, POOLING | {"path": "absent"}], r"absent.config\.json: no such file"),
        (
            "1_Pooling/config.json",
            {"word_embedding_dimension": 8},
            "pools token vectors of size 8; the model's have 12",
        ),
        ("1_Pooling/config.json", {"word_embedding_dimension": 12}, "pools by \\[\\]; expected one or more of cls"),
        ("1_Pooling/config.json", {"embedding_dimension": 12, "pooling_mode": "median"}, r"pools by \['median'\]"),
        (
            "1_Pooling/config.json",
            {"embedding_dimension": 12, "pooling_mode": "mean", "include_prompt": False},
            "'include_prompt' must be true",
        ),
        ("sentence_bert_config.json", {"max_seq_length": "long"}, "max_seq_length a positive integer or null"),
        ("config_sentence_transformers.json", {"prompts": ["query: "]}, "'prompts' must map names to texts"),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "'query' is not among the prompts"),
    ],
)
def test_files_that_contradict_are_named(checkpoint: Path, file: str, content: Any, message: str) -> None:
    write(checkpoint / file, content)
    with pytest.raises(CheckpointError, match=message):
        load_sentence_encoder(checkpoint)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"in_features": 8}, "maps size 8 to 5; the vectors below have size 12"),
        ({"out_features": 6}, r"holds .*\(5, 12\).*asks for .*\(6, 12\)"),
        ({"bias": False}, r"holds .*linear\.bias"),
        ({"activation_function": "os.system"}, "unknown activation_function 'os.system'; known: Identity, Tanh"),
        ({"use_residual": True}, "'use_residual' is True"),
        ({"module_input_name": "token_embeddings"}, "'module_input_name' is 'token_embeddings'"),
    ],
)
def test_a_dense_module_that_does_not_fit_is_named(checkpoint: Path, settings: dict[str, Any], message: str) -> None:
    modules(checkpoint, "Pooling", "Dense")
    dense(checkpoint / "2_Dense", 5, **settings)
    with pytest.raises(CheckpointError, match=message):
        load_sentence_encoder(checkpoint)


def test_a_dense_module_kept_as_a_pickle_is_refused(checkpoint: Path) -> None:
    modules(checkpoint, "Pooling", "Dense")
    dense(checkpoint / "2_Dense", 5)
    (checkpoint / "2_Dense" / "model.safetensors").rename(checkpoint / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"2_Dense: holds only pytorch_model\.bin"):
        load_sentence_encoder(checkpoint)


def test_what_is_no_text_is_refused(encoder: SentenceEncoder) -> None:
    with pytest.raises(InputError, match=r"texts\[1\] must be a string, found int"):
        encoder.encode(["bread", 3])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"texts\[10001\] must be a string, found NoneType"):
        encoder.encode(["bread"] * 10_001 + [None])  # type: ignore[list-item]
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        encoder.encode("bread", batch_size=0)
