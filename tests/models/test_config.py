import contextlib
import copy
import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.errors import ConfigError
from minitl.models.registry import MODULES, family_of

BERT = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
}
GPT2 = {"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
MISTRAL = {**LLAMA, "model_type": "mistral", "vocab_size": 32000, "sliding_window": 4096}
MODERNBERT = {
    "model_type": "modernbert",
    "vocab_size": 50368,
    "hidden_size": 768,
    "intermediate_size": 1152,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
}
DEBERTA = {  # version 3, base
    **BERT,
    "model_type": "deberta-v2",
    "vocab_size": 128100,
    "type_vocab_size": 0,
    "position_biased_input": False,
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
    "share_att_key": True,
    "position_buckets": 256,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
}
CONFIGS = {"bert": BERT, "deberta-v2": DEBERTA, "gpt2": GPT2, "llama": LLAMA, "mistral": MISTRAL}
CONFIGS |= {"modernbert": MODERNBERT}
SIZES = CONFIGS | {"deberta-v2": BERT}  # without which there is no model
OPTIONAL = ("model_type", "num_key_value_heads", "sliding_window")
REQUIRED = [(name, field) for name, config in SIZES.items() for field in config if field not in OPTIONAL]


def read(values):
    return family_of(values["model_type"]).config.from_dict(values, "folder/config.json")


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_read(name):
    config = read(CONFIGS[name])
    assert all(getattr(config, field) == value for field, value in CONFIGS[name].items())


@pytest.mark.parametrize(("name", "field"), REQUIRED)
def test_a_missing_field_is_named(name, field):
    values = {k: v for k, v in CONFIGS[name].items() if k != field}
    with pytest.raises(ConfigError, match=f"^folder/config.json: lacks the field '{field}' of a {name} model$"):
        read(values)


def test_all_missing_fields_are_named_at_once():
    with pytest.raises(ConfigError, match="lacks the field 'vocab_size', 'n_positions', 'n_embd', 'n_layer', 'n_head'"):
        read({"model_type": "gpt2"})


@pytest.mark.parametrize("value", ["768", 768.0, None, True, [768], {}])
@pytest.mark.parametrize(("name", "field"), REQUIRED)
def test_a_size_must_be_an_integer(name, field, value):
    with pytest.raises(ConfigError, match=f"^folder/config.json: field '{field}' must be an integer, got "):
        read({**CONFIGS[name], field: value})


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize(
    ("name", "field"),
    [
        *REQUIRED,
        ("llama", "num_key_value_heads"),
        ("llama", "head_dim"),
        ("mistral", "sliding_window"),
        ("gpt2", "n_inner"),
        ("modernbert", "local_attention"),
        ("modernbert", "global_attn_every_n_layers"),
    ],
)
def test_a_size_must_be_positive(name, field, value):
    with pytest.raises(ConfigError, match=f"^folder/config.json: field '{field}' must be at least 1, got {value}$"):
        read({**CONFIGS[name], field: value})


WRONG = [
    ("bert", "hidden_act", 3, "a string"),
    ("bert", "layer_norm_eps", "1e-12", "a number"),
    ("bert", "classifier_dropout", "no", "a number or null"),
    ("bert", "pad_token_id", 0.5, "an integer or null"),
    ("bert", "tie_word_embeddings", 1, "true or false"),
    ("bert", "architectures", "BertModel", "a list of a string or null"),
    ("bert", "id2label", ["a", "b"], "a mapping of a string to a string or null"),
    ("bert", "id2label", {"0": 1}, "a mapping of a string to a string or null"),
    ("deberta-v2", "pos_att_type", 3, "a string or a list of a string or null"),
    ("deberta-v2", "pos_att_type", ["c2p", 2], "a string or a list of a string or null"),
    ("deberta-v2", "norm_rel_ebd", None, "a string"),
    ("deberta-v2", "position_buckets", "256", "an integer"),
    ("deberta-v2", "relative_attention", "yes", "true or false"),
    ("deberta-v2", "legacy", 0, "true or false"),
    ("deberta-v2", "cls_dropout", [], "a number or null"),
    ("llama", "eos_token_id", ["2"], "an integer or a list of an integer or null"),
    ("llama", "rope_scaling", 8.0, "a mapping of"),
    ("mistral", "sliding_window", "4096", "an integer or null"),
    ("modernbert", "norm_bias", 0, "true or false"),
    ("modernbert", "classifier_pooling", None, "a string"),
    ("modernbert", "layer_types", "full_attention", "a list of a string or null"),
    ("modernbert", "local_rope_theta", None, "a number"),
    ("modernbert", "rope_parameters", 160000.0, "a mapping of"),
]


@pytest.mark.parametrize(("name", "field", "value", "expected"), WRONG)
def test_a_wrong_type_says_what_was_expected(name, field, value, expected):
    with pytest.raises(ConfigError, match=f"^folder/config.json: field '{field}' must be {expected}"):
        read({**CONFIGS[name], field: value})


@pytest.mark.parametrize("family", MODULES)
@pytest.mark.parametrize("value", [-0.1, 1.0, 2, float("nan")])
def test_every_probability_of_dropping_is_at_least_0_and_below_1(family, value):
    config = family_of(family).config
    names = [f.name for f in dataclasses.fields(config) if re.search("dropout|pdrop|layerdrop", f.name)]
    assert names
    sizes = {f.name: 8 for f in dataclasses.fields(config) if f.default is f.default_factory is dataclasses.MISSING}
    for name in names:
        with pytest.raises(
            ConfigError, match=f"config.json: field '{name}' must be at least 0 and below 1, got {value}"
        ):
            config(**sizes, **{name: value}).check("config.json")


def test_a_whole_number_is_a_number():
    assert read({**BERT, "hidden_dropout_prob": 0}).hidden_dropout_prob == 0


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("bert", "num_attention_heads", 7),
        ("deberta-v2", "num_attention_heads", 7),
        ("gpt2", "n_head", 7),
        ("llama", "num_attention_heads", 7),
        ("llama", "num_key_value_heads", 5),
        ("modernbert", "num_attention_heads", 7),
        ("modernbert", "num_attention_heads", 256),  # heads of three, which cannot be turned in pairs
    ],
)
def test_heads_must_divide(name, field, value):
    with pytest.raises(ConfigError, match=r"^folder/config\.json: field '.*' \(\d+\) must be a multiple of"):
        read({**CONFIGS[name], field: value})


def test_a_head_size_of_its_own_need_not_divide():
    assert read({**LLAMA, "hidden_size": 100, "head_dim": 16}).head_size == 16


@pytest.mark.parametrize("sizes", [{"head_dim": 15}, {"hidden_size": 96, "num_attention_heads": 32}])
def test_heads_that_are_turned_in_pairs_have_an_even_size(sizes):
    with pytest.raises(ConfigError, match=r"^folder/config\.json: field 'head_dim', or .*, must be even, got (15|3)$"):
        read({**LLAMA, **sizes})


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("bert", "hidden_act"),
        ("deberta-v2", "hidden_act"),
        ("deberta-v2", "pooler_hidden_act"),
        ("gpt2", "activation_function"),
        ("llama", "hidden_act"),
        ("modernbert", "hidden_activation"),
        ("modernbert", "classifier_activation"),
    ],
)
def test_an_unknown_activation_is_refused_and_the_known_ones_are_listed(name, field):
    expected = f"^folder/config.json: field '{field}' must be one of gelu, .*, tanh, got 'mish'$"
    with pytest.raises(ConfigError, match=expected):
        read({**CONFIGS[name], field: "mish"})


@pytest.mark.parametrize("field", ["is_decoder", "add_cross_attention"])
def test_bert_is_read_as_the_encoder_that_it_is_and_as_nothing_else(field):
    assert read({**BERT, field: False}).extra == {field: False}
    with pytest.raises(ConfigError, match=f"^folder/config.json: field '{field}' must be false"):
        read({**BERT, field: True})


@pytest.mark.parametrize("both", ["p2c|c2p", "c2p | P2C", ["p2c", "c2p"], ["c2p", "p2c"]])
def test_deberta_names_the_terms_of_its_attention_in_a_string_or_a_list(both):
    config = read({**DEBERTA, "pos_att_type": both})
    assert config.terms == {"c2p", "p2c"}
    assert config.to_dict()["pos_att_type"] == both


@pytest.mark.parametrize("nothing", [None, "none", "None", "", []])
def test_deberta_without_distances_may_say_so_in_many_ways(nothing):
    config = read({**BERT, "model_type": "deberta-v2", "pos_att_type": nothing})
    assert config.terms == set()


@pytest.mark.parametrize(
    ("fields", "furthest", "buckets"),
    [
        ({}, 512, 256),
        ({"max_relative_positions": 300}, 300, 256),
        ({"max_relative_positions": 0, "position_buckets": 0}, 512, None),
        ({"max_relative_positions": 8, "position_buckets": -1}, 8, None),
    ],
)
def test_deberta_counts_distances_as_far_as_it_says_or_else_as_far_as_positions_go(fields, furthest, buckets):
    config = read({**DEBERTA, **fields})
    assert (config.furthest, config.buckets) == (furthest, buckets)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"pos_att_type": "p2p|c2p"}, "field 'pos_att_type' may name 'c2p' and 'p2c', got 'p2p|c2p'"),
        ({"pos_att_type": ["c2c"]}, r"field 'pos_att_type' may name 'c2p' and 'p2c', got \['c2c'\]"),
        ({"pos_att_type": None}, "field 'pos_att_type' must name 'c2p' or 'p2c': 'relative_attention' is true"),
        ({"relative_attention": False}, "field 'pos_att_type' is set, but 'relative_attention' is false"),
        (
            {"relative_attention": False, "pos_att_type": None},
            "field 'norm_rel_ebd' is set, but 'relative_attention' is false",
        ),
        ({"norm_rel_ebd": "rms_norm"}, "field 'norm_rel_ebd' must be 'none' or 'layer_norm', got 'rms_norm'"),
        ({"position_buckets": 1}, "field 'position_buckets' must be at least 2, or -1, got 1"),
        (
            {"max_relative_positions": 129},
            r"field 'position_buckets' \(256\): half of it and 1 must be below the furthest distance \(129\)",
        ),
        ({"type_vocab_size": -1}, "field 'type_vocab_size' must be at least 0, got -1"),
        ({"pooler_hidden_size": 256}, r"field 'pooler_hidden_size' must be 'hidden_size' \(768\), got 256"),
        ({"conv_kernel_size": 3}, "field 'conv_kernel_size' must be 0: no other is served; got 3"),
        ({"embedding_size": 128}, "field 'embedding_size' must be 768: no other is served; got 128"),
        ({"attention_head_size": 32}, "field 'attention_head_size' must be 64: no other is served; got 32"),
    ],
)
def test_what_deberta_says_of_distances_and_sizes_must_make_sense_and_be_served(fields, expected):
    with pytest.raises(ConfigError, match=f"^folder/config.json: {expected}$"):
        read({**DEBERTA, **fields})


def test_deberta_may_say_what_goes_without_saying():
    usual = {"conv_kernel_size": 0, "embedding_size": 768, "attention_head_size": 64, "pooler_hidden_size": 768}
    assert read({**DEBERTA, **usual}).to_dict().items() >= usual.items()


LINEAR = {"rope_type": "linear", "factor": 4.0}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
either_spelling = pytest.mark.parametrize("spelling", ["rope_scaling", "rope_parameters"])


@either_spelling
@pytest.mark.parametrize("kind", ["yarn", None, 3, ["linear"]])
def test_an_unknown_scaling_of_positions_is_refused_by_name(spelling, kind):
    with pytest.raises(ConfigError) as error:
        read({**LLAMA, spelling: {"rope_type": kind}})
    expected = f"field '{spelling}': 'rope_type' must be one of default, linear, llama3, got {kind!r}"
    assert str(error.value) == f"folder/config.json: {expected}"


@either_spelling
@pytest.mark.parametrize("field", [field for field in LLAMA3 if field != "rope_type"])
def test_a_scaling_of_positions_that_lacks_a_field_is_refused_by_its_name(spelling, field):
    scaling = {k: v for k, v in LLAMA3.items() if k != field}
    expected = f"^folder/config.json: field '{spelling}' of type 'llama3' lacks the field '{field}'$"
    with pytest.raises(ConfigError, match=expected):
        read({**LLAMA, spelling: scaling})


@either_spelling
@pytest.mark.parametrize("value", ["2", None, True, 0, -1.0, float("inf"), float("nan"), [4.0]])
@pytest.mark.parametrize(("scaling", "field"), [(LINEAR, "factor"), *((LLAMA3, f) for f in LLAMA3 if f != "rope_type")])
def test_a_scaling_of_positions_is_made_of_numbers_above_zero(spelling, scaling, field, value):
    with pytest.raises(ConfigError, match=f"^folder/config.json: field '{spelling}.{field}' must be a number above 0"):
        read({**LLAMA, spelling: {**scaling, field: value}})


@pytest.mark.parametrize("value", ["1e4", None, 0])
def test_the_base_of_the_turns_is_a_number_above_zero_wherever_it_stands(value):
    with pytest.raises(ConfigError, match=r"^folder/config.json: field 'rope_parameters\.rope_theta' must be a number"):
        read({**LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": value}})
    with pytest.raises(ConfigError, match=r"^folder/config.json: field 'rope_theta' must be a number"):
        read({**LLAMA, "rope_theta": value})


def test_the_slow_turns_of_a_scaling_end_before_the_fast_ones_begin():
    with pytest.raises(ConfigError, match=r"low_freq_factor' \(4\.0\) must be below .*high_freq_factor' \(4\.0\)"):
        read({**LLAMA, "rope_scaling": {**LLAMA3, "low_freq_factor": 4.0}})


def test_modernberts_layers_are_of_two_kinds_in_either_spelling():
    every = read({**MODERNBERT, "num_hidden_layers": 5, "global_attn_every_n_layers": 2})
    listed = read({**MODERNBERT, "num_hidden_layers": 5, "layer_types": every.kinds, "global_attn_every_n_layers": 3})
    full, sliding = "full_attention", "sliding_attention"
    assert every.kinds == listed.kinds == [full, sliding, full, sliding, full]
    assert read(MODERNBERT).kinds.count(full) == 8


@pytest.mark.parametrize("value", [[], ["full_attention"] * 21, ["full_attention"] * 21 + ["chunked_attention"]])
def test_modernberts_layer_types_name_a_known_kind_for_every_layer(value):
    expected = "^folder/config.json: field 'layer_types' must say full_attention or sliding_attention of each of the 22"
    with pytest.raises(ConfigError, match=expected):
        read({**MODERNBERT, "layer_types": value})


def test_modernbert_pools_in_one_of_two_ways():
    expected = "^folder/config.json: field 'classifier_pooling' must be one of cls, mean, got 'max'$"
    with pytest.raises(ConfigError, match=expected):
        read({**MODERNBERT, "classifier_pooling": "max"})


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("field", ["global_rope_theta", "local_rope_theta", "initializer_cutoff_factor"])
def test_modernberts_turns_and_cutoff_are_numbers_above_zero(field, value):
    with pytest.raises(ConfigError, match=f"^folder/config.json: field '{field}' must be .*above 0, got {value}"):
        read({**MODERNBERT, field: value})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"rope_theta": 10000.0}, "'rope_parameters' must hold full_attention and sliding_attention, got 'rope_theta'"),
        ({"full_attention": 10000.0}, r"'rope_parameters\.full_attention' must be a mapping or null, got 10000\.0"),
        (
            {"sliding_attention": {"rope_type": "yarn"}},
            r"'rope_parameters\.sliding_attention': 'rope_type' must be 'default', got 'yarn'",
        ),
        (
            {"full_attention": {"rope_theta": "1e4"}},
            r"'rope_parameters\.full_attention\.rope_theta' must be a number above 0, got '1e4'",
        ),
    ],
)
def test_modernberts_rope_parameters_are_checked_by_kind(value, expected):
    with pytest.raises(ConfigError, match=f"^folder/config.json: field {expected}$"):
        read({**MODERNBERT, "rope_parameters": value})


@pytest.mark.parametrize("value", [{"type": "linear", "factor": 2.0}, 2.0])
def test_modernbert_knows_no_scaling_of_positions(value):
    with pytest.raises(ConfigError, match=r"^folder/config\.json: field 'rope_scaling'"):
        read({**MODERNBERT, "rope_scaling": value})
    assert read({**MODERNBERT, "rope_scaling": None}).extra == {"rope_scaling": None}


def test_labels_may_be_named_in_the_other_direction_alone():
    assert read({**BERT, "label2id": {"entailment": 1, "contradiction": 0}}).labels == ["contradiction", "entailment"]
    assert read({**BERT, "label2id": {}}).labels == ["LABEL_0", "LABEL_1"]
    assert read({**BERT, "id2label": {"0": "no"}, "label2id": {"yes": 0}}).labels == ["no"]


@pytest.mark.parametrize("id2label", [{"1": "a"}, {"0": "a", "2": "b"}, {"zero": "a"}, {"00": "a"}, {}])
def test_labels_must_be_numbered_in_turn(id2label):
    with pytest.raises(ConfigError, match="field 'id2label' must name the labels 0, 1"):
        read({**BERT, "id2label": id2label})


def test_labels_have_their_names_in_the_order_of_their_numbers():
    names = [f"name {i}" for i in range(12)]  # "10" sorts before "2"
    shuffled = {str(i): names[i] for i in reversed(range(12))}
    assert read({**BERT, "id2label": shuffled}).labels == names


def test_a_count_of_labels_stands_for_unnamed_ones():
    assert read({**BERT, "num_labels": 3}).labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert read(BERT).labels == ["LABEL_0", "LABEL_1"]


@pytest.mark.parametrize("value", ["3", 0, -1, 2.0, None, True])
def test_a_count_of_labels_is_an_integer(value):
    with pytest.raises(ConfigError, match="field 'num_labels' must be an integer of at least 1"):
        read({**BERT, "num_labels": value})


@pytest.mark.parametrize("name", CONFIGS)
def test_a_null_is_not_its_default_when_written(name):
    values = {**CONFIGS[name], "pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    config = read(values)
    again = read(config.to_dict())
    assert (again.pad_token_id, again.bos_token_id, again.eos_token_id) == (None, None, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    name=st.sampled_from(sorted(CONFIGS)),
    extra=st.dictionaries(st.text().map("x_{}".format), json_values, max_size=3),
    labels=st.none() | st.lists(st.text(), min_size=1, max_size=12, unique=True),
    ties=st.booleans(),
    end=st.none() | st.integers(0, 9) | st.lists(st.integers(0, 9)),
)
def test_what_is_written_reads_the_same(name, extra, labels, ties, end):
    values = {**CONFIGS[name], **extra, "tie_word_embeddings": ties, "eos_token_id": end}
    if labels is not None:
        values["id2label"] = {str(i): label for i, label in enumerate(labels)}
    before = copy.deepcopy(values)
    config = read(values)
    written = config.to_dict()
    assert values == before
    assert read(written) == config
    assert {key: written[key] for key in before if before[key] is not None or key in written} == {
        key: value for key, value in before.items() if value is not None or key in written
    }


@pytest.mark.parametrize("name", ["bert", "deberta-v2"])
@given(data=st.data())
def test_any_json_is_read_or_refused_with_one_error(name, data):
    fields = st.sampled_from([*CONFIGS[name], "hidden_act", "id2label", "architectures", "conv_kernel_size"])
    values = {**CONFIGS[name], **data.draw(st.dictionaries(fields, json_values)), "model_type": name}
    with contextlib.suppress(ConfigError):
        assert read(values).vocab_size > 0
