"""weights/manifest.json: well-formed, complete, and true of what the library can do with each checkpoint."""

import re
from pathlib import Path
from typing import Any

import pytest

import minitl
from minitl.checkpoints.hub import HUB_ID, PACKAGES, pull
from minitl.checkpoints.manifest import elsewhere, manifest, safetensors_elsewhere
from minitl.cli.main import main
from minitl.errors import CheckpointError
from minitl.models.loading import load_model, new_model, save_model
from minitl.models.registry import MODULES
from minitl.models.word_vectors import load_word_vectors
from minitl.tokenization import load_tokenizer
from tests.models.published import CHECKPOINTS, config_of
from tests.models.saved import BERT
from tests.published.cases import CASES

ENTRIES = manifest()
README = Path(__file__).parents[2] / "README.md"
every_entry = pytest.mark.parametrize(("name", "entry"), ENTRIES.items(), ids=str)
ALWAYS, SOMETIMES = {"id", "family", "revision", "status"}, {"parameters", "format", "safetensors", "reference"}
# The checkpoints of the table in README.md, family by family.
TABLE = {
    "bert": "bert-base-uncased bert-large-cased bert-base-multilingual-cased all-MiniLM-L6-v2 multilingual-e5-small "
    "e5-large-v2 bge-base-en-v1.5 UAE-Large-V1 LaBSE",
    "roberta": "roberta-base roberta-large",
    "xlm-roberta": "xlm-roberta-base xlm-roberta-large multilingual-e5-base multilingual-e5-large",
    "distilbert": "distilbert-base-uncased distilbert-base-cased distilbert-base-multilingual-cased",
    "electra": "electra-small-discriminator electra-base-discriminator electra-large-discriminator",
    "deberta-v2": "deberta-v3-xsmall deberta-v3-small deberta-v3-base deberta-v3-large mdeberta-v3-base",
    "modernbert": "ModernBERT-base ModernBERT-large",
    "gpt2": "gpt2 gpt2-medium gpt2-large gpt2-xl distilgpt2",
    "llama": "llama-2-7b llama-2-13b llama-2-70b llama-3-8b llama-3-70b llama-3.1-8b llama-3.2-1b llama-3.2-3b",
    "mistral": "mistral-7b-v0.1 mistral-7b-instruct-v0.2 mistral-7b-v0.3",
    "t5": "t5-small t5-base t5-large t5-3b t5-v1_1-small t5-v1_1-base flan-t5-small flan-t5-base flan-t5-xl",
    "mt5": "mt5-small mt5-base mt5-large mt5-xl mt5-xxl",
    "bart": "bart-base bart-large bart-large-cnn bart-large-mnli bart-large-xsum",
    "mbart": "mbart-large-cc25 mbart-large-en-ro mbart-large-50 mbart-large-50-many-to-many "
    "mbart-large-50-one-to-many mbart-large-50-many-to-one",
    "pegasus": "pegasus-large pegasus-xsum pegasus-cnn_dailymail",
    "m2m_100": "m2m100_418M m2m100_1.2B nllb-200-distilled-600M nllb-200-distilled-1.3B nllb-200-3.3B",
}


# The same before the transformers: these are on no hub.
TABLE_ELSEWHERE = {
    "word2vec": "word2vec-google-news-300",
    "glove": "glove.6B glove.42B.300d glove.840B.300d glove.twitter.27B",
    "elmo": "elmo-small elmo-medium elmo-original elmo-5.5B",
}


@every_entry
def test_an_entry_is_complete_and_its_id_is_the_hubs(name: str, entry: dict[str, Any]) -> None:
    assert ALWAYS <= set(entry) <= ALWAYS | SOMETIMES
    assert HUB_ID.fullmatch(entry["id"])
    assert re.fullmatch(r"main|refs/pr/[1-9]\d*|[0-9a-f]{40}", entry["revision"])
    assert re.fullmatch(r"[0-9a-f]{7,40}", entry.get("safetensors", "0000000"))
    assert entry["status"] in ("real weights", "random weights")
    assert entry.get("format", "bin") == "bin"
    assert entry.get("reference", True) is True
    assert "/" not in name  # else it could not be told from a hub id


def test_no_checkpoint_has_two_entries() -> None:
    ids = [entry["id"] for entry in ENTRIES.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("family", sorted({entry["family"] for entry in ENTRIES.values()}))
def test_every_family_is_served(family: str) -> None:
    assert family in MODULES


@pytest.mark.parametrize("family", MODULES)
def test_every_family_that_is_served_has_checkpoints(family: str) -> None:
    assert family in {entry["family"] for entry in ENTRIES.values()}


def test_what_the_readme_says_is_served_is_listed() -> None:
    for family, names in TABLE.items():
        assert {ENTRIES[name]["family"] for name in names.split()} == {family}


def test_what_is_on_no_hub_is_listed_too() -> None:
    listed = {family: [] for family in TABLE_ELSEWHERE}
    for name, entry in elsewhere().items():
        assert set(entry) == {"family", "urls", "load", "status"}
        assert all(url.startswith("https://") for url in entry["urls"])
        assert entry["status"] == "random weights"
        assert hasattr(minitl, entry["load"].removeprefix("minitl.").partition("(")[0])
        listed[entry["family"]].append(name)
    assert listed == {family: names.split() for family, names in TABLE_ELSEWHERE.items()}
    assert not set(elsewhere()) & set(ENTRIES)


@pytest.mark.parametrize("name", [name for names in TABLE_ELSEWHERE.values() for name in names.split()])
def test_asking_for_it_says_where_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = elsewhere()[name]
    for ask in (load_model, load_tokenizer, pull, load_word_vectors):
        with pytest.raises(CheckpointError) as caught:
            ask(name)
        assert f"download it from {' and '.join(entry['urls'])}, then {entry['load']}" in str(caught.value)
    assert main(["pull", name]) == 1
    assert entry["urls"][0] in capsys.readouterr().err


@every_entry
def test_parameters_are_those_of_a_published_configuration(name: str, entry: dict[str, Any]) -> None:
    """Which tests/models/test_parameter_counts.py counts."""
    assert ("parameters" in entry) == (name in CHECKPOINTS)
    if name in CHECKPOINTS:
        assert config_of(name)["model_type"] == entry["family"]


def test_what_says_real_weights_is_here_and_compared_with_its_published_outputs() -> None:
    """The tests are run with the installed checkpoints alone, and none of those is left at "random weights"."""
    real = {entry["id"] for entry in ENTRIES.values() if entry["status"] == "real weights"}
    assert real == set(PACKAGES)
    assert real <= {case["checkpoint"] for case in CASES}


def test_the_readme_says_which_weights_were_real() -> None:
    (said,) = re.findall(
        r"Published weights were at hand for two: (\S+) .*\n.* and (\S+), a toy", README.read_text(encoding="utf-8")
    )
    marked = {name for name, entry in ENTRIES.items() if entry["status"] == "real weights"}
    assert set(said) & set(ENTRIES) == marked


# The research behind this library found these without safetensors on their main branch.
PICKLED = {
    "microsoft/deberta-v3-base": "82d8d18",
    "google/electra-small-discriminator": "refs/pr/2",
    "google/electra-base-discriminator": "refs/pr/4",
    "google/electra-large-discriminator": "refs/pr/2",
    "google/mt5-small": "6f9238f",
    "google/mt5-base": "refs/pr/5",
    "google/t5-v1_1-small": "refs/pr/1",
    "facebook/bart-large": "4422181",
    "google/pegasus-xsum": "refs/pr/13",
    "facebook/nllb-200-distilled-600M": "refs/pr/39",
    "facebook/mbart-large-50": "refs/pr/7",
    "facebook/mbart-large-50-one-to-many-mmt": "refs/pr/4",
    "facebook/mbart-large-50-many-to-one-mmt": "refs/pr/10",
    "facebook/m2m100_418M": None,
    "facebook/mbart-large-cc25": None,
    "facebook/mbart-large-en-ro": None,
}


@pytest.mark.parametrize(("hub_id", "revision"), PICKLED.items())
def test_a_pickle_on_the_main_branch_is_marked_or_avoided(hub_id: str, revision: str | None) -> None:
    (entry,) = (entry for entry in ENTRIES.values() if entry["id"] == hub_id)
    assert (entry.get("format") == "bin") == (entry["revision"] == "main")
    assert safetensors_elsewhere(hub_id) == (
        f"; or take the revision {revision!r} of {hub_id}, which is known to hold safetensors" if revision else ""
    )
    assert safetensors_elsewhere(hub_id, revision) == ""


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """A folder that holds a model as pytorch_model.bin alone."""
    folder = tmp_path / "here"
    save_model(new_model(BERT), folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / "SHA256SUMS").unlink()
    return folder


@pytest.mark.parametrize(
    "place",
    [
        "deberta-v3-base",
        "microsoft--deberta-v3-base",
        "microsoft--deberta-v3-base/8ccc9b6f36199bec6961081d44eb72fb3f7353f3",
    ],
)
def test_a_folder_of_a_known_checkpoint_names_both_ways_out(pickled: Path, tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    folder.parent.mkdir(exist_ok=True)
    pickled.rename(folder)
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    assert f"`minitl convert {folder} DESTINATION`" in str(caught.value)
    assert str(caught.value).endswith(
        "; or take the revision '82d8d18' of microsoft/deberta-v3-base, which is known to hold safetensors"
    )


def test_a_folder_of_an_unknown_checkpoint_names_the_way_there_is(pickled: Path) -> None:
    with pytest.raises(CheckpointError, match=r"`minitl convert .* without running any$"):
        load_model(pickled)
