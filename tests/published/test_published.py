"""Published checkpoints against their published outputs, where they lie on this machine: `minitl pull --reference`
fetches the small ones."""

from pathlib import Path

import pytest
import torch

from minitl.checkpoints.manifest import manifest
from minitl.models.loading import new_model, save_model
from minitl.models.registry import MODULES
from tests.published.cases import CASES, NAMES, REFERENCE, Case, find, label
from tests.published.checks import KINDS

ENTRIES = manifest()
PUBLISHED = [case for case in CASES if case["checkpoint"]]


@pytest.fixture
def checkpoint(case: Case) -> Path:
    """Where the case's checkpoint lies; skips where it does not, or where there is no GPU for its numbers."""
    hub_id = case["checkpoint"]
    assert ENTRIES[NAMES[hub_id]]["family"] in MODULES
    folder = find(hub_id)
    if folder is None:
        pytest.skip(f"{hub_id} is not here: `minitl pull {NAMES[hub_id]}`")
    if case.get("device") == "cuda" and not torch.cuda.is_available():
        pytest.skip(f"{hub_id}: these numbers are a GPU's")
    return folder


@pytest.mark.parametrize("case", PUBLISHED, ids=label)
def test_a_checkpoint_gives_its_published_output(case: Case, checkpoint: Path, request: pytest.FixtureRequest) -> None:
    if case["kind"] == "spearman":
        request.getfixturevalue("assets")
    KINDS[case["kind"]](case, checkpoint)


@pytest.mark.parametrize("case", [case for case in CASES if not case["checkpoint"]], ids=label)
def test_what_needs_no_weights_is_as_published(case: Case, tmp_path: Path) -> None:
    config = {"model_type": "roberta", "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "pad_token_id": 1}
    config |= {"num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 12, "type_vocab_size": 1}
    save_model(new_model(config), tmp_path)
    KINDS[case["kind"]](case, tmp_path)


def test_the_manifest_marks_exactly_the_checkpoints_of_these_cases() -> None:
    marked = {entry["id"] for entry in ENTRIES.values() if entry.get("reference")}
    assert marked == {case["checkpoint"] for case in PUBLISHED}


def test_a_tolerance_that_is_not_the_published_one_says_so() -> None:
    (relaxed,) = (case for case in CASES if "note" in case)
    assert (relaxed["test"], relaxed["atol"]) == ("test_model_7b_logits", 0.01)


def test_languages_are_the_tokenizers_own_business() -> None:
    """A case that put their ids around a text, or into the options, would pass with a tokenizer that is wrong there."""
    for case in CASES:
        assert "frame" not in case
        assert not {"forced_bos_token_id", "decoder_start_token_id"} & set(case.get("options", {}))


def test_every_case_names_a_known_kind_and_source() -> None:
    assert {case["kind"] for case in CASES} == set(KINDS)
    assert {case["source"] for case in CASES} == set(REFERENCE["sources"])


def test_what_is_left_out_says_why() -> None:
    assert all(len(reason) > 10 for _, reason in REFERENCE["left_out"])


def test_an_installed_checkpoint_is_found_and_an_absent_one_is_not(minilm: Path) -> None:
    assert find("sentence-transformers/all-MiniLM-L6-v2") == minilm


@pytest.mark.parametrize("called", ["electra-small-discriminator", "short name"])
@pytest.mark.parametrize("variable", ["MINITL_WEIGHTS", "MINITL_ASSETS"])
def test_a_checkpoint_laid_by_hand_is_found(
    called: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_id = {"short name": "mistralai/Mistral-7B-v0.1"}.get(called, "google/electra-small-discriminator")
    monkeypatch.setenv("MINITL_WEIGHTS", str(tmp_path / "nothing"))
    monkeypatch.setenv(variable, str(tmp_path))
    root = tmp_path / "weights" if variable == "MINITL_ASSETS" else tmp_path
    folder = root / {"short name": "mistral-7b-v0.1"}.get(called, called)
    folder.mkdir(parents=True)
    (folder / "pytorch_model.bin").touch()
    assert find(hub_id) is None
    (folder / "model.safetensors").touch()
    assert find(hub_id) == folder
