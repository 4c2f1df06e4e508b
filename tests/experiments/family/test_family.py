"""The experiment on the BERT family: counted, measured on tiny shapes, and judged on made-up results."""

from pathlib import Path
from typing import Any

import pytest

from minitl.experiments.experiment import judged
from minitl.experiments.family import EXPERIMENT
from minitl.experiments.family import run as family
from minitl.experiments.family.judge import MILLIONS
from minitl.experiments.family.run import REFERENCE, TITLES, Scale
from minitl.experiments.runs import Runs
from minitl.experiments.shapes import BERT, CHECKPOINTS, DISTILBERT, MODERNBERT
from minitl.pages.claims import Verdict
from minitl.pages.drawing import drawing

PARAMETERS, SPEED = slice(0, 7), slice(7, 11)
LENGTHS = (32, 128, 512, 2048, 8192)
AS_TOLD = {
    "roberta-base": 1.0,
    "distilbert-base-uncased": 2.0,
    "deberta-v3-base": 0.9,
    "bert-large-uncased": 0.3,
    "xlm-roberta-base": 1.0,
    "ModernBERT-base": 1.5,
}


def made_up(speed: dict[str, float | dict[int, float]], spread: float = 0.02) -> dict[str, Any]:
    """Seven rounds each: as many times as fast as BERT-base, give or take `spread` of that."""
    lines = []
    for name, times in speed.items():
        for length in LENGTHS if name == "ModernBERT-base" else LENGTHS[:3]:
            usual = times if isinstance(times, float) else times[length]
            seconds = [1 / (usual * (1 + spread * (i - 3) / 3)) for i in range(7)]
            lines.append(
                {"name": name, "length": length, "batch": 2, "reference_seconds": [1.0] * 7, "seconds": seconds}
            )
    return {
        "model": "m",
        "data": "d",
        "seeds": 1,
        "own_positions": 512,
        "speed": lines,
        "members": [{"name": n, "total": m * 10**6, "embeddings": 10**6} for n, m in MILLIONS.items()],
    }


def verdicts(results: dict[str, Any], which: slice = SPEED) -> list[Verdict]:
    return [claim.verdict for claim in judged(EXPERIMENT, results)[which]]


def test_where_it_is_as_the_guide_says_everything_holds():
    assert verdicts(made_up(AS_TOLD), slice(None)) == [Verdict.HOLDS] * 11


def test_where_it_is_otherwise_nothing_holds():
    results = made_up({**dict.fromkeys(AS_TOLD, 1.4), "ModernBERT-base": 0.7})
    for one in results["members"]:
        one["total"] *= 2
    assert verdicts(results, slice(None)) == [Verdict.FAILS] * 11


def test_where_it_is_so_at_some_lengths_or_nearly_it_holds_in_part():
    told = {
        **AS_TOLD,
        "distilbert-base-uncased": 1.8,
        "deberta-v3-base": 0.5,
        "bert-large-uncased": 0.9,
        "ModernBERT-base": {32: 0.7, 128: 0.7, 512: 0.8, 2048: 1.0, 8192: 1.2},
    }
    assert verdicts(made_up(told)) == [Verdict.IN_PART] * 4


def test_what_lies_within_the_noise_is_not_faster():
    results = made_up({**AS_TOLD, "ModernBERT-base": 1.05, "distilbert-base-uncased": 1.45}, spread=0.1)
    twice, *_, fast = verdicts(results)
    assert twice is Verdict.FAILS
    assert fast is Verdict.FAILS


def test_rounds_that_something_made_slow_do_not_make_it_twice_as_fast():
    results = made_up({**AS_TOLD, "distilbert-base-uncased": 1.2})
    for line in results["speed"]:
        line["reference_seconds"] = [2.0, *line["reference_seconds"][1:]]
    assert verdicts(results)[0] is Verdict.FAILS


def test_parameters_of_the_published_configurations():
    results = made_up(AS_TOLD)
    results["members"] = [{"name": name, **family.sizes(CHECKPOINTS[name])} for name in TITLES]
    claims = judged(EXPERIMENT, results)[PARAMETERS]
    found = dict(zip(TITLES, claims, strict=True))
    assert [name for name, claim in found.items() if claim.verdict is not Verdict.HOLDS] == ["deberta-v3-base"]
    assert found["deberta-v3-base"].verdict is Verdict.IN_PART
    assert found["deberta-v3-base"].measured.startswith("183,831,552, 85,054,464 without the embeddings; 735 MB")
    assert found[REFERENCE].measured.startswith("109,482,240, ")


def test_each_member_is_read_in_turns_with_bert_at_the_lengths_that_it_knows(tmp_path: Path):
    small = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    shapes = {
        REFERENCE: BERT | small | {"intermediate_size": 16, "max_position_embeddings": 8},
        "distilbert-base-uncased": DISTILBERT
        | {"vocab_size": 50, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16, "max_position_embeddings": 8},
        "ModernBERT-base": MODERNBERT | small | {"intermediate_size": 12, "max_position_embeddings": 16,
                                                 "pad_token_id": 0},
    }  # fmt: skip
    scale = Scale(shapes, (4, 8, 16), tokens=8, warm_up=1, rounds=2)
    heard: list[str] = []
    runs = Runs(tmp_path, heard.append)
    results = family.run(runs, scale)
    assert [(line["name"], line["length"], line["batch"]) for line in results["speed"]] == [
        ("distilbert-base-uncased", 4, 2),
        ("distilbert-base-uncased", 8, 1),
        ("ModernBERT-base", 4, 2),
        ("ModernBERT-base", 8, 1),
        ("ModernBERT-base", 16, 1),
    ]
    for line in results["speed"]:
        assert len(line["seconds"]) == len(line["reference_seconds"]) == 2
        assert min(*line["seconds"], *line["reference_seconds"]) > 0
    bert = next(one for one in results["members"] if one["name"] == REFERENCE)
    assert bert["embeddings"] == (60 + 8 + 2) * 16 + 2 * 16
    assert family.run(runs, scale) == results
    assert len(heard) == 5


def test_roberta_does_not_use_all_rows_of_its_table():
    assert family.positions(CHECKPOINTS["roberta-base"]) == family.positions(CHECKPOINTS["xlm-roberta-base"]) == 512


@pytest.mark.parametrize("narrow", [False, True])
def test_the_pictures_name_every_member_and_length(narrow: bool):
    results = made_up(AS_TOLD)
    speed, size = EXPERIMENT.pictures
    with drawing():
        axes, bars = speed.draw(results, narrow).axes[0], size.draw(results, narrow).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(TITLES.values())[1:]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [f"{n:,} tokens" for n in LENGTHS]
    assert [label.get_text() for label in bars.get_yticklabels()] == list(TITLES.values())
    assert "DistilBERT: 2.00× (1.96 to 2.04) at 32 tokens" in speed.describe(results)
    assert "BERT-base: 109.0 and 1.0" in size.describe(results)


def test_the_paragraph_names_times():
    assert "DistilBERT 250 ms" in EXPERIMENT.tell(made_up(AS_TOLD))
