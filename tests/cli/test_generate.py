from pathlib import Path

import pytest
import torch

from minitl.cli.main import main, parse


@pytest.fixture
def stories(assets: Path) -> str:
    return str(assets / "weights" / "stories260K")


def test_the_likeliest_story_begins_as_published(stories: str, capsys: pytest.CaptureFixture[str]):
    assert main(["generate", stories, "Once", "--max-new-tokens", "20"]) == 0
    assert capsys.readouterr().out.startswith("Once upon a time, there was a little girl named Lily.")


def test_one_seed_draws_one_story(stories: str, capsys: pytest.CaptureFixture[str]):
    told = []
    for seed in ("1", "1", "2"):
        main(["generate", stories, "Once", "--max-new-tokens", "20", "--sample", "--top-p", "0.95", "--seed", seed])
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] != told[2]


def test_a_setting_out_of_range_is_one_line(stories: str, capsys: pytest.CaptureFixture[str]):
    assert main(["generate", stories, "Once", "--sample", "--top-p", "2"]) == 1
    assert capsys.readouterr().err == "minitl: top_p must be above 0 and at most 1, got 2.0\n"


@pytest.mark.parametrize(
    "words", [["MODEL", "Once", "--max-new-tokens", "5"], ["MODEL", "--max-new-tokens", "5", "Once"]]
)
def test_the_text_may_stand_behind_the_options(stories: str, words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(["generate", *(stories if word == "MODEL" else word for word in words)]) == 0
    assert capsys.readouterr().out.startswith("Once upon a time")


def test_without_a_model_the_projects_own_is_asked():
    args = parse(["generate", "Once", "--sample"])
    assert (args.model, args.prompt) == ("novels-gpt2", "Once")
    with pytest.raises(SystemExit):
        parse(["generate", "a", "b", "--sample", "c"])


def test_a_device_that_is_not_here_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert main(["generate", "a", "b", "--device", "cuda"]) == 1
    assert capsys.readouterr().err == "minitl: device 'cuda': torch sees 0 GPUs here\n"
