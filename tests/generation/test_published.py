"""The options that a checkpoint was published with."""

import json
from pathlib import Path
from typing import Any

import pytest

from minitl import generation_options
from minitl.errors import ConfigError, InputError

# facebook/bart-large-cnn's fields, as its config.json and generation_config.json have them
SUMMARIES = {
    "num_beams": 4,
    "length_penalty": 2.0,
    "early_stopping": True,
    "no_repeat_ngram_size": 3,
    "max_length": 142,
    "min_length": 56,
    "decoder_start_token_id": 2,
    "forced_bos_token_id": 0,
    "forced_eos_token_id": 2,
}


def write(folder: Path, config: dict[str, Any], generation: dict[str, Any] | None = None) -> Path:
    (folder / "config.json").write_text(json.dumps({"model_type": "bart", "is_encoder_decoder": True, **config}))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_lengths_lose_the_start_token_and_the_rest_is_taken_as_it_is(file: str, tmp_path: Path) -> None:
    own = SUMMARIES if file == "config.json" else {}
    options = generation_options(write(tmp_path, own, None if own else SUMMARIES))
    lengths = {"max_new_tokens": 141, "min_new_tokens": 55}
    assert options == {**{k: v for k, v in SUMMARIES.items() if not k.endswith("length")}, **lengths}


def test_a_generation_config_stands_alone(tmp_path: Path) -> None:
    assert generation_options(write(tmp_path, SUMMARIES, {"num_beams": 2})) == {"num_beams": 2}


def test_lengths_of_a_causal_model_count_its_prompt_and_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"is_encoder_decoder": False}, {"max_length": 20, "min_length": 3, "repetition_penalty": 1.1})
    assert generation_options(tmp_path) == {"repetition_penalty": 1.1}


def test_how_tokens_are_drawn_counts_only_where_they_are(tmp_path: Path) -> None:
    drawing = {"temperature": 0.6, "top_p": 0.9, "top_k": 0}
    assert generation_options(write(tmp_path, {}, {**drawing, "do_sample": False, "temperature": 0.0})) == {}
    expected = {"do_sample": True, "temperature": 0.6, "top_p": 0.9}
    assert generation_options(write(tmp_path, {}, {**drawing, "do_sample": True})) == expected


def test_ends_that_only_the_generation_config_knows_are_taken(tmp_path: Path) -> None:
    assert generation_options(write(tmp_path, {"eos_token_id": 3}, {"eos_token_id": [3, 7]})) == {
        "eos_token_id": [3, 7]
    }


def test_what_would_change_the_text_and_is_not_known_is_announced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generation_options(write(tmp_path, {}, {"bad_words_ids": [[5]], "num_beam_groups": 1, "min_p": None}))
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["bad_words_ids"]


def test_a_least_length_beyond_the_longest_is_cut_to_it(tmp_path: Path) -> None:
    options = generation_options(write(tmp_path, {}, {"max_new_tokens": 5, "max_length": 99, "min_length": 50}))
    assert options == {"max_new_tokens": 5, "min_new_tokens": 5}


def test_a_task_of_several_brings_its_own(tmp_path: Path) -> None:
    tasks = {"translation_en_to_de": {"num_beams": 4, "max_length": 300, "prefix": "translate English to German: "}}
    write(tmp_path, {"task_specific_params": tasks, "length_penalty": 2.0, "num_beams": 2})
    assert generation_options(tmp_path) == {"length_penalty": 2.0, "num_beams": 2}
    expected = {"length_penalty": 2.0, "num_beams": 4, "max_new_tokens": 299}
    assert generation_options(tmp_path, "translation_en_to_de") == expected
    with pytest.raises(InputError, match="no task_specific_params 'summary'; has: translation_en_to_de"):
        generation_options(tmp_path, "summary")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_beams", "4"),
        ("num_beams", True),
        ("length_penalty", [2.0]),
        ("max_length", True),
        ("max_length", 20.0),
        ("early_stopping", "sometimes"),
    ],
)
def test_a_value_of_another_kind_is_named(field: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"generation_config.json: field '{field}' must be "):
        generation_options(write(tmp_path, {}, {field: value}))
