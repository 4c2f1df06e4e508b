"""`minitl.probe` from a model to a report: on planted structure, on a tiny model, and what it refuses."""

import errno
import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minitl import load_model, load_tokenizer, new_model, save_model
from minitl.checkpoints import atomic
from minitl.cli.main import main
from minitl.errors import CheckpointError, DataError, InputError
from minitl.models.base import Model
from minitl.probing.controls import random_twin
from minitl.probing.description_length import CodeLength
from minitl.probing.material import Material
from minitl.probing.metrics import Estimate, Measured
from minitl.probing.page import render, write_report
from minitl.probing.probe import Report, Settings, probe
from minitl.probing.reading import TransformerReader
from minitl.probing.record import judged_anew, record
from minitl.probing.representations import represent
from minitl.probing.sweep import Curve
from minitl.probing.task import Task
from minitl.probing.tasks.table import probing_tasks
from minitl.tokenization import Tokenizer
from tests.conftest import WORDS

FEW = Settings(seeds=2, code=False)
pytestmark = pytest.mark.xdist_group("probe")  # the report that most of them read is made once


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    """Not as it was drawn: with the seed of its random twin it would be the same model."""
    model = load_model(tiny, "backbone")
    with torch.no_grad():
        model.embeddings.token.weight.mul_(1.5)
    return model


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Tokenizer:
    return load_tokenizer(tiny)


@pytest.fixture(scope="module")
def report(model: Model, tokenizer: Tokenizer, treebank: Path) -> Report:
    return probe(model, tokenizer, treebank, ["pos", "tree"], sentences=24, settings=FEW)


def test_every_task_has_a_row_for_every_layer_beside_a_twin(report: Report) -> None:
    pos, tree = report.found
    assert [found.task.name for found in report.found] == ["pos", "tree"]
    assert pos.curve.layers == (0, 1, 2, 3)
    assert pos.twin is not None
    assert pos.twin.loss != pos.curve.loss  # another model's
    assert pos.mixed is not None
    assert pos.code is None
    assert tree.mixed is None
    assert (report.depth, report.hidden, report.seeds) == (3, 24, (0, 1))
    assert report.alike is None


def test_words_tell_their_part_of_speech_where_each_has_one(report: Report) -> None:
    """In this treebank the word decides, so the embeddings know all."""
    (pos, _) = report.found
    assert pos.curve.scores["accuracy"][0].mean > 0.99
    assert pos.curve.constant["accuracy"] < 0.4


@pytest.mark.slow
def test_the_report_is_the_same_again_and_from_a_cache(
    model: Model, tokenizer: Tokenizer, treebank: Path, report: Report, tmp_path: Path
) -> None:
    kept = Settings(seeds=2, code=False, cache=tmp_path)
    for _ in range(2):
        again = probe(model, tokenizer, treebank, ["pos"], sentences=24, settings=kept)
        assert record(again)["tasks"] == record(report)["tasks"][:1]
    torch.manual_seed(1)
    other = new_model(model.config.to_dict(), "backbone")
    with pytest.raises(CheckpointError, match="another model"):
        probe(other, tokenizer, treebank, ["pos"], sentences=24, settings=kept)


def test_two_corpora_of_one_data_set_are_kept_apart_and_layers_go_upwards(
    model: Model, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """Tags are asked of all sentences, entities of those that have some: both are of the file's name."""
    file = tmp_path / "mine.conll"
    words = [("good", "O"), ("bad", "O"), ("fine", "O"), ("film", "B-thing"), ("hotel", "B-thing"), ("day", "B-time")]
    sentences = [[one, words[0], two, words[i % 3]] for i in range(6) for one in words for two in words[i % 3 :]]
    lines = ["\n".join(f"{word} {tag}" for word, tag in sentence) for sentence in sentences]
    file.write_text("\n\n".join(lines), encoding="utf-8")
    kept = Settings(seeds=1, code=False, twin=False, mix=False, layers=(3, 1), cache=tmp_path / "kept")
    found = probe(model, tokenizer, file, ["tags", "entities"], sentences=24, settings=kept).found
    assert [one.curve.layers for one in found] == [(1, 3), (1, 3)]
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_a_model_beside_itself_has_not_changed(model: Model, tokenizer: Tokenizer, treebank: Path) -> None:
    settings = replace(FEW, twin=False, mix=False)
    found = probe(model, tokenizer, treebank, ["pos"], sentences=24, before=model, settings=settings)
    assert found.alike is not None
    assert found.alike == pytest.approx((1, 1, 1, 1))
    (pos,) = found.found
    assert pos.before is not None
    assert pos.before.scores == pos.curve.scores
    assert [(one.mean, one.deviation, one.low, one.high) for one in pos.gain] == [(0, 0, 0, 0)] * 4


def test_what_fine_tuning_changed_is_told(
    model: Model, tokenizer: Tokenizer, treebank: Path, report: Report, tmp_path: Path
) -> None:
    """Before, all words of a text were alike."""
    before = new_model(model.config.to_dict(), "backbone")
    with torch.no_grad():
        before.embeddings.token.weight.zero_()
        before.embeddings.position.weight.zero_()
    settings = replace(FEW, twin=False, mix=False)
    found = probe(model, tokenizer, treebank, ["pos"], sentences=24, before=before, settings=settings)
    assert found.alike is not None
    assert max(found.alike) < 0.9
    (pos,) = found.found
    assert pos.before is not None
    assert pos.curve.scores == report.found[0].curve.scores
    gain = pos.curve.scores["accuracy"][0].mean - pos.before.scores["accuracy"][0].mean
    assert gain > 0.1
    assert pos.gain is not None
    assert [one.mean for one in pos.gain] == pytest.approx(
        [a.mean - b.mean for a, b in zip(pos.curve.scores["accuracy"], pos.before.scores["accuracy"], strict=True)]
    )
    page = write_report(found, tmp_path, {"command": "", "created": ""}).read_text(encoding="utf-8")
    assert f"{gain * 100:+.1f}" in page
    assert f"{pos.gain[0].low * 100:+.1f} to {pos.gain[0].high * 100:+.1f}" in page
    (row,) = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))["tasks"]
    assert [(one["low"], one["high"]) for one in row["before"]["gain"]] == [(one.low, one.high) for one in pos.gain]
    assert f'loss <data value="{pos.curve.loss[0] - pos.before.loss[0]!r}"' in page


@pytest.mark.parametrize(
    ("change", "layers", "words"),
    [
        ({"num_hidden_layers": 2}, (1, 2), "the model is bert of 3 layers, and the one before it bert of 2"),
        ({"model_type": "electra", "embedding_size": 24}, None, "and the one before it electra of 3"),
    ],
)
def test_another_model_is_not_the_one_before(
    model: Model, tokenizer: Tokenizer, report: Report, change: dict[str, object], layers: tuple[int, ...], words: str
) -> None:
    before, told = new_model({**model.config.to_dict(), **change}, "backbone"), list[str]()
    settings = replace(FEW, layers=layers)  # which both have
    with pytest.raises(InputError, match=words):
        probe(model, tokenizer, tasks=[report.found[0].task], before=before, settings=settings, progress=told.append)
    assert not told


def test_a_gain_is_taken_under_the_same_draws(
    model: Model, tokenizer: Tokenizer, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both scores vary by 20 points with the texts that are drawn, their difference by one."""
    (pos, _) = report.found
    both = 0.2 * torch.randn(8, 1000)  # of four layers and two seeds
    curves = [
        replace(pos.curve, measured=Measured(torch.full((8,), mean), mean + both + noise))
        for mean, noise in ((0.8, 0.01 * torch.randn(8, 1000)), (0.5, torch.zeros(8, 1000)))
    ]
    after, before = curves
    monkeypatch.setattr("minitl.probing.probe.sweep", lambda *_, **__: curves.pop(0))
    settings = replace(FEW, twin=False, mix=False)
    (found,) = probe(model, tokenizer, tasks=[pos.task], before=random_twin(model), settings=settings).found
    assert found.gain is not None
    draws = (after.measured.draws - before.measured.draws).view(4, 2, -1).mean(1)  # [layers, draws]
    for one, drawn in zip(found.gain, draws, strict=True):
        assert one.mean == pytest.approx(0.3)
        bounds = drawn.double().quantile(torch.tensor([0.025, 0.975]).double())
        assert [one.low, one.high] == pytest.approx(bounds.tolist(), abs=1e-6)
        assert one.high - one.low < 0.04


def test_models_are_held_against_each_other_on_texts_that_all_can_read(
    model: Model, tokenizer: Tokenizer, treebank: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before has positions for five words: of six, none of the three is asked."""
    texts = [text for text in treebank.read_text(encoding="utf-8").split("\n\n") if text]
    more = "\n6\tgood\t_\tADJ\t_\t_\t3\txcomp\t_\t_"
    file = treebank.with_name("long.conllu")
    file.write_text("\n\n".join(text + more * (i % 3 == 0) for i, text in enumerate(texts)) + "\n\n", encoding="utf-8")
    before = new_model({**model.config.to_dict(), "max_position_embeddings": 7}, "backbone")
    curve, materials = report.found[0].curve, []
    monkeypatch.setattr("minitl.probing.probe.sweep", lambda material, *_, **__: materials.append(material) or curve)
    settings = replace(FEW, mix=False, unreadable="skip")
    probe(model, tokenizer, file, ["pos"], sentences=24, before=before, settings=settings)
    own, *others = materials
    assert len(others) == 2
    assert own.left_out["test"] > 0
    for material in others:
        assert material.left_out == own.left_out
        assert torch.equal(material.splits["test"].spans, own.splits["test"].spans)


def test_the_code_is_of_what_the_model_itself_knows(
    model: Model, tokenizer: Tokenizer, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pos, _) = report.found
    assert isinstance(pos.task, Task)
    coded: list[Material] = []
    monkeypatch.setattr("minitl.probing.probe.online_code", lambda material, *_, **__: coded.append(material))
    monkeypatch.setattr("minitl.probing.probe.sweep", lambda *_, **__: pos.curve)
    settings = Settings(seeds=1, mix=False, twin=True)
    probe(model, tokenizer, tasks=[pos.task], before=random_twin(model, 7), settings=settings)
    (material,) = coded
    words = torch.arange(9)
    own = represent(TransformerReader(model, tokenizer), pos.task.corpus)
    assert torch.equal(material.representations.words(words), own.words(words))


def test_the_page_shows_the_compression_at_the_best_layer(report: Report) -> None:
    (pos, _) = report.found
    bits = 100 / torch.tensor([[1.5], [2.5], [3.5], [4.5]])  # of layers 0 to 3
    code = CodeLength(bits, None, 100.0, (1, 2))
    for best, shown in ((0, "1.50×"), (2, "3.50×")):
        found = replace(pos, curve=replace(pos.curve, best=best), code=code)
        page = render(replace(report, found=(found,)), {"command": "", "created": ""})
        assert re.findall(r"\d\.\d\d×", page) == [shown]


@pytest.mark.parametrize(
    ("low", "said"),
    [
        (1.0, "Where linear probes do best, of 3 layers: <b>layer 2</b> for part of speech."),
        (0.0, "Of 3 layers, none tells a linear probe more than one knows without vectors."),
    ],
)
def test_the_headline_is_of_tasks_that_some_layer_solves(report: Report, low: float, said: str) -> None:
    (pos, _) = report.found
    assert isinstance(pos.curve, Curve)
    scores = {**pos.curve.scores, pos.curve.metric: tuple(Estimate(low, 0.0, low, low) for _ in range(4))}
    found = replace(pos, curve=replace(pos.curve, best=2, scores=scores))
    assert said in render(replace(report, found=(found,)), {"command": "", "created": ""})


def test_the_page_says_what_it_means_that_made_up_labels_are_learnt_as_well(report: Report) -> None:
    (pos, tree) = report.found
    for low, said in ((0.01, False), (0.0, True), (-0.2, True)):
        sure = tuple(Estimate(0.1, 0.0, low if layer == pos.curve.best else 0.05, 0.2) for layer in range(4))
        found = (replace(pos, curve=replace(pos.curve, selectivity=sure)), tree)
        page = render(replace(report, found=found), {"command": "", "created": ""})
        assert ("Selectivity is not surely above 0 of: <b>part of speech</b>." in page) is said


def test_tasks_of_ones_own_are_asked(model: Model, tokenizer: Tokenizer, report: Report) -> None:
    (pos, _) = report.found
    again = probe(model, tokenizer, tasks=[pos.task], settings=FEW)
    assert again.found[0].curve.scores == pos.curve.scores


def test_the_page_has_every_score_and_asks_nobody(report: Report, tmp_path: Path) -> None:
    page = write_report(report, tmp_path, {"command": "minitl probe <x>", "created": "2026-01-02T03:04:05+00:00"})
    html = page.read_text(encoding="utf-8")
    assert "&lt;x&gt;" in html
    assert "Layers are counted from 1, after the embeddings (emb): layer 1 is layer 0 of" in html
    assert not re.search(r'(src|href)="(?!#|data:)', html)
    values = {float(found) for found in re.findall(r'<data value="([^"]+)"', html)}
    saved = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))
    for found, row in zip(report.found, saved["tasks"], strict=True):
        means = [one["mean"] for one in row["scores"][row["metric"]]]
        assert set(means) <= values
        assert means == [one.mean for one in found.curve.scores[row["metric"]]]
    tree = report.found[1].curve
    assert {one.mean for by in tree.scores.values() for one in by if math.isfinite(one.mean)} <= values
    assert set(tree.chain.values()) <= values
    selectivity = report.found[0].curve.selectivity
    assert [one["mean"] for one in saved["tasks"][0]["selectivity"]] == [one.mean for one in selectivity]
    assert len(saved["guide"]) == 5
    assert all(claim["verdict"] in html for claim in saved["guide"])
    for picture in ("curves.png", "layers.png", "gravity.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_what_the_twin_came_to_is_recorded_beside_the_models_own(report: Report) -> None:
    """In this treebank both know everything: so let the twin know half."""
    pos, tree = report.found
    half = {name: tuple(replace(one, mean=one.mean / 2) for one in by) for name, by in pos.curve.scores.items()}
    row = record(replace(report, found=(replace(pos, twin=replace(pos.curve, scores=half)), tree)))["tasks"][0]
    own = [one["mean"] for one in row["scores"]["accuracy"]]
    assert [one["mean"] for one in row["twin"]["scores"]["accuracy"]] == [mean / 2 for mean in own]


def test_a_record_is_judged_again_by_its_numbers_alone(report: Report) -> None:
    """With one seed there is no spread, which JSON cannot say, and no error of a centre."""
    one_seed = [replace(one.curve, scores=estimates_of_one_seed(one.curve.scores)) for one in report.found]
    alone = replace(report, seeds=(0,), found=tuple(
        replace(one, curve=curve) for one, curve in zip(report.found, one_seed, strict=True)
    ))  # fmt: skip
    for recorded in (record(report), json.loads(json.dumps(record(alone)))):
        guide = [{**claim, "verdict": "as it was", "rule": "as it was"} for claim in recorded["guide"]]
        assert judged_anew({**recorded, "guide": guide})["guide"][:4] == recorded["guide"][:4]
        assert judged_anew(recorded)["tasks"] == recorded["tasks"]
    assert judged_anew(record(report)) == record(report)


def estimates_of_one_seed(scores: Mapping[str, tuple[Estimate, ...]]) -> dict[str, tuple[Estimate, ...]]:
    return {name: tuple(replace(one, deviation=math.nan) for one in by) for name, by in scores.items()}


def test_what_cannot_be_asked_is_refused(model: Model, tokenizer: Tokenizer, treebank: Path) -> None:
    with pytest.raises(InputError, match="unknown task 'poss', did you mean 'pos'"):
        probe(model, tokenizer, treebank, ["poss"])
    with pytest.raises(InputError, match="there is no task"):
        probe(model, tokenizer, tasks=[])
    with pytest.raises(InputError, match=r"layers \[9\]: each once, from 0, the embeddings, to 3"):
        probe(model, tokenizer, treebank, ["pos"], sentences=24, settings=Settings(layers=(9,)))
    with pytest.raises(InputError, match="no probe is called 'linearr', did you mean 'linear'"):
        Settings(probe="linearr")
    with pytest.raises(InputError, match="seeds must be at least 1"):
        Settings(seeds=0)
    with pytest.raises(InputError, match="give its tokenizer"):
        probe(model, None, treebank, ["pos"], sentences=24)


def test_a_text_that_cannot_be_read_is_told_before_any_probe_is_trained(
    model: Model, tokenizer: Tokenizer, treebank: Path, tmp_path: Path
) -> None:
    long = tmp_path / "long.conllu"
    words = "".join(f"{i}\tgood\t_\tADJ\t_\t_\t1\tdep\t_\t_\n" for i in range(6, 42))
    sentences = treebank.read_text(encoding="utf-8").split("\n\n")
    long.write_text("\n\n".join(f"{sentence}\n{words}" for sentence in sentences if sentence), encoding="utf-8")
    tasks = [*probing_tasks(["pos"], treebank, sentences=24), *probing_tasks(["pos"], long, sentences=24)]
    told: list[str] = []
    with pytest.raises(DataError, match=r"long.conllu: the text '.*' cannot be read: it has 43 tokens"):
        probe(model, tokenizer, tasks=tasks, settings=FEW, progress=told.append)
    assert not told


def test_the_verb_writes_a_report(
    tiny: Path, treebank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--tasks", "pos", "--data", str(treebank), "--sentences", "24", "--seeds", "1", "--no-twin", "--no-code"]
    assert main(["probe", str(tiny), *options, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "part of speech" in printed.out
    assert "probes for part of speech" in printed.err
    assert str(out / "probe.html") in printed.out
    assert json.loads((out / "probe.json").read_text())["run"]["command"]


def test_the_verb_prints_what_was_gained_and_how_sure_that_is(
    tiny: Path, treebank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--tasks", "pos", "--data", str(treebank), "--sentences", "24", "--seeds", "1", "--no-twin", "--no-code"]
    assert main(["probe", str(tiny), *options, "--no-mix", "--before", str(tiny), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"emb +1\.000 +\+0\.0 \(\+0\.0 to \+0\.0\)", printed)


def test_the_verb_refuses_a_model_before_that_reads_other_tokens(
    tiny: Path, treebank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(tiny, tmp_path / "other")
    for name in ("tokenizer.json", "vocab.txt"):
        if (file := other / name).exists():
            text = file.read_text(encoding="utf-8")
            file.write_text(re.sub(r"\bfilm\b", "movie", text), encoding="utf-8")
    options = ["--tasks", "pos", "--data", str(treebank), "--sentences", "24", "--before", str(other)]
    assert main(["probe", str(tiny), *options, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error == f"minitl: --before {other}: its tokenizer is not the model's: name what that was fine-tuned from\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tasks", "poss"], "unknown task 'poss'"),
        (["--layers", "7"], "to 3, the model's last"),
        (["--probe", "deep"], "no probe is called 'deep'"),
        (["--side", "decoder"], "has no such side"),
        (["--data", "absent.conllu"], "absent.conllu"),
    ],
)
def test_the_verb_refuses_in_one_line(
    tiny: Path, treebank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    usual = ["--tasks", "pos", "--data", str(treebank), "--sentences", "24", "--out", str(tmp_path / "out")]
    assert main(["probe", str(tiny), *usual, *options]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("minitl: ")
    assert words in error


NO_TOKEN = "\u200b"  # a space of no width


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("\t_\tADV\t", "\t_\n", r"mine.conllu, line \d+: too few columns: 3, where CoNLL-U has 10"),
        ("good\t", f"{NO_TOKEN}\t", r"no token of its word \d, '\\u200b'"),
        (r"\t(ADJ|NOUN|VERB|DET|AUX|PRON|ADV|PUNCT)\t", "\tX\t", "the task 'pos' has one class, 'X'"),
    ],
)
def test_the_verb_says_what_is_wrong_with_the_data(
    tiny: Path, treebank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    (tmp_path / "mine.conllu").write_text(re.sub(old, new, treebank.read_text(encoding="utf-8")), encoding="utf-8")
    options = ["--tasks", "pos", "--data", str(tmp_path / "mine.conllu"), "--sentences", "24"]
    assert main(["probe", str(tiny), *options, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert re.search(words, error)
    assert error.count("\n") == 1


def test_the_verb_refuses_vectors_of_another_model(
    model: Model, tiny: Path, treebank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(model, tmp_path / "other", load_tokenizer(tiny))
    options = ["--tasks", "pos", "--data", str(treebank), "--sentences", "24", "--seeds", "1", "--no-twin", "--no-code"]
    options += ["--no-mix", "--cache", str(tmp_path / "vectors"), "--out", str(tmp_path / "out")]
    assert main(["probe", str(tiny), *options]) == 0
    (tmp_path / "out" / "probe.html").unlink()
    assert main(["probe", str(tmp_path / "other"), *options]) == 1
    assert "holds the vectors of another model: name another folder" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out" / "probe.html").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    tiny: Path, treebank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    options = ["--tasks", "pos", "--data", str(treebank), "--sentences", "24", "--out", str(tmp_path / "out")]
    assert main(["probe", str(tiny), *options]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("cannot be written: No space left on device")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_by_default_a_score_is_held_against_all_that_could_fool_it() -> None:
    usual = Settings()
    assert (usual.seeds, usual.twin, usual.mix, usual.code, usual.layers) == (3, True, True, True, None)


assert "film" in WORDS  # the treebank above is made of the tiny vocabulary
