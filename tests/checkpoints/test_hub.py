import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minitl.checkpoints.convert import convert
from minitl.checkpoints.digest import read_digests, sha256
from minitl.checkpoints.hub import pull, resolve, size, weights_folder
from minitl.checkpoints.weights import open_weights
from minitl.cli.main import main
from minitl.errors import CheckpointError, InputError
from minitl.models.loading import load_model, new_model, save_model

TINY = {
    "model_type": "gpt2",
    "vocab_size": 32,
    "n_positions": 16,
    "n_embd": 8,
    "n_layer": 1,
    "n_head": 2,
    "architectures": ["GPT2Model"],
}


@pytest.fixture
def published(hub, tmp_path):
    """A tiny checkpoint as a repository holds it: with files that nobody needs here."""
    folder = tmp_path / "published"
    save_model(new_model(TINY), folder)
    (folder / "SHA256SUMS").unlink()
    for name in ("README.md", "pytorch_model.bin", "tf_model.h5", "tokenizer.json", "original/params.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    hub.serve(folder)
    return folder


def test_a_folder_is_itself(tmp_path):
    assert resolve(tmp_path) == tmp_path
    assert resolve(str(tmp_path)) == tmp_path


def test_a_folder_has_no_revision(tmp_path):
    with pytest.raises(InputError, match="revision='main'"):
        resolve(tmp_path, revision="main")


@pytest.mark.parametrize("source", ["no/such/folder", "nothing", "../x", "a/..", "https://hub/x", "org/na--me"])
def test_what_is_no_hub_id_is_refused_before_any_request(source, hub):
    with pytest.raises(CheckpointError, match="no such folder"):
        resolve(source)
    assert hub.asked == []


@pytest.mark.usefixtures("published")
def test_only_what_a_checkpoint_needs_is_pulled(hub):
    folder = resolve("org/model")
    pulled = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
    assert pulled == ["SHA256SUMS", "config.json", "model.safetensors", "tokenizer.json"]
    assert folder == weights_folder() / "org--model" / hub.commit


@pytest.mark.usefixtures("published")
def test_pulled_files_have_their_digests():
    folder = resolve("org/model")
    digests = read_digests(folder)
    assert digests == {name: sha256(folder / name) for name in ("config.json", "model.safetensors", "tokenizer.json")}
    damaged = bytearray((folder / "model.safetensors").read_bytes())
    damaged[-1] ^= 1
    (folder / "model.safetensors").write_bytes(damaged)
    with pytest.raises(CheckpointError, match="digest"):
        load_model("org/model")


def test_a_pulled_model_loads_by_its_id(published):
    ours, theirs = load_model("org/model"), load_model(published)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.usefixtures("published")
def test_what_was_pulled_is_not_asked_for_again(hub):
    first = resolve("org/model")
    hub.asked.clear()
    assert resolve("org/model") == first
    assert resolve("org/model", revision=hub.commit) == first
    assert hub.asked == []


@pytest.mark.usefixtures("published")
def test_pull_fetches_what_is_new_and_keeps_the_old(hub):
    old = pull("org/model")
    hub.commit, hub.files["tokenizer.json"] = "decaf", b'{"new": 1}'
    assert resolve("org/model") == old
    new = pull("org/model")
    assert (new.name, (new / "tokenizer.json").read_bytes()) == ("decaf", b'{"new": 1}')
    assert (old / "tokenizer.json").read_bytes() == b"{}"
    assert resolve("org/model") == new


def modules(*paths):
    return json.dumps([{"idx": i, "path": path, "type": "a.Module"} for i, path in enumerate(paths)])


@pytest.mark.parametrize("path", ["1_Pooling", "1_Pooling/", "./1_Pooling"])
@pytest.mark.usefixtures("published")
def test_the_path_of_a_module_may_be_written_in_several_ways(path, hub):
    hub.files |= {"modules.json": modules(".", path).encode(), "1_Pooling/config.json": b"{}"}
    assert (resolve("org/model") / "1_Pooling" / "config.json").is_file()


@pytest.mark.usefixtures("published")
def test_a_module_kept_as_a_pickle_names_the_way_out_which_fetches_it(hub, tmp_path):
    del hub.files["pytorch_model.bin"]
    old = pull("org/model")
    torch.save({"linear.weight": torch.ones(2, 3)}, tmp_path / "dense.bin")
    hub.files |= {"modules.json": modules("", "2_Dense").encode(), "2_Dense/config.json": b"{}"}
    hub.files["2_Dense/pytorch_model.bin"] = (tmp_path / "dense.bin").read_bytes()
    said = (
        "org/model: holds no safetensors in place of 2_Dense/pytorch_model.bin; `minitl convert org/model DESTINATION`"
    )
    with pytest.raises(CheckpointError, match=said):
        pull("org/model")
    convert("org/model", tmp_path / "new")
    assert open_weights(tmp_path / "new" / "2_Dense").shapes == {"linear.weight": (2, 3)}
    assert set(read_digests(old / "2_Dense")) == {"config.json", "pytorch_model.bin"}


@pytest.mark.usefixtures("published")
def test_pull_fetches_what_is_missing_and_keeps_the_digests_of_what_is_there(hub):
    folder = pull("org/model")
    digests = read_digests(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "config.json").write_text("changed")
    hub.asked.clear()
    assert pull("org/model") == folder
    assert hub.downloaded() == ["tokenizer.json"]
    assert read_digests(folder) == digests


def test_shards_and_the_folders_of_modules_come_along(hub, tmp_path):
    folder = tmp_path / "published"
    save_model(new_model(TINY), folder, max_shard_bytes=2000)
    (folder / "modules.json").write_text(modules("", "1_Pooling"))
    for name in ("sentence_roberta_config.json", "1_Pooling/config.json", "1_Pooling/notes.md", "2_Other/config.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    hub.serve(folder)
    pulled = resolve("org/model")
    names = {p.relative_to(pulled).as_posix() for p in pulled.rglob("*") if p.is_file()}
    shards = {p.name for p in folder.glob("model-*")}
    assert len(shards) > 1
    assert names == shards | {
        *("SHA256SUMS", "config.json", "model.safetensors.index.json", "modules.json"),
        *("sentence_roberta_config.json", "1_Pooling/config.json", "1_Pooling/SHA256SUMS"),
    }
    load_model(pulled)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "..\\x.json", "a/../../x", "C:\\x", "a//b"])
@pytest.mark.usefixtures("published")
def test_a_file_name_that_leads_out_of_the_folder_is_refused(name, hub, tmp_path):
    hub.files[name] = b"evil"
    with pytest.raises(CheckpointError, match="leads out of the folder"):
        resolve("org/model")
    assert not (tmp_path / "weights").exists()


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("path", ["../..", "/", "/etc", "..\\x", "C:\\x", "a/../../x"])
def test_a_module_path_that_leads_out_of_the_folder_is_refused(path, hub):
    hub.files["modules.json"] = modules(path).encode()
    with pytest.raises(CheckpointError, match="leads out of the folder"):
        resolve("org/model")


@pytest.mark.usefixtures("published")
def test_an_unknown_model_and_revision_are_named():
    with pytest.raises(CheckpointError, match="org/other at main: the hub has no such model"):
        resolve("org/other")
    with pytest.raises(CheckpointError, match="org/model at v9: the hub has no such revision"):
        resolve("org/model", revision="v9")


@pytest.mark.usefixtures("published")
def test_a_repository_of_pickles_names_the_way_out(hub):
    del hub.files["model.safetensors"]
    with pytest.raises(CheckpointError, match="minitl convert org/model DESTINATION"):
        resolve("org/model")
    assert "pytorch_model.bin" not in hub.downloaded()


def listed(monkeypatch, **entries):
    """Let the manifest have these entries, of checkpoints that the tests publish."""
    known = {name: {"family": "gpt2", "revision": "main", **entry} for name, entry in entries.items()}
    for module in ("hub", "manifest", "reference"):
        monkeypatch.setattr(f"minitl.checkpoints.{module}.manifest", lambda: known)


@pytest.mark.usefixtures("published")
def test_a_repository_of_pickles_names_the_revision_that_holds_safetensors(hub, monkeypatch):
    listed(monkeypatch, tiny={"id": "org/model", "revision": "refs/pr/4"})
    safetensors = hub.files.pop("model.safetensors")
    ways = "`minitl convert org/model DESTINATION` makes them; or take the revision 'refs/pr/4' of org/model"
    with pytest.raises(CheckpointError, match=ways):
        load_model("org/model")
    hub.revisions["refs/pr/4"] = "decade"
    with pytest.raises(CheckpointError, match=r"makes them$"):  # it does not hold them after all
        load_model("org/model", revision="refs/pr/4")
    hub.files["model.safetensors"] = safetensors
    assert load_model("org/model", revision="refs/pr/4").config.n_embd == 8
    assert resolve("tiny") == weights_folder() / "org--model" / "decade"


@pytest.mark.usefixtures("published")
def test_the_size_is_that_of_the_weights_that_would_be_pulled(hub):
    assert size("org/model") == len(hub.files["model.safetensors"])
    del hub.files["model.safetensors"]
    assert size("org/model") == len(hub.files["pytorch_model.bin"])


@pytest.mark.usefixtures("published")
def test_small_reference_checkpoints_are_pulled_and_failures_reported_at_the_end(hub, monkeypatch, capsys):
    listed(
        monkeypatch,
        absent={"id": "org/absent", "reference": True},
        tiny={"id": "org/model", "reference": True, "parameters": 10},
        pickled={"id": "org/model", "reference": True, "revision": "refs/pr/1"},
        huge={"id": "org/huge", "reference": True, "parameters": 10**10},
        other={"id": "org/other"},
    )
    hub.revisions["refs/pr/1"] = "01d"
    hub.files_at["01d"] = {"pytorch_model.bin": b"old"}
    assert main(["pull", "--reference"]) == 1
    said = capsys.readouterr()
    listing, *folders = said.out.split(" MB each\n")
    sizes = [line.split() for line in listing.splitlines()]
    assert [line[2] for line in sizes[:-1]] == ["pickled", "tiny"]
    assert float(sizes[1][0]) == round(len(hub.files["model.safetensors"]) / 1e6, 1)
    assert sizes[-1][3:6] == ["all,", "2", "checkpoints"]
    assert folders == [f"{weights_folder() / 'org--model' / hub.commit}\n"]
    absent, pickled = said.err.splitlines()
    assert absent == "minitl: absent: org/absent at main: the hub has no such model, or shows it to some accounts only"
    assert pickled.startswith("minitl: pickled: org/model: holds no safetensors")
    assert not any("huge" in path or "other" in path for _, path, _ in hub.asked)


@pytest.mark.usefixtures("hub")
def test_without_a_hub_the_references_are_one_line(monkeypatch, capsys):
    from huggingface_hub import constants

    listed(monkeypatch, **{name: {"id": f"org/{name}", "reference": True, "parameters": 10} for name in ("one", "two")})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main(["pull", "--reference"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert re.search(
        r"minitl: none of 2 checkpoints can be had; of one: org/one .*: cannot be fetched from the hub", said.err
    )


@pytest.mark.usefixtures("published")
def test_reference_checkpoints_above_the_limit_are_left_out(hub, monkeypatch, capsys):
    listed(monkeypatch, tiny={"id": "org/model", "reference": True})
    monkeypatch.setattr("minitl.checkpoints.reference.LIMIT", len(hub.files["model.safetensors"]) - 1)
    assert main(["pull", "--reference"]) == 0
    assert "tiny" not in capsys.readouterr().out
    assert hub.downloaded() == []
    monkeypatch.setattr("minitl.checkpoints.reference.LIMIT", len(hub.files["model.safetensors"]))
    assert main(["pull", "--reference"]) == 0
    assert "model.safetensors" in hub.downloaded()


@pytest.mark.parametrize("argv", [["pull"], ["pull", "org/model", "--reference"]], ids=str)
def test_pull_wants_a_model_or_the_references_and_not_both(argv):
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2


def test_the_references_have_revisions_of_their_own(capsys):
    assert main(["pull", "--reference", "--revision", "v1"]) == 1
    assert "--revision belongs to one MODEL" in capsys.readouterr().err


def test_a_name_that_is_nearly_one_of_the_manifest_is_told_which():
    with pytest.raises(CheckpointError, match=r"such as .*bert-base-uncased"):
        resolve("bert-base-uncase")


@pytest.mark.usefixtures("published")
def test_a_file_that_arrives_damaged_is_refused(hub):
    hub.claimed["model.safetensors"] = "0" * 64
    with pytest.raises(CheckpointError, match=r"model\.safetensors: arrived damaged"):
        resolve("org/model")
    del hub.claimed["model.safetensors"]
    load_model("org/model")


@pytest.mark.usefixtures("published")
def test_offline_uses_what_was_pulled_and_says_what_was_not(hub, monkeypatch, caplog):
    from huggingface_hub import constants

    folder = pull("org/model")
    caplog.set_level("WARNING", "minitl")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert resolve("org/model") == folder
    assert pull("org/model") == folder
    assert "using what was pulled earlier" in caplog.text
    with pytest.raises(CheckpointError, match=r"org/other at main: cannot be fetched.*name a folder that holds it"):
        resolve("org/other")
    assert hub.asked == []


def test_offline_by_the_environment_is_one_line_of_error(tmp_path):
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "MINITL_WEIGHTS": str(tmp_path)}
    code = (
        "from minitl.checkpoints.hub import resolve\ntry: resolve('org/model')\nexcept Exception as e: print(repr(e))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("CheckpointError('org/model at main: cannot be fetched from the hub:")


@pytest.mark.slow
@pytest.mark.usefixtures("published")
def test_a_broken_download_goes_on_where_it_was(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)  # what arrived is kept in pieces of this size
    content = os.urandom(3_000_000)
    hub.files["model.safetensors"] = content
    hub.cut["model.safetensors"] = 400_000  # then this connection breaks, and later ones carry nothing
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be fetched"):
        resolve("org/model")
    home = tmp_path / "weights" / "org--model"
    assert not (home / hub.commit).exists()
    hub.cut.clear()
    hub.asked.clear()
    folder = resolve("org/model")
    ranges = [asked for method, path, asked in hub.asked if method == "GET" and path.endswith("model.safetensors")]
    assert ranges == ["bytes=400000-"]
    assert (folder / "model.safetensors").read_bytes() == content
    assert list(home.glob("*.partial")) == []


def test_weights_lie_where_the_environment_says_else_in_the_checkout(monkeypatch, tmp_path):
    monkeypatch.setenv("MINITL_WEIGHTS", str(tmp_path))
    assert weights_folder() == tmp_path
    monkeypatch.delenv("MINITL_WEIGHTS")
    assert weights_folder() == Path(__file__).parents[2] / "weights"
    monkeypatch.setattr("minitl.checkpoints.hub.CHECKOUT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder() == tmp_path / ".cache" / "minitl" / "weights"


@pytest.mark.usefixtures("published")
def test_a_short_name_stands_for_its_id(hub, monkeypatch):
    monkeypatch.setattr(
        "minitl.checkpoints.hub.manifest", lambda: {"tiny": {"id": "org/model", "revision": hub.commit}}
    )
    assert resolve("tiny") == resolve("org/model", revision=hub.commit)


def test_what_a_package_carries_is_found_by_name_without_the_hub(minilm: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        assert resolve(name) == minilm
    with pytest.raises(CheckpointError):
        resolve("all-MiniLM-L6-v2", revision="v1")  # the package is of no revision


def test_the_projects_own_checkpoints_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr("minitl.checkpoints.hub.CHECKOUT", tmp_path)
    with pytest.raises(CheckpointError, match=r"novels-gpt2: is not in .*minitl train recipes/novels_gpt2.toml"):
        load_model("novels-gpt2")
    save_model(new_model(TINY), tmp_path / "weights" / "novels-gpt2")
    assert resolve("novels-gpt2") == tmp_path / "weights" / "novels-gpt2"
    assert load_model("novels-gpt2").config.n_layer == 1
